"""Making what was written durable."""

from __future__ import annotations

from wherry.linux.libc import check, libc


def syncfs(fd: int) -> None:
    """Writes everything of the filesystem of `fd` to the disk; syncfs(2). Raises OSError where a write failed since the last call."""
    check(libc.syncfs(fd), "syncfs", f"fd {fd}")
