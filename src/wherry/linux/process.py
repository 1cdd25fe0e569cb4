"""Processes and namespaces: clone3, setns, unshare, prctl, pidfd."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import signal as _signal

from wherry.linux.libc import X86_64, check, libc, pylibc, syscall

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PIDFD = 0x00001000
CLONE_INTO_CGROUP = 0x200000000

SYS_CLONE3 = 435
SYS_CLOSE_RANGE = 436
SYS_PIDFD_GETFD = 438
SYS_PIVOT_ROOT = 155 if X86_64 else 41

CLOSE_RANGE_CLOEXEC = 4

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

P_PIDFD = 3


class _CloneArgs(ctypes.Structure):
    """struct clone_args, clone(2)."""

    _fields_ = [(name, ctypes.c_uint64) for name in
                ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls", "set_tid", "set_tid_size", "cgroup")]


_before_fork = pylibc.PyOS_BeforeFork
_after_fork_parent = pylibc.PyOS_AfterFork_Parent
_after_fork_child = pylibc.PyOS_AfterFork_Child
_before_fork.restype = _after_fork_parent.restype = _after_fork_child.restype = None


def clone3(flags: int, cgroup_fd: int = -1) -> tuple[int, int]:
    """Forks this process with namespaces: (pid, pidfd) in the parent, (0, -1) in the child; clone3(2).

    The pidfd is close-on-exec. `cgroup_fd` (v2) puts the child into that cgroup. Holds the GIL and runs Python's own fork hooks around the
    call, as os.fork() does; the caller must be single-threaded."""
    pidfd = ctypes.c_int(-1)
    args = _CloneArgs(flags=flags | CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=_signal.SIGCHLD)
    if cgroup_fd >= 0:
        args.flags |= CLONE_INTO_CGROUP
        args.cgroup = cgroup_fd
    size = ctypes.c_size_t(ctypes.sizeof(args))
    reference = ctypes.byref(args)
    _before_fork()
    pid = syscall(SYS_CLONE3, reference, size)
    if pid == 0:
        _after_fork_child()
        return 0, -1
    number = ctypes.get_errno()
    _after_fork_parent()
    if pid < 0:
        raise OSError(number, f"clone3: {os.strerror(number)}")
    return pid, pidfd.value


def setns(fd: int, flags: int) -> None:
    """Joins namespaces of a pidfd (any set of CLONE_NEW*) or of one namespace descriptor; setns(2)."""
    check(libc.setns(fd, flags), "setns", f"0x{flags:x}")


def unshare(flags: int) -> None:
    """Leaves shared namespaces; unshare(2)."""
    check(libc.unshare(flags), "unshare", f"0x{flags:x}")


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2)."""
    u = ctypes.c_ulong
    return check(pylibc.prctl(option, u(arg2), u(arg3), u(arg4), u(arg5)), "prctl", option)


def set_name(name: str) -> None:
    """The name that ps shows, 15 bytes; PR_SET_NAME."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    check(pylibc.prctl(PR_SET_NAME, buffer, 0, 0, 0), "prctl", "PR_SET_NAME")


def close_range_cloexec(first: int) -> None:
    """Marks every descriptor from `first` up close-on-exec; close_range(2)."""
    check(syscall(SYS_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(CLOSE_RANGE_CLOEXEC)), "close_range", first)


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Closes the descriptors first..last; close_range(2)."""
    if first <= last:
        check(syscall(SYS_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(0)), "close_range", first)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A copy of another process's descriptor; pidfd_getfd(2)."""
    return check(syscall(SYS_PIDFD_GETFD, ctypes.c_int(pidfd), ctypes.c_int(fd), ctypes.c_uint(0)), "pidfd_getfd", fd)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2). `pivot_root(".", ".")` stacks the old root under the new one, to be detached next."""
    check(syscall(SYS_PIVOT_ROOT, os.fsencode(new), os.fsencode(old)), "pivot_root", new)


def start_time(pid: int, proc_fd: int | None = None) -> int:
    """When a process began, in clock ticks since boot: with the PID it names a process for good; proc_pid_stat(5), field 22.

    `proc_fd` is a descriptor of a procfs root; without it /proc is opened. ProcessLookupError where there is none."""
    path = f"{pid}/stat" if proc_fd is not None else f"/proc/{pid}/stat"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    except FileNotFoundError:
        raise ProcessLookupError(errno.ESRCH, f"no process {pid}") from None
    try:
        line = os.read(fd, 4096)
    finally:
        os.close(fd)
    return int(line.rpartition(b")")[2].split()[19])


@functools.cache
def boot_id() -> str:
    """The name of this boot of the host; random(4)."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
