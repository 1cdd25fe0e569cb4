"""One daemon per roots: locks held for the daemon's life, and the pid file that people know."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wherry.model.errors import Conflict


@contextmanager
def alone(data_root: Path, exec_root: Path, pidfile: Path) -> Iterator[None]:
    """Holds both roots (flock(2): gone with the process, also by kill -9). Conflict where another daemon has one of them."""
    fds = []
    try:
        for root, mode in ((data_root, 0o711), (exec_root, 0o700)):
            root.mkdir(mode=mode, parents=True, exist_ok=True)
            fd = os.open(root / "wherryd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fds.append(fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"another wherryd uses {root}: stop it, or give this one roots of its own (--data-root, --exec-root)") from None
        pidfile.write_text(f"{os.getpid()}\n")
        try:
            yield
        finally:
            pidfile.unlink(missing_ok=True)
    finally:
        for fd in fds:
            os.close(fd)
