"""wherry.db: what must change together is in one SQLite file (WAL, one writer). sqlite.org/wal.html."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wherry.model.errors import Internal, Unavailable, WherryError
from wherry.store import schema

CHECKPOINT_PAGES = 1000  # SQLite's own default
RESERVE = (CHECKPOINT_PAGES + 200) * (4096 + 24)  # bytes of the write-ahead log until its checkpoint: pages with their headers


class Database:
    """One connection, one lock. A commit survives kill -9; against power loss the last moments may be lost, never the consistency
    (synchronous=NORMAL, docs/on-disk.md)."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._depth = 0
        with self._explained():
            self._connection = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False, timeout=10)
        try:
            with self._explained():
                for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"wal_autocheckpoint={CHECKPOINT_PAGES}"):
                    self._connection.execute(f"PRAGMA {pragma}")
                self._open(path)
                self._reserve(f"{path}-wal")
        except BaseException:
            self._connection.close()
            raise

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

    def _reserve(self, log: str) -> None:
        """Takes the space of the write-ahead log now, so that on a full disk containers can still end, be stopped and be removed.

        SQLite overwrites the log in place between checkpoints, and takes zeros after its last frame for its end (sqlite.org/walformat.html)."""
        with self.transaction() as cursor:
            cursor.execute(f"PRAGMA user_version={schema.FORMAT}")  # a first frame: the file is there
        try:
            fd = os.open(log, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # a database in memory
            return
        try:
            os.posix_fallocate(fd, 0, RESERVE)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # Full already: what fits is written, the rest is refused by name.
        finally:
            os.close(fd)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """A cursor in a write transaction: committed at the end, rolled back on an exception. Nested uses join the outer one.

        Unavailable where the file cannot be written now (a full disk), Internal where it is broken; nothing of the transaction is kept then."""
        with self._lock, self._explained():
            cursor = self._connection.cursor()
            if self._depth == 0:
                cursor.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield cursor
                if self._depth == 1:
                    cursor.execute("COMMIT")
            except BaseException:
                # On a full disk SQLite has rolled back by itself, or COMMIT has left the transaction open (sqlite.org/lang_transaction.html).
                if self._depth == 1 and self._connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def query(self, sql: str, args: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a SELECT."""
        with self._lock, self._explained():
            return self._connection.execute(sql, args).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors in our words; a broken constraint is the caller's own matter."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise _in_our_words(self._path, error) from error

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


def _in_our_words(path: Path | str, error: sqlite3.DatabaseError) -> WherryError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code, sqlite.org/rescode.html
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return Unavailable(f"{path} cannot be written: {error}: make room on its file system, then try again")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(f"{path} is held by another process: {error}: end it, then try again")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return Unavailable(f"{path} cannot be opened for writing: {error}: is the data root mounted read-only?")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Internal(f"{path} is damaged: {error}: put a copy of it back, or move it away (with its -wal and -shm) to begin without containers, "
                        "networks and volumes; images stay")
    return Internal(f"{path}: {error}")
