"""wherryd's side of launcher and monitors: ask for a run, hear how it goes, find it again after a restart."""

from __future__ import annotations

import base64
import itertools
import logging
import os
import select
import shutil
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from wherry.execdriver import messages, native
from wherry.linux import process
from wherry.model.errors import Internal, InvalidArgument, StartFailed, Unavailable
from wherry.model.steps import Span, current_trace

log = logging.getLogger("wherryd")
Event = dict[str, Any]
PARKED = 2  # monitors kept ahead of the next starts, about 3 MB each


class MonitorGone(Unavailable):
    """The monitor's end of the connection is closed."""


class Monitor:
    """The connection to one monitor (of a run, or of an exec). Events after the start go to `on_event` in the hub's thread."""

    def __init__(self, control: socket.socket, container: str, exec_id: str, exec_dir: Path) -> None:
        self.control, self.container, self.exec_id, self.exec_dir = control, container, exec_id, exec_dir
        self._sending = threading.Lock()
        self.on_event: Callable[[Monitor, Event], None] = lambda _monitor, _event: None

    def _send(self, message: Event, fds: list[int] | None = None) -> None:
        try:
            with self._sending:
                messages.send(self.control, message, fds)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
        except OSError as error:
            raise MonitorGone(f"the container's monitor process does not answer: {error}") from None

    def start(self, fds: list[int], *, open_stdin: bool, stdin_once: bool, log: dict[str, Any] | None) -> tuple[int, int]:
        """Starts what container.json says: (PID, its start time in ticks) once the user's program runs; StartFailed otherwise.

        `fds` are the sources of the mounts (for an exec: the pidfd of the container's init); they stay the caller's."""
        try:
            self._send({"op": "start", "open_stdin": open_stdin, "stdin_once": stdin_once, "log": log}, fds)
        except Unavailable:
            if not messages.waiting(self.control):
                raise
        while True:
            received = messages.receive(self.control)
            if received is None:
                raise StartFailed("the container's monitor process died during the start", step="monitor")
            event = received[0]
            trace = current_trace()
            if trace is not None and "spans" in event:
                trace.spans.extend(Span(*span) for span in event["spans"])
            if event["event"] == "started":
                return event["pid"], event["ticks"]
            if event["event"] == "failed":
                raise _failure(event)
            self.on_event(self, event)

    def attach(self, client: socket.socket, early: bytes, *, stdin: bool, stdout: bool, stderr: bool, framed: bool, keys: bytes) -> None:
        """Hands a client's socket over. The caller closes its own copy, without shutdown."""
        message = {"op": "attach", "stdin": stdin, "stdout": stdout, "stderr": stderr, "framed": framed, "keys": list(keys),
                   "early": base64.b64encode(early).decode()}
        self._send(message, [client.fileno()])

    def resize(self, rows: int, columns: int) -> None:
        self._send({"op": "resize", "rows": rows, "columns": columns})

    def close(self) -> None:
        self.control.close()


def _failure(event: Event) -> StartFailed:
    return StartFailed(event["message"], step=event["step"], errno=event["errno"], path=event["path"])


def _refusal(control: socket.socket) -> StartFailed | None:
    """What the launcher said in place of a monitor that it could not make."""
    if not messages.waiting(control):
        return None
    received = messages.receive(control)
    return _failure(received[0]) if received is not None and received[0]["event"] == "failed" else None


class Hub:
    """One thread that hears all monitors whose programs run, and the launcher."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._monitors: dict[int, Monitor] = {}
        self._others: dict[int, tuple[socket.socket, Callable[[], bool]]] = {}
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._wake_read, select.EPOLLIN)
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="hub")
        self._thread.start()

    def add(self, monitor: Monitor) -> None:
        """From now on its events are heard here."""
        with self._lock:
            self._monitors[monitor.control.fileno()] = monitor
        self._poll.register(monitor.control.fileno(), select.EPOLLIN)

    def watch(self, end: socket.socket, ready: Callable[[], bool]) -> None:
        """Calls `ready` whenever `end` is readable; once it says False the hub closes `end`. Only then may its number be used anew."""
        with self._lock:
            self._others[end.fileno()] = end, ready
        self._poll.register(end.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Stops the thread; monitors are left alone."""
        self._stop = True
        os.write(self._wake_write, b"x")
        self._thread.join()
        for monitor in self._monitors.values():
            monitor.close()
        self._poll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self) -> None:
        while not self._stop:
            for fd, _ in self._poll.poll():
                try:
                    if fd in self._monitors:
                        self._hear(fd)
                    elif fd in self._others:
                        self._hear_other(fd)
                except Exception:  # one event that cannot be dealt with must not make us deaf for all others
                    log.exception("an event of a monitor or the launcher could not be dealt with")

    def _hear_other(self, fd: int) -> None:
        end, ready = self._others[fd]
        if not ready():
            self._poll.unregister(fd)
            with self._lock:
                del self._others[fd]
            end.close()

    def _hear(self, fd: int) -> None:
        monitor = self._monitors[fd]
        received = messages.receive(monitor.control)
        event: Event = received[0] if received is not None else {"event": "gone"}
        if event["event"] in ("gone", "exited"):
            self._poll.unregister(fd)
            with self._lock:
                del self._monitors[fd]
            monitor.close()
        monitor.on_event(monitor, event)


class Launcher:
    """Starts the launcher process, asks it for monitors, and starts it again when it died."""

    def __init__(self, exec_root: Path, hub: Hub, log: Callable[[str], None]) -> None:
        self._root, self._hub, self._log = exec_root, hub, log
        self._native = exec_root / "execdriver/native"
        self._native.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._pid = 0
        self._control: socket.socket | None = None
        self._closing = False
        self._keys = itertools.count(1)
        self._parked: deque[tuple[int, socket.socket]] = deque()
        self._replenishing = threading.Lock()
        with self._lock:
            self._spawn()

    def _spawn(self) -> None:
        """Starts the process and waits for its `ready`: never on the way of a request, but after its death."""
        ours, theirs = messages.pair()
        with theirs:
            argv = [sys.executable, "-P", "-m", "wherry.execdriver.launcher", "3", str(self._root)]
            # The copy at 3 is the only descriptor that the new process inherits.
            actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)]
            self._pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions)
        received = messages.receive(ours)
        if received is None:
            ours.close()
            raise Internal(f"the launcher process ended at its start (exit code {self._wait()}); its error is in the daemon's log above")
        self._control = ours
        self._hub.watch(ours, lambda: self._hear(ours))

    def _hear(self, control: socket.socket) -> bool:
        """Something of the launcher, in the hub's thread; False at its end. Whoever waits for what it does has a connection of his own."""
        if messages.receive(control) is not None:
            return True
        with self._lock:
            if self._closing or control is not self._control:
                return False
            try:
                self._replace()
            except (Internal, OSError) as error:
                self._log(f"the launcher cannot be started now; the next start of a container tries again: {error}")
        return False

    def _replace(self) -> None:
        """Another launcher for the one that died; the hub closes the connection to that. Needs the lock."""
        self._control = None
        while self._parked:  # children of nobody who would report their ends
            self._parked.popleft()[1].close()
        self._log(f"the launcher process died (exit code {self._wait()}); starting another")
        self._spawn()

    def pid(self) -> int:
        """The PID of the launcher process."""
        return self._pid

    def _wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def exec_dir(self, container: str, exec_id: str = "") -> Path:
        """execdriver/native/{ID}, or the directory of one of its execs."""
        return self._native / container / "exec" / exec_id if exec_id else self._native / container

    def monitor(self, container: str, log_dir: Path, exec_id: str = "") -> Monitor:
        """A monitor of its own for one run; it waits for clients and the start. A parked one where there is one, else a fresh fork."""
        directory = self.exec_dir(container, exec_id)
        if not exec_id:  # an exec's is there since its creation, or went with its container
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as fds:
            exec_fd, log_fd = _open_directory(directory, fds), _open_directory(log_dir, fds)
            while True:
                try:
                    (key, control), parked = self._parked.popleft(), True
                except IndexError:
                    (key, control), parked = self._fork(), False
                try:
                    self._request({"op": "assign", "key": key}, [exec_fd])
                    messages.send(control, {"op": "adopt", "exec": bool(exec_id)}, [exec_fd, log_fd])
                    return Monitor(control, container, exec_id, directory)
                except OSError as error:
                    refused = _refusal(control)
                    control.close()
                    if not parked:
                        if refused is not None:
                            raise refused from None
                        raise Unavailable(f"a fresh monitor process does not answer: {error}") from None
                except BaseException:
                    control.close()
                    raise

    def _fork(self) -> tuple[int, socket.socket]:
        """(key, control end) of a fresh monitor that is for no run yet."""
        ours, theirs = messages.pair()
        key = next(self._keys)
        try:
            self._request({"op": "monitor", "key": key}, [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return key, ours

    def replenish(self) -> None:
        """Parks monitors ahead of the next starts (docs/adr/0004-parked-monitors.md). In the background: after a start, never before one."""
        with self._replenishing:
            while len(self._parked) < PARKED and not self._closing:
                self._parked.append(self._fork())

    def fork_proxy(self, control: socket.socket, facts: str) -> None:
        """The process that carries loopback connections to published ports; `facts` is a file's name in the exec root."""
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._request({"op": "proxy", "facts": facts}, [control.fileno(), root])
        finally:
            os.close(root)

    def _request(self, message: Event, fds: list[int]) -> None:
        for attempt in (1, 2):
            with self._lock:
                if self._closing:
                    raise Unavailable("the daemon is shutting down")
                if self._control is None:
                    self._spawn()
                control = self._control
                assert control is not None
            try:
                messages.send(control, message, fds)
                return
            except OSError as error:
                if attempt == 2:
                    raise Unavailable(f"the launcher process does not answer: {error}") from None
                self._revive(control)

    def _revive(self, dead: socket.socket) -> None:
        with self._lock:
            if self._control is dead and not self._closing:
                self._replace()

    def reconnect(self, container: str, exec_id: str = "") -> Monitor | None:
        """The monitor of a run that began under an earlier wherryd; None where there is none any more."""
        directory = self.exec_dir(container, exec_id)
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            control.connect(messages.bound_address(fd, "monitor.sock"))
        except OSError:
            control.close()
            return None
        finally:
            os.close(fd)
        return Monitor(control, container, exec_id, directory)

    def forget(self, container: str, exec_id: str = "") -> None:
        """Removes the exec directory of a run that is over."""
        shutil.rmtree(self.exec_dir(container, exec_id), ignore_errors=True)

    def close(self) -> None:
        """Lets the launcher go: it ends with its last monitor."""
        with self._lock:
            self._closing = True
            while self._parked:
                self._parked.popleft()[1].close()
            if self._control is not None:
                self._control.close()
                self._control = None


def _open_directory(path: Path, fds: ExitStack) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fds.callback(os.close, fd)
    return fd


class RunFiles:
    """What a run left in its exec directory: read at a restart, or when a monitor is gone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def _read(self, read: Callable[[int], dict[str, Any] | None]) -> dict[str, Any] | None:
        try:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return read(fd)
        finally:
            os.close(fd)

    def state(self) -> dict[str, Any] | None:
        """state.json: PID and start time of init and monitor; None where the host has booted since: what it names is gone."""
        found = self._read(native.read_state)
        return found if found is not None and found.get("boot") == process.boot_id() else None

    def state_is_broken(self) -> bool:
        """Whether there is a state.json that says nothing."""
        return (self.directory / "state.json").exists() and self._read(native.read_state) is None

    def exit(self) -> dict[str, Any] | None:
        """exit.json: exit code, time, whether memory ran out."""
        return self._read(native.read_exit)


def open_init(pid: int, ticks: int) -> int | None:
    """A pidfd of the process that began at `ticks`; None where it is gone (or its PID is somebody else's by now)."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        if process.start_time(pid) == ticks:
            return fd
    except ProcessLookupError:
        pass
    os.close(fd)
    return None
