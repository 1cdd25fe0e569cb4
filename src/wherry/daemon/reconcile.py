"""The daemon's start: what is recorded against what really runs. Nothing is guessed from names: the journal says what may be left over.

Afterwards every container is wholly there or wholly gone, the running ones are connected, and restart policies are applied.
"""

from __future__ import annotations

import os
from functools import partial
from time import time_ns

from wherry.daemon import ends, holdings, remove, start
from wherry.daemon import exec as execs
from wherry.daemon.daemon import Daemon, log
from wherry.execdriver.client import RunFiles, open_init
from wherry.model.container import Container
from wherry.model.errors import NotFound, WherryError


def reconcile(d: Daemon) -> None:
    """Called once, before the first request."""
    d.containers.load(log.error)
    d.driver.sweep()
    d.images.collect_garbage()
    live = {container.id for container in d.containers.all() if _reconnect(d, container)}
    d.bridge.up()
    d.bridge.reconcile(live)
    for identifier in {e.container for e in d.journal.entries() if e.kind == "run"} - live:
        holdings.release(d, identifier)
    _undo_creations(d)
    d.volumes.reconcile({c.id for c in d.containers.all()}, live)
    for container in d.containers.all():
        with container.lock:
            _after_restart(d, container)
    d.submit(d.launcher.replenish)


def _undo_creations(d: Daemon) -> None:
    """Creations and removals that a crash cut off: the layer has no row, or no longer."""
    for entry in d.journal.entries():
        if entry.kind != "layer":
            continue
        try:
            d.containers.get(entry.container)
        except NotFound:
            remove.erase_files(d, entry.container)
            d.volumes.release(entry.container)
        else:
            d.journal.clear(entry.container, "layer")


def _reconnect(d: Daemon, container: Container) -> bool:
    """Whether the container runs. The files that its monitor left are the truth; the recorded State follows."""
    files = RunFiles(d.launcher.exec_dir(container.id))
    run, ended = files.state(), files.exit()
    if run is None and files.state_is_broken():
        run = _recorded_run(container)
    if run is None and ended is None:
        if container.state.running:  # its start never committed, or the host has booted anew
            _record_end(d, container, {"code": 255, "at": time_ns(), "oom": False, "error": "the host went down while it ran"})
        return False
    if run is not None and ended is None:
        monitor = d.launcher.reconnect(container.id)
        if monitor is not None:
            _adopt(d, container, run)
            container.monitor = monitor
            monitor.on_event = partial(ends.heard, d, container)
            execs.reload(d, container)
            d.hub.add(monitor)
            return True
        ended = files.exit() or ends.end_without_monitor(files.directory, run["pid"], run["ticks"])
    assert ended is not None
    _record_end(d, container, ended)
    return False


def _recorded_run(container: Container) -> dict[str, int] | None:
    """A run whose state.json is broken, as the database knows it; None where that process is gone."""
    state = container.state
    if not state.running or (pidfd := open_init(state.pid, state.start_ticks)) is None:
        return None
    os.close(pidfd)
    log.error("container %s: its state.json is broken; the run is known from wherry.db", container.name)
    return {"pid": state.pid, "ticks": state.start_ticks}


def _adopt(d: Daemon, container: Container, run: dict[str, int]) -> None:
    """It was started, perhaps without its reply: the State says so now."""
    state = container.state
    if not state.running:
        state.status, state.started_at = "running", state.started_at or time_ns()
    if state.pid != run["pid"]:
        state.started_at = time_ns()
    state.pid, state.start_ticks, state.error = run["pid"], run["ticks"], ""
    container.held = True
    container.pidfd = open_init(state.pid, state.start_ticks)
    if container.host.network_mode == "bridge" and not container.config.network_disabled:
        container.endpoint = d.bridge.allocate(container.id)
    container.ports = d.bridge.published(container.id)
    d.containers.save_state(container)


def _record_end(d: Daemon, container: Container, record: dict[str, object]) -> None:
    state = container.state
    state.status, state.pid, state.start_ticks = "exited", 0, 0
    state.exit_code, state.finished_at = int(str(record["code"])), int(str(record["at"]))
    state.oom_killed, state.error = bool(record["oom"]), str(record.get("error") or "")
    container.last_exit = state.exit_code
    d.containers.save_state(container)
    d.event(container, "die", exitCode=str(state.exit_code))


def _after_restart(d: Daemon, container: Container) -> None:
    """Policies over a restart of the daemon: --rm, --restart."""
    state, host = container.state, container.host
    if state.running:
        return
    if host.auto_remove and (state.status == "exited" or state.started_at):
        remove.unname(d, container, volumes=True)
        remove.erase(d, container)
        return
    policy = host.restart_policy.name
    wanted = policy == "always" and state.started_at or ends.should_restart(container) and state.started_at
    if state.status in ("exited", "restarting") and wanted:
        state.status, state.manually_stopped = "restarting", False
        d.submit(_start_again, d, container)


def _start_again(d: Daemon, container: Container) -> None:
    with container.lock:
        if d.closing or container.state.status != "restarting":
            return
        try:
            start.begin(d, container)
        except WherryError as error:
            log.warning("container %s: its restart policy could not be applied: %s", container.name, error)
