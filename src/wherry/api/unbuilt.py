"""What of a create request is built, field by field; everything else is refused with 501 and the field's name, never ignored.

One table, RULES, names every field of every record that a request can hold. A rule takes a value and returns None (taken), or
the error to raise. "Not set" is Go's zero value, also inside records: clients send empty ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import msgspec

from wherry.daemon.inspect import RUNTIME
from wherry.model import config as m
from wherry.model.errors import InvalidArgument, Unimplemented, WherryError
from wherry.network.ports import parse_bindings

Rule = Callable[[Any], "WherryError | str | None"]


def is_default(value: Any) -> bool:
    """True for what Go takes for "not set": null, zero, empty text, lists and maps, and records of nothing but these."""
    if isinstance(value, msgspec.Struct):
        return all(is_default(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, tuple):
        return all(is_default(item) for item in value)
    return not value


def built(value: Any) -> None:
    """The daemon does what this field asks for, whatever its value."""


def recorded(value: Any) -> None:
    """Shown by inspect; has no effect on a container on Linux, as in Docker."""


def answers(value: Any) -> None:
    """A field of answers, which clients send back; the daemon sets it itself, as Docker does."""


def not_built(value: Any) -> str | None:
    return None if is_default(value) else "not built yet"


def inside(value: Any) -> None:
    """A record, or a list of records, whose fields have rules of their own."""


def one_of(built_values: Iterable[str], later: Iterable[str] = ()) -> Rule:
    """Only these texts are built; `later` are known but not built (an entry ending in `:` is a prefix); any other is wrong."""
    known, planned = frozenset(built_values), tuple(later)

    def rule(value: str) -> WherryError | str | None:
        if value in known or any(value.startswith(prefix) for prefix in known if prefix.endswith(":")):
            return None
        if value in planned or any(value.startswith(prefix) for prefix in planned if prefix.endswith(":")):
            return f"{value!r} is not built yet"
        return InvalidArgument(f"{value!r} is not one of {', '.join(repr(one) for one in sorted((*known, *planned)) if one)}")

    return rule


def network_mode(value: str) -> str | None:
    if value in ("", "default", "bridge", "none", "host") or value.startswith("container:"):
        return None
    return f"user-defined networks ({value!r}) are not built yet"


def runtime(value: str) -> str | None:
    return None if value in ("", RUNTIME) else f"another runtime than {RUNTIME!r} ({value!r}) is not built yet"


def volume_driver(value: str) -> str | None:
    return None if value in ("", "local") else f"another volume driver than 'local' ({value!r}) is not built yet"


def healthcheck(value: m.HealthConfig | None) -> str | None:
    if value is None or is_default(value) or (value.test or [])[:1] == ["NONE"]:
        return None
    return "health checks are not built yet"


def port_bindings(value: dict[str, list[m.PortBinding] | None] | None) -> WherryError | None:
    try:
        parse_bindings(value)
    except (InvalidArgument, Unimplemented) as error:
        return error
    return None


_OPTIONS_BUILT = ("no-new-privileges", "seccomp")
_OPTIONS_LATER = ("apparmor", "label", "writable-cgroups", "systempaths", "credentialspec")
#: Asks for what is so anyway: no LSM confines containers.
_NOTHING_CONFINES = (("apparmor", "unconfined"), ("label", "disable"))


def security_opt(value: list[str] | None) -> WherryError | str | None:
    for option in value or ():
        name, _, choice = option.partition("=" if "=" in option else ":")
        if (name, choice) in _NOTHING_CONFINES:
            continue
        if name in _OPTIONS_LATER:
            return f"{option!r} is not built yet"
        if name not in _OPTIONS_BUILT:
            return InvalidArgument(f"unknown security option {option!r}")
    return None


_LOG_BUILT = ("max-size", "max-file")
_LOG_LATER = ("compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size", "cache-disabled", "cache-max-size",
              "cache-max-file", "cache-compress")


def log_options(value: dict[str, str] | None) -> WherryError | str | None:
    for name in value or {}:
        if name in _LOG_LATER:
            return f"the log option {name!r} is not built yet"
        if name not in _LOG_BUILT:
            return InvalidArgument(f"unknown log option {name!r} for the log driver json-file")
    return None


_LOG_DRIVERS = ("local", "syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs", "logentries")
_CONSISTENCY = ("", "default", "consistent", "cached", "delegated")
_PROPAGATIONS = ("", "rprivate", "private", "rshared", "shared", "rslave", "slave")

RULES: dict[type[msgspec.Struct], dict[str, Rule]] = {
    m.Config: {
        "hostname": built, "domainname": built, "user": built, "attach_stdin": built, "attach_stdout": built, "attach_stderr": built,
        "exposed_ports": built, "tty": built, "open_stdin": built, "stdin_once": built, "env": built, "cmd": built, "healthcheck": healthcheck,
        "args_escaped": recorded, "image": built, "volumes": built, "working_dir": built, "entrypoint": built, "network_disabled": not_built,
        "mac_address": not_built, "on_build": recorded, "labels": built, "stop_signal": built, "stop_timeout": built, "shell": recorded,
    },
    m.HostConfig: {
        "binds": built, "container_id_file": recorded, "log_config": inside, "network_mode": network_mode, "port_bindings": port_bindings,
        "restart_policy": inside, "auto_remove": built, "volume_driver": volume_driver, "volumes_from": built, "console_size": built,
        "annotations": recorded, "cap_add": built, "cap_drop": built, "cgroupns_mode": one_of(("", "host", "private")), "dns": built,
        "dns_options": built, "dns_search": built, "extra_hosts": built, "group_add": built,
        "ipc_mode": one_of(("", "private", "shareable", "host", "none"), ("container:",)), "cgroup": not_built, "links": not_built,
        "oom_score_adj": built, "pid_mode": one_of(("", "host"), ("container:",)), "privileged": built, "publish_all_ports": built,
        "readonly_rootfs": built, "security_opt": security_opt, "storage_opt": not_built, "tmpfs": built, "uts_mode": one_of(("", "host")),
        "userns_mode": one_of(("",), ("host",)), "shm_size": built, "sysctls": built, "runtime": runtime,
        "isolation": one_of(("", "default"), ("process", "hyperv")), "cpu_shares": built, "memory": built, "nano_cpus": built,
        "cgroup_parent": not_built, "blkio_weight": built, "blkio_weight_device": not_built, "blkio_device_read_bps": not_built,
        "blkio_device_write_bps": not_built, "blkio_device_read_iops": not_built, "blkio_device_write_iops": not_built, "cpu_period": built,
        "cpu_quota": built, "cpu_realtime_period": not_built, "cpu_realtime_runtime": not_built, "cpuset_cpus": built, "cpuset_mems": built,
        "devices": built, "device_cgroup_rules": not_built, "device_requests": not_built, "kernel_memory": not_built,
        "kernel_memory_tcp": not_built, "memory_reservation": built, "memory_swap": built, "memory_swappiness": built,
        "oom_kill_disable": built, "pids_limit": built, "ulimits": built, "cpu_count": not_built, "cpu_percent": not_built,
        "io_maximum_iops": not_built, "io_maximum_bandwidth": not_built, "mounts": inside, "masked_paths": built, "readonly_paths": built,
        "init": built,
    },
    m.LogConfig: {"type": one_of(("", "json-file", "none"), _LOG_DRIVERS), "config": log_options},
    m.RestartPolicy: {"name": one_of(("", "no", "always", "unless-stopped", "on-failure")), "maximum_retry_count": built},
    m.MountRequest: {
        "type": one_of(("bind", "volume", "tmpfs"), ("image", "cluster", "npipe")), "source": built, "target": built, "read_only": built,
        "consistency": one_of(_CONSISTENCY), "bind_options": inside, "volume_options": inside, "image_options": not_built,
        "tmpfs_options": inside, "cluster_options": not_built,
    },
    m.BindOptions: {
        "propagation": one_of(_PROPAGATIONS), "non_recursive": built, "create_mountpoint": built, "read_only_non_recursive": built,
        "read_only_force_recursive": built,
    },
    m.VolumeOptions: {"no_copy": built, "labels": built, "subpath": built, "driver_config": inside},
    m.DriverConfig: {"name": volume_driver, "options": built},
    m.TmpfsOptions: {"size_bytes": built, "mode": built, "options": built},
    m.NetworkingConfig: {"endpoints_config": inside},
    m.EndpointSettings: {
        "ipam_config": not_built, "links": not_built, "aliases": not_built, "mac_address": not_built, "driver_opts": not_built,
        "gw_priority": not_built, "network_id": answers, "endpoint_id": answers, "gateway": answers, "ip_address": answers,
        "ip_prefix_len": answers, "ipv6_gateway": answers, "global_ipv6_address": answers, "global_ipv6_prefix_len": answers,
        "dns_names": answers,
    },
}

#: Networks that a container can be on without a user-defined one.
_NETWORKS = ("default", "bridge", "none", "host")


def check(config: m.Config, host: m.HostConfig, networking: m.NetworkingConfig) -> None:
    """Raise Unimplemented, or InvalidArgument, naming every field of the request that is set and not built."""
    found: list[WherryError] = []
    _walk("", config, found)
    _walk("HostConfig.", host, found)
    _walk("NetworkingConfig.", networking, found)
    for name in networking.endpoints_config or {}:
        if name not in _NETWORKS and name != host.network_mode:
            found.append(Unimplemented(f"NetworkingConfig.EndpointsConfig.{name}: user-defined networks are not built yet"))
    if found:
        kind = InvalidArgument if any(isinstance(error, InvalidArgument) for error in found) else Unimplemented
        raise kind("; ".join(str(error) for error in found))


@cache
def _fields(kind: type[msgspec.Struct]) -> list[tuple[str, str, Any, Rule]]:
    return [(field.name, field.encode_name, field.default, RULES[kind][field.name]) for field in msgspec.structs.fields(kind)]


def _walk(path: str, record: msgspec.Struct, found: list[WherryError]) -> None:
    """Apply the rules of a record's fields; only fields that differ from their default are looked at."""
    for name, encoded, default, rule in _fields(type(record)):
        value = getattr(record, name)
        if value is None or value is default:
            continue
        where = path + encoded
        verdict = rule(value)
        if isinstance(verdict, str):
            found.append(Unimplemented(f"{where}: {verdict}"))
        elif verdict is not None:
            found.append(type(verdict)(f"{where}: {verdict}"))
        elif rule is inside:
            _walk_inside(where, value, found)


def _walk_inside(where: str, value: Any, found: list[WherryError]) -> None:
    if isinstance(value, msgspec.Struct):
        _walk(where + ".", value, found)
        return
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if item is not None:
            _walk(f"{where}.{key}." if isinstance(value, dict) else f"{where}[{key}].", item, found)
