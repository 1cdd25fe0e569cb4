"""`start`: act 2 of the run flow, ending in execdriver.run (docs/adr/0001-start.md)."""

from __future__ import annotations

from contextlib import ExitStack
from errno import ENOENT
from functools import partial
from time import time_ns

from wherry.daemon import command, ends, holdings, netfiles, ports, verify, volumes
from wherry.daemon.daemon import Daemon, log
from wherry.execdriver.client import Monitor, open_init
from wherry.model.command import to_json
from wherry.model.container import Container
from wherry.model.errors import Conflict, Internal, NotModified, StartFailed, WherryError, errno_name
from wherry.model.steps import Trace, current_trace, step, use_trace
from wherry.network.endpoint import Endpoint
from wherry.store import atomic


def start(d: Daemon, ref: str) -> list[str]:
    """Starts a created or ended container: warnings. NotModified where it runs, Conflict where it cannot start now, StartFailed."""
    with step("S1 lookup"):
        container = d.containers.get(ref)
    with container.lock:
        state = container.state
        if state.status == "paused":
            raise Conflict("cannot start a paused container, try unpause instead")
        if state.running:
            raise NotModified(f"container {container.name} is running already")
        return anew(d, container)


def anew(d: Daemon, container: Container) -> list[str]:
    """A start that somebody asked for: its restart policy begins from nothing. Needs the container's lock; it does not run."""
    state = container.state
    if container.removed or state.status in ("removing", "dead"):
        raise Conflict("container is marked for removal and cannot be started")
    ends.cancel_restart(container)
    state.manually_stopped = False
    state.restart_count = 0
    container.delay = 0.0
    return begin(d, container)


def begin(d: Daemon, container: Container) -> list[str]:
    """The start itself; the caller holds the container's lock. Also used by restart policies."""
    trace = current_trace()
    if trace is None:
        trace = Trace("wherryd")
        use_trace(trace)
    try:
        warnings = _attempt(d, container)
    except Exception as error:
        failure = _explain(container, error)
        ends.start_failed(d, container, failure)
        raise failure from None
    finally:
        d.remember(container, trace.spans)
        use_trace(None)
        d.submit(d.launcher.replenish)
    return warnings


def _attempt(d: Daemon, container: Container) -> list[str]:
    """Every part in its order; whatever fails undoes what was done."""
    holdings.wait_released(container)
    with ExitStack() as undo:
        undo.callback(_drop_monitor, container)
        with step("S1 journal intent"), d.db.transaction():
            d.journal.intend(container.id, "run", cgroup=command.cgroup_path(container))
            endpoint: Endpoint | None = None
            if container.host.network_mode == "bridge" and not container.config.network_disabled:
                endpoint = d.bridge.allocate(container.id)
        undo.callback(holdings.release, d, container.id)
        with step("S2 DNS"):
            netfiles.write_resolv_conf(d, container)
        sources = command.Sources()
        undo_sources = ExitStack()
        undo_sources.callback(sources.close)
        with undo_sources:
            with step("S3 mount"):
                rootfs = sources.add(holdings.mount_root(d, container.id, volatile=container.host.auto_remove))
            with step("S4 hosts, hostname"):
                netfiles.write_hosts(d, container, endpoint)
            with step("S5 host checks"):
                limits, warnings = d.cgroups.warnings(verify.resources(container.host))
            with step("S6 volumes"):
                points = volumes.open_sources(d, container, sources)
            with step("S9-S10 environment and Command"):
                record = command.build(d, container, rootfs, points, endpoint, limits, sources)
            with step("S11 container.json"):
                directory = d.launcher.exec_dir(container.id)
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                atomic.write(directory / "container.json", to_json(record), sync=False)
            if endpoint is not None:
                with step("S11 published ports"):
                    container.ports = d.bridge.publish(container.id, endpoint, ports.wanted(container.config, container.host))
            with step("S12 execdriver.run"):
                monitor = monitor_of(d, container)
                pid, ticks = monitor.start(sources.fds, **command.start_options(container))
        undo.pop_all()
    container.endpoint = endpoint
    with step("S12 record"):
        _running(d, container, monitor, pid, ticks)
    return warnings


def monitor_of(d: Daemon, container: Container) -> Monitor:
    """The monitor of the next run: forked at the first attach or at the start, whichever comes first. Needs the container's lock."""
    if container.monitor is None:
        container.monitor = d.launcher.monitor(container.id, d.containers.directory(container.id))
        container.monitor.on_event = partial(ends.heard, d, container)
    monitor: Monitor = container.monitor
    return monitor


def _running(d: Daemon, container: Container, monitor: Monitor, pid: int, ticks: int) -> None:
    state = container.state
    container.held = True
    state.status, state.pid, state.start_ticks = "running", pid, ticks
    state.started_at, state.exit_code, state.error, state.oom_killed = time_ns(), 0, "", False
    container.pidfd = open_init(pid, ticks)
    ends.save(d, container)
    if container.endpoint is not None:
        d.network_event(container, "connect")
    d.event(container, "start")
    d.hub.add(monitor)
    container.notify()


def _drop_monitor(container: Container) -> None:
    if container.monitor is not None:
        container.monitor.close()
        container.monitor = None


def _explain(container: Container, error: Exception) -> WherryError:
    """The error that the client reads: which container, which step, why, on what. Its kind is kept."""
    where = getattr(error, "step", "") or ""
    begun = f"failed to start container {container.name}" + (f" (step '{where}')" if where else "")
    if isinstance(error, StartFailed):
        code = 127 if error.errno == ENOENT and where == "init: exec" else 126 if where == "init: exec" else 128
        return StartFailed(f"{begun}: {error}", step=where, errno=error.errno, path=error.path, exit_code=code)
    if isinstance(error, WherryError):
        return type(error)(f"{begun}: {error}")
    if not isinstance(error, OSError):
        log.error("the start of container %s failed in a way that nobody thought of", container.name, exc_info=error)
        return Internal(f"{begun}: {error!r}")
    path = f": {error.filename}" if error.filename else ""
    return StartFailed(f"{begun}: {error.strerror or error}{path} ({errno_name(error.errno or 0)})",
                       step=where, errno=error.errno or 0, path=str(error.filename or ""))
