"""The Command (S10): one plain record with everything the init needs. Standard library only, and light.

It travels as JSON: `container.json` is `to_json(command)`. Descriptors are indexes into the list that came with the Start message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps, loads
from types import MappingProxyType
from typing import Any, NamedTuple


class Mount(NamedTuple):
    """One mount of the container, in the order of mounting.

    kind: `bind` (a detached mount tree, `fd`), `tmpfs`, `proc`, `sysfs`, `mqueue`, `devpts`, `shm`, `cgroup`, `dev`.
    `options`: filesystem options (`size`, `mode`, ...); None as value means a flag. `attributes`: MOUNT_ATTR_* bits.
    `propagation`: MS_PRIVATE, MS_SLAVE, MS_SHARED (with MS_REC) or 0 for what the source descriptor has.
    `is_dir`: whether a missing target is made as a directory or as an empty file."""

    kind: str
    target: str
    fd: int = -1
    is_dir: bool = True
    attributes: int = 0
    recursive: bool = False
    propagation: int = 0
    options: Mapping[str, str | None] = MappingProxyType({})


class Device(NamedTuple):
    """A device node to make in /dev: type `c` or `b`, permission bits, owner."""

    path: str
    type: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


class Capabilities(NamedTuple):
    """Sets as bit masks; inheritable and ambient stay empty (R6)."""

    bounding: int = 0
    effective: int = 0
    permitted: int = 0


class Rlimit(NamedTuple):
    """setrlimit(2); -1 is unlimited. `asked`: the user asked for it, so that a refusal is an error."""

    resource: int
    name: str
    soft: int
    hard: int
    asked: bool = True


class Namespaces(NamedTuple):
    """Where each namespace comes from: `new`, `host`, or an index into the descriptors (`fd:3`)."""

    mount: str = "new"
    uts: str = "new"
    ipc: str = "new"
    pid: str = "new"
    net: str = "new"
    cgroup: str = "host"


class Network(NamedTuple):
    """What the init still has to do in its network namespace. `name` is the interface inside (eth0), empty for none.

    `address` is dotted text with `prefix_len`; `veth` the name of the host's end, `bridge` its master. `host` is an index into the
    descriptors: a netlink socket of the host's network, which the init closes when `veth` carries packets."""

    name: str = ""
    veth: str = ""
    bridge: str = ""
    mac: str = ""
    address: str = ""
    prefix_len: int = 0
    gateway: str = ""
    mtu: int = 1500
    ipv6: bool = False
    host: int = -1


class Process(NamedTuple):
    """The user's program: argv, environment, working directory, who it runs as and with what."""

    argv: Sequence[str]
    env: Sequence[str]
    cwd: str = "/"
    user: str = ""
    group_add: Sequence[str] = ()
    tty: bool = False
    console_size: Sequence[int] = (0, 0)
    stdin: bool = False
    capabilities: Capabilities = Capabilities()
    no_new_privileges: bool = False
    seccomp: str = ""
    rlimits: Sequence[Rlimit] = ()
    oom_score_adj: int = 0
    init: bool = False
    umask: int = 0o022


class Command(NamedTuple):
    """Everything about one run of a container. `seccomp` of the process is a BPF program in hexadecimal, empty for none.

    `rootfs` is the descriptor index of the detached root mount; `cgroup_mounts` names each v1 hierarchy's directory and descriptor index
    (empty on v2), `cgroup_links` (name, target) the links beside them; `cgroup_version` 1 or 2 (0: none);
    `cgroup_path` is relative to each hierarchy's root; `resources` is `cgroups.Resources` as plain JSON."""

    id: str
    process: Process
    hostname: str = ""
    domainname: str = ""
    rootfs: int = 0
    readonly_rootfs: bool = False
    rootfs_propagation: int = 0
    namespaces: Namespaces = Namespaces()
    mounts: Sequence[Mount] = ()
    devices: Sequence[Device] = ()
    masked_paths: Sequence[str] = ()
    readonly_paths: Sequence[str] = ()
    sysctls: Mapping[str, str] = MappingProxyType({})
    network: Network = Network()
    cgroup_path: str = ""
    cgroup_version: int = 0
    cgroup_readonly: bool = True
    cgroup_mounts: Sequence[tuple[str, int]] = ()
    cgroup_links: Sequence[tuple[str, str]] = ()
    resources: Mapping[str, Any] = MappingProxyType({})
    privileged: bool = False


def to_json(command: Command) -> bytes:
    """The bytes of container.json."""
    plain = command._asdict()
    plain["process"] = command.process._asdict() | {
        "capabilities": command.process.capabilities._asdict(),
        "rlimits": [r._asdict() for r in command.process.rlimits],
    }
    plain["namespaces"] = command.namespaces._asdict()
    plain["network"] = command.network._asdict()
    plain["sysctls"] = dict(command.sysctls)
    plain["resources"] = dict(command.resources)
    plain["mounts"] = [m._asdict() | {"options": dict(m.options)} for m in command.mounts]
    plain["devices"] = [d._asdict() for d in command.devices]
    return dumps({"version": 1, **plain}, separators=(",", ":")).encode()


def process_from(plain: dict[str, Any]) -> Process:
    """A Process out of its JSON object."""
    return Process(**{**plain, "capabilities": Capabilities(**plain["capabilities"]), "rlimits": [Rlimit(**r) for r in plain["rlimits"]]})


def from_json(raw: bytes) -> Command:
    """The Command in the bytes of container.json; ValueError for a format that this version does not know."""
    plain = loads(raw)
    if plain.pop("version", None) != 1:
        raise ValueError("container.json has a format that this version of wherry does not know")
    return Command(**{
        **plain,
        "process": process_from(plain["process"]),
        "namespaces": Namespaces(**plain["namespaces"]),
        "network": Network(**plain["network"]),
        "mounts": [Mount(**m) for m in plain["mounts"]],
        "devices": [Device(**d) for d in plain["devices"]],
        "cgroup_mounts": [(name, fd) for name, fd in plain["cgroup_mounts"]],
        "cgroup_links": [(name, target) for name, target in plain["cgroup_links"]],
    })
