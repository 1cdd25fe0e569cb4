"""How runs end: what a monitor reports, the exit's record, restart policies, self-removal.

Law: exited -> (restarting -> running)* by policy and back-off, unless it was stopped by hand; every end is recorded, told, and cleaned up.
"""

from __future__ import annotations

import threading
from time import monotonic, time_ns
from typing import Any

from wherry.daemon import holdings, remove, start
from wherry.daemon.daemon import Daemon, log
from wherry.execdriver.client import Monitor, RunFiles, open_init
from wherry.linux.inotify import Inotify
from wherry.model.container import Container
from wherry.model.errors import StartFailed, WherryError
from wherry.model.steps import step

FIRST_DELAY, LONGEST_DELAY = 0.1, 60.0  # seconds
LIVED = 10_000_000_000  # nanoseconds of life after which the back-off begins anew
EXIT_SECONDS = 3.0  # how long the launcher may take to record the end of a monitor that died
_UNKNOWN_END = {"code": 137, "oom": False, "error": "the container's monitor process died, so the container was ended"}


def heard(d: Daemon, container: Container, monitor: Monitor, event: dict[str, Any]) -> None:
    """An event of a container's monitor; called in the hub's thread, so all work goes to a worker."""
    kind = event["event"]
    if kind == "exited":
        d.submit(exited, d, container, monitor, event)
    elif kind == "gone":
        d.submit(_monitor_gone, d, container, monitor)
    elif kind == "detached":
        d.event(container, "detach")
    elif kind == "oom":
        d.event(container, "oom")
    elif kind == "log":
        log.error("container %s: its log %s", container.name, event["message"])


def _monitor_gone(d: Daemon, container: Container, monitor: Monitor) -> None:
    """The monitor ended without a word: killed. The launcher ends the container and writes exit.json; if it is gone too, we do it here."""
    if container.monitor is not monitor or d.closing:
        return
    exited(d, container, monitor, end_without_monitor(monitor.exec_dir, container.state.pid, container.state.start_ticks))


def end_without_monitor(directory: Any, pid: int, ticks: int) -> dict[str, Any]:
    """The record of a run whose monitor died; kills what is left of it."""
    files = RunFiles(directory)
    pidfd = open_init(pid, ticks)
    if pidfd is not None:
        holdings.kill_and_wait(pidfd, EXIT_SECONDS)
    deadline = monotonic() + EXIT_SECONDS
    with Inotify() as changes:
        try:
            changes.watch(str(directory))
        except FileNotFoundError:  # an exec's goes with its container
            return _UNKNOWN_END | {"at": time_ns()}
        while files.exit() is None and (left := deadline - monotonic()) > 0:
            changes.wait(timeout=left)
    return files.exit() or _UNKNOWN_END | {"at": time_ns()}


def exited(d: Daemon, container: Container, monitor: Monitor | None, record: dict[str, Any]) -> None:
    """Records and tells the end of a run, gives back what it held, and does what the policy says."""
    with container.lock:
        if container.monitor is not monitor or not container.state.running:
            return
        state = container.state
        state.pid, state.start_ticks = 0, 0
        state.exit_code, state.oom_killed, state.finished_at = record["code"], record["oom"], record["at"]
        state.error = record.get("error", "")
        again = should_restart(container)
        state.status = "restarting" if again else "exited"
        lived = state.finished_at - state.started_at
        connected = container.endpoint is not None
        container.monitor, container.endpoint, container.ports = None, None, []
        container.close_pidfd()
        container.last_exit = state.exit_code
        container.exits += 1
        remove_it = container.host.auto_remove and not again and not container.kept
        saved = _record(d, container)
        d.event(container, "die", exitCode=str(state.exit_code), execDuration=str(lived // 1_000_000_000))
        if connected:
            d.network_event(container, "disconnect")
        if remove_it:
            remove_it = _unname(d, container)
        container.notify()
    # Nobody waits for the rest: a start or the erasing of its layer waits for `held`.
    try:
        holdings.release(d, container.id, keep_record=not saved)
    finally:
        container.held = False
        container.notify()
    if remove_it:
        remove.erase(d, container)
    elif again:
        with container.lock:
            if state.status == "restarting":
                _restart_later(d, container, lived)


def save(d: Daemon, container: Container) -> bool:
    """Records the State of what has happened already, which no error undoes: one that cannot be recorded now (a full disk) is logged.
    The files in the exec directory tell it to the next daemon."""
    try:
        d.containers.save_state(container)
    except WherryError as error:
        log.error("container %s: that it is %s cannot be recorded: %s", container.name, container.state.status, error)
        return False
    return True


def should_restart(container: Container) -> bool:
    """What the restart policy says about this end."""
    policy, state = container.host.restart_policy, container.state
    if state.manually_stopped or container.kept:
        return False
    if policy.name in ("always", "unless-stopped"):
        return True
    if policy.name == "on-failure" and state.exit_code != 0:
        return not policy.maximum_retry_count or state.restart_count < policy.maximum_retry_count
    return False


def _record(d: Daemon, container: Container) -> bool:
    """The end and what it gives back at once; False where it cannot be recorded now: exit.json is kept for it.

    Not one transaction: who publishes ports holds the publisher's lock before the database's, so here they are not taken the other way round.
    A network that cannot be given back holds nothing up: `release` tries again."""
    with step("end: record"):
        saved = save(d, container)
    try:
        with step("end: give back the network"):
            holdings.release_network(d, container.id)
    except (OSError, WherryError) as error:
        log.error("container %s: its network cannot be given back at once: %s", container.name, error)
    return saved


def _unname(d: Daemon, container: Container) -> bool:
    """`--rm`; False where that cannot be recorded now: the next start of the daemon removes it."""
    try:
        remove.unname(d, container, volumes=True)
    except WherryError as error:
        container.state.status = "exited"
        log.error("container %s: cannot be removed now (tried again at the daemon's next start): %s", container.name, error)
        return False
    return True


def _restart_later(d: Daemon, container: Container, lived: int) -> None:
    delay = FIRST_DELAY if lived > LIVED or not container.delay else min(container.delay * 2, LONGEST_DELAY)
    container.delay = delay
    timer = threading.Timer(delay, d.submit, (_restart, d, container))
    timer.daemon = True  # joined or cancelled by cancel_restart; at the daemon's end nothing is lost: the policy is applied at the next start
    container.timer = timer
    try:
        timer.start()
    except RuntimeError as error:  # no more threads: the pids limit
        cancel_restart(container)
        log.error("container %s: cannot be restarted: %s: the limit of processes is reached; start it by hand", container.name, error)


def _restart(d: Daemon, container: Container) -> None:
    with container.lock:
        if d.closing or container.state.status != "restarting" or container.removed:
            return
        container.state.restart_count += 1
        try:
            start.begin(d, container)
        except WherryError as error:
            log.warning("container %s: restart failed: %s", container.name, error)


def put_off_restart(container: Container) -> None:
    """No restart by this daemon; the next one applies the policy. Needs the container's lock."""
    if container.timer is not None:
        container.timer.cancel()
        container.timer = None


def cancel_restart(container: Container) -> None:
    """No restart any more; needs the container's lock."""
    put_off_restart(container)
    if container.state.status == "restarting":
        container.state.status = "exited"


def start_failed(d: Daemon, container: Container, error: WherryError) -> None:
    """A start that failed is an end as well: the state says why."""
    state = container.state
    was_restarting = state.status == "restarting"
    state.status = "exited" if state.started_at or was_restarting else "created"
    state.pid = 0
    state.error = str(error)
    state.exit_code = error.exit_code if isinstance(error, StartFailed) else 128
    container.last_exit = state.exit_code
    container.exits += 1
    container.monitor = None
    save(d, container)
    d.event(container, "die", exitCode=str(state.exit_code), execDuration="0")
    container.notify()
    if was_restarting and should_restart(container):
        state.status = "restarting"
        _restart_later(d, container, 0)
    elif container.host.auto_remove and _unname(d, container):
        d.submit(remove.erase, d, container)
