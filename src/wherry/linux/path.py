"""Paths that a container or an image can influence (R1): walked with openat2 in a root, never resolved as strings."""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from wherry.linux.libc import check, syscall

SYS_OPENAT2 = 437
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16
IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
O_PATH = os.O_PATH | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    """struct open_how, openat2(2)."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def openat2(dir_fd: int, path: str | bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2); retried where the kernel saw a rename race (EAGAIN)."""
    raw = os.fsencode(path) or b"."
    how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=mode, resolve=resolve)
    for _ in range(64):
        fd = syscall(SYS_OPENAT2, ctypes.c_int(dir_fd), raw, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
        if fd >= 0:
            return fd
        if ctypes.get_errno() != errno.EAGAIN:
            break
    return check(-1, "openat2", os.fsdecode(raw))


def open_in_root(root_fd: int, path: str | bytes, flags: int = O_PATH) -> int:
    """`path` as a process whose root is `root_fd` would open it: symlinks stay inside, magic links are refused."""
    return openat2(root_fd, path, flags, IN_ROOT)


def _split(path: str | bytes) -> list[bytes]:
    return [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]


def make_dirs_in_root(root_fd: int, path: str | bytes, mode: int = 0o755) -> int:
    """An O_PATH descriptor of the directory `path` inside the root, its missing parts made one `mkdirat` at a time.

    Symlinks of the image are followed inside the root; a part that is no directory gives NotADirectoryError.
    Nothing is ever created through a dangling link."""
    try:
        return openat2(root_fd, path, O_PATH | os.O_DIRECTORY, IN_ROOT)
    except FileNotFoundError:
        pass
    walked: list[bytes] = []
    here = os.dup(root_fd)
    try:
        for part in _split(path):
            walked.append(part)
            whole = b"/".join(walked)
            try:
                there = openat2(root_fd, whole, O_PATH | os.O_DIRECTORY, IN_ROOT)
            except FileNotFoundError:
                if part == b"..":
                    raise
                try:
                    os.mkdir(part, mode, dir_fd=here)
                except FileExistsError:
                    # Somebody else made it, or it is a dangling symlink: the NOFOLLOW open below tells.
                    pass
                there = openat2(here, part, O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
            os.close(here)
            here = there
        return here
    except BaseException:
        os.close(here)
        raise


def make_file_in_root(root_fd: int, path: str | bytes, mode: int = 0o644) -> int:
    """An O_PATH descriptor of the non-directory `path` inside the root; missing parts and the empty file itself are made."""
    try:
        return openat2(root_fd, path, O_PATH, IN_ROOT)
    except FileNotFoundError:
        pass
    parts = _split(path)
    if not parts or parts[-1] == b"..":
        raise IsADirectoryError(errno.EISDIR, "not a file name", os.fsdecode(path))
    parent = make_dirs_in_root(root_fd, b"/".join(parts[:-1]))
    try:
        try:
            os.close(os.open(parts[-1], os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=parent))
        except FileExistsError:
            pass
        fd = openat2(parent, parts[-1], O_PATH | os.O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ELOOP, "a dangling symbolic link", os.fsdecode(path))
        return fd
    finally:
        os.close(parent)


def reopen(path_fd: int, flags: int) -> int:
    """Opens what an O_PATH descriptor names for reading or writing, through /proc/self/fd (proc(5))."""
    return os.open(f"/proc/self/fd/{path_fd}", flags | os.O_CLOEXEC)
