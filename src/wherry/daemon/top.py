"""`top`: the processes of a container, as the host sees them."""

from __future__ import annotations

from typing import Any

from wherry.daemon import processes
from wherry.daemon.command import cgroup_path
from wherry.daemon.daemon import Daemon
from wherry.model.errors import Conflict


def top(d: Daemon, ref: str, ps_args: str) -> dict[str, Any]:
    """Titles and rows of `ps PS_ARGS`. Conflict where it does not run, InvalidArgument for arguments that are not known."""
    container = d.containers.get(ref)
    columns = processes.layout(ps_args)
    if container.state.status == "restarting":
        raise Conflict(f"container {ref} is restarting, wait until the container is running")
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running")
    table = processes.table(d.cgroups.open(cgroup_path(container)).procs(), columns)
    d.event(container, "top")
    return table
