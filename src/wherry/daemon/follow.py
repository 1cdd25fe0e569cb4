"""`logs` of a container: where its log is, and when following it ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wherry.daemon.daemon import Daemon
from wherry.daemon.logs import Chunk, LogOptions, logs
from wherry.daemon.wait import until
from wherry.model.cancel import Cancel
from wherry.model.container import Container
from wherry.model.errors import Conflict, InvalidArgument, Unimplemented


def find(d: Daemon, ref: str, options: LogOptions) -> Container:
    """The container whose log can be read with `options`. InvalidArgument without a stream, Conflict for one that is being removed."""
    container = d.containers.get(ref)
    if not options.stdout and not options.stderr:
        raise InvalidArgument("you must choose at least one stream: stdout, stderr")
    if container.state.status in ("dead", "removing"):
        raise Conflict("can not get logs from container which is dead or marked for removal")
    if container.host.log_config.type not in ("", "json-file"):
        raise Unimplemented("configured logging driver does not support reading")
    return container


def read(d: Daemon, container: Container, options: LogOptions, cancel: Cancel) -> Iterator[Chunk]:
    """Pieces of the log. Following ends with the run that is on now, or when `cancel` is set; what does not run is not followed."""
    exits = container.exits
    follow = options.follow and container.state.running
    with _run_ended(container, exits, follow) as fd:
        yield from logs(d.containers.directory(container.id), f"{container.id}-json.log", options._replace(follow=follow),
                        ended=lambda: container.exits > exits or container.removed, ended_fd=fd, cancel=cancel)


@contextmanager
def _run_ended(container: Container, exits: int, wanted: bool) -> Iterator[int | None]:
    """A descriptor that becomes readable when the run is over and its end recorded; a thread of this context watches for it."""
    if not wanted:
        yield None
        return
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    leave = Cancel()

    def watch() -> None:
        if until(container, lambda: container.exits > exits or container.removed, None, leave):
            os.eventfd_write(fd, 1)

    thread = threading.Thread(target=watch, name="api-follow")
    thread.start()
    try:
        yield fd
    finally:
        leave.set()
        thread.join()
        os.close(fd)
