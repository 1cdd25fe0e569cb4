"""cgroups: conversions, order of writes, device rules, layout; no kernel object is touched."""

import json
from pathlib import Path

import pytest

from wherry.cgroups import ALLOW_ALL_DEVICES, DEFAULT_DEVICE_RULES, DeviceRule, Resources, quota_of_nano_cpus
from wherry.cgroups.devices import DeviceKey, reduce_rules
from wherry.cgroups.layout import Layout, V1Mount, parse_mountinfo
from wherry.cgroups.plan import v1_device_writes, v1_writes, v2_cpu_max, v2_cpu_weight, v2_io_weight, v2_writes
from wherry.cgroups.supported import clean
from wherry.cgroups.v1 import clean_path

FULL = Resources(
    cpu_shares=512, cpu_quota=50000, cpu_period=100000, cpuset_cpus="0-1", cpuset_mems="0", memory=64 << 20, memory_reservation=32 << 20,
    memory_swap=96 << 20, memory_swappiness=10, oom_kill_disable=True, blkio_weight=500, pids_limit=20, devices=DEFAULT_DEVICE_RULES,
)  # fmt: skip


def test_json_round_trip_holds_only_what_is_set() -> None:
    assert Resources.from_json(json.loads(json.dumps(FULL.to_json()))) == FULL
    assert Resources().to_json() == {}
    assert Resources(memory_swappiness=0).to_json() == {"memory_swappiness": 0}
    with pytest.raises(TypeError):
        Resources.from_json({"hugepages": 3})


def test_nano_cpus() -> None:
    assert quota_of_nano_cpus(1_500_000_000) == (150_000, 100_000)
    assert quota_of_nano_cpus(250_000_000) == (25_000, 100_000)


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (0, 1), (1 << 30, 10000)])
def test_v2_cpu_weight(shares: int, weight: int) -> None:
    assert v2_cpu_weight(shares) == weight


@pytest.mark.parametrize(("v1", "v2"), [(10, 1), (500, 4950), (1000, 10000)])
def test_v2_io_weight(v1: int, v2: int) -> None:
    assert v2_io_weight(v1) == v2


def test_v2_cpu_max() -> None:
    assert v2_cpu_max(50000, 0) == "50000 100000"
    assert v2_cpu_max(-1, 20000) == "max 20000"
    assert v2_cpu_max(0, 20000) == "max 20000"


def test_v1_writes_period_before_quota_and_memory_before_swap() -> None:
    files = [write.file for write in v1_writes(FULL)]
    assert files.index("cpu.cfs_period_us") < files.index("cpu.cfs_quota_us")
    assert files.index("memory.limit_in_bytes") < files.index("memory.memsw.limit_in_bytes")
    assert v1_writes(Resources()) == []


def test_v1_raising_memory_over_the_present_swap_limit_raises_that_first() -> None:
    files = [write.file for write in v1_writes(Resources(memory=1 << 30, memory_swap=2 << 30), swap_first=True)]
    assert files == ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]


def test_v1_unlimited() -> None:
    values = {write.file: write.value for write in v1_writes(Resources(pids_limit=-1, memory=1 << 20, memory_swap=-1, cpu_quota=-1))}
    assert values == {"pids.max": "max", "memory.limit_in_bytes": "1048576", "memory.memsw.limit_in_bytes": "-1", "cpu.cfs_quota_us": "-1"}


def test_v2_writes() -> None:
    values = {write.file: write.value for write in v2_writes(FULL)}
    assert values == {
        "cpu.weight": "20", "cpu.max": "50000 100000", "cpuset.cpus": "0-1", "cpuset.mems": "0", "memory.swap.max": str(32 << 20),
        "memory.max": str(64 << 20), "memory.low": str(32 << 20), "io.weight": "4950", "pids.max": "20",
    }  # fmt: skip
    assert v2_writes(Resources(blkio_weight=500), weight_file="io.bfq.weight")[0].value == "500"
    unlimited = {write.file: write.value for write in v2_writes(Resources(memory=1 << 20, memory_swap=-1, pids_limit=-1))}
    assert unlimited == {"memory.swap.max": "max", "memory.max": "1048576", "pids.max": "max"}


def test_device_rules_reduce_as_the_v1_controller_does() -> None:
    allow, table = reduce_rules(DEFAULT_DEVICE_RULES)
    assert not allow
    assert table[DeviceKey("c", 1, 3)] == "rwm"
    assert table[DeviceKey("b", -1, -1)] == "m"
    merged = reduce_rules([DeviceRule(False), DeviceRule(True, "c", 5, 1, "r"), DeviceRule(True, "c", 5, 1, "w")])
    assert merged.exceptions == {DeviceKey("c", 5, 1): "rw"}
    taken = reduce_rules([DeviceRule(False), DeviceRule(True, "c", 5, 1, "rw"), DeviceRule(False, "c", 5, 1, "w")])
    assert taken.exceptions == {DeviceKey("c", 5, 1): "r"}
    gone = reduce_rules([DeviceRule(False), DeviceRule(True, "c", 5, 1, "r"), DeviceRule(False, "c", 5, 1, "r")])
    assert gone.exceptions == {}
    assert reduce_rules([]) == (True, {})
    assert reduce_rules([DeviceRule(False), DeviceRule(True, "c", 1, 3), DeviceRule(True)]) == (True, {})


def test_v1_device_writes_set_the_default_first() -> None:
    lines = [(write.file, write.value) for write in v1_device_writes(DEFAULT_DEVICE_RULES)]
    assert lines[0] == ("devices.deny", "a")
    assert ("devices.allow", "c 136:* rwm") in lines[1:]
    assert ("devices.allow", "c *:* m") in lines[1:]
    assert v1_device_writes(ALLOW_ALL_DEVICES) == []
    assert [w[1:] for w in v1_device_writes(ALLOW_ALL_DEVICES, fresh=False)] == [("devices.allow", "a")]
    assert [w[1:] for w in v1_device_writes((DeviceRule(True), DeviceRule(False, "b", 8, 0, "w")))] == [
        ("devices.allow", "a"), ("devices.deny", "b 8:0 w")]  # fmt: skip


HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:32 / /other/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_layouts() -> None:
    mounts = (V1Mount("/sys/fs/cgroup/cpu,cpuacct", ("cpu", "cpuacct")), V1Mount("/sys/fs/cgroup/memory", ("memory",)),
              V1Mount("/sys/fs/cgroup/systemd", (), "systemd"))  # fmt: skip
    assert parse_mountinfo(HYBRID) == Layout("hybrid", mounts, "/sys/fs/cgroup/unified")
    assert parse_mountinfo("\n".join(HYBRID.splitlines()[:-1])).kind == "v1"
    assert parse_mountinfo("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate") == Layout("v2", (), "/sys/fs/cgroup")
    assert parse_mountinfo(r"30 23 0:26 / /a\040b rw - cgroup2 cgroup2 rw").v2 == "/a b"
    assert parse_mountinfo("") == Layout("v2", (), "")


def test_every_missing_limit_is_dropped_with_a_warning() -> None:
    kept, warnings = clean(FULL, lambda need: False)
    assert kept == Resources()
    assert len(warnings) == 10
    assert all("discarded" in warning for warning in warnings)


def test_swap_is_twice_the_memory_unless_said() -> None:
    assert clean(Resources(memory=10), lambda need: True) == (Resources(memory=10, memory_swap=20), [])
    assert clean(Resources(memory=10, memory_swap=-1), lambda need: True) == (Resources(memory=10, memory_swap=-1), [])
    kept, warnings = clean(Resources(memory=10), lambda need: need != "swap")
    assert kept == Resources(memory=10)
    assert warnings == [
        "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."]  # fmt: skip


def test_disabling_the_oom_killer_without_a_limit_is_warned_of() -> None:
    kept, warnings = clean(Resources(oom_kill_disable=True), lambda need: True)
    assert kept.oom_kill_disable
    assert len(warnings) == 1


def test_support_is_asked_only_about_what_is_set() -> None:
    asked: list[str] = []
    clean(Resources(pids_limit=3), lambda need: not asked.append(need))
    assert asked == ["pids"]


@pytest.mark.parametrize("path", ["", "/", "..", "a/../b", "a\0b"])
def test_bad_paths(path: str) -> None:
    with pytest.raises(ValueError, match="cgroup path"):
        clean_path(path)


def test_path_is_relative_to_the_tree() -> None:
    assert clean_path("/wherry//abc/") == str(Path("wherry/abc"))
