"""S5: what this host can enforce. A limit it cannot enforce is dropped with a warning in the words that Docker's users know."""

from collections.abc import Callable
from typing import Any, NamedTuple

from .resources import Resources

_MISSING = "Your kernel does not support {} or the cgroup is not mounted. {} discarded."


class _Limit(NamedTuple):
    """A limit, the support it needs, the fields that fall away together without it, and the warning."""

    need: str
    unset: dict[str, Any]
    warning: str


_LIMITS = (
    _Limit("memory", {"memory": 0, "memory_swap": 0}, _MISSING.format("memory limit capabilities", "Limitation")),
    _Limit("swappiness", {"memory_swappiness": None}, _MISSING.format("memory swappiness capabilities", "Memory swappiness")),
    _Limit("reservation", {"memory_reservation": 0}, _MISSING.format("memory soft limit capabilities", "Limitation")),
    _Limit("oom_kill_disable", {"oom_kill_disable": False}, "Your kernel does not support OomKillDisable. OomKillDisable discarded."),
    _Limit("pids", {"pids_limit": 0}, _MISSING.format("PIDs limit capabilities", "PIDs limit")),
    _Limit("cpu_shares", {"cpu_shares": 0}, _MISSING.format("CPU shares", "Shares")),
    _Limit("cpu_quota", {"cpu_period": 0, "cpu_quota": 0}, _MISSING.format("CPU CFS scheduler", "Period and quota")),
    _Limit("cpuset", {"cpuset_cpus": "", "cpuset_mems": ""}, _MISSING.format("cpuset", "Cpuset")),
    _Limit("blkio_weight", {"blkio_weight": 0}, _MISSING.format("Block I/O weight", "Weight")),
    _Limit("devices", {"devices": ()}, _MISSING.format("device control", "Device rules")),
)
_NO_SWAP = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
_NO_OOM_KILLER = "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."


def clean(resources: Resources, support: Callable[[str], bool]) -> tuple[Resources, list[str]]:
    """What can be enforced, and a warning for the rest. `support` answers for a `need`; it is asked only about what is set.

    The swap limit is made explicit here: without a word about it, it is twice the memory (Docker's documented default)."""
    kept, warnings = resources, []
    for limit in _LIMITS:
        without = kept._replace(**limit.unset)
        if without != kept and not support(limit.need):
            kept = without
            warnings.append(limit.warning)
    if kept.memory > 0 and kept.memory_swap == 0:
        kept = kept._replace(memory_swap=2 * kept.memory)
    if kept.memory_swap and not support("swap"):
        if kept.memory > 0:
            warnings.append(_NO_SWAP)
        kept = kept._replace(memory_swap=0)
    if kept.oom_kill_disable and kept.memory <= 0:
        warnings.append(_NO_OOM_KILLER)
    return kept, warnings
