"""`restart`: stop, then start; a stopped container is started."""

from __future__ import annotations

from wherry.daemon import ends, start, stop
from wherry.daemon.daemon import Daemon
from wherry.daemon.verify import parse_signal, stop_signal


def restart(d: Daemon, ref: str, seconds: int | None, signal_name: str) -> None:
    """As stop and start; a restart policy does not come in between."""
    container = d.containers.get(ref)
    number = parse_signal(signal_name) if signal_name else stop_signal(container.config)
    keep, container.kept = container.kept, True
    try:
        stop.end(d, container, seconds, number)
        with container.lock:
            ends.cancel_restart(container)
            container.state.manually_stopped = False
            start.begin(d, container)
    finally:
        container.kept = keep
    d.event(container, "restart")
