"""The container's terminal: master from its own devpts, slave by TIOCGPTPEER, never by a path (R3)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from wherry.init.syncpipe import SyncPipe
from wherry.linux.mount import DEVPTS_SUPER_MAGIC, fs_magic, move_mount, open_tree
from wherry.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, make_file_in_root, openat2
from wherry.linux.tty import make_controlling, peer, set_window_size

_PTMX = os.makedev(5, 2)


def open_terminal(root: int, pipe: SyncPipe, size: Sequence[int]) -> int:
    """A new terminal on the devpts at /dev/pts of the root: the master goes to the monitor, the slave is returned.

    ENODEV where /dev/pts/ptmx is not the multiplexer of a devpts."""
    master = openat2(root, "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
    try:
        found = os.fstat(master)
        if fs_magic(master) != DEVPTS_SUPER_MAGIC or not stat.S_ISCHR(found.st_mode) or found.st_rdev != _PTMX:
            raise OSError(errno.ENODEV, "is not the multiplexer of a devpts", "/dev/pts/ptmx")
        slave = peer(master)
        rows, columns = size or (0, 0)
        if rows or columns:
            set_window_size(master, rows, columns)
        pipe.send_console(master)
        return slave
    finally:
        os.close(master)


def bind_console(root: int, slave: int) -> None:
    """Mounts the slave on /dev/console."""
    target = make_file_in_root(root, "dev/console", 0o600)
    try:
        clone = open_tree("", slave)
        try:
            move_mount(clone, target)
        finally:
            os.close(clone)
    finally:
        os.close(target)


def start_session(slave: int = -1) -> None:
    """A new session; with a terminal, it becomes the controlling one and stdin, stdout and stderr."""
    try:
        os.setsid()
    except PermissionError:
        # Already the leader of its session.
        pass
    if slave >= 0:
        make_controlling(slave)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        if slave > 2:
            os.close(slave)
