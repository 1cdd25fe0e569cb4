"""S5: what this host can enforce. A limit it cannot enforce is dropped with a warning in the words that Docker's users know."""

from collections.abc import Callable
from typing import Any, NamedTuple

from .resources import Resources

_WITHOUT = "Your kernel does not support {} or the cgroup is not mounted. {} discarded."


class Support(NamedTuple):
    """What the driver found on this host."""

    memory: bool
    swap: bool
    swappiness: bool
    reservation: bool
    oom_kill_disable: bool
    cpu_shares: bool
    cpu_quota: bool
    cpuset: bool
    blkio_weight: bool
    pids: bool


def _drop(r: Resources, warnings: list[str], supported: bool, text: str, **unset: Any) -> Resources:
    """Without support, put the fields of `unset` back to "not set", and warn when that changes anything."""
    without = r._replace(**unset)
    if supported or without == r:
        return r
    warnings.append(text)
    return without


def clean(resources: Resources, support: Callable[[str], bool]) -> tuple[Resources, list[str]]:
    """`support` answers for a field of `Support`; it is asked only about what is set, since some answers cost system calls."""
    w: list[str] = []
    r = resources
    if r.memory and not support("memory"):
        r = _drop(r, w, False, _WITHOUT.format("memory limit capabilities", "Limitation"), memory=0, memory_swap=0)
    if (r.memory or r.memory_swap) and not support("swap"):
        text = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
        r = _drop(r, w if r.memory_swap > 0 or r.memory else [], False, text, memory_swap=-1)
    if r.memory_swappiness is not None and not support("swappiness"):
        text = _WITHOUT.format("memory swappiness capabilities", "Memory swappiness")
        r = _drop(r, w, False, text, memory_swappiness=None)
    if r.memory_reservation and not support("reservation"):
        r = _drop(r, w, False, _WITHOUT.format("memory soft limit capabilities", "Limitation"), memory_reservation=0)
    return _clean_rest(r, w, support)
