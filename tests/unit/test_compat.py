from __future__ import annotations

from typing import Any

import pytest

from wherry.api.compat import adjust
from wherry.api.decode import convert
from wherry.model.config import Config, HostConfig, NetworkingConfig
from wherry.model.errors import InvalidArgument
from wherry.model.version import Version


def run(version: int, host: dict[str, Any] | None = None, net: dict[str, Any] | None = None, config: Config | None = None, v1: bool = True) -> Any:
    return adjust(config or Config(), convert(host or {}, HostConfig), convert({"EndpointsConfig": net}, NetworkingConfig), Version(1, version), v1)


@pytest.mark.parametrize(("version", "sent", "field", "value"), [
    (24, {"AutoRemove": True}, "auto_remove", False), (25, {"AutoRemove": True}, "auto_remove", True),
    (39, {}, "ipc_mode", "shareable"), (40, {}, "ipc_mode", ""), (39, {"IpcMode": "host"}, "ipc_mode", "host"),
    (40, {}, "cgroupns_mode", "host"), (41, {}, "cgroupns_mode", ""), (41, {"ConsoleSize": [1, 2]}, "console_size", (0, 0)),
    (42, {"ConsoleSize": [1, 2]}, "console_size", (1, 2)), (41, {"KernelMemory": 5}, "kernel_memory", 5), (42, {"KernelMemory": 5},
    "kernel_memory", 0),
    (42, {"Annotations": {"a": "b"}}, "annotations", None), (43, {"Annotations": {"a": "b"}}, "annotations", {"a": "b"}),
])
def test_host_config(version: int, sent: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(run(version, sent)[1], field) == value


def test_cgroup_namespace_of_old_clients_on_v2() -> None:
    assert run(40, {}, v1=False)[1].cgroupns_mode == ""


def mount(version: int, **sent: Any) -> Any:
    return run(version, {"Mounts": [sent]})[1].mounts[0]


def test_mounts() -> None:
    assert mount(39, Type="bind", BindOptions={"NonRecursive": True}).bind_options.non_recursive is False
    assert mount(40, Type="bind", BindOptions={"NonRecursive": True}).bind_options.non_recursive is True
    assert mount(41, Type="bind", BindOptions={"CreateMountpoint": True}).bind_options.create_mountpoint is False
    assert mount(42, Type="bind", BindOptions={"CreateMountpoint": True}).bind_options.create_mountpoint is True
    assert mount(43, Type="bind", ReadOnly=True).bind_options.read_only_non_recursive is True
    assert mount(44, Type="bind", ReadOnly=True).bind_options is None
    assert mount(41, Type="bind", TmpfsOptions={"Mode": 1}).tmpfs_options is None
    assert mount(45, Type="tmpfs", TmpfsOptions={"Options": [["exec"]]}).tmpfs_options.options is None
    assert mount(46, Type="tmpfs", TmpfsOptions={"Options": [["exec"]]}).tmpfs_options.options == [["exec"]]


@pytest.mark.parametrize(("version", "sent"), [
    (42, {"Type": "bind", "TmpfsOptions": {"Mode": 1}}), (47, {"Type": "image"}), (44, {"Type": "volume", "VolumeOptions": {"Subpath": "x"}}),
    (43, {"Type": "bind", "BindOptions": {"ReadOnlyForceRecursive": True}}),
])
def test_mounts_refused(version: int, sent: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"Mounts\[0\]"):
        mount(version, **sent)


def test_networks_sysctls_and_mac() -> None:
    with pytest.raises(InvalidArgument, match="1.44"):
        run(43, net={"a": None, "b": None})
    assert len(run(44, net={"a": None, "b": {}})[2].endpoints_config) == 2
    old = run(43, net={"a": {"MacAddress": "m", "GwPriority": 3}})[2].endpoints_config["a"]
    assert (old.mac_address, old.gw_priority) == ("", 0)
    new = run(48, net={"a": {"MacAddress": "m", "GwPriority": 3}})[2].endpoints_config["a"]
    assert (new.mac_address, new.gw_priority) == ("m", 3)
    with pytest.raises(InvalidArgument, match="eth0"):
        run(48, {"Sysctls": {"net.ipv4.conf.eth0.forwarding": "1"}})
    run(47, {"Sysctls": {"net.ipv4.conf.eth0.forwarding": "1"}})
    assert run(44, config=Config(mac_address="x"))[3] and not run(43, config=Config(mac_address="x"))[3]
