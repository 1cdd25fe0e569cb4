"""`restart`: stop, then start; a stopped container is started."""

from __future__ import annotations

from wherry.daemon import start, stop
from wherry.daemon.daemon import Daemon
from wherry.daemon.verify import parse_signal, stop_signal
from wherry.model.container import Container
from wherry.model.steps import step


def restart(d: Daemon, ref: str, seconds: int | None, signal_name: str) -> None:
    """As stop and start; neither a restart policy nor --rm comes in between."""
    container = d.containers.get(ref)
    number = parse_signal(signal_name) if signal_name else stop_signal(container.config)
    with container.keeping():
        while not _start_stopped(d, container):
            with step("restart: end it"):
                stop.end(d, container, seconds, number)
    d.event(container, "restart")


def _start_stopped(d: Daemon, container: Container) -> bool:
    """Starts it if it does not run, in one with the look. False: it has to be ended first, perhaps because somebody else has just started it."""
    with container.lock:
        if container.state.running:
            return False
        with step("restart: start it"):
            start.anew(d, container)
        return True
