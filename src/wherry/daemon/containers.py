"""The container store (C8): ID -> Container, names, the index of truncated IDs; on disk as objects and as rows of wherry.db.

Law: the object (containers/{ID}/config.json, hostconfig.json) is written before the row that names it; an object without a row is rubbish.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from wherry.model.config import HostConfig
from wherry.model.container import FORMAT, Container, Record, State
from wherry.model.errors import Conflict, InvalidArgument, NotFound
from wherry.model.ids import HEX, TruncIndex
from wherry.store import atomic
from wherry.store.db import Database


class Containers:
    """All containers of this daemon."""

    def __init__(self, root: Path, db: Database) -> None:
        self.root, self._db = root, db
        root.mkdir(mode=0o710, parents=True, exist_ok=True)
        self._by_id: dict[str, Container] = {}
        self._names: dict[str, str] = {}
        self._index = TruncIndex()
        self._lock = threading.Lock()

    def directory(self, identifier: str) -> Path:
        """containers/{ID}."""
        return self.root / identifier

    # Reading

    def get(self, ref: str) -> Container:
        """By full ID, exact name (with or without its slash), or unique prefix of the ID, in this order (section 1.4 of Docker's API)."""
        if not ref or ref == "/":
            raise InvalidArgument("no container is named")
        found = self._by_id.get(ref)
        if found is None:
            named = self._names.get(ref.removeprefix("/"))
            found = self._by_id.get(named) if named else None
        if found is None:
            if not HEX.match(ref):
                raise NotFound(f"No such container: {ref}")
            found = self._by_id.get(self._index.get(ref))
        if found is None:
            raise NotFound(f"No such container: {ref}")
        return found

    def all(self) -> list[Container]:
        """Newest first."""
        return sorted(self._by_id.values(), key=lambda c: c.record.created, reverse=True)

    def holder(self, name: str) -> str | None:
        """The ID of the container of that name."""
        rows = self._db.query("SELECT container FROM names WHERE name=?", (name,))
        return str(rows[0][0]) if rows else None

    # Writing

    def write_objects(self, container: Container) -> None:
        """config.json and hostconfig.json: whole after kill -9; after a loss of power once `sync` has run (docs/on-disk.md)."""
        directory = self.directory(container.id)
        directory.mkdir(mode=0o710, exist_ok=True)
        atomic.write(directory / "config.json", msgspec.json.encode(container.record), sync=False)
        self.write_host(container)

    def write_host(self, container: Container) -> None:
        """hostconfig.json alone."""
        plain = msgspec.json.encode({"version": FORMAT, "host": container.host})
        atomic.write(self.directory(container.id) / "hostconfig.json", plain, sync=False)

    def sync(self, container: Container) -> None:
        """Makes the objects durable, in the background of the reply: the row that names them is not durable earlier."""
        directory = self.directory(container.id)
        for name in ("config.json", "hostconfig.json"):
            atomic.sync_file(directory / name)
        atomic.sync_file(directory)
        atomic.sync_file(self.root)

    def add(self, container: Container, cursor: sqlite3.Cursor) -> None:
        """Names the object: the row, in the caller's transaction. Conflict where the name is taken."""
        taken = cursor.execute("SELECT container FROM names WHERE name=?", (container.name,)).fetchone()
        if taken:
            raise name_conflict(container.name, str(taken[0]))
        cursor.execute("INSERT INTO containers (id, created, state) VALUES (?,?,?)",
                       (container.id, container.record.created, msgspec.json.encode(container.state)))
        cursor.execute("INSERT INTO names (name, container) VALUES (?,?)", (container.name, container.id))

    def publish(self, container: Container) -> None:
        """The row is committed: now it can be found."""
        with self._lock:
            self._by_id[container.id] = container
            self._names[container.name] = container.id
            self._index.add(container.id)

    def save_state(self, container: Container) -> None:
        """Records the State."""
        with self._db.transaction() as cursor:
            cursor.execute("UPDATE containers SET state=? WHERE id=?", (msgspec.json.encode(container.state), container.id))

    def rename(self, container: Container, name: str) -> None:
        """Gives it another name."""
        with self._db.transaction() as cursor:
            taken = cursor.execute("SELECT container FROM names WHERE name=?", (name,)).fetchone()
            if taken:
                raise name_conflict(name, str(taken[0]))
            cursor.execute("UPDATE names SET name=? WHERE name=? AND container=?", (name, container.name, container.id))
        with self._lock:
            self._names.pop(container.name, None)
            self._names[name] = container.id
            container.name = name

    def remove(self, container: Container, cursor: sqlite3.Cursor) -> None:
        """Un-names the object, in the caller's transaction; the files go afterwards."""
        cursor.execute("DELETE FROM names WHERE container=?", (container.id,))
        cursor.execute("DELETE FROM containers WHERE id=?", (container.id,))

    def unpublish(self, container: Container) -> None:
        """It can be found no more."""
        with self._lock:
            if self._names.get(container.name) == container.id:
                del self._names[container.name]
            self._by_id.pop(container.id, None)
            self._index.remove(container.id)

    # At the daemon's start

    def load(self, report: Callable[[str], None]) -> None:
        """Every container that has a row and whole objects. A broken one is set aside with its files and reported; rubbish goes."""
        names = {str(container): str(name) for name, container in self._db.query("SELECT name, container FROM names")}
        rows = {str(i): bytes(state) for i, state in self._db.query("SELECT id, state FROM containers")}
        for identifier, raw in rows.items():
            try:
                container = self._load_one(identifier, names[identifier], raw)
            except (OSError, LookupError, ValueError, TypeError, AttributeError, RecursionError, msgspec.MsgspecError) as error:
                self._set_aside(identifier, error, report)
                continue
            self.publish(container)
        for directory in self.root.iterdir():
            if directory.name not in rows and HEX.match(directory.name):
                shutil.rmtree(directory)

    def _load_one(self, identifier: str, name: str, raw: bytes) -> Container:
        directory = self.directory(identifier)
        record = msgspec.json.decode((directory / "config.json").read_bytes(), type=Record)
        plain = json.loads((directory / "hostconfig.json").read_bytes())
        for version in (record.version, plain["version"]):
            if version != FORMAT:
                raise ValueError(f"format {version} is not known to this wherryd (it knows {FORMAT})")
        if record.id != identifier:
            raise ValueError("its config.json is another container's")
        return Container(record, msgspec.convert(plain["host"], HostConfig), name, msgspec.json.decode(raw, type=State))

    def _set_aside(self, identifier: str, error: Exception, report: Callable[[str], None]) -> None:
        aside = self.root / f"broken-{identifier}"
        try:
            self.directory(identifier).rename(aside)
            where = f"its files are in {aside}"
        except FileNotFoundError:
            where = "its files are gone"
        with self._db.transaction() as cursor:
            cursor.execute("DELETE FROM names WHERE container=?", (identifier,))
            cursor.execute("DELETE FROM containers WHERE id=?", (identifier,))
        report(f"container {identifier[:12]} cannot be loaded and is set aside: {error}; {where}")


def name_conflict(name: str, holder: str) -> Conflict:
    """The error of a taken name, in words that clients look for."""
    return Conflict(f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
                    "You have to remove (or rename) that container to be able to reuse that name.")
