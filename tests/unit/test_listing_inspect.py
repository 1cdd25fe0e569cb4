"""What `ps` and `inspect` show of containers that are plain data here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from wherry.daemon import endpoints
from wherry.daemon.inspect import Place, inspect_json
from wherry.daemon.listing import Question, select, summaries
from wherry.daemon.status import state_json, status_text
from wherry.model.config import Config, HostConfig, MountRequest, NetworkingConfig, PortBinding, TmpfsOptions
from wherry.model.container import Container, MountPoint, Record, State
from wherry.model.errors import InvalidArgument, NotFound
from wherry.model.filters import Filters
from wherry.network.endpoint import Endpoint, PortMapping

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


@pytest.mark.parametrize(("state", "text"), [
    (State(), "Created"),
    (State(status="running", started_at=-5 * MINUTE), "Up 5 minutes"),
    (State(status="paused", started_at=-5 * MINUTE), "Up 5 minutes (Paused)"),
    (State(status="exited", exit_code=3, finished_at=-180 * MINUTE), "Exited (3) 3 hours ago"),
    (State(status="restarting", exit_code=1, finished_at=-2 * SECOND), "Restarting (1) 2 seconds ago"),
    (State(status="removing"), "Removal In Progress"),
    (State(status="dead"), "Dead"),
])
def test_status_texts(state: State, text: str) -> None:
    assert status_text(state, now=0) == text


def test_a_restarting_container_counts_as_running() -> None:
    shown = state_json(State(status="restarting"))
    assert shown["Running"] and shown["Restarting"] and not shown["Paused"] and shown["StartedAt"] == "0001-01-01T00:00:00Z"


def container(number: int, name: str, state: State | None = None, host: HostConfig | None = None, **config: Any) -> Container:
    record = Record(
        id=f"{number:x}" * 64, created=number * SECOND, image_ref="busybox", image_id=f"sha256:{number:064x}", path="/bin/sh", args=["-c", "echo hi"],
        config=Config(**config), networking=NetworkingConfig(), driver="overlay",
        mounts=[MountPoint(type="volume", name="data", source="/v/data/_data", destination="/data", driver="local", mode="z"),
                MountPoint(type="bind", source="/tmp", destination="/host", rw=False, propagation="rprivate")] if number == 3 else [])
    return Container(record, host or HostConfig(), name, state)


def running() -> Container:
    ports = {"80/tcp": [PortBinding(host_port="8080")]}
    c = container(3, "web", State(status="running", pid=7, started_at=time.time_ns()), HostConfig(port_bindings=ports, init=False),
                  exposed_ports={"80/tcp": {}, "90/udp": {}}, labels={"k": "v"}, hostname="h", stop_timeout=0)
    c.endpoint = Endpoint("bridge", "wherry0", "veth1", "02:42:ac:11:00:02", "172.17.0.2", 16, "172.17.0.1", 1500)
    c.ports = [PortMapping(80, "tcp", "0.0.0.0", 8080), PortMapping(80, "tcp", "::", 8080)]
    return c


def everything() -> list[Container]:
    return [container(1, "old", State(status="exited", exit_code=3, finished_at=1)), container(2, "fresh"), running(),
            container(4, "hosted", State(status="paused", started_at=1), HostConfig(network_mode="host"))]


def question(filters: dict[str, list[str]] | None = None, all: bool = False, limit: int = 0, **more: Any) -> Question:
    by_name = {c.name: c for c in everything()}

    def find(name: str) -> Container:
        if name not in by_name:
            raise NotFound(name)
        return by_name[name]

    return Question(all, limit, Filters(filters), "engine", find, {"busybox": f"sha256:{3:064x}", "b": f"sha256:{1:064x}"}.get, **more)


def names(*args: Any, **kwargs: Any) -> list[str]:
    return [c.name for c in select(everything(), question(*args, **kwargs))]


@pytest.mark.parametrize(("filters", "wanted"), [
    ({}, "hosted web fresh old"), ({"name": ["e"]}, "hosted web fresh"), ({"name": ["^/?we"]}, "web"), ({"name": ["^/old$", "fre"]}, "fresh old"),
    ({"id": ["33"]}, "web"), ({"label": ["k"]}, "web"), ({"label": ["k=v", "x"]}, ""), ({"exited": ["3"]}, "old"), ({"exited": ["0"]}, ""),
    ({"status": ["created", "paused"]}, "hosted fresh"), ({"before": ["web"]}, "fresh old"), ({"since": ["fresh"]}, "hosted web"),
    ({"ancestor": ["busybox", "nothing"]}, "web"), ({"ancestor": ["b"]}, "old"), ({"volume": ["data"]}, "web"), ({"volume": ["/host/"]}, "web"),
    ({"network": ["host"]}, "hosted"), ({"network": ["bridge"]}, "web fresh old"),
    ({"network": [endpoints.network_id("engine", "host")[:12]]}, "hosted"), ({"publish": ["8080"]}, "web"), ({"publish": ["70-90/tcp"]}, "web"),
    ({"publish": ["8080/udp"]}, ""), ({"expose": ["90/udp"]}, "web"), ({"health": ["none"]}, "hosted web fresh old"), ({"health": ["healthy"]}, ""),
    ({"is-task": ["true"]}, ""), ({"is-task": ["false"], "isolation": ["default"]}, "hosted web fresh old"),
])
def test_filters(filters: dict[str, list[str]], wanted: str) -> None:
    assert " ".join(names(filters, all=True)) == wanted


def test_which_are_shown_without_all() -> None:
    assert names() == ["hosted", "web"] and names(limit=3) == ["hosted", "web", "fresh"] and names({"status": ["exited"]}) == ["old"]


@pytest.mark.parametrize("filters", [{"junk": ["x"]}, {"status": ["junk"]}, {"exited": ["x"]}, {"health": ["x"]}, {"publish": ["x"]}, {"name": ["("]},
                                     {"publish": ["9-8"]}, {"expose": ["70000"]}, {"is-task": ["maybe"]}])
def test_bad_filters(filters: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidArgument):
        names(filters)


def test_before_an_unknown_container() -> None:
    with pytest.raises(NotFound):
        names({"before": ["nobody"]})


LIST_KEYS = {"Id", "Names", "Image", "ImageID", "Command", "Created", "Ports", "Labels", "State", "Status", "HostConfig", "NetworkSettings", "Mounts"}


def test_summary() -> None:
    [shown] = summaries([running()], question(sizes=lambda c: (1, 2)))
    assert set(shown) == LIST_KEYS | {"SizeRw", "SizeRootFs"}
    assert (shown["Names"], shown["Image"], shown["Command"]) == (["/web"], "busybox", "/bin/sh -c 'echo hi'")
    assert shown["Ports"] == [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}, {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"PrivatePort": 90, "Type": "udp"}]
    [old] = summaries(everything(), question({"name": ["old"]}, all=True))
    assert old["Image"] == old["ImageID"] and old["Ports"] == [] and old["NetworkSettings"]["Networks"]["bridge"]["NetworkID"] == ""


INSPECT_KEYS = """Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver Platform MountLabel
ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver Mounts Config NetworkSettings"""
HOST_KEYS = """Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove VolumeDriver VolumesFrom ConsoleSize CapAdd CapDrop
CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode Cgroup Links OomScoreAdj PidMode Privileged PublishAllPorts ReadonlyRootfs
SecurityOpt UTSMode UsernsMode ShmSize Runtime Isolation CpuShares Memory NanoCpus CgroupParent BlkioWeight BlkioWeightDevice BlkioDeviceReadBps
BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems Devices
DeviceCgroupRules DeviceRequests MemoryReservation MemorySwap MemorySwappiness OomKillDisable PidsLimit Ulimits CpuCount CpuPercent IOMaximumIOps
IOMaximumBandwidth MaskedPaths ReadonlyPaths"""
CONFIG_KEYS = """Hostname Domainname User AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce Env Cmd Image Volumes WorkingDir Entrypoint
OnBuild Labels"""
NETWORK_KEYS = """Bridge SandboxID SandboxKey Ports HairpinMode LinkLocalIPv6Address LinkLocalIPv6PrefixLen SecondaryIPAddresses
SecondaryIPv6Addresses EndpointID Gateway GlobalIPv6Address GlobalIPv6PrefixLen IPAddress IPPrefixLen IPv6Gateway MacAddress Networks"""


def test_inspect_has_dockers_keys(tmp_path: Path) -> None:
    (tmp_path / "hosts").touch()
    shown = inspect_json(running(), Place("engine", tmp_path, "overlay", {"UpperDir": "/x"}, True), (1, 2))
    assert set(shown) == {*INSPECT_KEYS.split(), "SizeRw", "SizeRootFs"}
    assert set(shown["HostConfig"]) == {*HOST_KEYS.split(), "Init"} and set(shown["Config"]) == {*CONFIG_KEYS.split(), "ExposedPorts", "StopTimeout"}
    assert set(shown["NetworkSettings"]) == set(NETWORK_KEYS.split())
    assert shown["HostsPath"] == f"{tmp_path}/hosts" and shown["HostnamePath"] == ""
    assert shown["NetworkSettings"]["IPAddress"] == "172.17.0.2" and shown["NetworkSettings"]["Ports"]["90/udp"] is None
    assert shown["NetworkSettings"]["Ports"]["80/tcp"][1] == {"HostIp": "::", "HostPort": "8080"}
    host = shown["HostConfig"]
    assert (host["NetworkMode"], host["IpcMode"], host["CgroupnsMode"], host["ShmSize"], host["RestartPolicy"]["Name"]) == (
        "bridge", "private", "host", 64 << 20, "no")
    assert [set(m) for m in shown["Mounts"]] == [{"Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation"},
                                                 {"Type", "Source", "Destination", "Mode", "RW", "Propagation"}]


def test_inspect_of_what_is_not_running_and_of_special_modes(tmp_path: Path) -> None:
    place = Place("engine", tmp_path, "vfs", None, False)
    mounts = [MountRequest(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(size_bytes=5))]
    shown = inspect_json(container(1, "x", host=HostConfig(network_mode="container:abc", privileged=True, mounts=mounts)), place)
    assert shown["NetworkSettings"]["Networks"] == {} and shown["NetworkSettings"]["Ports"] == {}
    assert shown["HostConfig"]["MaskedPaths"] is None and shown["HostConfig"]["CgroupnsMode"] == "private"
    assert shown["HostConfig"]["Mounts"] == [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 5}}]
    assert "Init" not in shown["HostConfig"] and "StopTimeout" not in shown["Config"] and shown["Config"]["Labels"] == {}
