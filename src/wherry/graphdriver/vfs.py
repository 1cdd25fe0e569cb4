"""The vfs driver: every layer is a full copy of its parent. Slow and large, but it works on any filesystem.

Layout: `vfs/{layer}/{diff,lower}`. copy_file_range(2) shares blocks where the filesystem can.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from wherry.graphdriver import tree
from wherry.graphdriver.layout import LayoutDriver
from wherry.graphdriver.overlay import open_bind
from wherry.graphdriver.spec import Change, Kind, MountSpec


class Vfs(LayoutDriver):
    """See `spec.Driver`."""

    name = "vfs"
    whiteouts: Literal["kept", "applied"] = "applied"

    def __init__(self, root: Path) -> None:
        super().__init__(root / "vfs")

    def create(self, layer_id: str, parent: str | None) -> None:
        def fill(fd: int) -> None:
            os.mkdir("diff", 0o755, dir_fd=fd)
            if parent is None:
                return
            source = tree.open_dir(f"{parent}/diff", self._layout.fd)
            try:
                target = tree.open_dir("diff", fd)
                try:
                    tree.copy_tree(source, target)
                finally:
                    os.close(target)
            finally:
                os.close(source)

        self._layout.create(layer_id, parent, fill)

    def mount_spec(self, layer_id: str, *, readonly: bool = False) -> MountSpec:
        return MountSpec("bind", (self.diff_dir(layer_id),), readonly=readonly)

    def open_mount(self, layer_id: str, *, readonly: bool = False, volatile: bool = False) -> int:
        return open_bind(self.mount_spec(layer_id, readonly=readonly))

    def changes(self, layer_id: str) -> list[Change]:
        return tree.with_parents(self._differences(layer_id))

    def _differences(self, layer_id: str) -> dict[str, Kind]:
        parent = self._layout.parent(layer_id)
        with ExitStack() as stack:
            mine = tree.open_dir(f"{layer_id}/diff", self._layout.fd)
            stack.callback(os.close, mine)
            if parent is None:
                return {path: Kind.ADDED for path, _ in tree.walk(mine)}
            theirs = tree.open_dir(f"{parent}/diff", self._layout.fd)
            stack.callback(os.close, theirs)
            return _compare(mine, theirs)

    def size(self, layer_id: str) -> int:
        with ExitStack() as stack:
            mine = tree.open_dir(os.fspath(self.diff_dir(layer_id)))
            stack.callback(os.close, mine)
            total = 0
            for path, kind in self._differences(layer_id).items():
                have = tree.lstat_below(mine, path) if kind is not Kind.DELETED else None
                if have is not None and stat.S_ISREG(have.st_mode):
                    total += have.st_size
            return total

    def status(self) -> list[tuple[str, str]]:
        fs = os.statvfs(self._layout.root)
        return [("Free Bytes", str(fs.f_bavail * fs.f_frsize))]


def _compare(mine: int, theirs: int) -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    old = dict(tree.walk(theirs))
    for path, have in tree.walk(mine):
        below = old.pop(path, None)
        if below is None:
            found[path] = Kind.ADDED
        elif not _same(have, below, mine, theirs, path):
            found[path] = Kind.MODIFIED
    for path in old:
        if (top := path.rpartition("/")[0]) not in old or not top:
            found[path] = Kind.DELETED
    return found


def _same(a: os.stat_result, b: os.stat_result, mine: int, theirs: int, path: str) -> bool:
    """Equal by type, mode, owner, time, size and device; links by their target."""
    if not tree.same_directory(a, b):
        return False
    if stat.S_ISREG(a.st_mode):
        return a.st_size == b.st_size
    if stat.S_ISLNK(a.st_mode):
        return tree.readlink_below(mine, path) == tree.readlink_below(theirs, path)
    return a.st_rdev == b.st_rdev
