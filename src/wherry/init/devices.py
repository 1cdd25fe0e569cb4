"""/dev of the container: a fresh tmpfs, nodes and links made by descriptor (R3). No node found in an image is ever trusted."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from wherry.init.defaults import DEFAULT_DEVICES, DEV_LINKS
from wherry.linux.path import make_dirs_in_root
from wherry.model.command import Device

_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def populate(dev: int) -> None:
    """The standard nodes and links on the fresh tmpfs `dev`."""
    for device in DEFAULT_DEVICES:
        make_node(dev, device.path.rpartition("/")[2], device)
    for name, target in DEV_LINKS:
        os.symlink(target, name, dir_fd=dev)


def make_node(parent: int, name: str, device: Device) -> None:
    """One node in the directory `parent`, mknod(2), then looked at again: it is what was asked for, or an error says what lies there."""
    kind, number = _TYPES[device.type], os.makedev(device.major, device.minor)
    try:
        os.mknod(name, kind | device.mode, number, dir_fd=parent)
        fresh = True
    except FileExistsError:
        fresh = False
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_IFMT(found.st_mode) != kind or (kind != stat.S_IFIFO and found.st_rdev != number):
        raise FileExistsError(errno.EEXIST, "something else lies where the device node should be", device.path)
    if fresh and (device.uid or device.gid):
        os.chown(name, device.uid, device.gid, dir_fd=parent, follow_symlinks=False)


def add_devices(root: int, devices: Sequence[Device]) -> None:
    """The nodes of `--device`, wherever they are asked for inside the root."""
    for device in devices:
        parent_path, _, name = device.path.rpartition("/")
        parent = make_dirs_in_root(root, parent_path or "/")
        try:
            make_node(parent, name, device)
        finally:
            os.close(parent)
