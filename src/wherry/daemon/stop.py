"""`stop`: the stop signal, a time to end, then SIGKILL."""

from __future__ import annotations

import signal

from wherry.daemon import ends, holdings, kill, pause
from wherry.daemon.daemon import Daemon
from wherry.daemon.verify import parse_signal, stop_signal
from wherry.daemon.wait import until
from wherry.model.container import Container
from wherry.model.errors import Internal, NotModified
from wherry.model.steps import step

DEFAULT_SECONDS = 10


def stop(d: Daemon, ref: str, seconds: int | None, signal_name: str) -> None:
    """NotModified where it does not run. `seconds` negative waits for ever; None: the container's own StopTimeout, else 10."""
    container = d.containers.get(ref)
    number = parse_signal(signal_name) if signal_name else stop_signal(container.config)
    with container.lock:
        if container.state.status == "restarting":
            container.state.manually_stopped = True
            ends.cancel_restart(container)
            d.containers.save_state(container)
            container.notify()
            return
        if not container.state.running:
            raise NotModified(f"container {container.name} is stopped already")
    end(d, container, seconds, number)
    with step("stop: wait for release"):
        holdings.wait_released(container)
    d.event(container, "stop")


def end(d: Daemon, container: Container, seconds: float | None, number: int) -> None:
    """Ends a running container, and returns when its end is recorded."""
    if seconds is None:
        seconds = container.config.stop_timeout if container.config.stop_timeout is not None else DEFAULT_SECONDS
    with container.lock:
        if not container.state.running:
            return
        exits = container.exits
        container.state.manually_stopped = True
        with step("stop: record"):
            ends.save(d, container)
        with step("stop: signal"):
            kill.send(d, container, number)
            pause.go_on(d, container)
    with step("stop: wait"):
        ended = until(container, lambda: container.exits > exits, None if seconds < 0 else seconds)
    if not ended:
        with step("stop: SIGKILL"), container.lock:
            kill.send(d, container, signal.SIGKILL)
        if not until(container, lambda: container.exits > exits, kill.KILL_SECONDS):
            raise Internal(f"container {container.name} did not end after SIGKILL: a process of it hangs in the kernel")
