"""The contract that v1, hybrid and v2 fulfil alike, and the plain data that comes back through it."""

import os
import select
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from .resources import Resources


class Events(NamedTuple):
    """What happened to the group's memory so far: processes killed by the OOM killer, highest use in bytes (0: not known)."""

    oom_kills: int
    peak_memory: int


class Stats(NamedTuple):
    """Counters since the group was made; times in nanoseconds, sizes in bytes. A limit of -1 is "none". Missing controllers give zeros."""

    cpu_total: int = 0
    cpu_user: int = 0
    cpu_system: int = 0
    cpu_periods: int = 0
    cpu_throttled_periods: int = 0
    cpu_throttled: int = 0
    memory_usage: int = 0
    memory_cache: int = 0
    memory_inactive_file: int = 0
    memory_limit: int = -1
    pids: int = 0
    pids_limit: int = -1
    io_read: int = 0
    io_write: int = 0


class OomWatch(NamedTuple):
    """A descriptor to poll(2) for `events`; when it fires, `clear()` it, then read `Group.events()`. The caller closes it."""

    fd: int
    events: int

    def clear(self) -> None:
        """Until the next event it is not ready again. v1: an eventfd, which is read. v2: a control file, which must be read again from its
        beginning (a read at its end leaves it ready for ever)."""
        if self.events & select.POLLIN:
            os.read(self.fd, 8)
        else:
            os.pread(self.fd, 4096, 0)


class View(NamedTuple):
    """How the container sees /sys/fs/cgroup. v1, hybrid: a tmpfs with `mounts` (name, detached mount descriptor of the own group, which the
    caller closes) and `links` (name, target). v2 (`cgroup2` is true): one cgroup2, mounted by the init in its cgroup namespace."""

    cgroup2: bool
    mounts: tuple[tuple[str, int], ...] = ()
    links: tuple[tuple[str, str], ...] = ()


def enter(fds: Iterable[int]) -> None:
    """Move the calling thread, which must be its process's only one, into the group of these `enter_fds`; in the cloned child, first of all.

    "0" written into v1's `tasks` moves a thread by itself, which needs no lock against forks and exits, so nothing is waited for (since
    Linux 5.5). The descriptors were opened by the monitor, whose rights count: it works from a new user namespace too. A new cgroup
    namespace must be unshared after this, since its root is the group of that moment."""
    for fd in fds:
        os.write(fd, b"0")


class Group(Protocol):
    """The group of one container. Holds no descriptors of its own."""

    path: str

    def add(self, pid: int) -> None:
        """Move another process into the group. After idleness this waits for an RCU grace period, about 8 ms (ADR 0030): a child that
        we clone ourselves enters by `clone_fd` (v2) or `enter_fds` (v1), without a wait."""

    def enter_fds(self) -> tuple[int, ...]:
        """v1, hybrid: descriptors by which a child of the caller moves itself into the group, with `enter`; the caller closes them.
        v2: none (use `clone_fd`)."""

    def procs(self) -> list[int]:
        """PIDs in the group and in the groups that the container made below it."""

    def freeze(self) -> None:
        """Stop every process; returns when all are stopped. TimeoutError after ten seconds, and then they run again."""

    def thaw(self) -> None: ...

    def kill(self) -> None:
        """SIGKILL to everything in the group, frozen or not; does not wait for the ends. No group is no error.

        Remove the group afterwards: kernels from 6.14 to (at least) 6.18 kill at once whatever is cloned (`clone_fd`) into a group that
        was killed before."""

    def update(self, resources: Resources) -> None:
        """Change what is set in `resources`, keep the rest. On failure what was already changed is left so (as in Docker)."""

    def remove(self, timeout: float = 0.0) -> bool:
        """Remove the group, waiting up to `timeout` seconds for dying processes. True: it is gone (also when it never was)."""

    def rename(self, path: str) -> None:
        """v1 only: give the group another name below the same parent (a parked group is taken over). v2: OSError EPERM."""

    def events(self) -> Events: ...

    def oom_watch(self) -> OomWatch:
        """A descriptor that becomes ready when the group runs out of memory."""

    def stats(self) -> Stats: ...

    def mount_fds(self) -> View: ...

    def clone_fd(self) -> int | None:
        """v2: a directory descriptor for CLONE_INTO_CGROUP, which the caller closes. v1, hybrid: None (use `add`)."""


class Cgroups(Protocol):
    """The host's trees. `version` is "v1", "hybrid" or "v2"; `controllers` what limits can be set with."""

    version: str
    controllers: frozenset[str]

    def warnings(self, resources: Resources, parent: str = "wherry") -> tuple[Resources, list[str]]:
        """What this host can enforce of `resources` below the group `parent`, and a warning for each limit that it cannot (S5)."""

    def create(self, path: str, resources: Resources) -> Group:
        """Make the group `path` (`wherry/ID`) with its limits; a leftover without processes is replaced. All or nothing."""

    def open(self, path: str) -> Group:
        """The group `path`, there or not: no system call."""

    def close(self) -> None: ...
