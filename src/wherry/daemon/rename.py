"""`rename`."""

from __future__ import annotations

from wherry.daemon.daemon import Daemon
from wherry.model.errors import InvalidArgument, NotFound
from wherry.model.ids import check_name


def rename(d: Daemon, ref: str, new: str) -> None:
    """InvalidArgument for an empty, bad or unchanged name, Conflict for a taken one."""
    container = d.containers.get(ref)
    if not new:
        raise InvalidArgument("Neither old nor new names may be empty")
    wanted = check_name(new)
    with container.lock:
        if container.removed:
            raise NotFound(f"No such container: {ref}")
        old = container.name
        if wanted == old:
            raise InvalidArgument("Renaming a container with the same name as its current name")
        d.containers.rename(container, wanted)
    d.event(container, "rename", oldName=f"/{old}")
