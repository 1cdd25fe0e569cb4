"""S10: the Command, one plain record with everything the init needs, and the descriptors of its mount sources."""

from __future__ import annotations

import os
from typing import Any

from wherry.cgroups import Resources
from wherry.daemon import environment, logconfig, rlimits, verify, volumes
from wherry.daemon.daemon import Daemon
from wherry.init import defaults
from wherry.linux import capability, mount
from wherry.linux.process import start_time
from wherry.model.command import Capabilities, Command, Device, Mount, Namespaces, Network, Process, Rlimit
from wherry.model.config import HostConfig
from wherry.model.container import Container, MountPoint
from wherry.model.errors import Conflict
from wherry.network.endpoint import Endpoint

FILES = (("/etc/resolv.conf", "resolv.conf"), ("/etc/hostname", "hostname"), ("/etc/hosts", "hosts"))

_MKNOD = capability.mask(["MKNOD"])


class Sources:
    """The descriptors that go with a Command; closed when the monitor has them."""

    def __init__(self) -> None:
        self.fds: list[int] = []

    def add(self, fd: int) -> int:
        """Takes over a descriptor; its index."""
        self.fds.append(fd)
        return len(self.fds) - 1

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []


def build(d: Daemon, container: Container, rootfs: int, points: list[tuple[MountPoint, Mount]], endpoint: Endpoint | None, limits: Resources,
          sources: Sources) -> Command:
    """The Command of one start. `rootfs` is the index of the root mount; `points` the volumes with their mounts, `limits` what the host enforces."""
    config, host = container.config, container.host
    hostname = hostname_of(d, container)
    spaces = _namespaces(d, host, sources)
    default_seccomp, no_new = security(d, host)
    capabilities = capabilities_of(d, host, privileged=host.privileged)
    process = Process(
        argv=[container.record.path, *container.record.args],
        env=environment.environment(config.env or [], hostname, tty=config.tty),
        cwd=config.working_dir or "/", user=config.user, group_add=host.group_add or (), tty=config.tty, console_size=list(host.console_size),
        stdin=config.open_stdin, capabilities=Capabilities(capabilities, capabilities, capabilities), no_new_privileges=no_new,
        seccomp=default_seccomp, rlimits=rlimits_of(d, host), oom_score_adj=host.oom_score_adj, init=uses_init(d, host),
    )
    masked, readonly = _paths(host)
    return Command(
        id=container.id, process=process, hostname=hostname if spaces.uts == "new" else "", domainname=config.domainname, rootfs=rootfs,
        readonly_rootfs=host.readonly_rootfs, namespaces=spaces, mounts=_mounts(d, container, points, spaces, sources), devices=_devices(host),
        masked_paths=masked, readonly_paths=readonly, sysctls=host.sysctls or {}, network=_network(endpoint),
        cgroup_path=cgroup_path(container), cgroup_readonly=not host.privileged, resources=limits.to_json(), privileged=host.privileged,
    )


def cgroup_path(container: Container) -> str:
    """Where its group is, relative to each hierarchy's root."""
    return f"wherry/{container.id}"


def uses_init(d: Daemon, host: HostConfig) -> bool:
    """Whether a small reaper stands before the program (--init, or the daemon's default)."""
    return d.options.init if host.init is None else host.init


def hostname_of(d: Daemon, container: Container) -> str:
    """The name the container sees: its own, the host's, or that of the container whose network it shares."""
    return network_owner(d, container).config.hostname or os.uname().nodename


def network_owner(d: Daemon, container: Container) -> Container:
    """The container whose network this one has, and with it its hosts, hostname and resolv.conf: itself, but for `--network container:`."""
    owner, seen = container, {container.id}
    while owner.host.network_mode.startswith("container:"):
        owner = d.containers.get(owner.host.network_mode.removeprefix("container:"))
        if owner.id in seen:
            raise Conflict(f"cannot join own network: {owner.id}")
        seen.add(owner.id)
    return owner


def _namespaces(d: Daemon, host: HostConfig, sources: Sources) -> Namespaces:
    net = "new"
    if host.network_mode == "host":
        net = "host"
    elif host.network_mode.startswith("container:"):
        other = d.containers.get(host.network_mode.removeprefix("container:"))
        if not other.state.running:
            raise Conflict(f"cannot join network of a non running container: {other.id}")
        net = "host" if network_owner(d, other).host.network_mode == "host" else f"fd:{_join_net(other, sources)}"
    return Namespaces(
        uts="host" if host.uts_mode == "host" else "new", ipc="host" if host.ipc_mode == "host" else "new",
        pid="host" if host.pid_mode == "host" else "new", net=net, cgroup="new" if host.cgroupns_mode == "private" else "host",
    )


def _join_net(other: Container, sources: Sources) -> int:
    """The network namespace of a running container. Its init is looked at after the opening: then the PID was its, and nobody else's."""
    try:
        index = sources.add(os.open(f"/proc/{other.state.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        if start_time(other.state.pid) == other.state.start_ticks:
            return index
    except (FileNotFoundError, ProcessLookupError):
        pass
    raise Conflict(f"cannot join network of a non running container: {other.id}")


def security(d: Daemon, host: HostConfig) -> tuple[str, bool]:
    """The seccomp program of a container's processes in hexadecimal ("": none), and whether they get no new privileges."""
    options = verify.security_options(host)
    if host.privileged or options.seccomp == "unconfined":
        return "", options.no_new_privileges
    return seccomp_of(d, options.seccomp, capabilities_of(d, host, privileged=False)), options.no_new_privileges


def capabilities_of(d: Daemon, host: HostConfig, *, privileged: bool) -> int:
    """The capability set. Where no cgroup controls devices, MKNOD is not among the defaults: it would open every device of the host."""
    found = capability.resolve(host.cap_add or (), host.cap_drop or (), privileged)
    if privileged or d.device_control or capability.resolve(host.cap_add or (), ("ALL",)) & _MKNOD:
        return found
    return found & ~_MKNOD


def seccomp_of(d: Daemon, profile: str, capabilities: int) -> str:
    """The BPF program of a profile ("": the default one) for these capabilities, in hexadecimal; compiled once, then cached."""
    return d.seccomp.program(profile or None, capabilities).hex()


def rlimits_of(d: Daemon, host: HostConfig) -> list[Rlimit]:
    asked = {u.name: u for u in host.ulimits or []}
    found = [rlimits.rlimit(u.name, u.soft, u.hard, asked=True) for u in asked.values()]
    found += [rlimits.rlimit(name, soft, hard, asked=False) for name, (soft, hard) in d.options.default_ulimits.items() if name not in asked]
    return found if any(r.name == "nofile" for r in found) else [*found, *rlimits.inherited()]


def _paths(host: HostConfig) -> tuple[list[str], list[str]]:
    """Masked and read-only paths: the request's where it has any, none for a privileged container, else the defaults."""
    if host.privileged:
        return host.masked_paths or [], host.readonly_paths or []
    masked = defaults.masked_paths(os.cpu_count() or 0) if host.masked_paths is None else host.masked_paths
    return list(masked), list(defaults.READONLY_PATHS if host.readonly_paths is None else host.readonly_paths)


def _devices(host: HostConfig) -> list[Device]:
    """The nodes of --device; a privileged container gets all of the host's."""
    asked = [(m.path_on_host, m.path_in_container or m.path_on_host) for m in host.devices or []]
    if host.privileged:
        asked = [*_all_devices(), *asked]
    found = {}
    for path, target in asked:
        for inside, kind, major, minor in verify.host_devices(path, target):
            have = os.stat(path + inside.removeprefix(target))
            found[inside] = Device(inside, kind, major, minor, have.st_mode & 0o777, have.st_uid, have.st_gid)
    return list(found.values())


def _all_devices() -> list[tuple[str, str]]:
    """Every device node of the host that is not the container's own business (terminals, standard devices)."""
    skipped = {"/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/console", "/dev/ptmx", "/dev/tty"} | {x.path for x in defaults.DEFAULT_DEVICES}
    found = []
    for directory, subdirectories, files in os.walk("/dev"):
        subdirectories[:] = [s for s in subdirectories if f"{directory}/{s}" not in skipped]
        for file in files:
            path = f"{directory}/{file}"
            if path not in skipped and not os.path.islink(path) and volumes.is_device(path):
                found.append((path, path))
    return found


def _network(endpoint: Endpoint | None) -> Network:
    if endpoint is None:
        return Network()
    return Network(name="eth0", veth=endpoint.veth, bridge=endpoint.bridge, mac=endpoint.mac, address=endpoint.address,
                   prefix_len=endpoint.prefix_len, gateway=endpoint.gateway, mtu=endpoint.mtu)


def _mounts(d: Daemon, container: Container, points: list[tuple[MountPoint, Mount]], spaces: Namespaces, sources: Sources) -> list[Mount]:
    """The kernel's file systems, then volumes and the engine's files by depth of their targets."""
    host = container.host
    kernel = defaults.default_mounts(privileged=host.privileged, shm_size=host.shm_size)
    wanted = {p.destination for p, _ in points}
    if host.ipc_mode == "none":
        kernel = [m for m in kernel if m.kind != "shm"]
    if spaces.ipc == "host":
        kernel = [m for m in kernel if m.kind != "shm"]  # a fresh mount of mqueue shows the queues of the IPC namespace it is made in
        if os.path.isdir("/dev/shm"):
            kernel.append(Mount("bind", "/dev/shm", sources.add(mount.open_tree("/dev/shm"))))
    kernel = [m for m in kernel if m.target not in wanted or m.kind in ("proc",)]
    own = [m for _, m in points]
    directory = d.containers.directory(network_owner(d, container).id)
    flags = mount.MOUNT_ATTR_RDONLY if host.readonly_rootfs else 0
    for target, name in FILES:
        if target not in wanted:
            own.append(Mount("bind", target, sources.add(mount.open_tree(str(directory / name))), is_dir=False, attributes=flags))
    if uses_init(d, host):
        tini = mount.open_tree(d.options.init_path)
        own.append(Mount("bind", "/sbin/docker-init", sources.add(tini), is_dir=False, attributes=mount.MOUNT_ATTR_RDONLY))
    return [*kernel, *sorted(own, key=lambda m: m.target.count("/") if m.target != "/" else 0)]


def start_options(container: Container) -> dict[str, Any]:
    """What the monitor has to know beside the Command."""
    config = container.config
    return {
        "open_stdin": config.open_stdin, "stdin_once": config.stdin_once,
        "log": logconfig.writer_of(container.id, container.host.log_config),
    }
