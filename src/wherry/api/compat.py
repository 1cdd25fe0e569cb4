"""What a create request means by the version of the API that it speaks.

Each rule is a line of Docker's API change log: what came with a version is not there for an older client, which may send it nonetheless.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from wherry.model.config import BindOptions, Config, EndpointSettings, HostConfig, MountRequest, NetworkingConfig
from wherry.model.errors import InvalidArgument
from wherry.model.version import Version

MAC_WARNING = "MacAddress of the container's configuration is outdated; give it with the network's settings (EndpointsConfig)"

_OPTIONS = {"bind": "bind_options", "volume": "volume_options", "image": "image_options", "tmpfs": "tmpfs_options", "cluster": "cluster_options"}


def adjust(
    config: Config, host: HostConfig, networking: NetworkingConfig, version: Version, cgroup_v1: bool,
) -> tuple[Config, HostConfig, NetworkingConfig, list[str]]:
    """The request as a client of the newest version would have sent it, and warnings. Raises InvalidArgument for what `version` excludes."""
    warnings = [MAC_WARNING] if version >= (1, 44) and config.mac_address else []
    return _config(config, version), _host(host, version, cgroup_v1), _networking(networking, version), warnings


def _config(config: Config, version: Version) -> Config:
    check = config.healthcheck
    if version < (1, 44) and check and check.start_interval:
        return replace(config, healthcheck=replace(check, start_interval=0))
    return config


def _host(host: HostConfig, version: Version, cgroup_v1: bool) -> HostConfig:
    changes: dict[str, Any] = {}
    if version < (1, 25):
        changes["auto_remove"] = False
    if version < (1, 40) and not host.ipc_mode:
        changes["ipc_mode"] = "shareable"
    if version < (1, 41) and not host.cgroupns_mode and cgroup_v1:
        changes["cgroupns_mode"] = "host"
    if version < (1, 42):
        changes["console_size"] = (0, 0)
    else:
        changes["kernel_memory"] = 0
    if version < (1, 43):
        changes["annotations"] = None
    if version >= (1, 48):
        _check_sysctls(host)
    if host.mounts:
        changes["mounts"] = [_mount(mount, f"HostConfig.Mounts[{at}]", version) for at, mount in enumerate(host.mounts)]
    return replace(host, **changes)


def _check_sysctls(host: HostConfig) -> None:
    for name in host.sysctls or {}:
        parts = name.split(".")
        if parts[0] == "net" and "eth0" in parts[1:]:
            raise InvalidArgument(f"HostConfig.Sysctls: {name}: sysctls of one interface belong to the network's DriverOpts")


def _mount(mount: MountRequest, where: str, version: Version) -> MountRequest:
    for kind, field in _OPTIONS.items():
        if kind != mount.type and getattr(mount, field) is not None:
            if version >= (1, 42):
                raise InvalidArgument(f"{where}: options for a mount of type {kind!r} do not go with type {mount.type!r}")
            mount = replace(mount, **{field: None})
    if version < (1, 48) and mount.type == "image":
        raise InvalidArgument(f"{where}.Type: mounts of type 'image' need API version 1.48 or newer")
    if version < (1, 45) and mount.volume_options and mount.volume_options.subpath:
        raise InvalidArgument(f"{where}.VolumeOptions.Subpath needs API version 1.45 or newer")
    if version < (1, 46) and mount.tmpfs_options:
        mount = replace(mount, tmpfs_options=replace(mount.tmpfs_options, options=None))
    if mount.type == "bind" and version < (1, 44):
        mount = replace(mount, bind_options=_bind(mount.bind_options or BindOptions(), where, mount.read_only, version))
    return mount


def _bind(options: BindOptions, where: str, read_only: bool, version: Version) -> BindOptions:
    if options.read_only_force_recursive:
        raise InvalidArgument(f"{where}.BindOptions.ReadOnlyForceRecursive needs API version 1.44 or newer")
    changes: dict[str, Any] = {"read_only_non_recursive": read_only}
    if version < (1, 40):
        changes["non_recursive"] = False
    if version < (1, 42):
        changes["create_mountpoint"] = False
    return replace(options, **changes)


def _networking(networking: NetworkingConfig, version: Version) -> NetworkingConfig:
    endpoints = networking.endpoints_config or {}
    if version >= (1, 48) or not endpoints:
        return networking
    if version < (1, 44) and len(endpoints) > 1:
        raise InvalidArgument(f"NetworkingConfig.EndpointsConfig: {len(endpoints)} networks; before API version 1.44 there can be one")
    return NetworkingConfig(endpoints_config={name: _endpoint(settings, version) for name, settings in endpoints.items()})


def _endpoint(settings: EndpointSettings | None, version: Version) -> EndpointSettings | None:
    if settings is None:
        return None
    return replace(settings, gw_priority=0, mac_address="" if version < (1, 44) else settings.mac_address)
