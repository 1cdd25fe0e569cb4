"""The monitor: one process per run of a container, and per exec.

Law of its states: waiting -> running -> exited, or waiting -> failed; every end is written to exit.json, or reported, before it ends.
Single-threaded, one epoll; owns stdio, log, attached clients and the exit code, and outlives wherryd.
"""

from __future__ import annotations

import base64
import os
import select
import signal
import socket
import struct
import sys
import termios
import traceback
from fcntl import ioctl
from time import monotonic, time_ns
from typing import Any, NoReturn

from wherry.cgroups import Cgroups, OomWatch
from wherry.execdriver import messages, native
from wherry.execdriver.jsonlog import JsonLog
from wherry.execdriver.streams import Client, StreamName, Streams
from wherry.linux import process
from wherry.model.command import Command, Mount, Process, from_json, to_json
from wherry.model.steps import Trace, set_process, step, use_trace

DRAIN_SECONDS = 2.0  # how long a stranger that keeps the program's output open may delay the exit


class Monitor:
    """The whole of one run."""

    def __init__(self, control: socket.socket, null_fd: int, trees: Cgroups) -> None:
        self.null_fd, self.trees = null_fd, trees
        self.exec_dir = self.log_dir = -1
        self.is_exec = False
        self.poll = select.epoll()
        self.controls: dict[int, socket.socket] = {}
        self.first = control
        self.listener: socket.socket | None = None
        self.streams = Streams(self.poll, None, lambda: self.report({"event": "detached"}))
        self.started: native.Started | None = None
        self.oom: OomWatch | None = None
        self.tty = False
        self._add_control(control)

    # Control connections

    def _adopt(self, message: dict[str, Any], fds: list[int]) -> None:
        """Until now it was parked; from here on it is for one run, and can be found by its socket."""
        self.exec_dir, self.log_dir = fds
        self.is_exec = message["exec"]
        try:
            self.listener = self._listen()
        except OSError as error:  # an exec's directory goes with its container
            self._failed("monitor: listen", error.errno or 0, "", f"the directory of this run cannot be used: {error}", [])

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        native.unlink(self.exec_dir, "monitor.sock")
        listener.bind(messages.bound_address(self.exec_dir, "monitor.sock"))
        listener.listen(4)
        listener.setblocking(False)
        self.poll.register(listener.fileno(), select.EPOLLIN)
        return listener

    def _add_control(self, control: socket.socket) -> None:
        self.controls[control.fileno()] = control
        self.poll.register(control.fileno(), select.EPOLLIN)

    def _drop_control(self, control: socket.socket) -> None:
        self.poll.unregister(control.fileno())
        del self.controls[control.fileno()]
        control.close()

    def report(self, event: dict[str, Any]) -> None:
        """Tells every wherryd that listens; one that is gone learns from the files."""
        for control in list(self.controls.values()):
            try:
                messages.send(control, event)
            except OSError:
                self._drop_control(control)

    # The loop

    def run(self) -> None:
        """Until the program has ended and everything is said."""
        while self.started is None and self.controls:
            self._turn(-1)
        if self.started is None:
            self.streams.close()
            return
        pidfd = self.started.pidfd
        ended = False
        while not ended:
            ended = self._turn(-1, pidfd)
        self._exited()

    def _turn(self, timeout: float, pidfd: int = -1) -> bool:
        """One round of events; True when the program has ended."""
        ended = False
        for fd, events in self.poll.poll(timeout):
            if fd == pidfd:
                ended = True
            elif self.streams.handles(fd):
                self.streams.ready(fd, events)
            elif self.listener is not None and fd == self.listener.fileno():
                self._accept(self.listener)
            elif fd in self.controls:
                self._control(self.controls[fd])
            elif self.oom is not None and fd == self.oom.fd:
                self._out_of_memory(self.oom)
        return ended

    def _out_of_memory(self, watch: OomWatch) -> None:
        watch.clear()
        if self.started is not None and self.started.group is not None and self.started.group.procs():
            self.report({"event": "oom"})

    def _accept(self, listener: socket.socket) -> None:
        try:
            control, _ = listener.accept()
        except BlockingIOError:
            return
        control.setblocking(True)
        self._add_control(control)

    def _control(self, control: socket.socket) -> None:
        received = messages.receive(control)
        if received is None:
            self._drop_control(control)
            return
        message, fds = received
        if message["op"] == "adopt":
            self._adopt(message, fds)
        elif message["op"] == "start":
            self._start(message, fds)
        elif message["op"] == "attach":
            self._attach(message, fds[0])
        elif message["op"] == "resize" and self.started is not None and self.started.master in self.streams.outputs:
            ioctl(self.started.master, termios.TIOCSWINSZ, struct.pack("HHHH", message["rows"], message["columns"], 0, 0))

    def _attach(self, message: dict[str, Any], fd: int) -> None:
        client = Client(fd, stdin=message["stdin"], stdout=message["stdout"], stderr=message["stderr"], framed=message["framed"],
                        keys=bytes(message["keys"]))
        self.streams.attach(client, base64.b64decode(message["early"]))

    # Start

    def _start(self, message: dict[str, Any], fds: list[int]) -> None:
        """Runs the transaction of docs/adr/0001-start.md and reports how it went."""
        trace = Trace("monitor")
        use_trace(trace)
        try:
            with step("monitor: read container.json"):
                command = self._command()
            self.tty = command.process.tty
            if message["log"] is not None:
                self.streams.set_log(self._open_log(message["log"]))
            stdio = native.make_stdio(self.null_fd, tty=self.tty, open_stdin=message["open_stdin"])
            go = native.start_exec if self.is_exec else native.start_container
            started = go(command, fds, stdio, self.trees, self.exec_dir, lambda: messages.peer_gone(self.first))
        except native.StartError as error:
            self._failed(error.step, error.errno, error.path, error.message, error.spans)
        except (OSError, ValueError) as error:
            number = error.errno or 0 if isinstance(error, OSError) else 0
            self._failed(getattr(error, "step", None) or "monitor", number, str(getattr(error, "filename", "") or ""), str(error), trace.spans)
        else:
            self._running(started, stdio, message, command)
        finally:
            use_trace(None)
            for fd in fds:
                os.close(fd)

    def _command(self) -> Command:
        fd = os.open("container.json", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.exec_dir)
        with os.fdopen(fd, "rb") as file:
            return from_json(file.read())

    def _open_log(self, options: dict[str, Any]) -> JsonLog:
        return JsonLog(self.log_dir, options["name"], max_size=options["max_size"], max_file=options["max_file"],
                       on_failure=lambda error: self.report({"event": "log", "message": f"cannot be written, the program runs on: {error}"}),
                       on_resume=lambda lost: self.report({"event": "log", "message": f"is written again; {lost} bytes of records were lost"}))

    def _running(self, started: native.Started, stdio: native.Stdio, message: dict[str, Any], command: Command) -> None:
        self.started = started
        self.poll.register(started.pidfd, select.EPOLLIN)
        outputs: dict[int, StreamName]
        if self.tty:
            outputs, stdin = {started.master: "stdout"}, started.master
        else:
            outputs, stdin = {stdio.stdout: "stdout", stdio.stderr: "stderr"}, stdio.stdin
        self.streams.connect(outputs, stdin, tty=self.tty, stdin_once=message["stdin_once"])
        if started.group is not None and command.resources.get("memory", 0) > 0:
            self.oom = started.group.oom_watch()
            self.poll.register(self.oom.fd, self.oom.events)
        self.report({"event": "started", "pid": started.pid, "ticks": started.ticks, "spans": started.spans})

    def _failed(self, where: str, number: int, path: str, text: str, spans: list[Any]) -> None:
        self.streams.close()
        self.report({"event": "failed", "step": where, "errno": number, "path": path, "message": text, "spans": spans})
        for control in list(self.controls.values()):
            self._drop_control(control)

    # End

    def _exited(self) -> None:
        """Drains, records, reports, in this order: an exit that is known means that the output is complete."""
        assert self.started is not None
        at = time_ns()
        _, status = os.waitpid(self.started.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.poll.unregister(self.started.pidfd)
        with step("monitor: drain"):
            self._drain()
        oom_kills = 0
        if self.started.group is not None:
            oom_kills = self.started.group.events().oom_kills
        self.streams.end_outputs()
        with step("monitor: exit.json"):
            record = {"version": 1, "code": code if code >= 0 else 128 - code, "at": at, "oom": oom_kills > 0}
            self._record(record)
        with step("monitor: report the exit"):
            self.report({"event": "exited", **record})
        while self.streams.unsent:  # a pager may be read for hours: a client that is connected loses nothing, one that goes is heard of
            self._turn(-1)
        self.streams.close()

    def _record(self, record: dict[str, Any]) -> None:
        """exit.json. Where it cannot be written (an exec's directory goes with its container; a full disk) the report has to do."""
        try:
            native.write_json(self.exec_dir, "exit.json", record)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.report({"event": "log", "message": f"is complete, but the exit code {record['code']} cannot be written to exit.json: {error}"})

    def _drain(self) -> None:
        assert self.started is not None
        deadline = monotonic() + DRAIN_SECONDS
        if self.started.slave >= 0:
            os.close(self.started.slave)
        self.streams.drain(native.PIPE_SIZE)
        while self.streams.outputs and (left := deadline - monotonic()) > 0:
            self._turn(left)


def rehearse() -> None:
    """Goes through what a start will go through, as far as it leaves no trace: a fork copies a page of memory when it is first written to, and
    a parked monitor has the time for that."""
    command = Command(id="", process=Process(argv=["true"], env=["PATH=/bin"]), mounts=[Mount("tmpfs", "/")])
    use_trace(Trace("monitor"))
    for _ in range(2):
        with step("monitor: parked"):
            from_json(to_json(command))
            native.rehearse()
    use_trace(None)


def monitor_main(control: socket.socket, null_fd: int, trees: Cgroups) -> NoReturn:
    """The fork's main; never returns. Parked until it is adopted for a run; ends with wherryd before that."""
    code = 70
    try:
        set_process("monitor")
        os.setsid()
        process.set_name("wherry-monitor")
        rehearse()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        Monitor(control, null_fd, trees).run()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)
