"""`pause` and `unpause`: the freezer."""

from __future__ import annotations

from wherry.daemon import ends
from wherry.daemon.command import cgroup_path
from wherry.daemon.daemon import Daemon
from wherry.model.container import Container
from wherry.model.errors import Conflict, Internal


def pause(d: Daemon, ref: str) -> None:
    """Returns when every process stands still. Conflict where it does not run or is paused already."""
    container = d.containers.get(ref)
    with container.lock:
        if container.state.paused:
            raise Conflict(f"Container {container.id} is already paused")
        if container.state.status != "running":
            raise Conflict(f"container {container.id} is not running")
        d.cgroups.open(cgroup_path(container)).freeze()
        container.state.status = "paused"
        d.containers.save_state(container)
        d.event(container, "pause")
    container.notify()


def unpause(d: Daemon, ref: str) -> None:
    """Internal (as Docker answers 500) where it is not paused."""
    container = d.containers.get(ref)
    with container.lock:
        if not container.state.paused:
            raise Internal(f"Container {container.id} is not paused")
        go_on(d, container)


def go_on(d: Daemon, container: Container) -> None:
    """Lets it run on if it is paused. Needs the container's lock."""
    if not container.state.paused:
        return
    d.cgroups.open(cgroup_path(container)).thaw()
    container.state.status = "running"
    ends.save(d, container)
    d.event(container, "unpause")
    container.notify()
