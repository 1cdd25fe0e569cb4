"""--ulimit: names and numbers of setrlimit(2)."""

from __future__ import annotations

import resource

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


class _Own:
    """What wherryd itself was started with, before it raised it."""

    inherited: tuple[int, int] | None = None


def raise_own() -> None:
    """A daemon, its launcher and its monitors hold descriptors for every container: as many as the hard limit allows (getrlimit(2)).
    Containers keep to the soft limit that wherryd was started with."""
    soft, hard = _Own.inherited = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def inherited() -> list[Rlimit]:
    """The limit of descriptors that a container has where nobody says another."""
    return [] if _Own.inherited is None else [Rlimit(NUMBERS["nofile"], "nofile", *_Own.inherited, False)]
