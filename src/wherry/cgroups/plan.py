"""Resources -> the writes that set them, in order, as data. Pure; the drivers execute the plan.

v1: Documentation/admin-guide/cgroup-v1/*.rst. v2: Documentation/admin-guide/cgroup-v2.rst.
"""

from typing import NamedTuple

from .devices import reduce_rules, v1_line
from .resources import DEFAULT_CPU_PERIOD, DeviceRule, Resources


class Write(NamedTuple):
    controller: str
    file: str
    value: str


def v1_writes(resources: Resources, *, swap_first: bool = False, weight_file: str = "blkio.weight", fresh: bool = True) -> list[Write]:
    """The writes for a v1 group. `swap_first`: the new memory limit is above the present memory+swap limit, which must be raised before it
    (memory.limit_in_bytes may never exceed memory.memsw.limit_in_bytes). `fresh`: the group has just been made."""
    r = resources
    plan = []
    if r.cpu_shares:
        plan.append(Write("cpu", "cpu.shares", str(r.cpu_shares)))
    if r.cpu_period:
        plan.append(Write("cpu", "cpu.cfs_period_us", str(r.cpu_period)))
    if r.cpu_quota:
        plan.append(Write("cpu", "cpu.cfs_quota_us", str(r.cpu_quota)))
    if r.cpuset_cpus:
        plan.append(Write("cpuset", "cpuset.cpus", r.cpuset_cpus))
    if r.cpuset_mems:
        plan.append(Write("cpuset", "cpuset.mems", r.cpuset_mems))
    limits = [Write("memory", "memory.limit_in_bytes", str(r.memory))] if r.memory else []
    if r.memory_swap:
        limits.insert(0 if swap_first else len(limits), Write("memory", "memory.memsw.limit_in_bytes", str(r.memory_swap)))
    plan += limits
    if r.memory_reservation:
        plan.append(Write("memory", "memory.soft_limit_in_bytes", str(r.memory_reservation)))
    if r.memory_swappiness is not None:
        plan.append(Write("memory", "memory.swappiness", str(r.memory_swappiness)))
    if r.oom_kill_disable:
        plan.append(Write("memory", "memory.oom_control", "1"))
    if r.blkio_weight:
        plan.append(Write("blkio", weight_file, str(r.blkio_weight)))
    if r.pids_limit:
        plan.append(Write("pids", "pids.max", "max" if r.pids_limit < 0 else str(r.pids_limit)))
    return plan + v1_device_writes(r.devices, fresh=fresh)


def v1_device_writes(rules: tuple[DeviceRule, ...], *, fresh: bool = True) -> list[Write]:
    """The default first (it empties the kernel's table), then each exception. Nothing for a fresh group that allows all."""
    allow, exceptions = reduce_rules(rules)
    if not rules or (fresh and allow and not exceptions):
        return []
    default, exception = ("devices.allow", "devices.deny") if allow else ("devices.deny", "devices.allow")
    return [Write("devices", default, "a")] + [Write("devices", exception, v1_line(key, access)) for key, access in exceptions.items()]


def v2_cpu_weight(shares: int) -> int:
    """v1 cpu.shares (2 to 262144) -> v2 cpu.weight (1 to 10000), linear."""
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142


def v2_io_weight(weight: int) -> int:
    """v1 blkio.weight (10 to 1000) -> v2 io.weight (1 to 10000), linear."""
    return 1 + (min(max(weight, 10), 1000) - 10) * 9999 // 990


def v2_cpu_max(quota: int, period: int) -> str:
    return f"{'max' if quota <= 0 else quota} {period or DEFAULT_CPU_PERIOD}"


def _bytes_or_max(number: int) -> str:
    return "max" if number < 0 else str(number)


def v2_writes(resources: Resources, *, weight_file: str = "io.weight") -> list[Write]:
    """The writes for a v2 group; devices are a program, not a file. memory.swap.max is swap alone: the difference.

    `memory_swappiness` and `oom_kill_disable` have no v2 counterpart (see `supported.clean`)."""
    r = resources
    plan = []
    if r.cpu_shares:
        plan.append(Write("cpu", "cpu.weight", str(v2_cpu_weight(r.cpu_shares))))
    if r.cpu_quota or r.cpu_period:
        plan.append(Write("cpu", "cpu.max", v2_cpu_max(r.cpu_quota, r.cpu_period)))
    if r.cpuset_cpus:
        plan.append(Write("cpuset", "cpuset.cpus", r.cpuset_cpus))
    if r.cpuset_mems:
        plan.append(Write("cpuset", "cpuset.mems", r.cpuset_mems))
    if r.memory_swap:
        swap = "max" if r.memory_swap < 0 else str(max(0, r.memory_swap - max(r.memory, 0)))
        plan.append(Write("memory", "memory.swap.max", swap))
    if r.memory:
        plan.append(Write("memory", "memory.max", _bytes_or_max(r.memory)))
    if r.memory_reservation:
        plan.append(Write("memory", "memory.low", _bytes_or_max(r.memory_reservation)))
    if r.blkio_weight:
        value = str(r.blkio_weight) if weight_file == "io.bfq.weight" else str(v2_io_weight(r.blkio_weight))
        plan.append(Write("io", weight_file, value))
    if r.pids_limit:
        plan.append(Write("pids", "pids.max", _bytes_or_max(r.pids_limit)))
    return plan
