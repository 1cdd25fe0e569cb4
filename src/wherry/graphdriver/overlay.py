"""The overlay driver: a layer is a directory of its own files, the merged view an overlay mount of all of them.

Layout: `overlay/{layer}/{diff,work,lower}`; `mnt/{layer}` only for the moment of a fallback mount. The mount options go through
fsconfig(2) one by one, a `lowerdir+` for each layer (Linux 6.5); before that, as one string where it fits the 255 bytes of an fsconfig
value, else through mount(2) with /proc/self/fd names, which keeps 127 layers within mount(2)'s one page.
See Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

from wherry.graphdriver import tree
from wherry.graphdriver.layout import Layout, LayoutDriver
from wherry.graphdriver.spec import Change, Kind, MountSpec
from wherry.linux import mount

# What a layer holds must not depend on the kernel's defaults: no redirects, no metadata-only copies, no index.
OPTIONS = (("index", "off"), ("redirect_dir", "off"), ("metacopy", "off"))
_VALUE_MAX = 255  # bytes of one fsconfig string, fs/fsopen.c
Way = Literal["append", "string", "mount"]


class Overlay(LayoutDriver):
    """See `spec.Driver`."""

    name = "overlay"
    whiteouts: Literal["kept", "applied"] = "kept"

    def __init__(self, root: Path) -> None:
        super().__init__(root / "overlay")
        self._mnt = self._layout.root / "mnt"
        try:
            self.way = _probe(self._layout)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.way = _probe_full(self._layout, error)

    def create(self, layer_id: str, parent: str | None) -> None:
        def fill(fd: int) -> None:
            os.mkdir("diff", 0o755, dir_fd=fd)
            os.mkdir("work", 0o700, dir_fd=fd)
            if parent is not None:
                self._same_root(parent, fd)

        self._layout.create(layer_id, parent, fill)

    def _same_root(self, parent: str, fd: int) -> None:
        # The merged root shows the attributes of the topmost layer's root.
        have = os.stat(f"{parent}/diff", dir_fd=self._layout.fd)
        made = os.stat("diff", dir_fd=fd)
        if (have.st_uid, have.st_gid) != (made.st_uid, made.st_gid):
            os.chown("diff", have.st_uid, have.st_gid, dir_fd=fd)
        if have.st_mode != made.st_mode:
            os.chmod("diff", stat.S_IMODE(have.st_mode), dir_fd=fd)
        os.utime("diff", ns=(have.st_atime_ns, have.st_mtime_ns), dir_fd=fd)

    def mount_spec(self, layer_id: str, *, readonly: bool = False) -> MountSpec:
        chain = self._layout.chain(layer_id)
        root = self._layout.root
        diffs = tuple(root / one / "diff" for one in chain)
        if len(chain) == 1:
            return MountSpec("bind", diffs, readonly=readonly)
        if readonly:
            return MountSpec("overlay", diffs, options=OPTIONS, readonly=True)
        return MountSpec("overlay", diffs[1:], diffs[0], root / layer_id / "work", OPTIONS)

    def open_mount(self, layer_id: str, *, readonly: bool = False, volatile: bool = False) -> int:
        spec = self.mount_spec(layer_id, readonly=readonly)
        if spec.kind == "bind":
            return open_bind(spec)
        if spec.work is not None:
            self._forget_volatile(layer_id)
            if volatile:
                spec = replace(spec, options=(*spec.options, ("volatile", "")))
        if self.way == "mount" or (self.way == "string" and len(_joined(spec)) > _VALUE_MAX):
            return _mount_call(spec, self._mnt / layer_id)
        return _mount_context(spec, self.way)

    def _forget_volatile(self, layer_id: str) -> None:
        """A volatile mount leaves a mark that forbids the next one, for a crash may have lost data; ours were not worth keeping then."""
        tree.remove_tree(self._layout.fd, f"{layer_id}/work/work/incompat")

    def changes(self, layer_id: str) -> list[Change]:
        parent = self._layout.parent(layer_id)
        with ExitStack() as stack:
            upper = _open(self._layout.path(layer_id) / "diff", stack)
            if parent is None:
                return tree.with_parents({path: Kind.ADDED for path, _ in tree.walk(upper)})
            lower = self.open_mount(parent, readonly=True)
            stack.callback(os.close, lower)
            return tree.with_parents(_compare(upper, lower))

    def size(self, layer_id: str) -> int:
        with ExitStack() as stack:
            return tree.content_size(_open(self.diff_dir(layer_id), stack))

    def status(self) -> list[tuple[str, str]]:
        fs = os.statvfs(self._layout.root)
        return [("Backing Filesystem", _backing(self._layout.root)), ("Supports d_type", "true"), ("Native Overlay Diff", "true"),
                ("userxattr", "false"), ("Mount API", self.way), ("Free Bytes", str(fs.f_bavail * fs.f_frsize))]


def open_bind(spec: MountSpec) -> int:
    """A detached bind mount of the one directory of a layer without a parent (or of a vfs layer)."""
    fd = mount.open_tree(os.fspath(spec.lowers[0]))
    if spec.readonly:
        try:
            mount.mount_setattr(fd, set_=mount.MOUNT_ATTR_RDONLY)
        except BaseException:
            os.close(fd)
            raise
    return fd


def _open(path: Path, stack: ExitStack) -> int:
    fd = tree.open_dir(os.fspath(path))
    stack.callback(os.close, fd)
    return fd


def _joined(spec: MountSpec) -> str:
    return ":".join(_escape(os.fspath(one)) for one in spec.lowers)


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")


def _mount_context(spec: MountSpec, way: Way) -> int:
    """fsopen, fsconfig, fsmount; a path over the 255 bytes of a value goes as the name of a descriptor."""
    with ExitStack() as stack:
        def value(path: Path) -> str:
            text = os.fspath(path)
            return text if len(os.fsencode(text)) <= _VALUE_MAX else f"/proc/self/fd/{_open(path, stack)}"

        context = mount.fsopen("overlay")
        stack.callback(os.close, context)
        mount.fsconfig_string(context, "source", "overlay")
        if way == "append":
            for one in spec.lowers:
                mount.fsconfig_string(context, "lowerdir+", value(one))
        else:
            mount.fsconfig_string(context, "lowerdir", _joined(spec))
        if spec.upper is not None and spec.work is not None:
            mount.fsconfig_string(context, "upperdir", value(spec.upper))
            mount.fsconfig_string(context, "workdir", value(spec.work))
        for key, text in spec.options:
            if text:
                mount.fsconfig_string(context, key, text)
            else:
                mount.fsconfig_flag(context, key)
        mount.fsconfig_create(context)
        return mount.fsmount(context, mount.MOUNT_ATTR_RDONLY if spec.readonly else 0)


def _mount_call(spec: MountSpec, where: Path) -> int:
    """mount(2) onto mnt/{ID}, cloned to a detached mount, and taken away again."""
    with ExitStack() as stack:
        lowers = ":".join(f"/proc/self/fd/{_open(one, stack)}" for one in spec.lowers)
        options = [f"lowerdir={lowers}"]
        if spec.upper is not None and spec.work is not None:
            options += [f"upperdir=/proc/self/fd/{_open(spec.upper, stack)}", f"workdir=/proc/self/fd/{_open(spec.work, stack)}"]
        options += [f"{key}={text}" if text else key for key, text in spec.options]
        target = where.with_name(f"{where.name}.{os.urandom(4).hex()}")
        target.mkdir(mode=0o700, parents=True)
        stack.callback(target.rmdir)
        mount.mount("overlay", os.fspath(target), "overlay", mount.MS_RDONLY if spec.readonly else 0, ",".join(options))
        stack.callback(mount.umount, os.fspath(target), mount.MNT_DETACH)
        return mount.open_tree(os.fspath(target))


def _probe(layout: Layout) -> Way:
    """Makes a real overlay here, in the best way that works; OSError tells why none does."""
    name = f".new-probe-{os.urandom(4).hex()}"
    base = layout.root / name
    spec = MountSpec("overlay", (base / "b", base / "a"), base / "c", base / "w", OPTIONS)
    try:
        for one in "abcw":
            (base / one).mkdir(parents=True)
        os.setxattr(base / "c", tree.OPAQUE_XATTR, b"n")
        ways: tuple[Way, ...] = ("append", "string", "mount")
        for way in ways:
            try:
                os.close(_mount_call(spec, layout.root / "mnt" / name) if way == "mount" else _mount_context(spec, way))
                return way
            except OSError as error:
                last = error
        raise last
    finally:
        tree.remove_tree(layout.fd, name)


def _probe_full(layout: Layout, full: OSError) -> Way:
    """On a full disk nothing can be made to try with: two layers that are there show which way their lower directories are named.
    `full` is raised where there are none: then no container is here either."""
    lowers = tuple(one / "diff" for one in sorted(layout.root.iterdir()) if (one / "lower").is_symlink())[:2]
    if len(lowers) < 2:
        raise full
    ways: tuple[Way, ...] = ("append", "string")
    for way in ways:
        try:
            os.close(_mount_context(MountSpec("overlay", lowers, options=OPTIONS, readonly=True), way))
        except OSError:
            continue
        return way
    return "mount"


def _compare(upper: int, lower: int) -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for path, have in tree.walk(upper):
        below = tree.lstat_below(lower, path)
        if tree.is_whiteout(have):
            if below is not None:
                found[path] = Kind.DELETED
        elif below is None:
            found[path] = Kind.ADDED
        elif not (stat.S_ISDIR(have.st_mode) and stat.S_ISDIR(below.st_mode)):
            found[path] = Kind.MODIFIED
        else:
            if not tree.same_directory(have, below):
                found[path] = Kind.MODIFIED
            if _opaque(upper, path):
                _hidden(upper, lower, path, found)
    return found


def _opaque(upper: int, path: str) -> bool:
    fd = tree.open_below(upper, path)
    try:
        return os.getxattr(fd, tree.OPAQUE_XATTR) == b"y"
    except OSError as error:
        if error.errno == errno.ENODATA:
            return False
        raise
    finally:
        os.close(fd)


def _hidden(upper: int, lower: int, path: str, found: dict[str, Kind]) -> None:
    """What an opaque directory hides and does not hold itself is deleted."""
    fd = tree.open_below(lower, path)
    try:
        for name in os.listdir(fd):
            if tree.lstat_below(upper, f"{path}/{name}") is None:
                found[f"{path}/{name}"] = Kind.DELETED
    finally:
        os.close(fd)


def _backing(path: Path) -> str:
    """Filesystem type of the mount that `path` is on, by its device number; proc_pid_mountinfo(5)."""
    device = os.stat(path).st_dev
    want = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split()
            if fields[2] == want:
                return fields[fields.index("-") + 1]
    return "unknown"
