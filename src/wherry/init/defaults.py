"""What a container gets that asks for nothing: mounts, device nodes, links in /dev, masked and read-only paths.

The daemon builds the Command from these; the lists are Docker's (run-flags of `docker run`, OCI runtime spec, config-linux.md).
"""

from __future__ import annotations

import os
from functools import cache

from wherry.linux.mount import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME
from wherry.model.command import Device, Mount

_STRICT = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC

SHM_SIZE = 64 << 20

MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# Major and minor numbers: Documentation/admin-guide/devices.txt. The `dev` mount always has these.
DEFAULT_DEVICES = (
    Device("/dev/null", "c", 1, 3),
    Device("/dev/zero", "c", 1, 5),
    Device("/dev/full", "c", 1, 7),
    Device("/dev/random", "c", 1, 8),
    Device("/dev/urandom", "c", 1, 9),
    Device("/dev/tty", "c", 5, 0),
)
DEV_LINKS = (
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
)


def masked_paths(cpus: int = 0) -> list[str]:
    """The default masked paths, with the thermal counters of those of `cpus` processors that have them (they tell neighbours apart)."""
    return [*MASKED_PATHS, *_thermal_paths(cpus)]


@cache
def _thermal_paths(cpus: int) -> tuple[str, ...]:
    paths = (f"/sys/devices/system/cpu/cpu{n}/thermal_throttle" for n in range(cpus))
    return tuple(path for path in paths if os.path.exists(path))


def default_mounts(*, privileged: bool = False, cgroup_readonly: bool = True, shm_size: int = SHM_SIZE) -> list[Mount]:
    """The kernel's own file systems of a container, in the order of mounting. Volumes come after them, for they may lie inside.

    Leave out `/dev/shm` and `/dev/mqueue` where the IPC namespace is somebody else's: those arrive as `bind` mounts."""
    sys_flags = _STRICT if privileged else _STRICT | MOUNT_ATTR_RDONLY
    cgroup_flags = _STRICT | MOUNT_ATTR_RDONLY if cgroup_readonly and not privileged else _STRICT
    return [
        Mount("proc", "/proc", attributes=_STRICT),
        Mount("sysfs", "/sys", attributes=sys_flags),
        Mount("cgroup", "/sys/fs/cgroup", attributes=cgroup_flags),
        Mount("dev", "/dev", attributes=MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME, options={"mode": "755", "size": "65536k"}),
        Mount("devpts", "/dev/pts", attributes=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
              options={"newinstance": None, "ptmxmode": "0666", "mode": "0620", "gid": "5"}),
        Mount("shm", "/dev/shm", attributes=_STRICT, options={"mode": "1777", "size": str(shm_size)}),
        Mount("mqueue", "/dev/mqueue", attributes=_STRICT),
    ]  # fmt: skip
