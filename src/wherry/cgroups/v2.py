"""cgroup v2: one directory for everything; devices are an eBPF program. Documentation/admin-guide/cgroup-v2.rst.

A controller works in a group when every group above has it in cgroup.subtree_control, which a group with processes of its own cannot
have (the root is exempt): so processes live only in the groups of containers, never in their parent.
"""

import errno
import os
import select
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress

from wherry.linux import bpf

from .base import Events, OomWatch, Stats, View
from .devices import reduce_rules
from .files import Tree, fields
from .layout import Layout
from .plan import Write, v2_writes
from .processes import kill_all
from .resources import DeviceRule, Resources
from .supported import clean
from .v1 import clean_path

WANTED = ("cpu", "cpuset", "io", "memory", "pids")
FREEZE_TIMEOUT = 10.0
ROOT_PROCESSES = "wherry-init"
"""Where the processes of a cgroup namespace's root go when they stand in the way of its controllers."""

_NEEDS = {
    "memory": ("memory", ("memory.max",)),
    "swap": ("memory", ("memory.swap.max",)),
    "reservation": ("memory", ("memory.low",)),
    "cpu_shares": ("cpu", ("cpu.weight",)),
    "cpu_quota": ("cpu", ("cpu.max",)),
    "cpuset": ("cpuset", ("cpuset.cpus",)),
    "blkio_weight": ("io", ("io.bfq.weight", "io.weight")),
    "pids": ("pids", ("pids.max",)),
}
"""What `supported.clean` asks about -> controller and the files of which one must exist. Swappiness and oom_kill_disable are v1 only."""


class V2Cgroups:
    """The unified tree, as it is mounted at `layout.v2`."""

    def __init__(self, layout: Layout) -> None:
        self.version = layout.kind
        self.tree = Tree(os.open(layout.v2, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), layout.v2)
        self.controllers = frozenset(self.tree.read("cgroup.controllers").split())
        self._usable: dict[str, frozenset[str]] = {}

    def close(self) -> None:
        os.close(self.tree.fd)

    def open(self, path: str) -> "V2Group":
        return V2Group(self, clean_path(path))

    def create(self, path: str, resources: Resources) -> "V2Group":
        group = self.open(path)
        with ExitStack() as undo:
            self._make(group.path)
            undo.callback(self.tree.remove, group.path)
            group.set_devices(resources.devices, fresh=True)
            self.execute(group.path, v2_writes(resources, weight_file=self.weight_file(group.path, resources)))
            undo.pop_all()
        return group

    def execute(self, path: str, plan: Iterable[Write]) -> None:
        for _, file, value in plan:
            self.tree.write(f"{path}/{file}", value)

    def weight_file(self, path: str, resources: Resources) -> str:
        return "io.bfq.weight" if resources.blkio_weight and self.tree.exists(f"{path}/io.bfq.weight") else "io.weight"

    def warnings(self, resources: Resources, parent: str = "wherry") -> tuple[Resources, list[str]]:
        return clean(resources, lambda need: self._supports(need, clean_path(parent)))

    def _supports(self, need: str, parent: str) -> bool:
        if need == "devices":
            return True
        if need not in _NEEDS:
            return False
        controller, files = _NEEDS[need]
        return controller in self._prepare(parent) and any(self.tree.exists(f"{parent}/{file}") for file in files)

    def _make(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent not in self._usable:
            self._prepare(parent)
        try:
            self.tree.mkdir(path)
        except FileNotFoundError:  # the parent was removed since
            self._usable.pop(parent)
            self._prepare(parent)
            self.tree.mkdir(path)
        except FileExistsError:
            if not self.tree.remove(path):
                raise OSError(errno.EBUSY, "cgroup is there already, with processes in it", f"{self.tree.path}/{path}") from None
            self.tree.mkdir(path)

    def _prepare(self, parent: str) -> frozenset[str]:
        """Make `parent` and enable the controllers from the root down to it. Returns what the groups in it can use."""
        if (usable := self._usable.get(parent)) is not None and self.tree.exists(parent or "."):
            return usable
        parts = parent.split("/") if parent else []
        usable = self._enable("")
        for depth in range(1, len(parts) + 1):
            level = "/".join(parts[:depth])
            with suppress(FileExistsError):
                self.tree.mkdir(level)
            usable = self._enable(level)
        self._usable[parent] = usable
        return usable

    def _enable(self, level: str) -> frozenset[str]:
        """Put every wanted controller that is there into cgroup.subtree_control; one by one, where not all go.

        None at all in a group with processes: cpu, cpuset and pids could be had there, but would make the group a threaded one, in whose
        children no process can live."""
        prefix = f"{level}/" if level else ""
        there = set(self.tree.read(f"{prefix}cgroup.controllers").split())
        enabled = set(self.tree.read(f"{prefix}cgroup.subtree_control").split())
        missing = [name for name in WANTED if name in there and name not in enabled]
        if not missing or not self._make_room(level, prefix):
            return frozenset(enabled)
        try:
            self.tree.write(f"{prefix}cgroup.subtree_control", " ".join(f"+{name}" for name in missing))
            enabled.update(missing)
        except OSError:
            for name in missing:
                with suppress(OSError):  # what cannot be had is missing in the result, and its limits are dropped with a warning
                    self.tree.write(f"{prefix}cgroup.subtree_control", f"+{name}")
                    enabled.add(name)
        return frozenset(enabled)

    def _make_room(self, level: str, prefix: str) -> bool:
        """Whether the group can have controllers for its children. The host's real root (it has no cgroup.type) always can."""
        if not self.tree.exists(f"{prefix}cgroup.type") or not self.tree.read(f"{prefix}cgroup.procs").strip():
            return True
        if not level:
            self._evacuate_root()
        return not level

    def _evacuate_root(self) -> None:
        """Inside a container the "root" is an ordinary group, and processes in it (wherryd itself) keep it from having controllers for its
        children. They move into a child, as any engine that runs in a container must do. Never happens in the host's real root."""
        with suppress(FileExistsError):
            self.tree.mkdir(ROOT_PROCESSES)
        for pid in self.tree.read("cgroup.procs").split():
            with suppress(ProcessLookupError):
                self.tree.write(f"{ROOT_PROCESSES}/cgroup.procs", pid)


class V2Group:
    """See `base.Group`."""

    __slots__ = ("cgroups", "path", "tree")

    def __init__(self, cgroups: V2Cgroups, path: str) -> None:
        self.cgroups, self.path, self.tree = cgroups, path, cgroups.tree

    def _read(self, file: str) -> str:
        """A control file, or nothing where it is missing (its controller is not enabled)."""
        try:
            return self.tree.read(f"{self.path}/{file}")
        except FileNotFoundError:
            return ""

    def _open_dir(self) -> int:
        return self.tree.open(self.path, os.O_RDONLY | os.O_DIRECTORY)

    def add(self, pid: int) -> None:
        self.tree.write(f"{self.path}/cgroup.procs", str(pid))

    def enter_fds(self) -> tuple[int, ...]:
        return ()

    def procs(self) -> list[int]:
        pids: set[int] = set()
        for group in self.tree.walk(self.path):
            try:
                pids.update(int(pid) for pid in self.tree.read(f"{group}/cgroup.procs").split())
            except OSError as err:
                if err.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):  # removed while we looked; a threaded group
                    raise
        return sorted(pids)

    def freeze(self) -> None:
        self.tree.write(f"{self.path}/cgroup.freeze", "1")
        if not self._wait_event("frozen", 1, FREEZE_TIMEOUT):
            self.thaw()
            raise TimeoutError(errno.ETIMEDOUT, f"not all processes froze within {FREEZE_TIMEOUT:.0f} s", self.path)

    def thaw(self) -> None:
        self.tree.write(f"{self.path}/cgroup.freeze", "0")

    def _wait_event(self, key: str, value: int, timeout: float) -> bool:
        """Wait until cgroup.events has `key value`: the file signals POLLPRI at each change."""
        deadline = time.monotonic() + timeout
        try:
            fd = self.tree.open(f"{self.path}/cgroup.events", os.O_RDONLY)
        except FileNotFoundError:
            return key == "populated" and value == 0
        try:
            poll = select.poll()
            poll.register(fd, select.POLLPRI)
            while fields(os.pread(fd, 4096, 0).decode()).get(key) != value:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                poll.poll(remaining * 1000)
            return True
        except OSError as err:
            if err.errno != errno.ENODEV:  # the group went away
                raise
            return key == "populated" and value == 0
        finally:
            os.close(fd)

    def kill(self) -> None:
        try:
            self.tree.write(f"{self.path}/cgroup.kill", "1")
        except FileNotFoundError:
            if not self.tree.exists(self.path):
                return
            try:  # before Linux 5.14
                self.freeze()
                kill_all(self.procs())
            finally:
                self.thaw()

    def update(self, resources: Resources) -> None:
        asked = self._with_present_partners(resources)
        if resources.devices:
            self.set_devices(resources.devices, fresh=False)
        self.cgroups.execute(self.path, v2_writes(asked, weight_file=self.cgroups.weight_file(self.path, asked)))

    def _with_present_partners(self, r: Resources) -> Resources:
        """v2 keeps quota and period in one file, and swap as the difference to memory: fill in the half that is not being changed."""
        if bool(r.cpu_quota) != bool(r.cpu_period):
            quota, period = self._read("cpu.max").split()
            r = r._replace(cpu_quota=r.cpu_quota or (-1 if quota == "max" else int(quota)), cpu_period=r.cpu_period or int(period))
        if bool(r.memory) != bool(r.memory_swap):
            memory, swap = self._limit("memory.max"), self._limit("memory.swap.max")
            if r.memory_swap:
                r = r._replace(memory=memory)
            elif memory >= 0 and swap >= 0:
                r = r._replace(memory_swap=memory + swap)
        return r

    def _limit(self, file: str) -> int:
        text = self._read(file).strip()
        return int(text) if text.isdigit() else -1

    def set_devices(self, rules: tuple[DeviceRule, ...], *, fresh: bool) -> None:
        """Attach the program of `rules` in place of the present one. Without any rule there is no program, and everything is allowed."""
        allow, exceptions = reduce_rules(rules)
        if fresh and allow and not exceptions:
            return
        kinds = {"c": bpf.DEVCG_CHAR, "b": bpf.DEVCG_BLOCK}
        table = [
            bpf.DeviceRule(kinds[key.type], key.major, key.minor, sum(bpf.ACCESS_BITS[letter] for letter in access))
            for key, access in exceptions.items()
        ]
        with ExitStack() as close:
            group = self._open_dir()
            close.callback(os.close, group)
            program = bpf.load_device_program(bpf.device_program(allow, table))
            close.callback(os.close, program)
            present = [] if fresh else bpf.attached_devices(group)
            for fd in present:
                close.callback(os.close, fd)
            bpf.attach_device(group, program, present[0] if present else -1)

    def remove(self, timeout: float = 0.0) -> bool:
        gone = self.tree.remove(self.path)
        if not gone and timeout > 0:
            self._wait_event("populated", 0, timeout)
            gone = self.tree.remove(self.path)
        return gone

    def rename(self, path: str) -> None:
        raise OSError(errno.EPERM, f"cgroup v2 groups cannot be renamed: to {path}", self.path)

    def events(self) -> Events:
        return Events(fields(self._read("memory.events")).get("oom_kill", 0), int(self._read("memory.peak") or 0))

    def oom_watch(self) -> OomWatch:
        """memory.events itself: it signals POLLPRI at each change after it was read."""
        fd = self.tree.open(f"{self.path}/memory.events", os.O_RDONLY)
        os.read(fd, 4096)
        return OomWatch(fd, select.POLLPRI)

    def stats(self) -> Stats:
        cpu, memory = fields(self._read("cpu.stat")), fields(self._read("memory.stat"))
        read, write = self._io()
        return Stats(
            cpu_total=cpu.get("usage_usec", 0) * 1000,
            cpu_user=cpu.get("user_usec", 0) * 1000,
            cpu_system=cpu.get("system_usec", 0) * 1000,
            cpu_periods=cpu.get("nr_periods", 0),
            cpu_throttled_periods=cpu.get("nr_throttled", 0),
            cpu_throttled=cpu.get("throttled_usec", 0) * 1000,
            memory_usage=int(self._read("memory.current") or 0),
            memory_cache=memory.get("file", 0),
            memory_inactive_file=memory.get("inactive_file", 0),
            memory_limit=self._limit("memory.max"),
            pids=int(self._read("pids.current") or 0),
            pids_limit=self._limit("pids.max"),
            io_read=read,
            io_write=write,
        )

    def _io(self) -> tuple[int, int]:
        """Bytes over all devices: lines are `8:0 rbytes=4096 wbytes=0 rios=1 ...`."""
        sums = {"rbytes": 0, "wbytes": 0}
        for word in self._read("io.stat").split():
            name, _, value = word.partition("=")
            if name in sums:
                sums[name] += int(value)
        return sums["rbytes"], sums["wbytes"]

    def mount_fds(self) -> View:
        return View(True)

    def clone_fd(self) -> int | None:
        return self._open_dir()
