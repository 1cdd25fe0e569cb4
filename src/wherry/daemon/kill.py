"""`kill`: one signal to the container's PID 1."""

from __future__ import annotations

import signal

from wherry.daemon import ends, pause
from wherry.daemon.daemon import Daemon
from wherry.daemon.verify import parse_signal, stop_signal
from wherry.daemon.wait import until
from wherry.model.container import Container
from wherry.model.errors import Conflict, Internal, InvalidArgument
from wherry.model.steps import step

KILL_SECONDS = 10.0


def kill(d: Daemon, ref: str, name: str) -> None:
    """InvalidArgument for an unknown signal, Conflict where it does not run. SIGKILL waits for the end."""
    try:
        number = parse_signal(name or "SIGKILL")
    except InvalidArgument as error:
        raise InvalidArgument(f"cannot kill container: {ref}: {error}") from None
    container = d.containers.get(ref)
    with container.lock:
        if container.state.status == "restarting" and number == signal.SIGKILL:
            container.state.manually_stopped = True
            ends.cancel_restart(container)
            d.containers.save_state(container)
            return
        if not container.state.running:
            raise Conflict(f"cannot kill container: {ref}: container {container.id} is not running")
        if number in (signal.SIGKILL, stop_signal(container.config)):
            container.state.manually_stopped = True
            with step("kill: record"):
                ends.save(d, container)
        exits = container.exits
        with step("kill: signal"):
            send(d, container, number)
    if number == signal.SIGKILL and not until(container, lambda: container.exits > exits, KILL_SECONDS):
        raise Internal(f"container {container.name} did not end within {KILL_SECONDS:.0f} s after SIGKILL: a process of it hangs in the kernel")


def send(d: Daemon, container: Container, number: int) -> None:
    """Signals PID 1 by its pidfd: never a stranger with the same PID. A paused container goes on for what is to end it. Needs the lock."""
    if container.pidfd is None:
        return
    try:
        signal.pidfd_send_signal(container.pidfd, number)
    except ProcessLookupError:
        return  # it ended just now; its exit is on the way
    d.event(container, "kill", signal=str(number))
    if number in (signal.SIGKILL, stop_signal(container.config)):
        pause.go_on(d, container)
