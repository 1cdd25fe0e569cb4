"""`wait`: until a container's run is over, or the container itself."""

from __future__ import annotations

from collections.abc import Callable

from wherry.daemon.daemon import Daemon
from wherry.model.cancel import Cancel
from wherry.model.container import Container
from wherry.model.errors import InvalidArgument

CONDITIONS = ("", "not-running", "next-exit", "removed")


def wait(d: Daemon, ref: str, condition: str, registered: Callable[[], None], cancel: Cancel) -> int | None:
    """The exit code; None where the client left first. `registered` is called once nothing that follows can be missed."""
    if condition not in CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"')
    container = d.containers.get(ref)
    exits = container.exits
    registered()

    def done() -> bool:
        if condition == "next-exit" and container.exits > exits:
            return True
        if condition in ("", "not-running") and container.state.status in ("created", "exited", "dead"):
            return True
        return container.removed

    if not until(container, done, None, cancel):
        return None
    return container.last_exit if container.exits else container.state.exit_code


def until(container: Container, done: Callable[[], bool], seconds: float | None, cancel: Cancel | None = None) -> bool:
    """Waits until `done`; False where time ran out or the client left."""
    if cancel is None:
        with container.changed:
            return container.changed.wait_for(done, seconds)
    with cancel.calling(container.notify), container.changed:
        container.changed.wait_for(lambda: done() or cancel.is_set, seconds)
    return done()
