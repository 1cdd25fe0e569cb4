"""Unpacks one layer tar into one directory, in a process of its own whose root is that directory (R8).

Started by `worker.py`. Before the first byte of the tar is looked at, the process has left the host's mount namespace: the target is the only
mount it can see, and is its root. Inside, every entry is placed by descriptor: its directories are entered one O_NOFOLLOW step at
a time, nothing is written through a link, hard links reach only what this layer brought (R1).

Rules of layers: OCI Image Specification 1.1, layer.md ("Whiteouts", "Applying Changesets").
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from typing import Literal

from wherry.graphdriver import tree
from wherry.image.tarread import TarEntry, TarError, TarReader

WHITEOUT = ".wh."
WHITEOUT_META = ".wh..wh."
OPAQUE = ".wh..wh..opq"
MAX_ID = 2**32 - 2
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CACHED = 64  # directory descriptors kept open
_MAX_REPLACED = 10_000  # each costs a pass over all names
_TYPES = {"3": stat.S_IFCHR, "4": stat.S_IFBLK, "6": stat.S_IFIFO}


class Skeleton:
    """Records what `rebuild.py` needs to write the same tar again: raw bytes, and where the contents of files are."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._pending = bytearray()

    def raw(self, data: bytes) -> None:
        self._pending += data
        if len(self._pending) >= 1 << 20:
            self._flush()

    def content(self, path: str, size: int) -> None:
        self._flush()
        name = os.fsencode(path)
        self._write(struct.pack("<cHQ", b"F", len(name), size) + name)

    def close(self) -> None:
        self._flush()
        self._write(b"E")

    def _flush(self) -> None:
        if self._pending:
            self._write(struct.pack("<cI", b"R", len(self._pending)) + bytes(self._pending))
            self._pending.clear()


class Unpacker:
    """Applies entries to the directory `root`. `whole` becomes true when an entry undid an earlier one, so that a skeleton is not enough."""

    def __init__(self, root: int, below: int | None, whiteouts: Literal["kept", "applied"], skeleton: Skeleton) -> None:
        """`below` is the merged view of the layers below, needed where whiteouts are kept; None: there are none."""
        self._root = root
        self._below = below
        self._kept = whiteouts == "kept"
        self._skeleton = skeleton
        self._seen: set[str] = set()  # what this layer brought
        self._above: set[str] = set()  # directories with something of this layer below
        self._replaced = 0
        self._marks: set[str] = set()  # whiteouts of this layer
        self._opaque: set[str] = set()  # directories that hide all below them
        self._times: dict[str, int] = {}
        self._dirs: dict[str, int] = {}
        self.whole = False
        self.size = 0

    def apply(self, reader: TarReader, entry: TarEntry) -> None:
        parts = safe_parts(entry.name)
        if not parts:
            if entry.kind != "5":
                raise TarError(f"{entry.name!r}: the root must be a directory")
            self._attributes(self._root, entry)
            self._times[""] = entry.mtime_ns
            return
        path = "/".join(parts)
        if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
            raise TarError(f"{path}: owner {entry.uid}:{entry.gid} is out of range")
        base = parts[-1]
        if base.startswith(WHITEOUT) or (entry.kind == "3" and entry.major == entry.minor == 0):
            for data in reader.content():  # by the specification there is none
                self._skeleton.raw(data)
            self._whiteout(parts, base)
            return
        self._make_room(parts, path, entry.kind)
        self._place(reader, entry, self._directory(parts[:-1], path), path, base)
        self._own(path)

    def finish(self) -> None:
        """Directory times last, because filling a directory changes them."""
        for path in reversed(self._times):
            fd = tree.open_below(self._root, path or ".")
            try:
                os.utime(fd, ns=(self._times[path], self._times[path]))
            finally:
                os.close(fd)
        self._forget()

    def _place(self, reader: TarReader, entry: TarEntry, parent: int, path: str, base: str) -> None:
        if entry.kind == "0":
            self._file(reader, entry, parent, path, base)
            return
        if entry.kind == "5":
            fd = tree.open_dir(base, parent)
            try:
                self._attributes(fd, entry)
            finally:
                os.close(fd)
            self._times.pop(path, None)
            self._times[path] = entry.mtime_ns
            return
        if entry.kind == "1":
            self._hard_link(entry, path, base)
            return
        if entry.kind == "2":
            if not entry.link:
                raise TarError(f"{path}: a symbolic link without a target")
            os.symlink(entry.link, base, dir_fd=parent)
        else:
            if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
                raise TarError(f"{path}: device number {entry.major}:{entry.minor} is out of range")
            os.mknod(base, _TYPES[entry.kind] | 0o600, os.makedev(entry.major, entry.minor), dir_fd=parent)
        os.chown(base, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind != "2":
            os.chmod(base, entry.mode, dir_fd=parent)
        os.utime(base, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _file(self, reader: TarReader, entry: TarEntry, parent: int, path: str, base: str) -> None:
        fd = os.open(base, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            if entry.size:
                self._skeleton.content(path, entry.size)
                for data in reader.content():
                    view = memoryview(data)
                    while view:
                        view = view[os.write(fd, view) :]
            self._attributes(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)
        self.size += entry.size

    def _hard_link(self, entry: TarEntry, path: str, base: str) -> None:
        parts = safe_parts(entry.link)
        target = "/".join(parts)
        if target not in self._seen or target == path:
            raise TarError(f"{path}: hard link to {entry.link!r}, which this layer did not bring")
        source = os.dup(self._directory(parts[:-1], path))  # the next line may close the cached one
        parent = self._directory(path.split("/")[:-1], path)
        try:
            os.link(parts[-1], base, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except PermissionError:
            raise TarError(f"{path}: hard link to {entry.link!r}, which is a directory") from None
        finally:
            os.close(source)

    def _attributes(self, fd: int, entry: TarEntry) -> None:
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)  # after chown, which clears setuid and setgid; chown(2)
        for key, value in entry.xattrs.items():
            if key == "security.capability" or (key.startswith("user.") and not key.startswith("user.overlay.")):
                os.setxattr(fd, key, value)

    def _make_room(self, parts: list[str], path: str, kind: str) -> None:
        """Takes away what is in the place of an entry; a directory over a directory stays, and a missing one is made."""
        parent, base = self._directory(parts[:-1], path), parts[-1]
        try:
            have = os.stat(base, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            if kind == "5":
                os.mkdir(base, 0o700, dir_fd=parent)
            return
        if kind == "5" and stat.S_ISDIR(have.st_mode):
            if path not in self._seen:
                self._drop_xattrs(parent, base)
            return
        self._remove(parent, path, base, stat.S_ISDIR(have.st_mode))
        if kind == "5":
            self._mkdir_over(self._directory(parts[:-1], path), path, base)

    def _mkdir_over(self, parent: int, path: str, base: str) -> None:
        os.mkdir(base, 0o755, dir_fd=parent)
        self._marks.discard(path)
        if self._kept and self._hides(path):  # something else was in its place first: nothing of the lower one may show through
            self._set_opaque(parent, path, base)

    def _hides(self, path: str) -> bool:
        """Whether the layers below show anything at this path. A mark that hides nothing must not be made: in a directory that is in one
        layer only, overlayfs lists it."""
        if self._below is None or tree.lstat_below(self._below, path) is None:
            return False
        above = path.rpartition("/")[0]
        while above:
            if above in self._opaque:
                return False
            above = above.rpartition("/")[0]
        return True

    def _set_opaque(self, parent: int, path: str, base: str) -> None:
        if not self._hides(path):
            return
        self._opaque.add(path)
        if useless := [mark for mark in self._marks if mark.startswith(path + "/")]:
            self._count_pass(path)
            for mark in useless:
                top, _, name = mark.rpartition("/")
                os.unlink(name, dir_fd=self._directory(top.split("/"), mark))
            self._marks.difference_update(useless)
            parent = self._again(path)
        fd = tree.open_dir(base, parent)
        try:
            os.setxattr(fd, tree.OPAQUE_XATTR, b"y")
        finally:
            os.close(fd)

    def _drop_xattrs(self, parent: int, base: str) -> None:
        """A directory that the parent layer brought (vfs) takes the new entry's attributes only."""
        fd = tree.open_dir(base, parent)
        try:
            for key in os.listxattr(fd):
                if key.startswith("user.") or key == "security.capability":
                    os.removexattr(fd, key)
        finally:
            os.close(fd)

    def _remove(self, parent: int, path: str, base: str, directory: bool) -> None:
        if self._holds_own(path):
            self.whole = True
        if not directory:
            os.unlink(base, dir_fd=parent)
            self._seen.discard(path)
            return
        self._count_pass(path)
        self._forget()
        tree.remove_tree(parent if path.count("/") == 0 else self._again(path), base)
        below = path + "/"
        self._seen = {one for one in self._seen if one != path and not one.startswith(below)}
        self._above = {one for one in self._above if one != path and not one.startswith(below)}
        self._marks = {one for one in self._marks if not one.startswith(below)}
        self._opaque = {one for one in self._opaque if one != path and not one.startswith(below)}
        self._times = {one: at for one, at in self._times.items() if one != path and not one.startswith(below)}

    def _count_pass(self, path: str) -> None:
        self._replaced += 1
        if self._replaced > _MAX_REPLACED:
            raise TarError(f"{path}: the layer takes away more than {_MAX_REPLACED} of the directories it works on")

    def _again(self, path: str) -> int:
        return self._directory(path.split("/")[:-1], path)

    def _directory(self, parts: list[str], path: str, *, own: bool = True) -> int:
        """Descriptor of a directory of the layer. Missing ones are made as they are below, or else with 0755 and for root; they count as
        brought by this layer where `own`."""
        if not parts:
            return self._root
        key = "/".join(parts)
        if (known := self._dirs.get(key)) is not None:
            return known
        parent = self._directory(parts[:-1], path, own=own)
        base = parts[-1]
        try:
            fd = tree.open_dir(base, parent)
        except FileNotFoundError:
            os.mkdir(base, 0o755, dir_fd=parent)
            if own:
                self._own(key)
            fd = tree.open_dir(base, parent)
            self._inherit(key, fd)
        except OSError:  # a link, or no directory
            if key in self._seen:
                raise TarError(f"{path}: {key} is not a directory; entries through links are refused") from None
            os.unlink(base, dir_fd=parent)
            self._mkdir_over(parent, key, base)
            self._own(key)
            fd = tree.open_dir(base, parent)
        if len(self._dirs) >= _CACHED + len(parts):
            self._forget(keep=parts)
        self._dirs[key] = fd
        return fd

    def _forget(self, keep: list[str] | None = None) -> None:
        """Closes the cached directories, except those on the way that is being walked."""
        kept = {"/".join(keep[:at]) for at in range(1, len(keep))} if keep else set()
        for key in [key for key in self._dirs if key not in kept]:
            os.close(self._dirs.pop(key))

    def _whiteout(self, parts: list[str], base: str) -> None:
        if base == OPAQUE:
            self._opaque_directory(parts[:-1])
            return
        if base.startswith(WHITEOUT_META):
            return  # private names of aufs
        name = base.removeprefix(WHITEOUT)
        if name in ("", ".", ".."):
            raise TarError(f"{'/'.join(parts)}: a whiteout of {name!r}")
        path = "/".join([*parts[:-1], name])
        self._refuse_links(parts[:-1], path)
        have = tree.lstat_below(self._root, path)
        if have is None and not (self._kept and self._hides(path)):
            return  # there is nothing to hide
        parent = self._directory(parts[:-1], path, own=False)
        directory = have is not None and stat.S_ISDIR(have.st_mode)
        if not self._kept:
            self._apply_whiteout(parent, path, name, directory)
        elif directory and self._holds_own(path):
            self._set_opaque(parent, path, name)  # a whiteout is about the layers below, not about this layer's own entry
        elif not self._holds_own(path) and path not in self._marks:
            if have is not None:
                self._remove(parent, path, name, directory)  # a directory that only held whiteouts
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=self._directory(parts[:-1], path, own=False))
            self._marks.add(path)

    def _refuse_links(self, parts: list[str], path: str) -> None:
        for at in range(1, len(parts) + 1):
            key = "/".join(parts[:at])
            if key in self._seen and ((have := tree.lstat_below(self._root, key)) is None or not stat.S_ISDIR(have.st_mode)):
                raise TarError(f"{path}: {key} is not a directory; entries through links are refused")

    def _inherit(self, path: str, fd: int) -> None:
        """A directory that the layer did not describe looks as it does below."""
        if self._below is None or not self._hides(path):
            return
        have = tree.lstat_below(self._below, path)
        if have is None or not stat.S_ISDIR(have.st_mode):
            return
        source = tree.open_below(self._below, path)
        try:
            tree.copy_dir_attributes(source, fd)
        finally:
            os.close(source)

    def _apply_whiteout(self, parent: int, path: str, name: str, directory: bool) -> None:
        if directory and self._holds_own(path):
            self._clear_foreign(path)
        elif path not in self._seen:
            self._remove(parent, path, name, directory)

    def _opaque_directory(self, parts: list[str]) -> None:
        if not parts:
            raise TarError(f"{OPAQUE} in the root of a layer")
        path = "/".join(parts)
        self._directory(parts, path)
        self._own(path)
        if self._kept:
            self._set_opaque(self._again(path), path, parts[-1])
        else:
            self._clear_foreign(path)

    def _holds_own(self, path: str) -> bool:
        return path in self._seen or path in self._above

    def _own(self, path: str) -> None:
        """Notes that this layer brought `path`, and so holds something below each directory above it."""
        self._seen.add(path)
        above = path.rpartition("/")[0]
        while above and above not in self._above:
            self._above.add(above)
            above = above.rpartition("/")[0]

    def _clear_foreign(self, path: str) -> None:
        """Removes from a directory all that the layers below brought (vfs only)."""
        fd = tree.open_below(self._root, path)
        try:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in os.scandir(fd)]
            for name, directory in names:
                below = f"{path}/{name}"
                if directory and self._holds_own(below):
                    self._clear_foreign(below)
                elif below not in self._seen:
                    self._remove(fd if not directory else self._directory(path.split("/"), path), below, name, directory)
        finally:
            os.close(fd)


def safe_parts(name: str) -> list[str]:
    """Components of a member's name, confined: leading slashes are dropped, `..` is refused."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise TarError(f"{name!r}: the name leaves the layer")
    if any(len(part) > 255 * 4 for part in parts):
        raise TarError(f"{name[:64]!r}...: a component of the name is too long")
    return parts
