"""wherry.db: what must change together is in one SQLite file (WAL, one writer). sqlite.org/wal.html."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wherry.model.errors import Internal
from wherry.store import schema


class Database:
    """One connection, one lock. A commit survives kill -9; against power loss the last moments may be lost, never the consistency
    (synchronous=NORMAL, docs/on-disk.md)."""

    def __init__(self, path: Path | str) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False, timeout=10)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "wal_autocheckpoint=1000"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._open(path)

    def _open(self, path: Path | str) -> None:
        found = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if found > schema.FORMAT:
            raise Internal(f"{path} has format {found}; this wherryd knows formats up to {schema.FORMAT}: use the newer wherryd")
        if found == schema.FORMAT:
            return
        with self.transaction() as cursor:
            todo = [schema.TABLES] if found == 0 else [schema.MIGRATIONS[v] for v in range(found, schema.FORMAT)]
            for script in todo:
                for statement in _statements(script):
                    cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version={schema.FORMAT}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """A cursor in a write transaction: committed at the end, rolled back on an exception. Nested uses join the outer one."""
        with self._lock:
            cursor = self._connection.cursor()
            if self._depth == 0:
                cursor.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield cursor
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    cursor.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                cursor.execute("COMMIT")

    def query(self, sql: str, args: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a SELECT."""
        with self._lock:
            return self._connection.execute(sql, args).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _statements(script: str) -> Iterator[str]:
    """The complete statements of a script: executescript() would commit before it begins."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
