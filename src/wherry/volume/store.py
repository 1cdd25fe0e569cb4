"""Volumes of the local driver: `volumes/{NAME}/_data` and a row of wherry.db that names it.

Law of this file: the directory is made before its row and goes before it; a row being removed is marked first. So after kill -9 a row
without the mark has its data, a marked one is finished, and a directory without a row is either empty (then it goes) or has content
(then it is adopted: the row may have been lost with the power, the data must not be)."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from wherry.linux.path import O_PATH, RESOLVE_NO_XDEV, open_in_root, openat2
from wherry.model.errors import Conflict, InvalidArgument, NotFound
from wherry.model.filters import Filters
from wherry.model.ids import NAME, new_id
from wherry.store.db import Database
from wherry.volume import copyup, local, tree

ANONYMOUS = "com.docker.volume.anonymous"
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
Names = list[str]


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """One volume. `created` in nanoseconds since the epoch."""

    name: str
    driver: str
    mountpoint: str
    created: int
    options: dict[str, str]
    labels: dict[str, str]

    @property
    def anonymous(self) -> bool:
        return ANONYMOUS in self.labels

    def inspect(self) -> dict[str, Any]:
        """Docker's JSON of a volume."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.created // 1_000_000_000))
        return {
            "CreatedAt": stamp, "Driver": self.driver, "Labels": self.labels or None, "Mountpoint": self.mountpoint, "Name": self.name,
            "Options": self.options or None, "Scope": "local",
        }  # fmt: skip


def check_volume_name(name: str) -> str:
    """`name`, or InvalidArgument with Docker's texts."""
    if len(name) == 1:
        raise InvalidArgument(f"create {name}: volume name is too short, names should be at least two alphanumeric characters")
    if not NAME.match(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    if len(name) > 255:
        raise InvalidArgument(f"create {name[:32]}...: a volume name of {len(name)} characters is too long, at most 255 are allowed")
    return name


def _search(pattern: str, name: str) -> bool:
    """Whether an unanchored regular expression matches; what is none matches nothing, as in Docker."""
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return False


def _no_event(action: str, volume: Volume, attributes: Mapping[str, str]) -> None:
    del action, volume, attributes


def _no_report(text: str) -> None:
    del text


class VolumeStore:
    """All volumes below `root`. `on_event(action, volume, attributes)` hears of create, mount, unmount, destroy; `report` of what start-up mended."""

    def __init__(
        self,
        root: Path,
        db: Database,
        on_event: Callable[[str, Volume, Mapping[str, str]], None] = _no_event,
        report: Callable[[str], None] = _no_report,
    ) -> None:
        self.root, self._db, self._event, self._report = root, db, on_event, report
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._root_fd = os.open(root, _DIR)
        self._lock = threading.RLock()
        self._busy: dict[str, threading.RLock] = {}  # one volume's mount and copy-up, which may take long
        self._pruning = threading.Lock()
        self._recover()

    # ---- the verbs

    def create(
        self,
        name: str | None = None,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        container: str = "",
    ) -> Volume:
        """The volume `name`, made if it does not exist (then options and labels apply); without a name a new anonymous one.

        `container`: this container names it from now on, as by `use`, so that no prune can come between."""
        if name:
            check_volume_name(name)
        else:
            name, labels = new_id(), {**(labels or {}), ANONYMOUS: ""}
        if driver not in ("", "local"):
            raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
        with self._lock:
            rows = self._db.query("SELECT removing FROM volumes WHERE name=?", (name,))
            if rows and rows[0][0]:
                raise Conflict(f"create {name}: the volume of this name is just being removed: try again")
            if rows:
                self.use(container, [name] if container else [])
                return self.get(name)
            local.check_options(name, options or {})
            self._make_directories(name)
            with self._db.transaction() as cursor:
                cursor.execute(
                    "INSERT INTO volumes (name, driver, created, options, labels) VALUES (?,?,?,?,?)",
                    (name, "local", time.time_ns(), json.dumps(dict(options or {})), json.dumps(dict(labels or {}))),
                )
                self.use(container, [name] if container else [])
            volume = self.get(name)
        self._event("create", volume, {"driver": "local"})
        return volume

    def get(self, name: str) -> Volume:
        """The volume of exactly this name."""
        rows = self._db.query("SELECT name, driver, created, options, labels FROM volumes WHERE name=? AND removing=0", (name,))
        if not rows:
            raise NotFound(f"get {name}: no such volume")
        return self._volume(rows[0])

    def list(self, filters: Filters | None = None) -> list[Volume]:
        """Volumes by name, filtered by `dangling`, `driver`, `label`, `name`."""
        filters = filters or Filters()
        filters.check_keys(("dangling", "driver", "label", "name"))
        dangling = filters.flag("dangling", False) if "dangling" in filters else None
        used = {row[0] for row in self._db.query("SELECT DISTINCT volume FROM volume_users")}
        rows = self._db.query("SELECT name, driver, created, options, labels FROM volumes WHERE removing=0 ORDER BY name")
        drivers, patterns = filters.get("driver"), filters.get("name")
        return [
            volume
            for volume in map(self._volume, rows)
            if (dangling is None or dangling == (volume.name not in used))
            and (not drivers or volume.driver in drivers)
            and filters.labels_match(volume.labels)
            and (not patterns or any(_search(pattern, volume.name) for pattern in patterns))
        ]

    def remove(self, name: str, force: bool = False) -> int:
        """Removes a volume that no container names; the bytes it had. `force`: a missing one is fine."""
        with self._lock:
            try:
                volume = self.get(name)
            except NotFound:
                if force:
                    return 0
                raise
            users = self.users(name)
            if users:
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            self._mark(name, 1)
        try:
            size = self._remove_files(volume)
        except OSError as error:
            self._mark(name, 0)
            raise Conflict(f"remove {name}: {error.strerror}: {error.filename or volume.mountpoint}: some of its files may be gone") from error
        self._delete_row(name)
        self._event("destroy", volume, {"driver": volume.driver})
        return size

    def prune(self, all_volumes: bool = False, filters: Filters | None = None) -> tuple[Names, int]:
        """Removes unused volumes without options, and without `all_volumes` anonymous ones only: their names and bytes.

        Filters: `label`, `label!`, `all`."""
        filters = filters or Filters()
        filters.check_keys(("all", "label", "label!"))
        all_volumes = filters.flag("all", all_volumes)
        if not self._pruning.acquire(blocking=False):
            raise Conflict("a prune operation is already running")
        try:
            gone, size = [], 0
            for volume in self.list(Filters({"dangling": ["true"]})):
                if volume.options:
                    continue  # its data are elsewhere, and making it again needs its options: it goes by its name only, as in Docker
                if (all_volumes or volume.anonymous) and filters.labels_match(volume.labels):
                    try:
                        size += self.remove(volume.name)
                    except (Conflict, NotFound):
                        continue  # taken, or removed by somebody else, in the meantime
                    gone.append(volume.name)
            return gone, size
        finally:
            self._pruning.release()

    def size(self, name: str) -> int:
        """Bytes on disk (`UsageData.Size`)."""
        fd = self.open_data(name)
        try:
            return tree.tree_size(fd)
        finally:
            os.close(fd)

    # ---- who uses a volume

    def use(self, container: str, names: Iterable[str]) -> None:
        """Records that a container names these volumes, from its creation to its removal. NotFound: one is gone."""
        with self._lock, self._db.transaction() as cursor:
            for name in names:
                self.get(name)
                cursor.execute("INSERT OR IGNORE INTO volume_users (volume, container) VALUES (?,?)", (name, container))

    def users(self, name: str) -> Names:
        """Containers that name the volume, running or not (`UsageData.RefCount` is their number)."""
        return [row[0] for row in self._db.query("SELECT container FROM volume_users WHERE volume=? ORDER BY container", (name,))]

    def release(self, container: str, remove: Iterable[str] = ()) -> Names:
        """A container is removed: its uses go, then the volumes of `remove` that nobody else names (its anonymous ones); those removed."""
        self.unmount_all(container)
        if self._db.query("SELECT 1 FROM volume_users WHERE container=? LIMIT 1", (container,)):
            with self._db.transaction() as cursor:
                cursor.execute("DELETE FROM volume_users WHERE container=?", (container,))
        gone = []
        for name in remove:
            try:
                self.remove(name)
            except (Conflict, NotFound):
                continue
            gone.append(name)
        return gone

    def reconcile(self, existing: set[str], running: set[str]) -> None:
        """Start of the daemon: drops the uses by containers that do not exist, and the mounts of those that do not run."""
        for container, mounted in self._db.query("SELECT DISTINCT container, max(mounted) FROM volume_users GROUP BY container"):
            if container not in existing:
                self.release(container)
            elif mounted and container not in running:
                self.unmount_all(container)
        for volume in self.list():
            self._unmount_unused(volume)

    # ---- a container starts and stops

    def mount(self, container: str, name: str, attributes: Mapping[str, str] | None = None) -> int:
        """The volume is about to be mounted into a starting container: a descriptor of its data. The container must `use` it."""
        with self._busy_lock(name):
            volume = self.get(name)
            with self._db.transaction() as cursor:  # before the mount: a mount that no row explains would stay for ever
                cursor.execute(
                    "INSERT INTO volume_users (volume, container, mounted) VALUES (?,?,1) ON CONFLICT (volume, container) DO UPDATE SET mounted=1",
                    (name, container),
                )
            if volume.options and not self._is_mounted(volume):
                local.mount(name, volume.options, volume.mountpoint)
            fd = self.open_data(name)
        self._event("mount", volume, {"container": container, **(attributes or {})})
        return fd

    def unmount_all(self, container: str) -> None:
        """The container has ended: volumes that are mounts of their own, and that no other running container has, are unmounted."""
        for (name,) in self._db.query("SELECT volume FROM volume_users WHERE container=? AND mounted=1", (container,)):
            with self._busy_lock(name):
                with self._db.transaction() as cursor:
                    cursor.execute("UPDATE volume_users SET mounted=0 WHERE container=? AND volume=? AND mounted=1", (container, name))
                    ours = cursor.rowcount == 1
                if not ours:
                    continue  # its removal came in between, and has done it; the volume may be gone by now
                volume = self.get(name)
                self._unmount_unused(volume)
            self._event("unmount", volume, {"container": container})

    def open_data(self, name: str) -> int:
        """A readable descriptor of the volume's `_data` directory."""
        return os.open(f"{name}/_data", _DIR, dir_fd=self._root_fd)

    def path(self, name: str) -> Path:
        """Where the volume's data lies on this host."""
        return self.root / name / "_data"

    def copy_up(self, container: str, rootfs_fd: int, target: str, name: str) -> bool:
        """First start: copies the image's content at `target` (a path inside the root `rootfs_fd`) into the volume, if that is empty; whether it did.

        At later starts of the same container it does nothing. The copy is made beside the data and moved in when it is complete, so that
        kill -9 never leaves half of it; a volume that is a mount of its own (mounted by `mount` before) is filled in place. What is copied:
        tree.copy_tree. InvalidArgument: the image has a file there."""
        with self._busy_lock(name):
            if self._db.query("SELECT 1 FROM volume_users WHERE volume=? AND container=? AND copied=1", (name, container)):
                return False
            data = self.open_data(name)
            try:
                copied = tree.is_empty(data) and self._copy_from(rootfs_fd, target, name, data)
            finally:
                os.close(data)
            with self._db.transaction() as cursor:
                cursor.execute("UPDATE volume_users SET copied=1 WHERE volume=? AND container=?", (name, container))
        return copied

    # ---- inside

    def _volume(self, row: tuple[Any, ...]) -> Volume:
        name, driver, created, options, labels = row
        path = str(self.path(name))
        return Volume(name=name, driver=driver, mountpoint=path, created=created, options=json.loads(options), labels=json.loads(labels))

    def _busy_lock(self, name: str) -> threading.RLock:
        with self._lock:
            return self._busy.setdefault(name, threading.RLock())

    @contextmanager
    def _directory(self, name: str) -> Iterator[int]:
        fd = os.open(name, _DIR, dir_fd=self._root_fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def _make_directories(self, name: str) -> None:
        for path, mode in ((name, 0o711), (f"{name}/_data", 0o755)):
            try:
                os.mkdir(path, mode, dir_fd=self._root_fd)
            except FileExistsError:
                continue
            os.chmod(path, mode, dir_fd=self._root_fd)  # whatever the umask

    def _mark(self, name: str, removing: int) -> None:
        with self._db.transaction() as cursor:
            cursor.execute("UPDATE volumes SET removing=? WHERE name=?", (removing, name))

    def _delete_row(self, name: str) -> None:
        with self._lock:
            with self._db.transaction() as cursor:
                cursor.execute("DELETE FROM volumes WHERE name=?", (name,))
            self._busy.pop(name, None)

    def _remove_files(self, volume: Volume) -> int:
        if volume.options and self._is_mounted(volume):
            local.unmount(volume.mountpoint)
        try:
            with self._directory(volume.name) as directory:
                size = tree.tree_size(directory)
        except FileNotFoundError:
            return 0
        tree.remove_tree(self._root_fd, volume.name)
        return size

    def _is_mounted(self, volume: Volume) -> bool:
        try:
            os.close(openat2(self._root_fd, f"{volume.name}/_data", O_PATH, RESOLVE_NO_XDEV))
        except OSError as error:
            if error.errno == errno.EXDEV:  # also a bind mount of the same file system, which st_dev would not tell
                return True
            raise
        return False

    def _unmount_unused(self, volume: Volume) -> None:
        if volume.options and not self._db.query("SELECT 1 FROM volume_users WHERE volume=? AND mounted=1 LIMIT 1", (volume.name,)):
            while self._is_mounted(volume):
                local.unmount(volume.mountpoint)

    def _copy_from(self, rootfs_fd: int, target: str, name: str, data: int) -> bool:
        try:
            source = open_in_root(rootfs_fd, target, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        except NotADirectoryError as error:
            raise InvalidArgument(f"cannot mount volume over existing file, file exists {target}") from error
        try:
            if self.get(name).options:
                tree.copy_tree(source, data)
            else:
                with self._directory(name) as directory:
                    copyup.fill(directory, source, data)
        finally:
            os.close(source)
        return True

    def _recover(self) -> None:
        for row in self._db.query("SELECT name, driver, created, options, labels FROM volumes WHERE removing=1"):
            self._remove_files(self._volume(row))
            self._delete_row(row[0])
        known = {row[0] for row in self._db.query("SELECT name FROM volumes")}
        with os.scandir(self._root_fd) as entries:
            found = {entry.name for entry in entries if NAME.match(entry.name) and entry.is_dir(follow_symlinks=False)}
        for name in sorted(known - found):
            self._make_directories(name)
            self._report(f"volume {name}: its directory was gone; an empty one was made")
        for name in sorted(found):
            self._recover_directory(name, name in known)

    def _recover_directory(self, name: str, known: bool) -> None:
        with self._directory(name) as directory:
            try:
                data = os.open("_data", _DIR, dir_fd=directory)
            except FileNotFoundError:
                empty = True
                if known:
                    self._make_directories(name)
            else:
                try:
                    copyup.finish(directory, data)
                    empty = tree.is_empty(data)
                finally:
                    os.close(data)
        if known:
            return
        if empty:
            tree.remove_tree(self._root_fd, name)
            return
        with self._db.transaction() as cursor:
            values = (name, "local", time.time_ns(), "{}", "{}")
            cursor.execute("INSERT INTO volumes (name, driver, created, options, labels) VALUES (?,?,?,?,?)", values)
        self._report(f"volume {name}: has content but no record; it was adopted as a named volume")
