"""Files that are wholly there or not at all: temporary name, fsync, rename (rename(2), fsync(2))."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path | str, data: bytes, mode: int = 0o600, *, sync: bool = True) -> None:
    """Writes `data` to `path` atomically. Without `sync` it survives kill -9 of any process, but not a loss of power."""
    path = str(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)
    except OSError as error:
        os.unlink(temporary)
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)
    os.rename(temporary, path)
    if sync:
        sync_dir(os.path.dirname(path) or ".")


def sync_dir(path: Path | str) -> None:
    """Makes the names in a directory durable; fsync(2)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path | str) -> None:
    """Makes a file's content, or a directory's names, durable; one that is gone by now is fine. fsync(2)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
