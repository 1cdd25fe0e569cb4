# ruff: noqa
import os
import stat
from typing import Any


def plan(d: Any, i: str, c: Any, h: Any) -> list[Any]: return []
def open_sources(d: Any, c: Any, s: Any) -> list[Any]: return []
def is_device(p: str) -> bool:
    m = os.lstat(p).st_mode
    return stat.S_ISCHR(m) or stat.S_ISBLK(m)
