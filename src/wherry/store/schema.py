"""The tables of wherry.db, all in one place. A row names an object; an object without a row is rubbish (docs/on-disk.md).

FORMAT is the version of the whole file: older ones are migrated by MIGRATIONS[version] in order, newer ones are refused."""

from __future__ import annotations

FORMAT = 1

TABLES = """
CREATE TABLE containers (
  id TEXT PRIMARY KEY, created INTEGER NOT NULL,
  state BLOB NOT NULL                      -- model.container.State as JSON
) WITHOUT ROWID;
CREATE TABLE names (
  name TEXT PRIMARY KEY, container TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE journal (                     -- what a container holds on this host: undone from here, never guessed
  seq INTEGER PRIMARY KEY, container TEXT NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX journal_container ON journal (container);
"""

MIGRATIONS: dict[int, str] = {}
