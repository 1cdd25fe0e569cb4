"""Mounts: the kernel's descriptor-based mount API (5.2 and later) and mount(2)."""

from __future__ import annotations

import ctypes
import os

from wherry.linux.libc import check, libc, syscall_nogil

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_BIND, MS_MOVE, MS_REC = 32, 1024, 4096, 8192, 16384
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MS_RELATIME, MS_STRICTATIME = 1 << 21, 1 << 24
MNT_FORCE, MNT_DETACH, UMOUNT_NOFOLLOW = 1, 2, 8

SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_FSOPEN, SYS_FSCONFIG, SYS_FSMOUNT, SYS_MOUNT_SETATTR = 428, 429, 430, 431, 432, 442

OPEN_TREE_CLONE = 1
AT_RECURSIVE = 0x8000
AT_EMPTY_PATH = 0x1000
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
FSOPEN_CLOEXEC = FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_SET_FD, FSCONFIG_CMD_CREATE = 0, 1, 5, 6
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOSYMFOLLOW = 0x10, 0x20, 0x80, 0x200000


def _fsencode(text: str | bytes | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2). Only for paths that no container and no image can influence, or /proc/self/fd/N."""
    check(libc.mount(_fsencode(source), os.fsencode(target), _fsencode(kind), ctypes.c_ulong(flags), _fsencode(data)), "mount", target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    check(libc.umount2(os.fsencode(target), flags), "umount", target)


def fsopen(kind: str) -> int:
    """A new filesystem context; fsopen(2)."""
    return check(syscall_nogil(SYS_FSOPEN, kind.encode(), ctypes.c_uint(FSOPEN_CLOEXEC)), "fsopen", kind)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """Sets one option of a filesystem context; fsconfig(2)."""
    done = syscall_nogil(SYS_FSCONFIG, ctypes.c_int(fd), ctypes.c_uint(FSCONFIG_SET_STRING), key.encode(), os.fsencode(value), ctypes.c_int(0))
    check(done, "fsconfig", f"{key}={value}")


def fsconfig_flag(fd: int, key: str) -> None:
    """Sets one flag of a filesystem context; fsconfig(2)."""
    check(syscall_nogil(SYS_FSCONFIG, ctypes.c_int(fd), ctypes.c_uint(FSCONFIG_SET_FLAG), key.encode(), None, ctypes.c_int(0)), "fsconfig", key)


def fsconfig_create(fd: int) -> None:
    """Makes the superblock; fsconfig(2). The kernel's own words on a failure are read from the context and put into the error."""
    done = syscall_nogil(SYS_FSCONFIG, ctypes.c_int(fd), ctypes.c_uint(FSCONFIG_CMD_CREATE), None, None, ctypes.c_int(0))
    if done < 0:
        number = ctypes.get_errno()
        try:
            said = os.read(fd, 4096).decode(errors="replace").strip()
        except OSError:
            said = ""
        raise OSError(number, f"fsconfig create: {os.strerror(number)}" + (f" ({said})" if said else ""))


def fsmount(fd: int, attributes: int = 0) -> int:
    """A detached mount of a created filesystem context; fsmount(2)."""
    return check(syscall_nogil(SYS_FSMOUNT, ctypes.c_int(fd), ctypes.c_uint(FSMOUNT_CLOEXEC), ctypes.c_uint(attributes)), "fsmount")


def new_mount(kind: str, options: dict[str, str | None] | None = None, attributes: int = 0) -> int:
    """A detached mount of a new filesystem: fsopen, fsconfig (None: a flag), fsmount. `source` is set to the kind unless given."""
    context = fsopen(kind)
    try:
        for key, value in {"source": kind, **(options or {})}.items():
            if value is None:
                fsconfig_flag(context, key)
            else:
                fsconfig_string(context, key, value)
        fsconfig_create(context)
        return fsmount(context, attributes)
    finally:
        os.close(context)


def open_tree(path: str, dir_fd: int = -100, *, clone: bool = True, recursive: bool = False) -> int:
    """A descriptor of a mount tree, detached where `clone`; open_tree(2). An empty `path` means `dir_fd` itself."""
    flags = os.O_CLOEXEC | (OPEN_TREE_CLONE if clone else 0) | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return check(syscall_nogil(SYS_OPEN_TREE, ctypes.c_int(dir_fd), os.fsencode(path), ctypes.c_uint(flags)), "open_tree", path or f"fd {dir_fd}")


def move_mount(from_fd: int, to_fd: int) -> None:
    """Attaches a detached mount onto a descriptor; move_mount(2)."""
    done = syscall_nogil(SYS_MOVE_MOUNT, ctypes.c_int(from_fd), b"", ctypes.c_int(to_fd), b"",
                         ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH))
    check(done, "move_mount", f"fd {to_fd}")


def move_mount_to(from_fd: int, target: str) -> None:
    """Attaches a detached mount at a path that no container can influence; move_mount(2)."""
    done = syscall_nogil(SYS_MOVE_MOUNT, ctypes.c_int(from_fd), b"", ctypes.c_int(-100), os.fsencode(target), ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH))
    check(done, "move_mount", target)


class _MountAttr(ctypes.Structure):
    """struct mount_attr, mount_setattr(2)."""

    _fields_ = [("set", ctypes.c_uint64), ("clear", ctypes.c_uint64), ("propagation", ctypes.c_uint64), ("userns_fd", ctypes.c_uint64)]


def mount_setattr(fd: int, *, set_: int = 0, clear: int = 0, propagation: int = 0, recursive: bool = False, path: str = "") -> None:
    """Changes attributes (MOUNT_ATTR_*) or propagation (MS_PRIVATE, MS_SLAVE, ...) of a mount; mount_setattr(2), Linux 5.12."""
    attr = _MountAttr(set=set_, clear=clear, propagation=propagation, userns_fd=0)
    flags = (0 if path else AT_EMPTY_PATH) | (AT_RECURSIVE if recursive else 0)
    done = syscall_nogil(SYS_MOUNT_SETATTR, ctypes.c_int(fd), os.fsencode(path), ctypes.c_uint(flags), ctypes.byref(attr),
                         ctypes.c_size_t(ctypes.sizeof(attr)))
    check(done, "mount_setattr", path or f"fd {fd}")


class _StatFs(ctypes.Structure):
    """struct statfs of 64-bit Linux, statfs(2)."""

    _fields_ = [("f_type", ctypes.c_long), ("f_bsize", ctypes.c_long), ("f_blocks", ctypes.c_ulong), ("f_bfree", ctypes.c_ulong),
                ("f_bavail", ctypes.c_ulong), ("f_files", ctypes.c_ulong), ("f_ffree", ctypes.c_ulong), ("f_fsid", ctypes.c_int * 2),
                ("f_namelen", ctypes.c_long), ("f_frsize", ctypes.c_long), ("f_flags", ctypes.c_long), ("f_spare", ctypes.c_long * 4)]


PROC_SUPER_MAGIC, DEVPTS_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, CGROUP_SUPER_MAGIC = 0x9FA0, 0x1CD1, 0x63677270, 0x27E0EB
TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC, SYSFS_MAGIC = 0x01021994, 0x794C7630, 0x62656572


def fs_magic(fd: int) -> int:
    """The filesystem type of a descriptor; fstatfs(2)."""
    buffer = _StatFs()
    check(libc.fstatfs(fd, ctypes.byref(buffer)), "fstatfs", f"fd {fd}")
    return int(buffer.f_type)
