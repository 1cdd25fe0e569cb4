"""The init layer (C5): empty mount targets over the image, so that the init never has to make one in a container's own layer.

Its content depends on the image alone, so one layer `{top layer of the image}-init` serves all containers of the image as parent of their
read-write layers (docs/adr/0010-init-layer.md). It is a lower layer of theirs: nothing can write to it.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import ExitStack

from wherry.graphdriver import tree
from wherry.graphdriver.spec import Driver
from wherry.linux.path import reopen
from wherry.model.errors import Conflict

FILES = (".dockerinit", "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console")
DIRECTORIES = ("dev/pts", "dev/shm", "proc", "sys")
LINKS = (("etc/mtab", "/proc/mounts"),)
SUFFIX = "-init"
DRAFT = "draft-"  # of a layer that is being filled
_MAX_LINKS = 40  # as in the kernel, path_resolution(7)

_making = threading.Lock()


def init_layer_id(top: str | None) -> str:
    """The init layer over the image layer `top` (None: an image without layers)."""
    return (top or "scratch") + SUFFIX


def busy() -> bool:
    """True while a draft is being filled."""
    return _making.locked()


def ensure(driver: Driver, top: str | None) -> str:
    """The ID of the filled init layer over `top`, made at its first use. The read-write layer is created over it."""
    layer = init_layer_id(top)
    if driver.exists(layer):
        return layer
    with _making:
        if driver.exists(layer):
            return layer
        # Filled under a name of its own, so that a kill -9 leaves no half-filled layer under the name that counts.
        draft = f"{DRAFT}{os.urandom(8).hex()}"
        driver.create(draft, top)
        try:
            populate_layer(driver, draft, top)
            driver.rename(draft, layer)
        except Conflict:
            driver.remove(draft)
        except BaseException:
            driver.remove(draft)
            raise
    return layer


def populate_layer(driver: Driver, layer: str, top: str | None) -> None:
    """Fills a fresh layer over `top`."""
    with ExitStack() as stack:
        diff = tree.open_dir(os.fspath(driver.diff_dir(layer)))
        stack.callback(os.close, diff)
        view = diff
        if top is not None:
            mounted = driver.open_mount(top, readonly=True)
            stack.callback(os.close, mounted)
            view = reopen(mounted, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, view)
        populate(diff, view)


def populate(diff_fd: int, view_fd: int) -> None:
    """Makes the mount targets in `diff_fd` that the view of the image, `view_fd`, lacks; writes nowhere else.

    The image's links are followed on paper, in `_resolve`, with the view as root; `diff_fd` itself is only ever entered
    one O_NOFOLLOW step at a time. Where the image has a file in the place of a directory nothing is made: the mount reports that."""
    root = os.fstat(view_fd)
    for path in FILES + DIRECTORIES:
        place = _resolve(view_fd, path)
        if place is not None:
            _make(diff_fd, view_fd, place, path in DIRECTORIES)
    for path, target in LINKS:
        place = _resolve(view_fd, path, last=False)
        if place is not None and (parent := _enter(diff_fd, view_fd, place[:-1])) is not None:
            try:
                os.symlink(target, place[-1], dir_fd=parent)
            except FileExistsError:
                pass
            finally:
                os.close(parent)
            _restore(diff_fd, view_fd, place[:-1])
    os.utime(diff_fd, ns=(root.st_atime_ns, root.st_mtime_ns))


def _resolve(view_fd: int, path: str, *, last: bool = True) -> list[str] | None:
    """Components of the missing place that `path` leads to inside the view, all links followed; None where it exists or leads nowhere.

    `last`: whether a link in the last component is followed too."""
    todo = [part for part in reversed(path.split("/")) if part]
    done: list[str] = []
    links = 0
    missing = False
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            done = done[:-1]
            continue
        have = None if missing else tree.lstat_below(view_fd, "/".join([*done, part]))
        if have is None:
            missing = True
        elif stat.S_ISLNK(have.st_mode) and (todo or last):
            links += 1
            if links > _MAX_LINKS:
                return None
            target = tree.readlink_below(view_fd, "/".join([*done, part]))
            if target.startswith("/"):
                done = []
            todo += [piece for piece in reversed(target.split("/")) if piece]
            continue
        elif todo and not stat.S_ISDIR(have.st_mode):
            return None
        done.append(part)
    return done if missing and done else None


def _make(diff_fd: int, view_fd: int, place: list[str], directory: bool) -> None:
    parent = _enter(diff_fd, view_fd, place[:-1])
    if parent is None:
        return
    try:
        if directory:
            os.mkdir(place[-1], 0o755, dir_fd=parent)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(place[-1], flags, 0o755, dir_fd=parent))
    except FileExistsError:
        pass
    finally:
        os.close(parent)
    _restore(diff_fd, view_fd, place[:-1])


def _enter(diff_fd: int, view_fd: int, parts: list[str]) -> int | None:
    """The directory `parts` in the layer, made with the attributes that it has in the image; None if something else is in its place."""
    here = os.dup(diff_fd)
    for at, part in enumerate(parts):
        try:
            made = _mkdir(part, here)
            there = tree.open_dir(part, here)
        except OSError as error:
            os.close(here)
            if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                return None
            raise
        os.close(here)
        here = there
        if made:
            _like(view_fd, parts[: at + 1], here)
    return here


def _mkdir(name: str, dir_fd: int) -> bool:
    try:
        os.mkdir(name, 0o755, dir_fd=dir_fd)
    except FileExistsError:
        return False
    return True


def _like(view_fd: int, parts: list[str], fd: int) -> None:
    try:
        source = tree.open_below(view_fd, "/".join(parts))
    except FileNotFoundError:
        return
    try:
        tree.copy_dir_attributes(source, fd)
    finally:
        os.close(source)


def _restore(diff_fd: int, view_fd: int, parts: list[str]) -> None:
    """Sets the time of the image's directory again, which the new name in it has changed."""
    if not parts or (have := tree.lstat_below(view_fd, "/".join(parts))) is None:
        return
    fd = tree.open_below(diff_fd, "/".join(parts))
    try:
        os.utime(fd, ns=(have.st_atime_ns, have.st_mtime_ns))
    finally:
        os.close(fd)
