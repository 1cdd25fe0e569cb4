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
CREATE TABLE network_bridges (
  name TEXT PRIMARY KEY, address TEXT NOT NULL, -- own address with prefix length
  next INTEGER NOT NULL                         -- where the search for a free address begins
) WITHOUT ROWID;
CREATE TABLE network_endpoints (                -- a container's address (as a number) and the host's end of its veth
  bridge TEXT NOT NULL, address INTEGER NOT NULL, container TEXT NOT NULL, veth TEXT NOT NULL UNIQUE,
  PRIMARY KEY (bridge, address), UNIQUE (bridge, container)
) WITHOUT ROWID;
CREATE TABLE network_ports (                    -- a published port: bound on this host, led to address:container_port
  bridge TEXT NOT NULL, protocol TEXT NOT NULL, host_ip TEXT NOT NULL, host_port INTEGER NOT NULL,
  container TEXT NOT NULL, address TEXT NOT NULL, container_port INTEGER NOT NULL,
  PRIMARY KEY (bridge, protocol, host_ip, host_port)
) WITHOUT ROWID;
CREATE INDEX network_ports_container ON network_ports (container);
CREATE TABLE volumes (
  name TEXT PRIMARY KEY, driver TEXT NOT NULL, created INTEGER NOT NULL,   -- nanoseconds since the epoch
  options TEXT NOT NULL, labels TEXT NOT NULL,                             -- JSON objects
  removing INTEGER NOT NULL DEFAULT 0                                      -- 1: its files are going; finished at the next start
) WITHOUT ROWID;
CREATE TABLE volume_users (                -- which containers name a volume
  volume TEXT NOT NULL, container TEXT NOT NULL,
  mounted INTEGER NOT NULL DEFAULT 0,      -- 1 while the container runs with it
  copied INTEGER NOT NULL DEFAULT 0,       -- 1 once the container's image content was offered to it (copy-up happens at the first start only)
  PRIMARY KEY (volume, container)
) WITHOUT ROWID;
CREATE INDEX volume_users_container ON volume_users (container);
"""

MIGRATIONS: dict[int, str] = {}
