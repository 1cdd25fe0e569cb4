"""`container prune`: removes containers that do not run."""

from __future__ import annotations

import threading
import time

from wherry.daemon import remove, show
from wherry.daemon.daemon import Daemon
from wherry.model.errors import Conflict, NotFound
from wherry.model.filters import Filters
from wherry.model.times import parse_moment

FILTERS = ("until", "label", "label!")

_running = threading.Lock()


def prune_containers(d: Daemon, filters: Filters) -> tuple[list[str], int]:
    """The IDs of the containers removed, and the bytes of their read-write layers. Conflict while another prune runs."""
    filters.check_keys(FILTERS)
    text = filters.one("until")
    until = parse_moment(text, "until") if text else time.time_ns()
    if not _running.acquire(blocking=False):
        raise Conflict("a prune operation is already running")
    removed: list[str] = []
    size = 0
    try:
        for container in d.containers.all():
            labels = container.config.labels or {}
            if container.state.status not in ("created", "exited", "dead") or container.record.created > until:
                continue
            if not filters.labels_match(labels):
                continue
            own = show.sizes(d, container)[0]
            try:
                remove.remove(d, container.id, force=False, volumes=False, link=False)
            except (Conflict, NotFound):
                continue                         # started, or removed by somebody else, in the meantime
            removed.append(container.id)
            size += own
    finally:
        _running.release()
    d.events.publish("container", "prune", "", {"reclaimed": str(size)})
    return removed, size
