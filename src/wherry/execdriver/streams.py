"""The bytes between a program and those who watch it: log, attached clients, standard input.

Law: what the program wrote goes to the log at once and to every connected client in order, or the program is slowed; it is never dropped.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from itertools import islice
from time import time_ns
from typing import Literal, Protocol

CHUNK = 1 << 18
HIGH_WATER = 1 << 20  # bytes buffered for one client before the program is slowed
STDIN_HIGH_WATER = 1 << 16
StreamName = Literal["stdout", "stderr"]
_NUMBER = {"stdin": 0, "stdout": 1, "stderr": 2}


class Log(Protocol):
    """Where output is kept: execdriver.jsonlog.JsonLog."""

    def write(self, stream: StreamName, data: bytes | memoryview, now_ns: int) -> None: ...

    def close(self, now_ns: int | None = None) -> None: ...


class DetachKeys:
    """Finds the detach sequence in a terminal's input, also where it arrives in pieces."""

    def __init__(self, keys: bytes) -> None:
        self._keys, self._seen = keys, 0

    def scan(self, data: bytes) -> tuple[bytes, bool]:
        """(what goes to the program, whether the client detaches)."""
        if not self._keys:
            return data, False
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._seen]:
                self._seen += 1
                if self._seen == len(self._keys):
                    return bytes(out), True
                continue
            out += self._keys[: self._seen]
            self._seen = 1 if byte == self._keys[0] else 0
            if not self._seen:
                out.append(byte)
        return bytes(out), False


class Client:
    """One attached client: its socket, the streams it wants, what it has not taken yet."""

    def __init__(self, fd: int, *, stdin: bool, stdout: bool, stderr: bool, framed: bool, keys: bytes = b"") -> None:
        self.socket = socket.socket(fileno=fd)
        self.socket.setblocking(False)
        self.stdin, self.stdout, self.stderr, self.framed = stdin, stdout, stderr, framed
        self.keys = DetachKeys(keys)
        self.pending: deque[memoryview] = deque()
        self.size = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    def queue(self, stream: StreamName, data: bytes) -> None:
        """Takes output for this client; sends what the socket takes at once."""
        if not (self.stdout if stream == "stdout" else self.stderr):
            return
        if self.framed:
            self._push(struct.pack(">BxxxI", _NUMBER[stream], len(data)))
        self._push(data)
        self.flush()

    def _push(self, data: bytes) -> None:
        self.pending.append(memoryview(data))
        self.size += len(data)

    def flush(self) -> None:
        """Sends what the socket takes. OSError where the client is gone."""
        while self.pending:
            try:
                sent = self.socket.sendmsg(list(islice(self.pending, 64)))
            except BlockingIOError:
                return
            self.size -= sent
            while sent:
                head = self.pending[0]
                if sent < len(head):
                    self.pending[0] = head[sent:]
                    break
                sent -= len(head)
                self.pending.popleft()

    def close(self) -> None:
        self.socket.close()


class Streams:
    """Moves the bytes, driven by the monitor's epoll. Descriptors are non-blocking."""

    def __init__(self, poll: select.epoll, log: Log | None, on_detach: Callable[[], None]) -> None:
        self._poll, self._log, self._on_detach = poll, log, on_detach
        self.outputs: dict[int, StreamName] = {}
        self.clients: dict[int, Client] = {}
        self._stdin = -1  # the program's standard input (a pipe's end, or the pty master)
        self._tty = False
        self._stdin_once = False
        self._stdin_pending: deque[memoryview] = deque()
        self._stdin_size = 0
        self._stdin_ends = False
        self._input_over = False  # a client's input ended, perhaps before the program was there
        self._deaf = False  # the program has closed its input: what still comes is for nobody

    # Set-up

    def connect(self, outputs: dict[int, StreamName], stdin: int, *, tty: bool, stdin_once: bool) -> None:
        """The program's streams are there. `stdin` -1: none."""
        self._tty, self._stdin_once = tty, stdin_once
        self._stdin = stdin
        self.outputs = outputs
        for fd in {*outputs, *([stdin] if stdin >= 0 else [])}:
            os.set_blocking(fd, False)
        self._update_outputs()
        self._update_stdin()
        for client in list(self.clients.values()):
            self._watch(client)
        if self._input_over and stdin_once and not tty:
            self._stdin_ends = True
        if self._stdin_ends:
            self._end_stdin()

    def set_log(self, log: Log) -> None:
        """Where output is kept from now on."""
        self._log = log

    def attach(self, client: Client, early: bytes) -> None:
        """A client comes, perhaps with input that arrived ahead."""
        self.clients[client.fileno()] = client
        self._poll.register(client.fileno(), 0)
        if early and client.stdin:
            self._input(client, early)
        if client.fileno() in self.clients:  # the early input may have detached it
            self._watch(client)

    # Events

    def handles(self, fd: int) -> bool:
        return fd in self.outputs or fd in self.clients or fd == self._stdin

    def ready(self, fd: int, events: int) -> None:
        """epoll says that `fd` is ready."""
        if fd in self.clients:
            self._client_ready(self.clients[fd], events)
            return
        if fd == self._stdin and fd not in self.outputs and events & (select.EPOLLERR | select.EPOLLHUP):
            self._stdin_refused()  # pipe(7): no reader is left; epoll would say so for ever
        elif fd == self._stdin and events & select.EPOLLOUT:
            self._write_stdin()
        if fd in self.outputs and events & ~select.EPOLLOUT:
            self.read_output(fd)

    def read_output(self, fd: int) -> int:
        """Reads once from an output: how many bytes; 0 at its end or where nothing is there now."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: the last slave of a pty is closed, pty(7)
            data = b""
        if not data:
            self._close_output(fd)
            return 0
        stream = self.outputs[fd]
        if self._log is not None:
            self._log.write(stream, data, time_ns())
        for client in list(self.clients.values()):
            try:
                client.queue(stream, data)
            except OSError:
                self.drop(client)
                continue
            if client.pending:
                self._watch(client)
        self._update_outputs()
        return len(data)

    def drain(self, limit: int) -> None:
        """The program is gone: reads what it left, however far a client is behind. `limit` is what an output can hold, bytes: what comes
        beyond is of a stranger that writes on, and is for the loop, which slows it."""
        for fd in list(self.outputs):
            read = 0
            while fd in self.outputs and read < limit and (count := self.read_output(fd)):
                read += count

    @property
    def stalled(self) -> bool:
        """Whether a client is so far behind that the program waits."""
        return any(client.size > HIGH_WATER for client in self.clients.values())

    @property
    def unsent(self) -> bool:
        """Whether a client has output to come."""
        return any(client.pending for client in self.clients.values())

    def drop(self, client: Client) -> None:
        """The client is gone, or is to go."""
        if self.clients.pop(client.fileno(), None) is not None:
            self._poll.unregister(client.fileno())
            client.close()
            if client.stdin:  # it cannot say the end of its input any more
                self._input_ended(client)
            self._update_outputs()

    def end_outputs(self) -> None:
        """Nothing more is read: the log gets its last line."""
        for fd in list(self.outputs):
            self._close_output(fd)
        self._close_stdin()
        if self._log is not None:
            self._log.close(time_ns())
            self._log = None

    def close(self) -> None:
        """End of everything: end of file for the clients."""
        self.end_outputs()
        for client in list(self.clients.values()):
            self.drop(client)

    # Inside

    def _watch(self, client: Client) -> None:
        wanted = select.EPOLLOUT if client.pending else 0
        if client.stdin and self._stdin_size < STDIN_HIGH_WATER:
            wanted |= select.EPOLLIN
        self._poll.modify(client.fileno(), wanted)

    def _client_ready(self, client: Client, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                client.flush()
                self._update_outputs()
            if events & select.EPOLLIN and client.stdin:
                data = client.socket.recv(CHUNK)
                if data:
                    self._input(client, data)
                else:
                    self._input_ended(client)
            elif events & (select.EPOLLHUP | select.EPOLLERR):
                self.drop(client)
                return
        except BlockingIOError:
            pass
        except OSError:
            self.drop(client)
            return
        if client.fileno() in self.clients:
            self._watch(client)

    def _input(self, client: Client, data: bytes) -> None:
        if self._tty:
            data, detach = client.keys.scan(data)
        else:
            detach = False
        if data and not self._stdin_ends and not self._deaf:
            self._stdin_pending.append(memoryview(data))
            self._stdin_size += len(data)
            self._write_stdin()
        if detach:
            self.drop(client)
            self._on_detach()

    def _input_ended(self, client: Client) -> None:
        client.stdin = False
        self._input_over = True
        if self._stdin_once and not self._tty:
            self._stdin_ends = True
            if not self._stdin_pending:
                self._close_stdin()

    def _end_stdin(self) -> None:
        if not self._stdin_pending:
            self._close_stdin()

    def _write_stdin(self) -> None:
        if self._stdin < 0:
            return
        while self._stdin_pending:
            head = self._stdin_pending[0]
            try:
                count = os.write(self._stdin, head)
            except BlockingIOError:
                break
            except OSError:  # EPIPE: the program closed its input
                self._stdin_refused()
                break
            self._stdin_size -= count
            if count < len(head):
                self._stdin_pending[0] = head[count:]
            else:
                self._stdin_pending.popleft()
        if self._stdin_ends and not self._stdin_pending:
            self._close_stdin()
        self._update_stdin()
        for client in self.clients.values():
            if client.stdin:
                self._watch(client)

    def _stdin_refused(self) -> None:
        self._stdin_pending.clear()
        self._stdin_size = 0
        self._deaf = True
        self._close_stdin()
        for client in self.clients.values():
            self._watch(client)

    def _update_stdin(self) -> None:
        """Watches the program's input only while there is something for it. The pty master is both input and output."""
        if self._stdin < 0:
            return
        if self._stdin in self.outputs:
            self._update_outputs()
            return
        wanted = select.EPOLLOUT if self._stdin_pending else 0
        self._modify(self._stdin, wanted)

    def _update_outputs(self) -> None:
        """Stops reading the program while a client lags, and reads on when it has caught up."""
        stalled = self.stalled
        for fd in self.outputs:
            wanted = 0 if stalled else select.EPOLLIN
            if fd == self._stdin and self._stdin_pending:
                wanted |= select.EPOLLOUT
            self._modify(fd, wanted, watch_nothing=not stalled)

    def _modify(self, fd: int, wanted: int, watch_nothing: bool = True) -> None:
        """Registers with epoll. With nothing wanted a closed peer would still be reported for ever, so a stalled output is taken out."""
        try:
            if wanted or watch_nothing:
                self._poll.modify(fd, wanted)
            else:
                self._poll.unregister(fd)
        except FileNotFoundError:
            if wanted:
                self._poll.register(fd, wanted)

    def _close_output(self, fd: int) -> None:
        self.outputs.pop(fd, None)
        if fd == self._stdin:
            self._stdin = -1
            self._stdin_pending.clear()
            self._stdin_size = 0
        self._forget(fd)

    def _close_stdin(self) -> None:
        fd, self._stdin = self._stdin, -1
        if fd >= 0 and fd not in self.outputs:
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        try:
            self._poll.unregister(fd)
        except FileNotFoundError:
            pass
        os.close(fd)
