"""Masked and read-only paths: what of /proc and /sys a container must not see, or not change.

A mask is a detached mount made by us, of the host's own /dev/null or of an empty tmpfs; nothing inside the root is used as one (R3).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from wherry.linux.mount import MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, mount_setattr, move_mount, new_mount, open_tree
from wherry.linux.path import O_PATH, open_in_root

_EMPTY: dict[str, str | None] = {"size": "4k", "nr_inodes": "1", "mode": "755"}
_NULL = os.makedev(1, 3)
_NULL_FLAGS = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC


def open_null() -> int:
    """The host's /dev/null, looked at: a character device 1:3. Call it before the container's root is entered."""
    fd = os.open("/dev/null", O_PATH | os.O_NOFOLLOW)
    found = os.fstat(fd)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != _NULL:
        os.close(fd)
        raise OSError(errno.EINVAL, "is not the null device", "/dev/null")
    return fd


def mask(root: int, paths: Sequence[str], null: int) -> None:
    """Cover each path that exists: a directory with an empty read-only tmpfs, anything else with the null device."""
    covers: dict[bool, int] = {}  # by whether it is for a directory: the first cover, of which the others are clones
    try:
        for path in paths:
            try:
                target = open_in_root(root, path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                is_dir = stat.S_ISDIR(os.fstat(target).st_mode)
                first = covers.get(is_dir)
                cover = open_tree("", first) if first is not None else _first_cover(is_dir, null)
                move_mount(cover, target)
                if first is None:
                    covers[is_dir] = cover
                else:
                    os.close(cover)
            finally:
                os.close(target)
    finally:
        for cover in covers.values():
            os.close(cover)


def _first_cover(is_dir: bool, null: int) -> int:
    if is_dir:
        return new_mount("tmpfs", _EMPTY, MOUNT_ATTR_RDONLY)
    # Read-only, for it is the host's node: its mode and owner must not be changed through the mask. Writing to it still works.
    cover = open_tree("", null)
    mount_setattr(cover, set_=_NULL_FLAGS)
    return cover


def make_readonly(root: int, paths: Sequence[str]) -> None:
    """Make each path that exists read-only, with everything mounted below it, by a read-only clone of itself."""
    for path in paths:
        try:
            target = open_in_root(root, path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            clone = open_tree("", target, recursive=True)
            try:
                mount_setattr(clone, set_=MOUNT_ATTR_RDONLY, recursive=True)
                move_mount(clone, target)
            finally:
                os.close(clone)
        finally:
            os.close(target)
