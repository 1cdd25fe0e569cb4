"""What a create request may ask of this host: values checked, defaults filled in, limits that cannot be enforced dropped with a warning (S5)."""

from __future__ import annotations

import os
import re
import signal
import stat as modes

import msgspec

from wherry.cgroups import DEFAULT_DEVICE_RULES, DeviceRule, Resources
from wherry.cgroups.resources import quota_of_nano_cpus
from wherry.daemon import logconfig
from wherry.daemon.daemon import Daemon
from wherry.linux import capability
from wherry.model.config import Config, HostConfig
from wherry.model.errors import InvalidArgument, NotFound

MIN_MEMORY = 6 << 20  # below it the start itself does not fit, as in Docker
_SYSCTL = re.compile(r"[a-z0-9_.-]+(/[a-z0-9_.-]+)*\Z")
_SYSCTLS = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
            "kernel.shm_rmid_forced")


def verify(d: Daemon, asked: Config, config: Config, host: HostConfig) -> tuple[HostConfig, list[str]]:
    """The HostConfig as it is recorded, and warnings. `config` is `asked` with the image's defaults. InvalidArgument names what is wrong."""
    host = _defaults(d, host)
    _check_process(config, host)
    _check_modes(asked, host)
    _check_resources(host)
    warnings = []
    if config.healthcheck is not None and config.healthcheck.test not in (None, [], ["NONE"]):
        warnings.append("The image's HEALTHCHECK is not run: health checks are not built yet.")
    if host.network_mode == "host" and (host.port_bindings or host.publish_all_ports):
        warnings.append("Published ports are discarded when using host network mode")
    _, dropped = d.cgroups.warnings(resources(host))
    return host, [*warnings, *dropped]


def _defaults(d: Daemon, host: HostConfig) -> HostConfig:
    return msgspec.structs.replace(
        host,
        network_mode=_network_mode(d, host.network_mode),
        memory_swap=2 * host.memory if host.memory > 0 and not host.memory_swap else host.memory_swap,
        ipc_mode=host.ipc_mode or "private",
        cgroupns_mode=host.cgroupns_mode or ("private" if d.cgroups.version == "v2" else "host"),
        shm_size=host.shm_size or d.options.default_shm_size,
        restart_policy=msgspec.structs.replace(host.restart_policy, name=host.restart_policy.name or "no"),
        log_config=logconfig.settle(host.log_config, d.options),
        runtime=host.runtime or "wherry",
    )


def _network_mode(d: Daemon, mode: str) -> str:
    """With the ID of the container that `container:` names, so that it may be renamed; one that is not there is found missing at the start."""
    if mode in ("", "default"):
        return "bridge"
    if mode.startswith("container:"):
        try:
            return f"container:{d.containers.get(mode.removeprefix('container:')).id}"
        except NotFound:
            return mode
    return mode


def with_hostname(config: Config, hostname: str) -> Config:
    """The Config with the host name that the container gets."""
    return msgspec.structs.replace(config, hostname=hostname)


def stop_signal(config: Config) -> int:
    """The signal that stops the program politely."""
    return parse_signal(config.stop_signal or "SIGTERM")


def parse_signal(text: str) -> int:
    """A signal's number, from a number or a name with or without SIG."""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 64:
        return int(text)
    name = text.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    if match := re.fullmatch(r"SIGRTM(IN|AX)([+-]\d{1,2})?", name):
        base = signal.SIGRTMIN if match[1] == "IN" else signal.SIGRTMAX
        number = int(base) + int(match[2] or 0)
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return number
    try:
        return int(signal.Signals[name])
    except KeyError:
        raise InvalidArgument(f"invalid signal: {text}") from None


def _check_process(config: Config, host: HostConfig) -> None:
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidArgument(f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path")
    for entry in config.env or []:
        if entry.startswith("=") or not entry or "\0" in entry:
            raise InvalidArgument(f"invalid environment variable: {entry!r}")
    if config.stop_signal:
        parse_signal(config.stop_signal)
    if len(config.hostname) > 63:
        raise InvalidArgument(f"invalid hostname: {config.hostname!r} has more than 63 characters")
    for argument in [*(config.entrypoint or []), *(config.cmd or [])]:
        if "\0" in argument:
            raise InvalidArgument("an argument of the command contains a NUL byte")
    for field, names in (("CapAdd", host.cap_add), ("CapDrop", host.cap_drop)):
        try:
            capability.resolve(names or ())
        except InvalidArgument as error:
            raise InvalidArgument(f"invalid {field}: {error}") from None
    security_options(host)
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if "" in (host.annotations or {}):
        raise InvalidArgument("invalid Annotations: the empty string is not permitted as an annotation key")
    policy = host.restart_policy
    if policy.name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise InvalidArgument(f"invalid restart policy: unknown policy '{policy.name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'")
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise InvalidArgument("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if policy.maximum_retry_count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if host.auto_remove and policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def _check_modes(asked: Config, host: HostConfig) -> None:
    """What excludes each other, as far as the client asked for it: an image may well expose ports that its container does not have."""
    network = host.network_mode
    if network not in ("bridge", "none", "host") and not network.startswith("container:"):
        raise InvalidArgument(f"network {network} not found: user-defined networks are not built yet")
    if host.uts_mode == "host" and asked.hostname:
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if network.startswith("container:"):
        for given, conflict in (
            (asked.hostname, "hostname and the network mode"),
            (host.dns, "dns and the network mode"),
            (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
            (host.port_bindings or host.publish_all_ports, "port publishing and the container type network mode"),
            (asked.exposed_ports, "port exposing and the container type network mode"),
        ):
            if given:
                raise InvalidArgument(f"conflicting options: {conflict}")
    for name in host.sysctls or {}:
        if not _SYSCTL.match(name) or ".." in name:
            raise InvalidArgument(f"invalid sysctl name: {name!r}")
        if name.startswith("net."):
            if network == "host":
                raise InvalidArgument(f"sysctl '{name}' not allowed in host network namespace")
        elif not (name in _SYSCTLS or name.startswith("fs.mqueue.")):
            raise InvalidArgument(f"sysctl '{name}' is not in a separate kernel namespace")
        elif host.ipc_mode == "host":
            raise InvalidArgument(f"sysctl '{name}' not allowed in host ipc namespace")


def _check_resources(host: HostConfig) -> None:
    memory, swap = host.memory, host.memory_swap
    if memory and memory < MIN_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if swap > 0 and not memory:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if memory > 0 and 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if 0 < host.memory_reservation < MIN_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if host.memory_reservation and memory and memory < host.memory_reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if host.memory_swappiness is not None and host.memory_swappiness != -1 and not 0 <= host.memory_swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100")
    cpus = os.cpu_count() or 1
    if host.nano_cpus and (host.cpu_quota or host.cpu_period):
        what = "Quota" if host.cpu_quota else "Period"
        raise InvalidArgument(f"Conflicting options: Nano CPUs and CPU {what} cannot both be set")
    if host.nano_cpus < 0 or host.nano_cpus > cpus * 1_000_000_000:
        raise InvalidArgument(f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
    if host.cpu_shares < 0:
        raise InvalidArgument(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < host.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    _check_cpuset(host.cpuset_cpus, "/sys/devices/system/cpu/online", "cpuset cpus", "CPUs")
    _check_cpuset(host.cpuset_mems, "/sys/devices/system/node/online", "cpuset mems", "memory nodes")
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")


def _check_cpuset(asked: str, online_file: str, name: str, what: str) -> None:
    if not asked:
        return
    try:
        with open(online_file) as file:
            listed = file.read().strip()
    except FileNotFoundError:
        listed = "0"
    if not parse_cpuset(asked, name) <= parse_cpuset(listed):
        raise InvalidArgument(f"Requested {what} are not available - requested {asked}, available: {listed}")


def parse_cpuset(text: str, name: str = "cpuset") -> set[int]:
    """`0-3,7` as numbers; cpuset(7), "List format"."""
    found: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or int(high or low) > 8191 or int(high or low) < int(low):
            raise InvalidArgument(f"Invalid value {text} for {name}: invalid format: {part}")
        found |= set(range(int(low), int(high or low) + 1))
    return found


class SecurityOptions(msgspec.Struct, frozen=True):
    """What --security-opt says. `seccomp`: "" the default profile, "unconfined", or a profile's JSON."""

    no_new_privileges: bool = False
    seccomp: str = ""


def security_options(host: HostConfig) -> SecurityOptions:
    """Parses HostConfig.SecurityOpt; InvalidArgument for what is unknown."""
    no_new_privileges, seccomp = False, ""
    for option in host.security_opt or []:
        separator = "=" if "=" in option else ":"
        key, _, value = option.partition(separator)
        if key == "no-new-privileges":
            if value not in ("", "true", "false"):
                raise InvalidArgument(f"invalid --security-opt: {option!r}")
            no_new_privileges = value != "false"
        elif key == "seccomp":
            seccomp = "" if value == "builtin" else value
        elif key in ("apparmor", "label") and value in ("unconfined", "disable"):
            continue  # this host confines with neither
        else:
            raise InvalidArgument(f"invalid --security-opt: {option!r}")
    return SecurityOptions(no_new_privileges, seccomp)


def resources(host: HostConfig) -> Resources:
    """The limits in the cgroups' terms."""
    quota, period = quota_of_nano_cpus(host.nano_cpus) if host.nano_cpus else (host.cpu_quota, host.cpu_period)
    swappiness = host.memory_swappiness
    return Resources(
        cpu_shares=host.cpu_shares, cpu_quota=quota, cpu_period=period, cpuset_cpus=host.cpuset_cpus, cpuset_mems=host.cpuset_mems,
        memory=host.memory, memory_reservation=host.memory_reservation, memory_swap=host.memory_swap,
        memory_swappiness=None if swappiness == -1 else swappiness, oom_kill_disable=bool(host.oom_kill_disable),
        blkio_weight=host.blkio_weight, pids_limit=host.pids_limit or 0, devices=device_rules(host),
    )


def device_rules(host: HostConfig) -> tuple[DeviceRule, ...]:
    """What the devices cgroup allows."""
    if host.privileged:
        return (DeviceRule(True),)
    rules = list(DEFAULT_DEVICE_RULES)
    for mapping in host.devices or []:
        for _, kind, major, minor in host_devices(mapping.path_on_host, mapping.path_in_container or mapping.path_on_host):
            rules.append(DeviceRule(True, kind, major, minor, mapping.cgroup_permissions or "rwm"))
    return tuple(rules)


def host_devices(path: str, target: str) -> list[tuple[str, str, int, int]]:
    """(path in the container, type, major, minor) of a device of the host, or of all devices below a directory."""
    try:
        found = os.stat(path)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise InvalidArgument(f'error gathering device information while adding custom device "{path}": {why}') from None
    if modes.S_ISDIR(found.st_mode):
        inside = []
        for directory, _, files in os.walk(path):
            for file in files:
                whole = os.path.join(directory, file)
                if modes.S_ISCHR(os.lstat(whole).st_mode) or modes.S_ISBLK(os.lstat(whole).st_mode):
                    inside += host_devices(whole, target + whole.removeprefix(path))
        return inside
    if not (modes.S_ISCHR(found.st_mode) or modes.S_ISBLK(found.st_mode)):
        raise InvalidArgument(f'error gathering device information while adding custom device "{path}": not a device node')
    kind = "c" if modes.S_ISCHR(found.st_mode) else "b"
    return [(target, kind, os.major(found.st_rdev), os.minor(found.st_rdev))]
