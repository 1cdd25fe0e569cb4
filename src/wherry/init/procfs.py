"""A procfs of our own (R2): detached, never visible to the container, so that no mount of the container can lie over what is written here.

Everything that the init tells the kernel through files (sysctls, oom_score_adj) goes through it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from wherry.linux.mount import PROC_SUPER_MAGIC, fs_magic, new_mount
from wherry.linux.path import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2
from wherry.model.errors import InvalidArgument

_ONLY_HERE = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS

# sysctl(8) names that belong to a namespace, by the namespace they belong to. Everything else would change the host.
_IPC_NAMES = frozenset({"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
                        "kernel.shm_rmid_forced"})  # fmt: skip
_IPC_PREFIX = "fs.mqueue."
_NET_PREFIX = "net."
_UTS_NAMES = frozenset({"kernel.hostname", "kernel.domainname"})


def open_private() -> int:
    """A detached procfs of the PID namespace of this process."""
    fd = new_mount("proc")
    if fs_magic(fd) != PROC_SUPER_MAGIC:
        os.close(fd)
        raise OSError(errno.EINVAL, "the kernel gave something else than a procfs", "proc")
    return fd


def write(procfs: int, path: str, value: str) -> None:
    """One value, one write(2), to one file of the private procfs. `path` is relative and has no links."""
    fd = openat2(procfs, path, os.O_WRONLY, _ONLY_HERE)
    try:
        if fs_magic(fd) != PROC_SUPER_MAGIC:
            raise OSError(errno.EINVAL, "not a file of procfs", path)
        try:
            os.write(fd, value.encode())
        except OSError as error:
            error.filename = f"/proc/{path}"
            raise
    finally:
        os.close(fd)


def write_if_there(procfs: int, path: str, value: str) -> None:
    """write(), or nothing where the kernel has no such file (one built without IPv6)."""
    try:
        write(procfs, path, value)
    except FileNotFoundError:
        pass


def check_sysctl(name: str, *, own_net: bool, own_ipc: bool) -> str:
    """The path below /proc/sys of a sysctl that a container may set, InvalidArgument for any other.

    `.` separates the parts, as in Docker; a `/` in a name stands for a `.` inside a part (`net.ipv4.conf.eth0/100.forwarding`)."""
    parts = name.split(".")
    if "" in parts or "\0" in name or any(part.startswith("/") or part.endswith("/") or "//" in part for part in parts):
        raise InvalidArgument(f'sysctl "{name}" is malformed')
    if name in _UTS_NAMES:
        raise InvalidArgument(f'sysctl "{name}" is set with --hostname and --domainname')
    if name in _IPC_NAMES or name.startswith(_IPC_PREFIX):
        if not own_ipc:
            raise InvalidArgument(f'sysctl "{name}" not allowed in host or joined IPC namespace')
    elif name.startswith(_NET_PREFIX):
        if not own_net:
            raise InvalidArgument(f'sysctl "{name}" not allowed in host network namespace')
    else:
        raise InvalidArgument(f'sysctl "{name}" is not in a separate kernel namespace')
    return "sys/" + "/".join(part.replace("/", ".") for part in parts)


def set_sysctls(procfs: int, values: Mapping[str, str], *, own_net: bool, own_ipc: bool) -> None:
    """Checks all of `--sysctl`, then writes them."""
    paths = {check_sysctl(name, own_net=own_net, own_ipc=own_ipc): value for name, value in values.items()}
    for path, value in paths.items():
        write(procfs, path, value)


def set_oom_score_adj(procfs: int, value: int) -> None:
    """Sets the preference of the OOM killer, proc_pid_oom_score_adj(5). Lowering it needs CAP_SYS_RESOURCE; a host without it keeps its own."""
    try:
        write(procfs, f"{os.getpid()}/oom_score_adj", str(value))
    except PermissionError:
        if value >= 0:
            raise
