"""cgroups: limits, accounting, freezing and killing of a container's processes; v1, hybrid and pure v2 behind one interface."""

import errno

from .base import Cgroups, Events, Group, OomWatch, Stats, View, enter
from .devices import ALLOW_ALL_DEVICES, DEFAULT_DEVICE_RULES
from .layout import Layout, parse_mountinfo
from .resources import DEFAULT_CPU_PERIOD, DeviceRule, Resources, quota_of_nano_cpus
from .v1 import V1Cgroups
from .v2 import V2Cgroups

DEFAULT_PARENT = "wherry"

__all__ = [
    "ALLOW_ALL_DEVICES",
    "DEFAULT_CPU_PERIOD",
    "DEFAULT_DEVICE_RULES",
    "DEFAULT_PARENT",
    "Cgroups",
    "DeviceRule",
    "Events",
    "Group",
    "OomWatch",
    "Resources",
    "Stats",
    "View",
    "detect",
    "enter",
    "host_layout",
    "quota_of_nano_cpus",
]


def host_layout() -> Layout:
    """What is mounted in this mount namespace."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse_mountinfo(file.read())


def detect() -> Cgroups:
    """Open the trees of this host. The descriptors are close-on-exec and live through forks; `mount_fds` needs them opened in the
    caller's own mount namespace (open_tree(2)). OSError ENODEV: no cgroup tree is mounted."""
    layout = host_layout()
    if layout.v1:
        return V1Cgroups(layout)
    if layout.v2:
        return V2Cgroups(layout)
    raise OSError(errno.ENODEV, "no cgroup tree is mounted; mount cgroup2 on /sys/fs/cgroup")
