"""`inspect` of a container: Docker's JSON of what was asked and what is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from wherry.daemon.endpoints import endpoint_json, mode_of, networks_json, ports_json
from wherry.daemon.status import state_json
from wherry.init.defaults import READONLY_PATHS, SHM_SIZE, masked_paths
from wherry.model.config import Config, HostConfig
from wherry.model.container import Container, rfc3339

RUNTIME = "wherry"

#: Fields that are left out where they are not set; all others are shown always.
_CONFIG_OMITTED = frozenset({"ExposedPorts", "Healthcheck", "ArgsEscaped", "NetworkDisabled", "MacAddress", "StopSignal", "Shell"})
_HOST_OMITTED = frozenset({"Annotations", "StorageOpt", "Tmpfs", "Sysctls", "KernelMemory", "KernelMemoryTCP", "Mounts", "Init"})


class Place(NamedTuple):
    """Where a container's things are: the engine's ID, containers/{ID}, the graph driver's name and its data, v1 cgroups or not."""

    engine: str
    directory: Path
    graph_driver: str
    graph_data: dict[str, str] | None
    cgroup_v1: bool


def inspect_json(container: Container, place: Place, sizes: tuple[int, int] | None = None) -> dict[str, Any]:
    """The answer of `GET /containers/{id}/json`; `sizes` are the bytes of the read-write layer and of the whole root file system."""
    record = container.record
    path = place.directory
    answer: dict[str, Any] = {
        "Id": container.id,
        "Created": rfc3339(record.created),
        "Path": record.path,
        "Args": record.args,
        "State": state_json(container.state),
        "Image": record.image_id,
        "ResolvConfPath": _existing(path / "resolv.conf"),
        "HostnamePath": _existing(path / "hostname"),
        "HostsPath": _existing(path / "hosts"),
        "LogPath": _existing(path / f"{container.id}-json.log"),
        "Name": "/" + container.name,
        "RestartCount": container.state.restart_count,
        "Driver": record.driver,
        "Platform": record.platform,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": sorted(container.execs) or None,
        "HostConfig": host_json(container.host, place.cgroup_v1),
        "GraphDriver": {"Data": place.graph_data, "Name": place.graph_driver},
        "Mounts": mounts_json(container),
        "Config": config_json(container.config),
        "NetworkSettings": network_settings(container, place.engine),
    }
    if sizes is not None:
        answer["SizeRw"], answer["SizeRootFs"] = sizes
    return answer


def _existing(path: Path) -> str:
    return str(path) if path.exists() else ""


def config_json(config: Config) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(config)
    plain["Labels"] = plain["Labels"] or {}
    if config.stop_timeout is None:
        del plain["StopTimeout"]
    return {key: value for key, value in plain.items() if value or key not in _CONFIG_OMITTED}


def host_json(host: HostConfig, cgroup_v1: bool) -> dict[str, Any]:
    """HostConfig with the defaults filled in that the daemon goes by."""
    plain: dict[str, Any] = msgspec.to_builtins(host)
    plain["NetworkMode"] = "bridge" if host.network_mode in ("", "default") else host.network_mode
    plain["LogConfig"] = {"Type": host.log_config.type or "json-file", "Config": host.log_config.config or {}}
    plain["RestartPolicy"]["Name"] = host.restart_policy.name or "no"
    plain["IpcMode"] = host.ipc_mode or "private"
    plain["CgroupnsMode"] = host.cgroupns_mode or ("host" if cgroup_v1 else "private")
    plain["ShmSize"] = host.shm_size or SHM_SIZE
    plain["Runtime"] = host.runtime or RUNTIME
    if host.masked_paths is None and not host.privileged:
        plain["MaskedPaths"] = masked_paths(os.cpu_count() or 0)
    if host.readonly_paths is None and not host.privileged:
        plain["ReadonlyPaths"] = list(READONLY_PATHS)
    plain["OomKillDisable"] = bool(host.oom_kill_disable)
    plain["PidsLimit"] = host.pids_limit or None
    plain["MemorySwappiness"] = None if host.memory_swappiness == -1 else host.memory_swappiness
    if host.mounts:
        plain["Mounts"] = [_without_empty(mount) for mount in plain["Mounts"]]
    return {key: value for key, value in plain.items() if key not in _HOST_OMITTED or value or (key == "Init" and value is False)}


def _without_empty(plain: dict[str, Any]) -> dict[str, Any]:
    kept = {key: _without_empty(value) if isinstance(value, dict) else value for key, value in plain.items()}
    return {key: value for key, value in kept.items() if value}


def mounts_json(container: Container) -> list[dict[str, Any]]:
    """`Mounts` of inspect and ps."""
    return [_mount_json(mount) for mount in container.record.mounts]


def _mount_json(mount: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"Type": mount.type}
    if mount.name:
        shown["Name"] = mount.name
    shown["Source"], shown["Destination"] = mount.source, mount.destination
    if mount.driver:
        shown["Driver"] = mount.driver
    return {**shown, "Mode": mount.mode, "RW": mount.rw, "Propagation": mount.propagation}


def network_settings(container: Container, engine: str) -> dict[str, Any]:
    """`NetworkSettings`; the fields of the default bridge are repeated at its top level, as Docker does up to API 1.51."""
    running = container.state.running
    own = running and not mode_of(container).startswith(("container:", "host"))
    first = endpoint_json(container, "bridge", engine) if mode_of(container) == "bridge" else {}
    return {
        "Bridge": "",
        "SandboxID": container.id if own else "",
        "SandboxKey": f"/proc/{container.state.pid}/ns/net" if own and container.state.pid else "",
        "Ports": ports_json(container),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **{key: first.get(key, zero) for key, zero in _TOP_LEVEL},
        "Networks": networks_json(container, engine),
    }


_TOP_LEVEL: Iterable[tuple[str, Any]] = (
    ("EndpointID", ""), ("Gateway", ""), ("GlobalIPv6Address", ""), ("GlobalIPv6PrefixLen", 0), ("IPAddress", ""), ("IPPrefixLen", 0),
    ("IPv6Gateway", ""), ("MacAddress", ""),
)
