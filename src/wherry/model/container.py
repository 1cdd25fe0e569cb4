"""A container: what was asked (frozen) and what happens (State, with its own lock)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from wherry.model.config import Config, HostConfig, NetworkingConfig

ZERO_TIME = "0001-01-01T00:00:00Z"
FORMAT = 1


def rfc3339(ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 in UTC with up to nine fraction digits; 0 is Go's zero time."""
    if not ns:
        return ZERO_TIME
    seconds, fraction = divmod(ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


class MountPoint(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    """One mount of a container as `inspect` shows it, and what the start needs to make it."""

    type: str
    name: str = ""
    source: str = ""
    destination: str
    driver: str = ""
    mode: str = ""
    rw: bool = msgspec.field(default=True, name="RW")
    propagation: str = ""
    no_copy: bool = False
    subpath: str = ""
    anonymous: bool = False
    recursive: bool = True
    readonly_recursive: str = "try"  # try | no | force
    tmpfs_options: str = ""
    create_source: bool = False  # a missing bind source is made as a directory (-v, CreateMountpoint)


class State(msgspec.Struct, rename="pascal", kw_only=True):
    """What happens to a container now. Times in nanoseconds since the epoch, 0: never."""

    status: str = "created"  # created running paused restarting removing exited dead
    pid: int = 0
    start_ticks: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: int = 0
    finished_at: int = 0
    restart_count: int = 0
    manually_stopped: bool = False

    @property
    def running(self) -> bool:
        return self.status in ("running", "paused")

    @property
    def paused(self) -> bool:
        return self.status == "paused"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The content of containers/{ID}/config.json: all that was asked, but HostConfig."""

    version: int = FORMAT
    id: str
    created: int
    image_ref: str
    image_id: str
    path: str
    args: list[str]
    config: Config
    networking: NetworkingConfig
    mounts: list[MountPoint]
    driver: str
    platform: str = "linux"


class Container:
    """One container in the store. `lock` guards its life cycle: a verb that changes it holds the lock."""

    def __init__(self, record: Record, host: HostConfig, name: str, state: State | None = None) -> None:
        self.record = record
        self.host = host
        self.name = name
        self.state = state or State()
        self.lock = threading.RLock()
        self.changed = threading.Condition(threading.Lock())
        self.exits = 0  # how many times it has ended since this daemon began: what `wait next-exit` watches
        self.removed = False
        self.endpoint: Any = None  # network.Endpoint while it runs
        self.ports: list[Any] = []  # network.PortMapping while it runs
        self.monitor: Any = None  # execdriver.client.Monitor while it runs, or is attached before its start
        self.execs: dict[str, Any] = {}
        self.pidfd: int | None = None  # of the init, while it runs
        self.last_exit = 0  # the code of the last end: what a waiter gets
        self.delay = 0.0  # seconds of the last back-off
        self.held = False  # its run holds things on this host (mounts, cgroup ...), or they are being given back
        self.kept = 0  # restarts, removals ... that are under way: while there is one, the end of a run neither removes nor restarts it
        self.timer: threading.Timer | None = None  # of the next restart

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def config(self) -> Config:
        return self.record.config

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """While this is entered the end of a run neither removes the container nor restarts it by its policy."""
        with self.lock:
            self.kept += 1
        try:
            yield
        finally:
            with self.lock:
                self.kept -= 1

    def close_pidfd(self) -> None:
        """The run is over."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    def notify(self) -> None:
        """Wakes everybody who waits for a change of this container."""
        with self.changed:
            self.changed.notify_all()
