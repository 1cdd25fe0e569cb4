"""`resize`: the window of a container's terminal."""

from __future__ import annotations

from wherry.daemon.daemon import Daemon
from wherry.model.errors import Conflict


def resize(d: Daemon, ref: str, rows: int, columns: int) -> None:
    """Conflict where it does not run."""
    container = d.containers.get(ref)
    with container.lock:
        if not container.state.running or container.monitor is None:
            raise Conflict(f"Container {container.id} is not running")
        container.monitor.resize(rows, columns)
    d.event(container, "resize", height=str(rows), width=str(columns))
