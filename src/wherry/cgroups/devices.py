"""Device rules reduced to what the kernel keeps: one default and a table of exceptions.

The law is the v1 device controller's (Documentation/admin-guide/cgroup-v1/devices.rst, security/device_cgroup.c):
an "a" rule sets the default and empties the table; a rule against the default adds an exception; a rule along the default takes
those access bits out of the exception with exactly the same numbers.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .resources import DeviceRule

DEFAULT_DEVICE_RULES: tuple[DeviceRule, ...] = (
    DeviceRule(False),
    DeviceRule(True, "c", -1, -1, "m"),  # any node may be made, but not opened
    DeviceRule(True, "b", -1, -1, "m"),
    DeviceRule(True, "c", 1, 3),  # null
    DeviceRule(True, "c", 1, 5),  # zero
    DeviceRule(True, "c", 1, 7),  # full
    DeviceRule(True, "c", 1, 8),  # random
    DeviceRule(True, "c", 1, 9),  # urandom
    DeviceRule(True, "c", 5, 0),  # tty
    DeviceRule(True, "c", 5, 1),  # console
    DeviceRule(True, "c", 5, 2),  # ptmx
    DeviceRule(True, "c", 136, -1),  # pts
)
"""What an ordinary container may do with devices (Docker's default)."""

ALLOW_ALL_DEVICES: tuple[DeviceRule, ...] = (DeviceRule(True),)
"""--privileged."""


class DeviceKey(NamedTuple):
    type: str
    major: int
    minor: int


class DeviceTable(NamedTuple):
    """The state after all rules: `exceptions` are the accesses that differ from the default."""

    default_allow: bool
    exceptions: dict[DeviceKey, str]


def reduce_rules(rules: Iterable[DeviceRule]) -> DeviceTable:
    """Apply the rules in order to a fresh group, which allows everything."""
    allow = True
    table: dict[DeviceKey, set[str]] = {}
    for rule in rules:
        if rule.type == "a":
            allow, table = rule.allow, {}
            continue
        key = DeviceKey(rule.type, rule.major, rule.minor)
        if rule.allow != allow:
            table.setdefault(key, set()).update(rule.access)
        elif key in table:
            table[key] -= set(rule.access)
    return DeviceTable(allow, {key: "".join(a for a in "rwm" if a in access) for key, access in table.items() if access})


def v1_line(key: DeviceKey, access: str) -> str:
    """One line for devices.allow or devices.deny: `c 136:* rwm`."""
    major, minor = ("*" if number < 0 else str(number) for number in (key.major, key.minor))
    return f"{key.type} {major}:{minor} {access}"
