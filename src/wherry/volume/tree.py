"""Copying and removing trees by descriptor (R1): no path below the given directories is ever resolved as a string, no link is followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from wherry.linux.path import O_PATH, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

MAX_COPY_DEPTH = 200  # three descriptors a level
MAX_REMOVE_DEPTH = 60
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_XATTRS = ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
_NO_COPY_FILE_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)

Links = dict[tuple[int, int], str]


def copy_tree(source: int, target: int) -> None:
    """Copies all below the directory `source` (descriptor, readable) to the empty directory `target`, then source's own owner, mode and times.

    Kept: files (holes too), directories, symlinks as they are, hard links, FIFOs; owner, mode, times, and the extended attributes
    `user.*`, `security.capability` and POSIX ACLs where the target's file system has them. Left out: device nodes and sockets.
    Memory does not grow with the tree, only with the number of files that have several names. OSError ELOOP: nested too deeply."""
    _copy_children(source, target, target, "", {}, 0)
    copy_metadata(source, target)


def _copy_children(source: int, target: int, top: int, path: str, links: Links, depth: int) -> None:
    if depth > MAX_COPY_DEPTH:
        raise OSError(errno.ELOOP, f"directories nest deeper than {MAX_COPY_DEPTH}", path)
    with os.scandir(source) as entries:
        for entry in entries:
            _copy_entry(source, target, top, f"{path}/{entry.name}".lstrip("/"), links, depth)


def _copy_entry(source: int, target: int, top: int, path: str, links: Links, depth: int) -> None:
    name = path.rpartition("/")[2]
    info = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISDIR(info.st_mode):
        os.mkdir(name, 0o700, dir_fd=target)
        with _directory(source, name) as inner, _directory(target, name) as made:
            _copy_children(inner, made, top, path, links, depth + 1)
            copy_metadata(inner, made)
        return
    if info.st_nlink > 1:
        first = links.setdefault((info.st_dev, info.st_ino), path)
        if first != path:
            _link(top, first, target, name)
            return
    if stat.S_ISREG(info.st_mode):
        _copy_file(source, target, name)
    elif stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        _own_by_name(target, name, info)
    elif stat.S_ISFIFO(info.st_mode):
        os.mkfifo(name, 0o600, dir_fd=target)
        _own_by_name(target, name, info)
        fd = openat2(target, name, O_PATH | os.O_NOFOLLOW, RESOLVE_BENEATH)
        try:
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(info.st_mode))
        finally:
            os.close(fd)
    elif info.st_nlink > 1:
        del links[info.st_dev, info.st_ino]  # a device or socket, which is not copied: its other names are not either


@contextmanager
def _directory(parent: int, name: str) -> Iterator[int]:
    fd = os.open(name, _DIR, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


def _copy_file(source: int, target: int, name: str) -> None:
    # NONBLOCK: should the name have become a FIFO since the look at it, the open returns and the check below refuses it.
    inner = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        if not stat.S_ISREG(os.fstat(inner).st_mode):
            raise OSError(errno.EAGAIN, "changed while it was copied", name)
        made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            _copy_data(inner, made)
            copy_metadata(inner, made)
        finally:
            os.close(made)
    finally:
        os.close(inner)


def _copy_data(source: int, target: int) -> None:
    """The bytes of a file, holes left out (lseek(2), SEEK_DATA)."""
    size, at = os.fstat(source).st_size, 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break  # only a hole is left
            raise
        end = os.lseek(source, at, os.SEEK_HOLE)
        while at < end:
            copied = _copy_range(source, target, at, min(end - at, 1 << 30))
            if not copied:
                return
            at += copied
    os.ftruncate(target, size)


def _copy_range(source: int, target: int, at: int, count: int) -> int:
    try:
        return os.copy_file_range(source, target, count, at, at)
    except OSError as error:
        if error.errno not in _NO_COPY_FILE_RANGE:
            raise
    return os.pwrite(target, os.pread(source, min(count, 1 << 20), at), at)


def copy_metadata(source: int, target: int, info: os.stat_result | None = None) -> None:
    """Owner before mode and capability, which a change of owner clears; times last. `info`: the source's, where it has changed since."""
    info = info or os.fstat(source)
    os.fchown(target, info.st_uid, info.st_gid)
    os.fchmod(target, stat.S_IMODE(info.st_mode))
    copy_xattrs(source, target)
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


def copy_xattrs(source: int, target: int) -> None:
    """The allowed extended attributes; those that the target's file system has no place for are left out."""
    try:
        names = os.listxattr(source)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    for name in names:
        if name.startswith("user.") or name in _XATTRS:
            try:
                os.setxattr(target, name, os.getxattr(source, name))
            except OSError as error:
                if error.errno != errno.ENOTSUP:
                    raise


def _own_by_name(target: int, name: str, info: os.stat_result) -> None:
    os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
    os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _link(top: int, first: str, target: int, name: str) -> None:
    fd = openat2(top, first, O_PATH | os.O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    try:
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=target, follow_symlinks=True)
    finally:
        os.close(fd)


def is_empty(directory: int) -> bool:
    """Whether a directory (readable descriptor) has no entry."""
    with os.scandir(directory) as entries:
        return next(entries, None) is None


def empty_dir(directory: int) -> None:
    """Removes all below a directory (readable descriptor), however deeply it nests."""
    _empty(directory, directory, 0)


def _empty(directory: int, top: int, depth: int) -> None:
    left = True
    while left:  # again until nothing is found: entries may be passed over while others are removed, or come up from far below
        left = False
        with os.scandir(directory) as entries:
            for entry in entries:
                left = True
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=directory)
                    continue
                if depth >= MAX_REMOVE_DEPTH:
                    os.rename(entry.name, f".deep-{os.urandom(8).hex()}", src_dir_fd=directory, dst_dir_fd=top)
                    continue
                with _directory(directory, entry.name) as inner:
                    _empty(inner, top, depth + 1)
                os.rmdir(entry.name, dir_fd=directory)


def remove_tree(parent: int, name: str) -> None:
    """Removes the directory `name` in `parent` with all below it. A missing one is fine."""
    try:
        with _directory(parent, name) as inner:
            empty_dir(inner)
    except FileNotFoundError:
        return
    os.rmdir(name, dir_fd=parent)


def tree_size(directory: int, depth: int = 0, seen: set[tuple[int, int]] | None = None) -> int:
    """Bytes of all files below a directory, as Docker counts a volume: their lengths, directories themselves not, a file with several names
    once. Deeper than 200 levels is not counted."""
    seen = set() if seen is None else seen
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            have = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                if depth < MAX_COPY_DEPTH:
                    with _directory(directory, entry.name) as inner:
                        total += tree_size(inner, depth + 1, seen)
            elif (have.st_dev, have.st_ino) not in seen:
                if have.st_nlink > 1:
                    seen.add((have.st_dev, have.st_ino))
                total += have.st_size
    return total
