"""--ulimit: names and numbers of setrlimit(2)."""

from __future__ import annotations

from wherry.model.command import Rlimit
from wherry.model.errors import InvalidArgument

#: RLIMIT_* of include/uapi/asm-generic/resource.h.
NUMBERS = {
    "cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7, "memlock": 8, "as": 9, "locks": 10,
    "sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15,
}


def rlimit(name: str, soft: int, hard: int, *, asked: bool) -> Rlimit:
    """One limit; -1 is unlimited. InvalidArgument for an unknown name or soft over hard."""
    if name not in NUMBERS:
        raise InvalidArgument(f"invalid ulimit type: {name}")
    if hard != -1 and (soft == -1 or soft > hard):
        raise InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Rlimit(NUMBERS[name], name, soft, hard, asked)
