"""The mount namespace of a container: root, file systems, volumes. Descriptors onto descriptors; no source and no target is a string (R1)."""

from __future__ import annotations

import errno
import os
import stat

from wherry.init import devices, targets
from wherry.linux.mount import (
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    PROC_SUPER_MAGIC,
    fs_magic,
    mount_setattr,
    move_mount,
    move_mount_to,
    new_mount,
    umount,
)
from wherry.linux.path import O_PATH, open_in_root
from wherry.linux.process import pivot_root
from wherry.model.command import Command, Mount
from wherry.model.errors import InvalidArgument
from wherry.model.steps import step

# Single files of procfs that a mount may cover, as lxcfs does to show the limits of the container.
_PROC_FILES = frozenset({"cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo"})
_NOT_A_DIRECTORY = "not a directory: Are you trying to mount a directory onto a file (or vice-versa)? Check if the path exists and is of that type"
_KERNEL_DIRS = ("proc", "sys", "dev")
_KINDS = {"proc": "proc", "sysfs": "sysfs", "mqueue": "mqueue", "devpts": "devpts", "tmpfs": "tmpfs", "shm": "tmpfs", "dev": "tmpfs"}


def make_private() -> None:
    """Nothing mounted here from now on is seen outside, and nothing from outside here; mount_namespaces(7)."""
    mount_setattr(-100, propagation=MS_PRIVATE, recursive=True, path="/")


def attach_root(root: int) -> None:
    """Attaches the root on top of the old one (it becomes `/` by `enter_root`); refuses one whose /proc, /sys or /dev is a link (R2)."""
    for name in _KERNEL_DIRS:
        try:
            found = os.stat(name, dir_fd=root, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(found.st_mode):
            raise InvalidArgument(f"the image's /{name} is not a directory: a container cannot be started on it")
    move_mount_to(root, "/")


def mount_all(root: int, command: Command, fds: list[int]) -> None:
    """Every mount of the Command, in its order, each as a step of its own."""
    for mount in command.mounts:
        with step(f"init: mount {mount.target}"):
            try:
                _mount(root, mount, command, fds)
            except OSError as error:
                error.filename = mount.target
                raise


def _mount(root: int, mount: Mount, command: Command, fds: list[int]) -> None:
    if mount.kind == "cgroup":
        if command.cgroup_version == 0:
            return
        if command.cgroup_version == 1:
            _mount_cgroup_v1(root, mount, command, fds)
            return
    if mount.kind == "bind":
        _mount_bind(root, mount, fds[mount.fd])
        return
    covers = mount.kind == "tmpfs" and _exists(root, mount.target)
    target = _target(root, mount)
    try:
        options = dict(mount.options)
        if covers and "mode" not in options:
            # A tmpfs over a directory of the image keeps that directory's mode; a new one has the kernel's default, 1777.
            options["mode"] = f"{stat.S_IMODE(os.fstat(target).st_mode):o}"
        kind = "cgroup2" if mount.kind == "cgroup" else _KINDS[mount.kind]
        if mount.kind == "shm":
            options["source"] = "shm"
        made = new_mount(kind, options, mount.attributes)
        try:
            if mount.kind == "dev":
                devices.populate(made)
            move_mount(made, target)
            _set_propagation(made, mount)
        finally:
            os.close(made)
    finally:
        os.close(target)


def _mount_bind(root: int, mount: Mount, source: int) -> None:
    is_dir = stat.S_ISDIR(os.fstat(source).st_mode)
    target = _target(root, mount._replace(is_dir=is_dir))
    try:
        if is_dir != stat.S_ISDIR(os.fstat(target).st_mode):
            raise OSError(errno.ENOTDIR, _NOT_A_DIRECTORY)
        if mount.attributes:
            mount_setattr(source, set_=mount.attributes, recursive=mount.recursive)
        _set_propagation(source, mount)
        move_mount(source, target)
    finally:
        os.close(target)


def _set_propagation(fd: int, mount: Mount) -> None:
    if mount.propagation:
        mount_setattr(fd, propagation=mount.propagation & ~MS_REC, recursive=bool(mount.propagation & MS_REC))


def _exists(root: int, path: str) -> bool:
    try:
        os.close(open_in_root(root, path))
    except FileNotFoundError:
        return False
    return True


def _target(root: int, mount: Mount) -> int:
    """The descriptor that a mount goes onto, made if missing. Procfs itself cannot be covered (R2)."""
    try:
        target = targets.directory(root, mount.target) if mount.is_dir else targets.file(root, mount.target)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "the mount target leads through too many or magic symbolic links", mount.target) from None
        if error.errno == errno.ENOTDIR:
            raise OSError(errno.ENOTDIR, _NOT_A_DIRECTORY, mount.target) from None
        raise
    if fs_magic(target) == PROC_SUPER_MAGIC:
        name = mount.target.strip("/").removeprefix("proc/")
        if mount.kind != "bind" or mount.is_dir or name not in _PROC_FILES:
            os.close(target)
            raise InvalidArgument(f'"{mount.target}" cannot be mounted because it is inside /proc')
    return target


def _mount_cgroup_v1(root: int, mount: Mount, command: Command, fds: list[int]) -> None:
    """v1 and hybrid: a tmpfs with one directory for each hierarchy, on it the container's own group. cgroups(7)."""
    target = _target(root, mount)
    try:
        tree = new_mount("tmpfs", {"source": "cgroup", "mode": "755"}, mount.attributes & ~MOUNT_ATTR_RDONLY)
        try:
            move_mount(tree, target)
            for name, index in command.cgroup_mounts:
                os.mkdir(name, 0o755, dir_fd=tree)
                group = os.open(name, O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=tree)
                move_mount(fds[index], group)
                os.close(group)
            for name, link in command.cgroup_links:
                os.symlink(link, name, dir_fd=tree)
            # Last, and for all of them at once: nothing could be made in a read-only tmpfs.
            mount_setattr(tree, set_=mount.attributes, recursive=True)
        finally:
            os.close(tree)
    finally:
        os.close(target)


def has_own_dev(command: Command) -> bool:
    """Whether /dev is the fresh tmpfs of ours; with a volume on /dev it is the user's, and nothing is put there."""
    return any(mount.kind == "dev" for mount in command.mounts)


def make_cwd(root: int, cwd: str) -> None:
    """Makes the working directory, owned by the container's root."""
    if not cwd.startswith("/"):
        raise InvalidArgument(f'the working directory "{cwd}" is invalid, it needs to be an absolute path')
    os.close(targets.directory(root, cwd))


def enter_root(root: int) -> None:
    """pivot_root(2) onto the attached root; the old one is detached, so that no path leads there any more."""
    os.fchdir(root)
    pivot_root(".", ".")
    # The old root lies on top of the new one, and `.` still names what is below: umount takes the top.
    umount(".", MNT_DETACH)
    os.chdir("/")


def open_root() -> int:
    """The root of this process as a descriptor for walking."""
    return os.open("/", O_PATH | os.O_DIRECTORY)


def set_root_flags(root: int, readonly: bool, propagation: int) -> None:
    """`--read-only`, for the root mount alone, and its propagation where volumes ask for a shared or slave one."""
    if readonly:
        mount_setattr(root, set_=MOUNT_ATTR_RDONLY)
    if propagation:
        mount_setattr(root, propagation=propagation & ~MS_REC, recursive=bool(propagation & MS_REC))
