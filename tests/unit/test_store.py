"""wherry.db, the journal and atomic files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from wherry.model.errors import Internal, Unavailable
from wherry.store import atomic
from wherry.store.db import Database
from wherry.store.journal import Journal


def test_transaction_rolls_back_as_a_whole(tmp_path: Path) -> None:
    db = Database(tmp_path / "wherry.db")
    with pytest.raises(ZeroDivisionError), db.transaction() as outer:
        outer.execute("INSERT INTO names VALUES ('a', 'x')")
        with db.transaction() as inner:
            inner.execute("INSERT INTO names VALUES ('b', 'x')")
        raise ZeroDivisionError
    assert db.query("SELECT * FROM names") == []
    with db.transaction() as cursor:
        cursor.execute("INSERT INTO names VALUES ('a', 'x')")
    with pytest.raises(sqlite3.IntegrityError), db.transaction() as cursor:
        cursor.execute("INSERT INTO names VALUES ('a', 'y')")
    db.close()


def test_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wherry.db"
    Database(path).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version=99")
    raw.close()
    with pytest.raises(Internal, match="format 99"):
        Database(path)


def test_journal_holds_until_cleared(tmp_path: Path) -> None:
    db = Database(tmp_path / "wherry.db")
    journal = Journal(db)
    journal.intend("c1", "mount", path="/x")
    journal.intend("c1", "cgroup", path="wherry/c1")
    journal.intend("c2", "mount", path="/y")
    journal.clear("c1", "mount")
    assert [(e.container, e.kind, e.detail) for e in journal.entries()] == [("c1", "cgroup", {"path": "wherry/c1"}), ("c2", "mount", {"path": "/y"})]
    journal.clear("c1")
    assert [e.container for e in journal.entries()] == ["c2"]
    db.close()


def test_atomic_write_replaces_whole_files(tmp_path: Path) -> None:
    target = tmp_path / "f"
    atomic.write(target, b"old")
    atomic.write(target, b"new", 0o644, sync=False)
    assert target.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_full_disk_is_said_and_nothing_is_stuck(tmp_path: Path) -> None:
    db = Database(tmp_path / "w.db")
    pages = int(db.query("PRAGMA page_count")[0][0])
    db.query(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(Unavailable, match="full"):
        for n in range(1000):
            with db.transaction() as cursor:
                cursor.execute("INSERT INTO volumes (name, driver, created, options, labels) VALUES (?,'local',0,?,'')", (f"v{n}", "x" * 3000))
    before = db.query("SELECT count(*) FROM volumes")[0][0]
    db.query("PRAGMA max_page_count=100000")
    with db.transaction() as cursor:  # the failed one is over: this is no transaction within a transaction
        cursor.execute("INSERT INTO volumes (name, driver, created, options, labels) VALUES ('after','local',0,'','')")
    assert db.query("SELECT count(*) FROM volumes")[0][0] == before + 1
    db.close()
