"""The sync pipe between monitor and init: a SOCK_SEQPACKET socketpair, close-on-exec, and a closed set of messages.

To the init: `Network(state)`, `Go`. From it: `Console(master)`, `Failed(step, errno, path)`, `Ready`. End of file after `Ready` means
that the user's program runs; end of file without it means that the init was killed at the step it named last (docs/adr/0001-start.md).
"""

from __future__ import annotations

import array
import os
import socket
from json import dumps, loads
from typing import Any, NamedTuple

from wherry.model.command import Network
from wherry.model.steps import Span

MAX_MESSAGE = 65536


class Failed(NamedTuple):
    """The init gave up: where, why (errno, 0 for a reason of ours), on what, and the text for the user."""

    step: str
    errno: int
    path: str
    message: str
    spans: list[Span]


class Ready(NamedTuple):
    """The last thing before execve."""

    spans: list[Span]


class Console(NamedTuple):
    """The master of the container's terminal; its receiver owns the descriptor."""

    master: int


class SyncPipe:
    """One end of the pipe."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    @staticmethod
    def pair() -> tuple[SyncPipe, SyncPipe]:
        """(monitor's end, init's end)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        return SyncPipe(ours), SyncPipe(theirs)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    # The monitor's side.

    def send_network(self, network: Network) -> None:
        self._send(b"N" + dumps(network).encode())

    def send_go(self) -> None:
        self._send(b"G")

    def _send(self, raw: bytes) -> None:
        """An init that has ended cannot be told anything: what it said last, or the end of file, is what `receive` returns next."""
        try:
            self._socket.send(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self) -> Failed | Ready | Console | None:
        """The init's next message; None at the end of file."""
        try:
            raw, fds, _, _ = socket.recv_fds(self._socket, MAX_MESSAGE, 1)
        except ConnectionResetError:
            # It ended with messages of ours unread (a failure before Go). The kernel says so once, ahead of what the init still said.
            raw, fds, _, _ = socket.recv_fds(self._socket, MAX_MESSAGE, 1)
        if not raw:
            return None
        if raw[:1] == b"C":
            return Console(fds[0])
        body: dict[str, Any] = loads(raw[1:])
        spans = [Span(*one) for one in body["spans"]]
        if raw[:1] == b"R":
            return Ready(spans)
        return Failed(body["step"], body["errno"], body["path"], body["message"], spans)

    # The init's side.

    def wait_network(self) -> Network:
        """Blocks for `Network(state)`. EOFError where the monitor is gone: then this init must end without a trace."""
        return Network(*loads(self._expect(b"N")))

    def wait_go(self) -> None:
        """Blocks for `Go`. EOFError where the monitor is gone."""
        self._expect(b"G")

    def _expect(self, kind: bytes) -> bytes:
        raw = self._socket.recv(MAX_MESSAGE)
        if not raw:
            raise EOFError("the monitor is gone")
        if raw[:1] != kind:
            raise ValueError(f"sync pipe: {raw[:1]!r} instead of {kind!r}")
        return raw[1:]

    def send_console(self, master: int) -> None:
        self._socket.sendmsg([b"C"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master]))])

    def send_ready(self, spans: list[Span]) -> None:
        self._socket.send(b"R" + dumps({"spans": spans}).encode())

    def send_failed(self, step: str, number: int, path: str, message: str, spans: list[Span]) -> None:
        """As Failed. The text is cut so that the message always fits."""
        body = {"step": step, "errno": number, "path": path[:4096], "message": message[:8192], "spans": spans[-200:]}
        self._socket.send(b"F" + dumps(body).encode())


def adopt(fd: int) -> SyncPipe:
    """The pipe of an inherited descriptor (`python -m wherry.init -pipe N`)."""
    os.set_inheritable(fd, False)
    return SyncPipe(socket.socket(fileno=fd))
