"""`exec`: another program in a running container (docs/adr/0003-exec.md)."""

from __future__ import annotations

import os
import select
import shlex
import socket
import struct
import threading
from collections.abc import Callable
from errno import ENOENT, ESRCH
from functools import partial
from time import monotonic
from typing import Any

import msgspec

from wherry.daemon import command, ends, environment, verify
from wherry.daemon.daemon import Daemon
from wherry.execdriver.client import Monitor, RunFiles, open_init
from wherry.model.command import Capabilities, Command, Namespaces, Process, to_json
from wherry.model.config import ExecConfig
from wherry.model.container import Container
from wherry.model.errors import Conflict, InvalidArgument, NotFound, StartFailed
from wherry.model.ids import new_id
from wherry.model.steps import step
from wherry.store import atomic

KEEP_SECONDS = 300.0  # how long a finished exec can be inspected
SETTLE_SECONDS = 10.0  # how long the report of an end that has happened may take
Hijack = Callable[[], tuple[socket.socket, bytes]]


class Exec:
    """One exec: what was asked, and how it goes. `lock` guards its life: created -> running -> ended."""

    def __init__(self, identifier: str, container: Container, asked: ExecConfig, keys: bytes) -> None:
        self.id, self.container, self.asked, self.keys = identifier, container, asked, keys
        self.lock = threading.Lock()
        self.changed = threading.Condition()
        self.used = False
        self.running = False
        self.pid = 0
        self.ticks = 0
        self.exit_code: int | None = None
        self.ended_at = 0.0
        self.monitor: Monitor | None = None

    def notify(self) -> None:
        with self.changed:
            self.changed.notify_all()


def create(d: Daemon, ref: str, asked: ExecConfig, keys: bytes) -> str:
    """The ID. InvalidArgument for an empty command, Conflict where the container does not run."""
    container = d.containers.get(ref)
    if not asked.cmd:
        raise InvalidArgument("No exec command specified")
    if any("\0" in word for word in asked.cmd):
        raise InvalidArgument("an argument of the exec's command contains a NUL byte")
    forget_old(d)
    one = Exec(new_id(), container, asked, keys)
    directory = d.launcher.exec_dir(container.id, one.id)
    with container.lock:  # its exec directory is given back only after its end is recorded
        _check_running(container)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic.write(directory / "exec.json", msgspec.json.encode({"version": 1, "asked": asked}), sync=False)
        d.execs[one.id] = one
        container.execs[one.id] = one
    d.event(container, f"exec_create: {shlex.join(asked.cmd)}", execID=one.id)
    return one.id


def find(d: Daemon, exec_id: str) -> Exec:
    """NotFound where there is none, or its time is over."""
    one: Exec | None = d.execs.get(exec_id)
    if one is None:
        raise NotFound(f"No such exec instance: {exec_id}")
    return one


def start(d: Daemon, exec_id: str, *, detach: bool, console_size: tuple[int, int] | None, hijack: Hijack | None) -> None:
    """Runs it, once. `hijack` turns the client's connection into a stream; from then on a failure is text in it and an exit code."""
    one = find(d, exec_id)
    with one.lock:
        if one.used:
            raise Conflict(f"Error: Exec command {exec_id} has already run")
        _check_running(one.container)
        one.used = True
    client, early = hijack() if hijack is not None and not detach else (None, b"")
    try:
        try:
            _run(d, one, client, early, console_size)
        except FileNotFoundError as error:  # its exec directory went with the container's
            raise StartFailed(f"container {one.container.name} has just ended: {error}", step="exec: monitor", errno=ESRCH) from None
    except StartFailed as error:
        code = error.exit_code if error.exit_code in (126, 127) else 126
        _ended(d, one, code)
        if client is None:
            if error.errno == ESRCH:
                raise Conflict(f"container {one.container.id} is not running: it ended just now ({error})") from None
            raise
        _tell(client, f"OCI runtime exec failed: {error}\r\n", framed=not one.asked.tty)
    except BaseException:
        _ended(d, one, 126)
        raise
    finally:
        if client is not None:
            client.close()
        d.submit(d.launcher.replenish)


def _run(d: Daemon, one: Exec, client: socket.socket | None, early: bytes, console_size: tuple[int, int] | None) -> None:
    container, asked = one.container, one.asked
    with step("exec: Command"):
        directory = d.launcher.exec_dir(container.id, one.id)
        atomic.write(directory / "container.json", to_json(_command(d, one, console_size)), sync=False)
        pidfd = open_init(container.state.pid, container.state.start_ticks)
        if pidfd is None:
            raise StartFailed(f"container {container.name} has just ended", step="exec: Command", errno=ESRCH)
    try:
        with step("exec: monitor"):
            monitor = d.launcher.monitor(container.id, d.containers.directory(container.id), one.id)
        monitor.on_event = partial(heard, d, one)
        one.monitor = monitor
        if client is not None:
            monitor.attach(client, early, stdin=asked.attach_stdin, stdout=asked.attach_stdout, stderr=asked.attach_stderr,
                           framed=not asked.tty, keys=one.keys)
        d.event(container, f"exec_start: {shlex.join(asked.cmd or [])}", execID=one.id)
        with step("exec: execdriver.run"):
            one.pid, one.ticks = monitor.start([pidfd], open_stdin=asked.attach_stdin and client is not None,
                                               stdin_once=not asked.tty, log=None)
        one.running = True
        one.notify()
        d.hub.add(monitor)
    except StartFailed as error:
        where = error.step
        code = 127 if where in ("init: exec", "init: working directory") and error.errno == ENOENT else 126
        # A clone into a dying PID namespace fails, and an init in it is killed: the container's own is over as soon as all its processes are.
        dying = where.startswith("monitor") or (where, error.errno) == ("init", 0)
        number = ESRCH if _has_ended(pidfd, 2.0 if dying else 0.0) else error.errno
        raise StartFailed(str(error), step=where, errno=number, path=error.path, exit_code=code) from None
    finally:
        os.close(pidfd)


def _has_ended(pidfd: int, seconds: float) -> bool:
    """Whether a process is over within `seconds` (pidfd_open(2): readable then). With the container's init the kernel ends every exec."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _command(d: Daemon, one: Exec, console_size: tuple[int, int] | None) -> Command:
    container, asked = one.container, one.asked
    host, config = container.host, container.config
    privileged = asked.privileged or host.privileged
    capabilities = command.capabilities_of(d, host, privileged=privileged)
    options = verify.security_options(host)
    # The filter is the container's, as in Docker: --privileged of an exec gives capabilities, and opens no further system call.
    seccomp = command.security(d, host)[0]
    env = environment.environment([*(config.env or []), *(asked.env or [])], command.hostname_of(d, container), tty=asked.tty)
    process = Process(
        argv=asked.cmd or [], env=env, cwd=asked.working_dir or config.working_dir or "/", user=asked.user or config.user,
        group_add=host.group_add or (), tty=asked.tty, console_size=list(console_size or asked.console_size or (0, 0)),
        stdin=asked.attach_stdin, capabilities=Capabilities(capabilities, capabilities, capabilities),
        no_new_privileges=options.no_new_privileges, seccomp=seccomp, rlimits=command.rlimits_of(d, host), oom_score_adj=host.oom_score_adj,
    )
    spaces = Namespaces(mount="fd:0", uts="fd:0", ipc="fd:0", pid="host" if host.pid_mode == "host" else "fd:0", net="fd:0", cgroup="fd:0")
    return Command(id=container.id, process=process, namespaces=spaces, cgroup_path=command.cgroup_path(container))


def heard(d: Daemon, one: Exec, monitor: Monitor, event: dict[str, Any]) -> None:
    """An event of its monitor, in the hub's thread."""
    if event["event"] == "exited":
        _ended(d, one, event["code"])
    elif event["event"] == "gone" and not d.closing:
        d.submit(_monitor_gone, d, one, monitor)
    elif event["event"] == "detached":
        d.event(one.container, "exec_detach", execID=one.id)


def _monitor_gone(d: Daemon, one: Exec, monitor: Monitor) -> None:
    _ended(d, one, ends.end_without_monitor(monitor.exec_dir, one.pid, one.ticks)["code"])


def _ended(d: Daemon, one: Exec, code: int) -> None:
    with one.lock:
        if one.exit_code is not None:
            return
        one.exit_code, one.running, one.ended_at = code, False, monotonic()
        monitor, one.monitor = one.monitor, None
    if monitor is not None:
        monitor.close()
    d.event(one.container, "exec_die", execID=one.id, exitCode=str(code))
    one.notify()
    d.launcher.forget(one.container.id, one.id)


def resize(d: Daemon, exec_id: str, rows: int, columns: int) -> None:
    """InvalidArgument where it does not come to run within ten seconds."""
    one = find(d, exec_id)
    with one.changed:
        came = one.changed.wait_for(lambda: one.running or one.exit_code is not None, 10.0)
        monitor = one.monitor
    if not came or monitor is None:
        raise InvalidArgument(f"exec {exec_id} is not running")
    monitor.resize(rows, columns)


def inspect(d: Daemon, exec_id: str) -> dict[str, Any]:
    """Docker's JSON of GET /exec/{id}/json."""
    one = find(d, exec_id)
    _settle(one)
    asked = one.asked
    words = asked.cmd or []
    return {
        "ID": one.id, "Running": one.running, "ExitCode": one.exit_code,
        "ProcessConfig": {"tty": asked.tty, "entrypoint": words[0], "arguments": words[1:], "privileged": asked.privileged, "user": asked.user},
        "OpenStdin": asked.attach_stdin, "OpenStderr": asked.attach_stderr, "OpenStdout": asked.attach_stdout, "CanRemove": one.exit_code is not None,
        "ContainerID": one.container.id, "DetachKeys": "", "Pid": one.pid,
    }


def _settle(one: Exec) -> None:
    """A client asks for the exit code as soon as its stream ends, which can be a moment before the monitor's report is heard: it waits for that."""
    if not one.used:
        return
    with one.changed:
        one.changed.wait_for(lambda: one.pid or one.exit_code is not None, SETTLE_SECONDS)
        pidfd = open_init(one.pid, one.ticks) if one.pid and one.exit_code is None else None
        if pidfd is None:
            one.changed.wait_for(lambda: one.exit_code is not None, SETTLE_SECONDS)
        else:
            os.close(pidfd)


def forget_old(d: Daemon) -> None:
    """Drops execs that ended some minutes ago."""
    now = monotonic()
    for one in list(d.execs.values()):
        if one.exit_code is not None and now - one.ended_at > KEEP_SECONDS:
            d.execs.pop(one.id, None)
            one.container.execs.pop(one.id, None)


def reload(d: Daemon, container: Container) -> None:
    """At the daemon's start: the execs of a container that still runs."""
    directory = d.launcher.exec_dir(container.id) / "exec"
    if not directory.is_dir():
        return
    for place in directory.iterdir():
        try:
            plain = msgspec.json.decode((place / "exec.json").read_bytes())
            one = Exec(place.name, container, msgspec.convert(plain["asked"], ExecConfig), b"")
        except (OSError, KeyError, msgspec.DecodeError, msgspec.ValidationError):
            d.launcher.forget(container.id, place.name)
            continue
        files = RunFiles(place)
        state, ended = files.state(), files.exit()
        if state is None and ended is None:
            d.launcher.forget(container.id, place.name)
            continue
        d.execs[one.id] = container.execs[one.id] = one
        one.used = True
        if state is not None:
            one.pid, one.ticks = state["pid"], state["ticks"]
        monitor = d.launcher.reconnect(container.id, one.id) if ended is None else None
        if monitor is None:
            _ended(d, one, (ended or ends.end_without_monitor(place, one.pid, one.ticks))["code"])
            continue
        one.running, one.monitor = True, monitor
        monitor.on_event = partial(heard, d, one)
        d.hub.add(monitor)


def _check_running(container: Container) -> None:
    if container.state.paused:
        raise Conflict(f"Container {container.name} is paused, unpause the container before exec")
    if container.state.status == "restarting":
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running")


def _tell(client: socket.socket, text: str, *, framed: bool) -> None:
    """An error in the stream's own form: a frame of stdout, as Docker's, or plain text on a terminal."""
    raw = text.encode()
    try:
        client.sendall((struct.pack(">BxxxI", 1, len(raw)) if framed else b"") + raw)
    except OSError:
        pass  # the client has gone; the exit code tells it


