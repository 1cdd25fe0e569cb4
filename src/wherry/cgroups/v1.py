"""cgroup v1: a group is one directory in each hierarchy. Also the v1 part of a hybrid host (its empty v2 tree is left alone).

Order at creation: all directories, then the limits, then (by the caller) the processes: a process is never in a group without its limits.
"""

import errno
import os
import select
import time
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import groupby
from pathlib import PurePosixPath

from wherry.linux.mount import open_tree

from .base import Events, OomWatch, Stats, View
from .files import Tree, fields
from .layout import Layout, V1Mount
from .plan import Write, v1_writes
from .processes import kill_all, wait_gone
from .resources import Resources
from .supported import clean

FREEZE_TIMEOUT = 10.0
KILL_FREEZE_TIMEOUT = 0.5
UNLIMITED = 1 << 62
"""v1 says "no limit" as the largest page-aligned number, which is above this."""

_NEEDS = {
    "memory": ("memory", ("memory.limit_in_bytes",)),
    "swap": ("memory", ("memory.memsw.limit_in_bytes",)),
    "swappiness": ("memory", ("memory.swappiness",)),
    "reservation": ("memory", ("memory.soft_limit_in_bytes",)),
    "oom_kill_disable": ("memory", ("memory.oom_control",)),
    "cpu_shares": ("cpu", ("cpu.shares",)),
    "cpu_quota": ("cpu", ("cpu.cfs_quota_us",)),
    "cpuset": ("cpuset", ("cpuset.cpus",)),
    "blkio_weight": ("blkio", ("blkio.weight", "blkio.bfq.weight")),
    "pids": ("pids", ("pids.max",)),
    "devices": ("devices", ("devices.deny",)),
}
"""What `supported.clean` asks about -> controller and the files of which one must exist."""


class V1Cgroups:
    """The v1 hierarchies of this host that have a controller, and `name=systemd` (so that a service manager's bookkeeping
    does not count a container as a part of the daemon's service)."""

    def __init__(self, layout: Layout) -> None:
        self.version = layout.kind
        with ExitStack() as undo:
            trees: list[tuple[V1Mount, Tree]] = []
            for mount in layout.v1:
                if not mount.controllers and mount.name != "systemd":
                    continue
                fd = os.open(mount.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                undo.callback(os.close, fd)
                trees.append((mount, Tree(fd, mount.path)))
            self._fds = undo.pop_all()
        self.mounts = tuple(trees)
        self.trees = tuple(tree for _, tree in trees)
        self.by_controller = {controller: tree for mount, tree in trees for controller in mount.controllers}
        self.controllers = frozenset(self.by_controller)
        self._cpuset_inherits: set[str] = set()
        self._known: dict[tuple[str, str], bool] = {}

    def close(self) -> None:
        self._fds.close()

    def open(self, path: str) -> "V1Group":
        return V1Group(self, clean_path(path))

    def create(self, path: str, resources: Resources) -> "V1Group":
        group = self.open(path)
        with ExitStack() as undo:
            for tree in self.trees:
                self._make(tree, group.path)
                undo.callback(tree.remove, group.path)
            self._seed_new_cpuset(group.path)
            self.execute(group.path, v1_writes(resources, weight_file=self.weight_file(group.path, resources)))
            undo.pop_all()
        return group

    def warnings(self, resources: Resources, parent: str = "wherry") -> tuple[Resources, list[str]]:
        return clean(resources, lambda need: self._supports(need, parent))

    def _supports(self, need: str, parent: str) -> bool:
        known = self._known.get((need, parent))
        if known is None:
            known = self._known[need, parent] = self._look(need, parent)
        return known

    def _look(self, need: str, parent: str) -> bool:
        """Files, not names of controllers, decide: swap accounting or CFS bandwidth can be missing from a controller that is there.
        Some files the root group does not show, so a group of ours is looked at."""
        controller, files = _NEEDS[need]
        tree = self.by_controller.get(controller)
        if tree is None:
            return False
        self._make_parents(tree, clean_path(parent))
        return any(tree.exists(f"{parent}/{file}") for file in files)

    def execute(self, path: str, plan: Iterable[Write]) -> None:
        """Do the writes; a controller that is not mounted is an error here: `warnings` has dropped its limits before."""
        for (controller, file), writes in groupby(plan, lambda write: write[:2]):
            tree = self.by_controller.get(controller)
            if tree is None:
                raise OSError(errno.ENODEV, f"cgroup controller {controller} is not mounted", f"{path}/{file}")
            tree.write(f"{path}/{file}", *(write.value for write in writes))

    def weight_file(self, path: str, resources: Resources) -> str:
        """Its name depends on the I/O scheduler that the kernel was built with."""
        tree = self.by_controller.get("blkio")
        if resources.blkio_weight and tree and not tree.exists(f"{path}/blkio.weight"):
            return "blkio.bfq.weight"
        return "blkio.weight"

    def _make(self, tree: Tree, path: str) -> None:
        """One directory; parents as needed; a leftover of an earlier run is removed first so that none of its limits survive."""
        try:
            tree.mkdir(path)
        except FileNotFoundError:
            self._make_parents(tree, path.rpartition("/")[0])
            tree.mkdir(path)
        except FileExistsError:
            if not tree.remove(path):
                raise OSError(errno.EBUSY, "cgroup is there already, with processes in it", f"{tree.path}/{path}") from None
            tree.mkdir(path)

    def _make_parents(self, tree: Tree, parent: str) -> None:
        parts = parent.split("/")
        for depth in range(1, len(parts) + 1):
            level = "/".join(parts[:depth])
            try:
                tree.mkdir(level)
            except FileExistsError:
                continue
            if tree is self.by_controller.get("cpuset"):
                self._copy_cpuset(tree, level)
                tree.write(f"{level}/cgroup.clone_children", "1")  # the kernel fills in the groups below: no writes at each start

    def _seed_new_cpuset(self, path: str) -> None:
        """A new v1 cpuset is empty, and no process can enter it, unless the parent has clone_children (cgroup-v1/cgroups.rst, 1.5)."""
        tree = self.by_controller.get("cpuset")
        parent = path.rpartition("/")[0]
        if tree is None or parent in self._cpuset_inherits:
            return
        if tree.read(f"{parent}/cgroup.clone_children").strip() == "1" and tree.read(f"{path}/cpuset.cpus").strip():
            self._cpuset_inherits.add(parent)
        else:
            self._copy_cpuset(tree, path)

    def _copy_cpuset(self, tree: Tree, path: str) -> None:
        parent = path.rpartition("/")[0]
        for file in ("cpuset.cpus", "cpuset.mems"):
            if tree.read(f"{path}/{file}").strip():
                continue
            value = tree.read(f"{parent}/{file}" if parent else file).strip()
            if not value and parent:
                self._copy_cpuset(tree, parent)
                value = tree.read(f"{parent}/{file}").strip()
            tree.write(f"{path}/{file}", value)


def clean_path(path: str) -> str:
    """A group's path relative to the trees' roots. ValueError for an empty one or one with `..` (a group is never outside its tree)."""
    parts = PurePosixPath(path.strip("/")).parts
    if not parts or ".." in parts or "\0" in path:
        raise ValueError(f"invalid cgroup path {path!r}")
    return "/".join(parts)


class V1Group:
    """See `base.Group`."""

    __slots__ = ("cgroups", "path")

    def __init__(self, cgroups: V1Cgroups, path: str) -> None:
        self.cgroups, self.path = cgroups, path

    def _tree(self, controller: str) -> Tree:
        """The tree of `controller`, or any (for the lists of processes, which are the same in all)."""
        return self.cgroups.by_controller.get(controller, self.cgroups.trees[0])

    def _read(self, controller: str, file: str) -> str:
        """A control file, or nothing where the controller or file is missing."""
        tree = self.cgroups.by_controller.get(controller)
        try:
            return tree.read(f"{self.path}/{file}") if tree else ""
        except FileNotFoundError:
            return ""

    def add(self, pid: int) -> None:
        file, value = f"{self.path}/cgroup.procs", str(pid)
        for tree in self.cgroups.trees:
            tree.write(file, value)

    def enter_fds(self) -> tuple[int, ...]:
        file = f"{self.path}/tasks"
        with ExitStack() as undo:
            fds: list[int] = []
            for tree in self.cgroups.trees:
                fds.append(tree.open(file, os.O_WRONLY))
                undo.callback(os.close, fds[-1])
            undo.pop_all()
        return tuple(fds)

    def procs(self) -> list[int]:
        tree = self._tree("freezer")
        pids: set[int] = set()
        for group in tree.walk(self.path):
            try:
                pids.update(int(pid) for pid in tree.read(f"{group}/cgroup.procs").split())
            except OSError as err:
                if err.errno not in (errno.ENOENT, errno.ENODEV):  # removed while we looked
                    raise
        return sorted(pids)

    def freeze(self) -> None:
        if not self._freeze(FREEZE_TIMEOUT):
            self.thaw()
            raise TimeoutError(errno.ETIMEDOUT, f"not all processes froze within {FREEZE_TIMEOUT:.0f} s", self.path)

    def _freeze(self, timeout: float) -> bool:
        """v1 gives no event when the state turns from FREEZING to FROZEN; the kernel works it out when the file is read.
        So it is read again, with a pause that doubles from 50 microseconds."""
        tree, file = self._tree("freezer"), f"{self.path}/freezer.state"
        tree.write(file, "FROZEN")
        deadline, pause = time.monotonic() + timeout, 0.00005
        while tree.read(file).strip() != "FROZEN":
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 0.02)
        return True

    def thaw(self) -> None:
        self._tree("freezer").write(f"{self.path}/freezer.state", "THAWED")

    def kill(self) -> None:
        """Frozen first, so that none forks away from the list; SIGKILL takes effect at the thaw."""
        if not self._tree("freezer").exists(f"{self.path}/freezer.state"):
            kill_all(self.procs())
            return
        try:
            self._freeze(KILL_FREEZE_TIMEOUT)
            kill_all(self.procs())
        finally:
            self.thaw()

    def update(self, resources: Resources) -> None:
        swap_first = False
        if resources.memory and resources.memory_swap:
            now = int(self._read("memory", "memory.memsw.limit_in_bytes") or 0)
            swap_first = resources.memory < 0 or resources.memory > now
        weight_file = self.cgroups.weight_file(self.path, resources)
        self.cgroups.execute(self.path, v1_writes(resources, swap_first=swap_first, weight_file=weight_file, fresh=False))

    def remove(self, timeout: float = 0.0) -> bool:
        gone = self._remove_all()
        if not gone and timeout > 0:
            wait_gone(self.procs(), timeout)
            gone = self._remove_all()
        return gone

    def _remove_all(self) -> bool:
        gone = [tree.remove(self.path) for tree in self.cgroups.trees]  # every tree, also after one that is busy
        return all(gone)

    def rename(self, path: str) -> None:
        new = clean_path(path)
        with ExitStack() as undo:
            for tree in self.cgroups.trees:
                os.rename(self.path, new, src_dir_fd=tree.fd, dst_dir_fd=tree.fd)
                undo.callback(os.rename, new, self.path, src_dir_fd=tree.fd, dst_dir_fd=tree.fd)
            undo.pop_all()
        self.path = new

    def events(self) -> Events:
        control = fields(self._read("memory", "memory.oom_control"))
        return Events(control.get("oom_kill", 0), int(self._read("memory", "memory.max_usage_in_bytes") or 0))

    def oom_watch(self) -> OomWatch:
        """An eventfd registered on memory.oom_control (cgroup-v1/memory.rst, 10)."""
        tree, file = self.cgroups.by_controller["memory"], f"{self.path}/memory.oom_control"
        with ExitStack() as undo:
            event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            undo.callback(os.close, event)
            control = tree.open(file, os.O_RDONLY)
            try:
                tree.write(f"{self.path}/cgroup.event_control", f"{event} {control}")
            finally:
                os.close(control)
            undo.pop_all()
        return OomWatch(event, select.POLLIN)

    def stats(self) -> Stats:
        cpu = fields(self._read("cpu", "cpu.stat"))
        memory = fields(self._read("memory", "memory.stat"))
        limit = memory.get("hierarchical_memory_limit", -1)
        pids_limit = self._read("pids", "pids.max").strip()
        read, write = self._io()
        return Stats(
            cpu_total=int(self._read("cpuacct", "cpuacct.usage") or 0),
            cpu_user=int(self._read("cpuacct", "cpuacct.usage_user") or 0),
            cpu_system=int(self._read("cpuacct", "cpuacct.usage_sys") or 0),
            cpu_periods=cpu.get("nr_periods", 0),
            cpu_throttled_periods=cpu.get("nr_throttled", 0),
            cpu_throttled=cpu.get("throttled_time", 0),
            memory_usage=int(self._read("memory", "memory.usage_in_bytes") or 0),
            memory_cache=memory.get("total_cache", 0),
            memory_inactive_file=memory.get("total_inactive_file", 0),
            memory_limit=-1 if limit > UNLIMITED else limit,
            pids=int(self._read("pids", "pids.current") or 0),
            pids_limit=int(pids_limit) if pids_limit.isdigit() else -1,
            io_read=read,
            io_write=write,
        )

    def _io(self) -> tuple[int, int]:
        """Bytes over all devices: lines are `8:0 Read 4096`."""
        sums = {"Read": 0, "Write": 0}
        for line in self._read("blkio", "blkio.throttle.io_service_bytes_recursive").splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in sums:
                sums[words[1]] += int(words[2])
        return sums["Read"], sums["Write"]

    def mount_fds(self) -> View:
        mounts: list[tuple[str, int]] = []
        links: list[tuple[str, str]] = []
        with ExitStack() as undo:
            for mount, tree in self.cgroups.mounts:
                name = PurePosixPath(mount.path).name
                fd = open_tree(self.path, tree.fd)
                undo.callback(os.close, fd)
                mounts.append((name, fd))
                links += [(controller, name) for controller in mount.controllers if controller != name]
            undo.pop_all()
        return View(False, tuple(mounts), tuple(links))

    def clone_fd(self) -> int | None:
        return None
