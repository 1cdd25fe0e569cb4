"""Directory trees by descriptor: removing, copying, comparing. No link is followed, whatever a container left behind (R1)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from wherry.graphdriver.spec import Change, Kind
from wherry.linux.path import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_OPEN = 64  # directories held open at once; deeper ones are moved up first
OVERLAY_XATTR = "trusted.overlay."
OPAQUE_XATTR = "trusted.overlay.opaque"


def open_dir(name: str | bytes, dir_fd: int | None = None) -> int:
    return os.open(name, _DIR, dir_fd=dir_fd)


def remove_tree(parent_fd: int, name: str) -> None:
    """Deletes `name` and all below it, however deep. Missing is fine. Only what no running container uses."""
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent_fd)
            return
        top = open_dir(name, parent_fd)
    except FileNotFoundError:
        return
    try:
        todo: list[str] = []
        _empty(top, top, 1, todo)
        while todo:
            moved = todo.pop()
            fd = open_dir(moved, top)
            try:
                _empty(fd, top, 2, todo)
            finally:
                os.close(fd)
            os.rmdir(moved, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent_fd)


def _empty(fd: int, top: int, depth: int, todo: list[str]) -> None:
    with os.scandir(fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_dir in found:
        if not is_dir:
            os.unlink(name, dir_fd=fd)
            continue
        if depth >= _MAX_OPEN:
            fresh = f".deep-{os.urandom(8).hex()}"
            os.rename(name, fresh, src_dir_fd=fd, dst_dir_fd=top)
            todo.append(fresh)
            continue
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            child = open_dir(name, fd)
            try:
                _empty(child, top, depth + 1, todo)
            finally:
                os.close(child)
            os.rmdir(name, dir_fd=fd)


def copy_xattrs(source_fd: int, target_fd: int) -> None:
    """All extended attributes but overlay's own; what the target filesystem cannot hold is an error, never dropped."""
    for key in os.listxattr(source_fd):
        if not key.startswith(OVERLAY_XATTR):
            os.setxattr(target_fd, key, os.getxattr(source_fd, key))


def copy_dir_attributes(source_fd: int, target_fd: int) -> None:
    """Owner, mode, extended attributes and times (last, because the others change them)."""
    have = os.fstat(source_fd)
    os.fchown(target_fd, have.st_uid, have.st_gid)
    os.fchmod(target_fd, stat.S_IMODE(have.st_mode))
    copy_xattrs(source_fd, target_fd)
    os.utime(target_fd, ns=(have.st_atime_ns, have.st_mtime_ns))


def copy_tree(source_fd: int, target_fd: int) -> None:
    """A full copy of everything in and of one directory: hard links stay links within the copy, devices, xattrs, owners and times stay."""
    links: dict[tuple[int, int], str] = {}
    directories = ["."]
    for at in iter_growing(directories):
        source, target = open_below(source_fd, at), open_below(target_fd, at)
        try:
            directories += _copy_names(source, target, target_fd, at, links)
        finally:
            os.close(source)
            os.close(target)
    for at in reversed(directories):  # last, because filling a directory changes its times
        source, target = open_below(source_fd, at), open_below(target_fd, at)
        try:
            copy_dir_attributes(source, target)
        finally:
            os.close(source)
            os.close(target)


def _copy_names(source: int, target: int, top: int, at: str, links: dict[tuple[int, int], str]) -> list[str]:
    """Copies what is in one directory; the subdirectories are made, and returned to be filled."""
    below: list[str] = []
    for name in os.listdir(source):
        have = os.stat(name, dir_fd=source, follow_symlinks=False)
        key = (have.st_dev, have.st_ino)
        if stat.S_ISDIR(have.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            below.append(f"{at}/{name}")
        elif key in links:
            os.link(links[key], name, src_dir_fd=top, dst_dir_fd=target, follow_symlinks=False)
        else:
            _copy_leaf(source, target, name, have)
            if have.st_nlink > 1:
                links[key] = f"{at}/{name}"
    return below


def _copy_leaf(source_fd: int, target_fd: int, name: str, have: os.stat_result) -> None:
    if stat.S_ISREG(have.st_mode):
        copy_file(source_fd, target_fd, name, have)
        return
    if stat.S_ISLNK(have.st_mode):
        os.symlink(os.readlink(name, dir_fd=source_fd), name, dir_fd=target_fd)
    elif not stat.S_ISSOCK(have.st_mode):  # a socket's file is of no use without its process
        os.mknod(name, have.st_mode, have.st_rdev, dir_fd=target_fd)
        os.chmod(name, stat.S_IMODE(have.st_mode), dir_fd=target_fd)
    else:
        return
    os.chown(name, have.st_uid, have.st_gid, dir_fd=target_fd, follow_symlinks=False)
    os.utime(name, ns=(have.st_atime_ns, have.st_mtime_ns), dir_fd=target_fd, follow_symlinks=False)


def copy_file(source_fd: int, target_fd: int, name: str, have: os.stat_result) -> None:
    """One regular file; copy_file_range(2) shares the blocks where the filesystem can (btrfs, xfs)."""
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source_fd)
    try:
        target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target_fd)
        try:
            while os.copy_file_range(source, target, 1 << 30):
                pass
            copy_dir_attributes(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def content_size(fd: int) -> int:
    """Bytes of the regular files below a directory, each hard-linked file once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for _, have in walk(fd):
        if stat.S_ISREG(have.st_mode) and (have.st_dev, have.st_ino) not in seen:
            seen.add((have.st_dev, have.st_ino))
            total += have.st_size
    return total


def walk(fd: int) -> Iterator[tuple[str, os.stat_result]]:
    """Every name below a directory as (path without leading slash, lstat), a directory before what is in it.

    Holds one descriptor whatever the depth; names that a running container removes meanwhile are left out."""
    directories = [""]
    for at in iter_growing(directories):
        try:
            here = open_below(fd, at or ".")
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            for name in os.listdir(here):
                try:
                    have = os.stat(name, dir_fd=here, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                path = f"{at}/{name}" if at else name
                if stat.S_ISDIR(have.st_mode):
                    directories.append(path)
                yield path, have
        finally:
            os.close(here)


def open_below(fd: int, path: str) -> int:
    """A directory below `fd`; a symlink anywhere on the way is an error."""
    return openat2(fd, path, _DIR, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)


def iter_growing(items: list[str]) -> Iterator[str]:
    """The items of a list that grows while it is read."""
    at = 0
    while at < len(items):
        yield items[at]
        at += 1


def is_whiteout(have: os.stat_result) -> bool:
    """Overlay's mark of a deleted name: a character device 0:0 (Documentation/filesystems/overlayfs.rst, "whiteouts")."""
    return stat.S_ISCHR(have.st_mode) and have.st_rdev == 0


def same_directory(a: os.stat_result, b: os.stat_result) -> bool:
    return (a.st_mode, a.st_uid, a.st_gid, a.st_mtime_ns) == (b.st_mode, b.st_uid, b.st_gid, b.st_mtime_ns)


def with_parents(changes: dict[str, Kind]) -> list[Change]:
    """Sorted changes, with every directory above one listed as modified, as Docker's `diff` does."""
    full = dict(changes)
    for path in changes:
        parent = path.rpartition("/")[0]
        while parent and parent not in full:
            full[parent] = Kind.MODIFIED
            parent = parent.rpartition("/")[0]
    return [Change("/" + path, full[path]) for path in sorted(full)]


def lstat_below(fd: int, path: str) -> os.stat_result | None:
    """lstat of a name below `fd`; None if it, or a directory on the way, is missing or no directory."""
    try:
        found = openat2(fd, path, os.O_PATH | os.O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # RESOLVE_NO_SYMLINKS refuses the last part too, unless O_NOFOLLOW|O_PATH names it
            return None
        raise
    try:
        return os.fstat(found)
    finally:
        os.close(found)


def readlink_below(fd: int, path: str) -> str:
    """Target of the symlink `path` below `fd`."""
    directory, _, name = path.rpartition("/")
    parent = open_below(fd, directory or ".")
    try:
        return os.readlink(name, dir_fd=parent)
    finally:
        os.close(parent)
