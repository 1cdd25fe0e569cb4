"""Capabilities: names and bits, the kernel's sets of a thread, and Docker's rules for `--cap-add` and `--cap-drop`.

capabilities(7), capget(2), prctl(2). Sets are ints here: bit N is the capability of number N.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from wherry.linux.libc import check, pylibc
from wherry.linux.process import PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, PR_CAPBSET_DROP, prctl
from wherry.model.errors import InvalidArgument

# In the order of include/uapi/linux/capability.h: the index is the number.
NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
    "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
    "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
BITS = {name: 1 << number for number, name in enumerate(NAMES)}
ALL = (1 << len(NAMES)) - 1


def mask(names: Iterable[str]) -> int:
    """The set of these capabilities, named without `CAP_`."""
    return sum(BITS[name] for name in set(names))


def names(capabilities: int) -> list[str]:
    """The names in a set, with `CAP_`, in order of their numbers (profiles and OCI documents spell them so)."""
    return [f"CAP_{name}" for name, bit in BITS.items() if capabilities & bit]


# What Docker gives a container that asks for nothing.
DEFAULT_CAPABILITIES = mask(
    ("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP", "NET_BIND_SERVICE",
     "SYS_CHROOT", "KILL", "AUDIT_WRITE")
)  # fmt: skip


def parse(name: str) -> int:
    """One capability (or `ALL`) by the name a user may give: any case, `CAP_` optional. InvalidArgument when unknown."""
    short = name.strip().upper().removeprefix("CAP_")
    if short == "ALL":
        return ALL
    if short not in BITS:
        raise InvalidArgument(f'unknown capability: "{name}"')
    return BITS[short]


def resolve(add: Iterable[str] = (), drop: Iterable[str] = (), privileged: bool = False) -> int:
    """The bounding set of a container, by Docker's rules.

    Privileged means everything. Else drops are taken from the default set (`--cap-drop ALL` empties it, and only what is added by name
    remains), adds are put in after the drops, and with `--cap-add ALL` it is everything less the drops named.
    A name in both lists is dropped with `--cap-add ALL` only; otherwise the add wins.
    """
    adds, drops = [parse(name) for name in add], [parse(name) for name in drop]
    if privileged:
        return ALL
    named = 0
    for capabilities in drops:
        named |= capabilities if capabilities != ALL else 0
    if ALL in adds:
        return ALL & ~named
    result = 0 if ALL in drops else DEFAULT_CAPABILITIES & ~named
    for capabilities in adds:
        result |= capabilities
    return result


PR_CAPBSET_READ, PR_CAP_AMBIENT_RAISE = 23, 2
_VERSION_3 = 0x20080522

def _supported() -> int:
    for number in range(len(NAMES)):
        try:
            prctl(PR_CAPBSET_READ, number)
        except OSError:
            return (1 << number) - 1
    return ALL


SUPPORTED = _supported()  # what this kernel knows at all; asked once, since a fresh clone pays for every page that it touches


def bounding() -> int:
    """The bounding set of the calling thread. It is what the host itself can give: a container's set is cut to it."""
    found = 0
    for number in range(len(NAMES)):
        if SUPPORTED & 1 << number and prctl(PR_CAPBSET_READ, number):
            found |= 1 << number
    return found


def drop_bounding(keep: int) -> None:
    """Take everything but `keep` out of the bounding set, for good. Needs CAP_SETPCAP."""
    for number in range(len(NAMES)):
        bit = 1 << number
        if SUPPORTED & bit and not keep & bit:
            prctl(PR_CAPBSET_DROP, number)


def clear_ambient() -> None:
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def raise_ambient(capabilities: int) -> None:
    """Put these into the ambient set; each must be permitted and inheritable already."""
    for number in range(len(NAMES)):
        if capabilities & 1 << number:
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


_HEADER = ctypes.c_uint32 * 2
_DATA = ctypes.c_uint32 * 6


def get() -> tuple[int, int, int]:
    """(effective, permitted, inheritable) of the calling thread."""
    data = _DATA()
    check(pylibc.capget(_HEADER(_VERSION_3, 0), data), "capget")
    low, high = data[:3], data[3:]
    effective, permitted, inheritable = (a | b << 32 for a, b in zip(low, high, strict=True))
    return effective, permitted, inheritable


def set_all(effective: int, permitted: int, inheritable: int) -> None:
    """Set all three sets of the calling thread at once."""
    sets = (effective, permitted, inheritable)
    data = _DATA(*(one & 0xFFFFFFFF for one in sets), *(one >> 32 for one in sets))
    check(pylibc.capset(_HEADER(_VERSION_3, 0), data), "capset")
