"""The journal: an intent is written before, and cleared after, anything that leaves a trace on the host (rows of wherry.db)."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from wherry.store.db import Database


class Entry(NamedTuple):
    """One thing that a container holds on this host, or is about to."""

    seq: int
    container: str
    kind: str
    detail: dict[str, Any]


class Journal:
    """Rows of what each container holds; `kind` names the undo."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def intend(self, container: str, kind: str, **detail: Any) -> int:
        """Records an intent; the sequence number clears it."""
        with self._db.transaction() as cursor:
            cursor.execute("INSERT INTO journal (container, kind, detail) VALUES (?,?,?)", (container, kind, json.dumps(detail)))
            return int(cursor.lastrowid or 0)

    def clear(self, container: str, kind: str | None = None) -> None:
        """The traces of this container (of one kind) are gone."""
        with self._db.transaction() as cursor:
            if kind is None:
                cursor.execute("DELETE FROM journal WHERE container=?", (container,))
            else:
                cursor.execute("DELETE FROM journal WHERE container=? AND kind=?", (container, kind))

    def entries(self, container: str | None = None) -> list[Entry]:
        """What is held, oldest first."""
        where, args = ("WHERE container=?", (container,)) if container is not None else ("", ())
        rows = self._db.query(f"SELECT seq, container, kind, detail FROM journal {where} ORDER BY seq", args)
        return [Entry(seq, owner, kind, json.loads(detail)) for seq, owner, kind, detail in rows]
