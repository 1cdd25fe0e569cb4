"""One suite for every cgroup situation: this host's own (v1, hybrid or pure v2; `make test-vm` runs it on pure v2).

Limits are proven by what happens to a process, not by reading back the file. On a hybrid host the life cycle is also run on its v2 tree,
which has no controllers.
"""

import errno
import os
import resource
import select
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from wherry.cgroups import ALLOW_ALL_DEVICES, DEFAULT_DEVICE_RULES, Cgroups, DeviceRule, Group, Resources, detect, enter, host_layout
from wherry.cgroups.layout import Layout
from wherry.cgroups.v2 import V2Cgroups
from wherry.linux import bpf
from wherry.linux.process import CLONE_NEWPID, CLONE_NEWUSER, clone3

MIB = 1 << 20
PARENT = f"wherry-test-{os.getpid()}"
LAYOUT = host_layout()


class Child:
    """A forked process that does `work` when told to, and is moved into a group before that."""

    def __init__(self, work: Callable[[], int | None]) -> None:
        go_read, self.go_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                os.close(self.go_write)
                os.read(go_read, 1)
                code = work() or 0
            finally:
                os._exit(code)
        os.close(go_read)
        self.status: int | None = None

    def go(self) -> None:
        os.write(self.go_write, b"!")

    def wait(self) -> int:
        """The exit code, or the signal as a negative number."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.go_write)
        return self.status

    def run(self, group: Group) -> int:
        group.add(self.pid)
        self.go()
        return self.wait()

    def end(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


def stay() -> None:
    signal.pause()


@pytest.fixture(params=[LAYOUT.kind] + (["unified"] if LAYOUT.kind == "hybrid" else []))
def any_cgroups(request: pytest.FixtureRequest) -> Iterator[Cgroups]:
    cgroups: Cgroups = V2Cgroups(Layout("v2", (), LAYOUT.v2)) if request.param == "unified" else detect()
    yield cgroups
    assert cgroups.open(PARENT).remove()
    cgroups.close()


@pytest.fixture
def cgroups() -> Iterator[Cgroups]:
    found = detect()
    yield found
    assert found.open(PARENT).remove()
    found.close()


@pytest.fixture
def child() -> Iterator[Callable[[Callable[[], Any]], Child]]:
    with ExitStack() as ends:

        def start(work: Callable[[], Any]) -> Child:
            process = Child(work)
            ends.callback(process.end)
            return process

        yield start


Start = Callable[[Callable[[], Any]], Child]


def here(path: str) -> list[str]:
    """Every mounted tree that has the group `path`."""
    roots = [mount.path for mount in LAYOUT.v1] + ([LAYOUT.v2] if LAYOUT.v2 else [])
    return [root for root in roots if Path(root, path).exists()]


# Life cycle


def test_create_add_remove(any_cgroups: Cgroups, child: Start) -> None:
    group = any_cgroups.create(f"{PARENT}/one", Resources())
    assert here(group.path)
    process = child(stay)
    group.add(process.pid)
    assert group.procs() == [process.pid]
    assert PARENT in Path(f"/proc/{process.pid}/cgroup").read_text()
    assert not group.remove()
    group.kill()
    assert process.wait() == -signal.SIGKILL
    assert group.remove(5)
    assert here(group.path) == []
    assert group.remove()
    assert group.procs() == []
    group.kill()


def test_every_v1_tree_holds_the_process(cgroups: Cgroups, child: Start) -> None:
    process = child(stay)
    cgroups.create(f"{PARENT}/all", Resources()).add(process.pid)
    lines = [line.split(":", 2) for line in Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()]
    inside = {name for _, names, path in lines for name in (names or "v2").split(",") if path.endswith(f"{PARENT}/all")}
    assert inside >= (set(cgroups.controllers) if cgroups.version != "v2" else {"v2"})
    process.end()
    assert cgroups.open(f"{PARENT}/all").remove(5)


def test_remove_waits_for_the_end_of_processes(any_cgroups: Cgroups, child: Start) -> None:
    group = any_cgroups.create(f"{PARENT}/waits", Resources())

    def end_soon() -> None:
        select.select([], [], [], 0.1)

    process = child(end_soon)
    group.add(process.pid)
    process.go()
    start = time.monotonic()
    assert group.remove(10)
    assert 0.05 < time.monotonic() - start < 9
    assert process.wait() == 0


def test_remove_gives_up_in_time(any_cgroups: Cgroups, child: Start) -> None:
    group = any_cgroups.create(f"{PARENT}/busy", Resources())
    process = child(stay)
    group.add(process.pid)
    start = time.monotonic()
    assert not group.remove(0.1)
    assert time.monotonic() - start < 5
    process.end()
    assert group.remove(5)


def test_groups_made_below_are_removed_too(any_cgroups: Cgroups) -> None:
    group = any_cgroups.create(f"{PARENT}/nest", Resources())
    for root in here(group.path):
        Path(root, group.path, "a/b").mkdir(parents=True)
    assert group.remove()
    assert here(group.path) == []


def test_a_leftover_is_replaced_but_not_with_processes_in_it(any_cgroups: Cgroups, child: Start) -> None:
    path = f"{PARENT}/left"
    any_cgroups.create(path, Resources())
    group = any_cgroups.create(path, Resources())
    process = child(stay)
    group.add(process.pid)
    with pytest.raises(OSError) as caught:
        any_cgroups.create(path, Resources())
    assert caught.value.errno == errno.EBUSY
    assert group.procs() == [process.pid]
    process.end()
    assert group.remove(5)


def test_freeze_and_thaw(any_cgroups: Cgroups, child: Start) -> None:
    group = any_cgroups.create(f"{PARENT}/ice", Resources())
    read, write = os.pipe()

    def tick() -> None:
        while True:
            os.write(write, b".")
            select.select([], [], [], 0.001)

    process = child(tick)
    group.add(process.pid)
    process.go()
    poll = select.poll()
    poll.register(read, select.POLLIN)
    assert poll.poll(5000)
    group.freeze()
    os.set_blocking(read, False)
    try:
        while os.read(read, 65536):
            pass
    except BlockingIOError:
        pass
    assert not poll.poll(150), "a frozen process still writes"
    group.thaw()
    assert poll.poll(5000), "a thawed process does not run"
    group.freeze()
    group.kill()
    assert process.wait() == -signal.SIGKILL
    assert group.remove(5)
    os.close(read)
    os.close(write)


def test_kill_reaches_forks(any_cgroups: Cgroups, child: Start) -> None:
    group = any_cgroups.create(f"{PARENT}/kill", Resources())
    read, write = os.pipe()

    def fork_many() -> None:
        for _ in range(5):
            if os.fork() == 0:
                signal.pause()
        os.write(write, b"!")
        signal.pause()

    process = child(fork_many)
    group.add(process.pid)
    process.go()
    os.read(read, 1)
    assert len(group.procs()) == 6
    group.kill()
    assert process.wait() == -signal.SIGKILL
    assert group.remove(10)
    os.close(read)
    os.close(write)


def test_rename_takes_a_group_over_with_its_processes(cgroups: Cgroups, child: Start) -> None:
    group = cgroups.create(f"{PARENT}/parked", Resources())
    process = child(stay)
    group.add(process.pid)
    if cgroups.version == "v2":
        with pytest.raises(OSError):
            group.rename(f"{PARENT}/taken")
    else:
        group.rename(f"{PARENT}/taken")
        assert here(f"{PARENT}/parked") == []
        assert cgroups.open(f"{PARENT}/taken").procs() == [process.pid]
    process.end()
    assert group.remove(5)


def test_a_cloned_child_is_in_the_group_before_it_does_anything(any_cgroups: Cgroups) -> None:
    """By the clone itself on v2, by its first act on v1; also out of a new user namespace, where it has no rights over cgroups."""
    for flags in (0, CLONE_NEWUSER | CLONE_NEWPID):
        group = any_cgroups.create(f"{PARENT}/clone", Resources())  # a fresh one: see Group.kill
        fd, fds = group.clone_fd(), group.enter_fds()
        assert (fd is None) == bool(fds)
        read, write = os.pipe()
        pid, pidfd = clone3(flags, -1 if fd is None else fd)
        if pid == 0:
            try:
                enter(fds)
                os.write(write, b"in")
                signal.pause()
            finally:
                os._exit(1)
        os.close(write)
        assert os.read(read, 2) == b"in"
        assert group.procs() == [pid]
        membership = Path(f"/proc/{pid}/cgroup").read_text()
        assert membership.count(group.path) == max(1, len(fds))
        group.kill()
        os.waitpid(pid, 0)
        os.close(pidfd)
        os.close(read)
        for entry in (*fds, *([] if fd is None else [fd])):
            os.close(entry)
        assert group.remove(5)


def test_entering_waits_for_nothing_after_idleness(any_cgroups: Cgroups) -> None:
    """The whole point of `enter_fds` and `clone_fd`: the process never sleeps meanwhile (with `add` it does each time on v1, about 8 ms).

    Counted, not timed: a busy machine makes everything slow, but nobody wait. Another's change of a cgroup may, so one of nine is enough."""
    group = any_cgroups.create(f"{PARENT}/quick", Resources())
    fd, fds = group.clone_fd(), group.enter_fds()
    waits = []
    for _ in range(9):
        select.select([], [], [], 0.1)
        read, write = os.pipe()
        pid, pidfd = clone3(0, -1 if fd is None else fd)
        if pid == 0:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw  # voluntary context switches (getrusage(2))
            enter(fds)
            os.write(write, str(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before).encode())
            os._exit(0)
        os.close(write)
        waits.append(int(os.read(read, 100)))
        os.waitpid(pid, 0)
        os.close(read)
        os.close(pidfd)
    for entry in (*fds, *([] if fd is None else [fd])):
        os.close(entry)
    assert min(waits) == 0, waits
    assert group.remove(5)


def test_descriptors_do_not_leak(any_cgroups: Cgroups) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        group = any_cgroups.create(f"{PARENT}/fds", Resources(devices=DEFAULT_DEVICE_RULES))
        group.update(Resources(devices=ALLOW_ALL_DEVICES) if any_cgroups.version == "v2" else Resources())
        group.stats()
        group.events()
        group.freeze()
        group.thaw()
        for _, fd in group.mount_fds().mounts:
            os.close(fd)
        group.remove()
    assert len(os.listdir("/proc/self/fd")) == before


if LAYOUT.kind == "v2":

    def test_processes_in_a_namespaces_root_make_room_for_controllers(child: Start) -> None:
        """As inside a container: the tree we see starts at an ordinary group, which has processes in it."""
        Path(LAYOUT.v2, "cgroup.subtree_control").write_text("+pids +memory")
        root = Path(LAYOUT.v2, PARENT)
        root.mkdir()
        process = child(stay)
        (root / "cgroup.procs").write_text(str(process.pid))
        inner = V2Cgroups(Layout("v2", (), str(root)))
        resources, warnings = inner.warnings(Resources(pids_limit=4))
        assert warnings == []
        group = inner.create("wherry/inner", resources)
        assert group.stats().pids_limit == 4
        assert (root / "wherry-init/cgroup.procs").read_text().split() == [str(process.pid)]
        process.end()
        inner.close()
        outer = detect()
        assert outer.open(PARENT).remove(5)
        outer.close()

    def test_a_parent_with_processes_cannot_have_limits_below(child: Start) -> None:
        """Only a namespace's root is cleared for us: other groups are left alone, and the limits fall away with a warning."""
        outer = detect()
        shared = outer.create(f"{PARENT}/shared", Resources())
        process = child(stay)
        shared.add(process.pid)
        resources, warnings = outer.warnings(Resources(pids_limit=4), shared.path)
        assert resources == Resources()
        assert len(warnings) == 1
        assert shared.procs() == [process.pid]
        process.end()
        assert outer.open(PARENT).remove(5)
        outer.close()


# Limits, by effect


def test_a_refused_limit_undoes_the_group(cgroups: Cgroups) -> None:
    with pytest.raises(OSError, match="cpuset.cpus") as caught:
        cgroups.create(f"{PARENT}/refused", Resources(pids_limit=5, cpuset_cpus="4000-4001"))
    assert "4000-4001" in str(caught.value)
    assert here(f"{PARENT}/refused") == []


def test_pids_limit_stops_fork(cgroups: Cgroups, child: Start) -> None:
    def fork_twice() -> int:
        for _ in range(2):
            try:
                if os.fork() == 0:
                    signal.pause()
            except BlockingIOError:
                return 11
        return 0

    group = cgroups.create(f"{PARENT}/pids", Resources(pids_limit=2))
    assert child(fork_twice).run(group) == 11
    assert (group.stats().pids, group.stats().pids_limit) == (1, 2)
    group.update(Resources(pids_limit=-1))
    assert group.stats().pids_limit == -1
    assert child(fork_twice).run(group) == 0
    group.kill()
    assert group.remove(5)


def test_memory_limit_kills_and_is_counted(cgroups: Cgroups, child: Start) -> None:
    resources, warnings = cgroups.warnings(Resources(memory=24 * MIB, memory_swap=24 * MIB))
    assert warnings == []
    group = cgroups.create(f"{PARENT}/oom", resources)
    watch = group.oom_watch()
    poll = select.poll()
    poll.register(watch.fd, watch.events)
    assert not poll.poll(0)
    assert group.events().oom_kills == 0
    assert group.stats().memory_limit == 24 * MIB

    def eat() -> None:
        bytearray(os.urandom(1)) * (64 * MIB)

    assert child(eat).run(group) == -signal.SIGKILL
    assert poll.poll(5000), "no notice of the OOM"
    watch.clear()
    assert not poll.poll(0), "the notice does not go away"
    assert group.events().oom_kills == 1
    assert 16 * MIB < group.events().peak_memory <= 24 * MIB
    os.close(watch.fd)
    group.update(Resources(memory=256 * MIB, memory_swap=512 * MIB))
    assert child(eat).run(group) == 0
    assert group.events().oom_kills == 1
    group.update(Resources(memory=24 * MIB, memory_swap=24 * MIB))
    watch = group.oom_watch()
    assert child(eat).run(group) == -signal.SIGKILL
    assert select.select([], [], [watch.fd], 5)[2] if watch.events == select.POLLPRI else select.select([watch.fd], [], [], 5)[0]
    assert group.events().oom_kills == 2
    os.close(watch.fd)
    assert group.remove(5)


def test_memory_and_swap_values(cgroups: Cgroups) -> None:
    full = Resources(memory=64 * MIB, memory_swap=96 * MIB, memory_reservation=32 * MIB)
    group = cgroups.create(f"{PARENT}/mem", full)
    root = next((mount.path for mount in LAYOUT.v1 if "memory" in mount.controllers), LAYOUT.v2)

    def value(v1: str, v2: str) -> str:
        return Path(root, group.path, v2 if cgroups.version == "v2" else v1).read_text().strip()

    swap = {"v2": str(32 * MIB)}.get(cgroups.version, str(96 * MIB))
    assert value("memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert value("memory.memsw.limit_in_bytes", "memory.swap.max") == swap
    assert value("memory.soft_limit_in_bytes", "memory.low") == str(32 * MIB)
    if cgroups.version == "v2":
        group.update(Resources(memory=80 * MIB))  # the sum stays, so the swap part shrinks
        assert value("", "memory.swap.max") == str(16 * MIB)
        group.update(Resources(memory_swap=-1))
        assert (value("", "memory.swap.max"), value("", "memory.max")) == ("max", str(80 * MIB))
    else:
        group.update(Resources(memory=200 * MIB, memory_swap=300 * MIB))
        group.update(Resources(memory=20 * MIB, memory_swap=20 * MIB))
        group.update(Resources(memory=400 * MIB, memory_swap=-1))
        assert value("memory.limit_in_bytes", "") == str(400 * MIB)
        assert int(value("memory.memsw.limit_in_bytes", "")) > 1 << 60
    assert group.remove()


def test_cpu_quota_throttles(cgroups: Cgroups, child: Start) -> None:
    def spin() -> None:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            pass

    group = cgroups.create(f"{PARENT}/cpu", Resources(cpu_quota=5000, cpu_period=50000, cpu_shares=512))
    assert child(spin).run(group) == 0
    stats = group.stats()
    assert stats.cpu_throttled_periods >= 3
    assert stats.cpu_throttled > 0
    assert 10_000_000 < stats.cpu_total < 300_000_000
    group.update(Resources(cpu_quota=-1))
    assert child(spin).run(group) == 0
    assert group.stats().cpu_throttled_periods <= stats.cpu_throttled_periods + 1
    assert group.remove(5)


def test_cpu_quota_and_period_change_apart(cgroups: Cgroups) -> None:
    group = cgroups.create(f"{PARENT}/apart", Resources(cpu_quota=30000, cpu_period=60000))
    group.update(Resources(cpu_quota=15000))
    group.update(Resources(cpu_period=50000))
    root = next((mount.path for mount in LAYOUT.v1 if "cpu" in mount.controllers), LAYOUT.v2)
    files = ["cpu.max"] if cgroups.version == "v2" else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
    assert " ".join(Path(root, group.path, file).read_text().strip() for file in files) == "15000 50000"
    assert group.remove()


def test_cpuset_pins(cgroups: Cgroups, child: Start) -> None:
    last = max(os.sched_getaffinity(0))
    group = cgroups.create(f"{PARENT}/set", Resources(cpuset_cpus=str(last), cpuset_mems="0"))
    assert child(lambda: 0 if os.sched_getaffinity(0) == {last} else 1).run(group) == 0
    assert group.remove(5)


def test_cpuset_below_a_parent_that_does_not_inherit(cgroups: Cgroups, child: Start) -> None:
    for mount in LAYOUT.v1:
        if "cpuset" in mount.controllers:
            Path(mount.path, PARENT).mkdir()
    group = cgroups.create(f"{PARENT}/seed", Resources())
    assert child(lambda: 0).run(group) == 0
    assert group.remove(5)


def node(path: Path, kind: int, major: int, minor: int) -> Path:
    os.mknod(path, kind | 0o666, os.makedev(major, minor))
    return path


def tries(path: Path, flags: int) -> Callable[[], int]:
    def attempt() -> int:
        try:
            os.close(os.open(path, flags))
        except OSError as err:
            return err.errno or 98
        return 0

    return attempt


def test_default_devices(any_cgroups: Cgroups, child: Start, tmp_path: Path) -> None:
    group = any_cgroups.create(f"{PARENT}/dev", Resources(devices=DEFAULT_DEVICE_RULES))
    null = node(tmp_path / "null", stat.S_IFCHR, 1, 3)
    memory = node(tmp_path / "mem", stat.S_IFCHR, 1, 1)
    loop = node(tmp_path / "loop", stat.S_IFBLK, 7, 0)
    assert child(tries(null, os.O_RDWR)).run(group) == 0
    assert child(tries(memory, os.O_RDONLY)).run(group) == errno.EPERM
    assert child(tries(loop, os.O_RDONLY)).run(group) == errno.EPERM

    def make_node() -> None:
        node(tmp_path / "made", stat.S_IFCHR, 1, 1)

    assert child(make_node).run(group) == 0
    assert (tmp_path / "made").is_char_device()
    assert group.remove(5)


def test_device_access_is_per_bit_and_can_be_updated(any_cgroups: Cgroups, child: Start, tmp_path: Path) -> None:
    zero = node(tmp_path / "zero", stat.S_IFCHR, 1, 5)
    rules = (DeviceRule(False), DeviceRule(True, "c", 1, 5, "r"))
    group = any_cgroups.create(f"{PARENT}/bits", Resources(devices=rules))
    assert child(tries(zero, os.O_RDONLY)).run(group) == 0
    assert child(tries(zero, os.O_WRONLY)).run(group) == errno.EPERM
    assert child(tries(zero, os.O_RDWR)).run(group) == errno.EPERM
    assert child(lambda: tries(tmp_path / "new", 0)() if node_fails(tmp_path / "new") else 1).run(group) == errno.ENOENT
    group.update(Resources(devices=(*rules, DeviceRule(True, "c", 1, 5, "w"))))
    assert child(tries(zero, os.O_RDWR)).run(group) == 0
    group.update(Resources(devices=(DeviceRule(True), DeviceRule(False, "c", 1, -1, "w"))))
    assert child(tries(zero, os.O_RDONLY)).run(group) == 0
    assert child(tries(zero, os.O_RDWR)).run(group) == errno.EPERM
    group.update(Resources(devices=ALLOW_ALL_DEVICES))
    assert child(tries(zero, os.O_RDWR)).run(group) == 0
    assert group.remove(5)


def node_fails(path: Path) -> bool:
    try:
        node(path, stat.S_IFCHR, 1, 5)
    except PermissionError:
        return True
    return False


def test_a_refused_program_says_what_the_verifier_said() -> None:
    with pytest.raises(OSError, match="load device program") as caught:
        bpf.load_device_program(bpf.insn(bpf.EXIT))
    assert "R0" in str(caught.value)


def test_what_the_host_lacks_is_warned_of(cgroups: Cgroups) -> None:
    asked = Resources(memory=64 * MIB, memory_swappiness=30, oom_kill_disable=True, cpu_shares=2, cpu_quota=9000, cpuset_cpus="0", pids_limit=9,
                      memory_reservation=MIB * 32, devices=DEFAULT_DEVICE_RULES, blkio_weight=500)  # fmt: skip
    kept, warnings = cgroups.warnings(asked, PARENT)
    lost = [text for text in warnings if "swappiness" in text or "OomKill" in text]
    assert len(lost) == (2 if cgroups.version == "v2" else 0)
    assert kept._replace(blkio_weight=0, memory_swap=0, memory_swappiness=30, oom_kill_disable=True) == asked._replace(blkio_weight=0)
    assert bool(kept.blkio_weight) != any("Block I/O weight" in text for text in warnings)
    group = cgroups.create(f"{PARENT}/warned", kept)  # whatever is kept can be set
    assert group.remove()


def test_the_containers_own_view(cgroups: Cgroups) -> None:
    group = cgroups.create(f"{PARENT}/view", Resources(pids_limit=7))
    view = group.mount_fds()
    if cgroups.version == "v2":
        assert view == (True, (), ())
    else:
        names = {Path(mount.path).name for mount in LAYOUT.v1 if mount.controllers or mount.name == "systemd"}
        assert {name for name, _ in view.mounts} == names
        assert {link for link, _ in view.links} == {c for m in LAYOUT.v1 for c in m.controllers} - names
        for name, fd in view.mounts:
            assert "cgroup.procs" in os.listdir(f"/proc/self/fd/{fd}")
            if name == "pids":
                assert Path(f"/proc/self/fd/{fd}/pids.max").read_text() == "7\n"
            os.close(fd)
    assert group.remove()


def test_stats_count(cgroups: Cgroups, child: Start) -> None:
    group = cgroups.create(f"{PARENT}/stats", Resources())

    def work() -> None:
        block = bytearray(os.urandom(1)) * (20 * MIB)
        end = time.process_time() + 0.03
        while time.process_time() < end:
            block[0] ^= 1

    assert child(work).run(group) == 0
    stats = group.stats()
    assert stats.cpu_total >= 30_000_000
    assert stats.cpu_user > 0
    assert (stats.memory_limit, stats.pids_limit, stats.pids) == (-1, -1, 0)
    assert group.events().peak_memory >= 20 * MIB
    assert group.remove(5)
