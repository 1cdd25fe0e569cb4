"""Every field that a create request can hold has a rule, and what is not built is refused by name."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest

from wherry.api import unbuilt
from wherry.api.decode import convert
from wherry.model import config as m
from wherry.model.errors import InvalidArgument, Unimplemented

#: Docker's fields at API 1.51.
CONFIG = """Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts Tty OpenStdin StdinOnce Env Cmd Healthcheck ArgsEscaped
Image Volumes WorkingDir Entrypoint NetworkDisabled MacAddress OnBuild Labels StopSignal StopTimeout Shell"""
HOST = """Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove VolumeDriver VolumesFrom ConsoleSize Annotations CapAdd
CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode Cgroup Links OomScoreAdj PidMode Privileged PublishAllPorts
ReadonlyRootfs SecurityOpt StorageOpt Tmpfs UTSMode UsernsMode ShmSize Sysctls Runtime Isolation CpuShares Memory NanoCpus CgroupParent
BlkioWeight BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuPeriod CpuQuota
CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems Devices DeviceCgroupRules DeviceRequests KernelMemory KernelMemoryTCP
MemoryReservation MemorySwap MemorySwappiness OomKillDisable PidsLimit Ulimits CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth Mounts
MaskedPaths ReadonlyPaths Init"""
ENDPOINT = """IPAMConfig Links Aliases MacAddress DriverOpts GwPriority NetworkID EndpointID Gateway IPAddress IPPrefixLen IPv6Gateway
GlobalIPv6Address GlobalIPv6PrefixLen DNSNames"""
MOUNT = "Type Source Target ReadOnly Consistency BindOptions VolumeOptions ImageOptions TmpfsOptions ClusterOptions"


def names(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize(("kind", "wanted"), [(m.Config, CONFIG), (m.HostConfig, HOST), (m.EndpointSettings, ENDPOINT),
                                              (m.NetworkingConfig, "EndpointsConfig"), (m.MountRequest, MOUNT)])
def test_the_records_have_all_of_dockers_fields(kind: type[msgspec.Struct], wanted: str) -> None:
    assert names(kind) == set(wanted.split())


@pytest.mark.parametrize("kind", unbuilt.RULES)
def test_every_field_has_a_rule(kind: type[msgspec.Struct]) -> None:
    assert set(unbuilt.RULES[kind]) == set(kind.__struct_fields__)


def test_every_record_reached_by_inside_has_rules() -> None:
    for kind, rules in unbuilt.RULES.items():
        for field in msgspec.structs.fields(kind):
            if rules[field.name] is unbuilt.inside:
                assert set(records_in(field.type)) <= set(unbuilt.RULES), field.name


def records_in(kind: Any) -> list[type]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [found for arg in typing.get_args(kind) for found in records_in(arg)]


def sample(kind: Any) -> Any:
    """Some value of this type that is not its default."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(sample(arg) for arg in args)
    if origin is list:
        return [sample(args[0])]
    if origin is dict:
        return {"key": sample(args[1])}
    if args:
        return sample(next(arg for arg in args if arg is not type(None)))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        field = msgspec.structs.fields(kind)[0]
        return kind(**{field.name: sample(field.type)})
    return {str: "x", int: 3, bool: True}.get(kind, {})


def check(record: msgspec.Struct) -> None:
    parts: dict[type, Any] = {m.Config: m.Config(), m.HostConfig: m.HostConfig(), m.NetworkingConfig: m.NetworkingConfig()}
    if isinstance(record, m.EndpointSettings):
        record = m.NetworkingConfig(endpoints_config={"default": record})
    if isinstance(record, m.MountRequest):
        record = m.HostConfig(mounts=[record])
    parts[type(record)] = record
    unbuilt.check(parts[m.Config], parts[m.HostConfig], parts[m.NetworkingConfig])


FIELDS = [(kind, field) for kind in (m.Config, m.HostConfig, m.EndpointSettings) for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=[f"{k.__name__}.{f.encode_name}" for k, f in FIELDS])
def test_every_field_that_is_not_built_is_refused_by_name(kind: type[msgspec.Struct], field: Any) -> None:
    record = kind(**{field.name: sample(field.type)})
    rule = unbuilt.RULES[kind][field.name]
    if rule in (unbuilt.built, unbuilt.recorded, unbuilt.answers):
        check(record)
    elif rule is unbuilt.port_bindings:
        with pytest.raises(Unimplemented, match="PortBindings"):
            check(m.HostConfig(port_bindings={"80/tcp": None, "81/sctp": None}))
        check(m.HostConfig(port_bindings={"80": [m.PortBinding(host_ip="::", host_port="80-90")], "9/UDP": [m.PortBinding()]}))
        for key, ip, port in (("x", "", ""), ("70000/tcp", "", ""), ("80/tcp", "", "x"), ("80/tcp", "", "9-8"), ("80/tcp", "1.2.3", "")):
            with pytest.raises(InvalidArgument, match="PortBindings"):
                check(m.HostConfig(port_bindings={key: [m.PortBinding(host_ip=ip, host_port=port)]}))
    elif rule is not unbuilt.inside:
        with pytest.raises((Unimplemented, InvalidArgument), match=field.encode_name):
            check(record)
    check(kind())


BUILT_NOW = {"Healthcheck": False, "NetworkDisabled": False, "MacAddress": False, "Cmd": True, "StopTimeout": True, "Links": False, "Memory": True,
             "StorageOpt": False, "DeviceRequests": False, "CgroupParent": False, "Ulimits": True, "CpuRealtimePeriod": False, "IPAMConfig": False,
             "Aliases": False, "DeviceCgroupRules": False, "BlkioWeightDevice": False, "KernelMemory": False, "Init": True}


def test_the_table_says_what_is_built() -> None:
    for kind, field in FIELDS:
        if field.encode_name in BUILT_NOW and (kind, field.name) != (m.EndpointSettings, "links"):
            assert (unbuilt.RULES[kind][field.name] is unbuilt.built) is BUILT_NOW[field.encode_name], field.encode_name


@pytest.mark.parametrize(("host", "error", "name"), [
    ({"NetworkMode": "mine"}, Unimplemented, "NetworkMode"), ({"NetworkMode": "container:x"}, None, ""),
    ({"IpcMode": "container:x"}, Unimplemented, "IpcMode"),
    ({"IpcMode": "junk"}, InvalidArgument, "IpcMode"), ({"PidMode": "host"}, None, ""), ({"PidMode": "container:a"}, Unimplemented, "PidMode"),
    ({"UsernsMode": "host"}, Unimplemented, "UsernsMode"), ({"Runtime": "runc"}, Unimplemented, "Runtime"), ({"Runtime": "wherry"}, None, ""),
    ({"Isolation": "default"}, None, ""), ({"Isolation": "hyperv"}, Unimplemented, "Isolation"),
    ({"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "3"}}}, None, ""),
    ({"LogConfig": {"Type": "journald"}}, Unimplemented, "LogConfig.Type"), ({"LogConfig": {"Type": "junk"}}, InvalidArgument, "LogConfig.Type"),
    ({"LogConfig": {"Config": {"tag": "x"}}}, Unimplemented, "LogConfig.Config"), ({"LogConfig": {"Config": {"x": "x"}}}, InvalidArgument,
    "LogConfig.Config"),
    ({"SecurityOpt": ["no-new-privileges", "seccomp=unconfined", "no-new-privileges:true", "seccomp={\"a\":1}"]}, None, ""),
    ({"SecurityOpt": ["apparmor=x"]}, Unimplemented, "SecurityOpt"), ({"SecurityOpt": ["label:type:x"]}, Unimplemented, "SecurityOpt"),
    ({"SecurityOpt": ["label:disable", "apparmor=unconfined"], "LogConfig": {"Type": "none"}}, None, ""),
    ({"SecurityOpt": ["junk"]}, InvalidArgument, "SecurityOpt"),
    ({"Mounts": [{"Type": "bind", "Consistency": "cached", "BindOptions": {"Propagation": "rslave"}}]}, None, ""),
    ({"Mounts": [{"Type": "bind"}, {"Type": "image"}]}, Unimplemented, r"Mounts\[1\].Type"),
    ({"Mounts": [{"Type": "volume",
    "VolumeOptions": {"DriverConfig": {"Name": "nfs"}}}]}, Unimplemented, r"Mounts\[0\].VolumeOptions.DriverConfig.Name"),
    ({"Mounts": [{"Type": "bind", "BindOptions": {"Propagation": "x,suid"}}]}, InvalidArgument, r"Mounts\[0\].BindOptions.Propagation"),
    ({"RestartPolicy": {"Name": "sometimes"}}, InvalidArgument, "RestartPolicy.Name"),
])
def test_values(host: dict[str, Any], error: type[Exception] | None, name: str) -> None:
    record = convert(host, m.HostConfig)
    if error is None:
        check(record)
    else:
        with pytest.raises(error, match=f"HostConfig.{name}"):
            check(record)


def test_what_the_stock_cli_always_sends() -> None:
    host = convert({"MemorySwappiness": -1, "PidsLimit": 0, "OomKillDisable": False, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "Dns": [],
                    "DnsOptions": [], "DnsSearch": [], "ConsoleSize": [24, 80], "NetworkMode": "default", "PortBindings": {},
                    "LogConfig": {"Type": "", "Config": {}},
                    "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "Devices": [], "Ulimits": [], "Links": None,
                    "DeviceRequests": None}, m.HostConfig)
    endpoint = {"IPAMConfig": {}, "Links": None, "Aliases": [], "MacAddress": "", "DriverOpts": {}, "GwPriority": 0, "NetworkID": ""}
    networking = convert({"EndpointsConfig": {"default": endpoint}}, m.NetworkingConfig)
    config = convert({"Image": "x", "Cmd": ["y"], "Env": [], "Volumes": {}, "Entrypoint": None, "OnBuild": None, "Labels": {}}, m.Config)
    unbuilt.check(config, host, networking)


def test_networks_and_several_errors() -> None:
    networking = convert({"EndpointsConfig": {"mine": None, "bridge": {"Aliases": ["a"]}}}, m.NetworkingConfig)
    with pytest.raises(Unimplemented) as caught:
        unbuilt.check(m.Config(mac_address="x"), m.HostConfig(links=["a"]), networking)
    for name in ("MacAddress", "HostConfig.Links", "NetworkingConfig.EndpointsConfig.bridge.Aliases", "NetworkingConfig.EndpointsConfig.mine"):
        assert name in str(caught.value)


def test_disabling_health_checks_is_built() -> None:
    check(m.Config(healthcheck=m.HealthConfig(test=["NONE"])))
    with pytest.raises(Unimplemented, match="Healthcheck"):
        check(m.Config(healthcheck=m.HealthConfig(test=["CMD", "x"])))
