"""Resources: the limits of one container as plain data, in units near the kernel's. It travels in container.json."""

from collections.abc import Mapping
from typing import Any, NamedTuple

DEFAULT_CPU_PERIOD = 100_000
"""Microseconds; the kernel's own default of cpu.cfs_period_us and of the second number of cpu.max."""


class DeviceRule(NamedTuple):
    """One line of a device list (OCI runtime spec, config-linux.md, "Allowed Device list").

    `type` is "c", "b" or "a" (all); `major` and `minor` are -1 for any; `access` is a subset of "rwm".
    """

    allow: bool
    type: str = "a"
    major: int = -1
    minor: int = -1
    access: str = "rwm"


class Resources(NamedTuple):
    """What a container may use. A zero (or empty, or None) means "not set": the kernel's default stays.

    Sizes are bytes, times microseconds. -1 in `cpu_quota`, `memory_swap` (memory plus swap) and `pids_limit` says "unlimited" explicitly.
    `Cgroups.warnings` makes the default of `memory_swap` explicit.
    `devices` empty means "no rule": everything is allowed.
    """

    cpu_shares: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    memory: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    blkio_weight: int = 0
    pids_limit: int = 0
    devices: tuple[DeviceRule, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Only what is set; the inverse of `from_json`."""
        record = {k: v for k, v in self._asdict().items() if v != self._field_defaults[k]}
        if self.devices:
            record["devices"] = [list(rule) for rule in self.devices]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Resources":
        """Unknown keys are an error (TypeError): a limit of a newer version must not be dropped silently."""
        fields = dict(record)
        fields["devices"] = tuple(DeviceRule(*rule) for rule in fields.get("devices", ()))
        return cls(**fields)


def quota_of_nano_cpus(nano_cpus: int) -> tuple[int, int]:
    """`--cpus` in billionths of a CPU -> (cpu_quota, cpu_period)."""
    return nano_cpus * DEFAULT_CPU_PERIOD // 1_000_000_000, DEFAULT_CPU_PERIOD
