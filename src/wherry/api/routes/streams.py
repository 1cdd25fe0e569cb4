"""Routes of containers: their streams (attach and logs)."""

from __future__ import annotations

import socket
from contextlib import nullcontext

from wherry.api import stdcopy
from wherry.api.errors import message_of, status_of
from wherry.api.messages import Answer, Hijacked, Request, Stream, Write
from wherry.api.router import Reply, Route
from wherry.api.routes.later import later
from wherry.daemon import attach, follow
from wherry.daemon.attach import AttachRequest
from wherry.daemon.daemon import Daemon
from wherry.daemon.logs import Chunk, LogOptions
from wherry.model.cancel import Cancel
from wherry.model.container import Container
from wherry.model.errors import WherryError
from wherry.model.steps import Span, Trace, step, use_trace
from wherry.model.times import parse_unix
from wherry.model.version import Version

RAW = "application/vnd.docker.raw-stream"
FRAMED = "application/vnd.docker.multiplexed-stream"

_STREAMS = {"stdout": stdcopy.STDOUT, "stderr": stdcopy.STDERR}
#: Largest payload of one frame, bytes: clients keep a frame in memory.
_FRAME = 1 << 16


def content_type(version: Version, tty: bool) -> str:
    """The type of a container's output; before 1.42 framed output was called raw too."""
    return RAW if tty or version < (1, 42) else FRAMED


def switch(r: Request, tty: bool) -> tuple[socket.socket, bytes]:
    """Answer that the connection is a stream from here on: the socket (the server's own copy) and the input that came early."""
    if "upgrade" in r.headers:
        return r.hijack(101, [("Content-Type", content_type(r.version, tty)), ("Connection", "Upgrade"), ("Upgrade", "tcp")])
    return r.hijack(200, [("Content-Type", RAW)])


def attach_container(d: Daemon, r: Request) -> Reply:
    """Hand the connection to the container's monitor. Errors before the switch are plain text, and the connection ends (Docker's way)."""
    q = r.query
    try:
        container = attach.find(d, r.name)
        request = AttachRequest(q.flag("stdin"), q.flag("stdout"), q.flag("stderr"), q.flag("stream"), attach.parse_keys(q.text("detachKeys")))
    except WherryError as error:
        return Answer(status_of(error), message_of(error).encode() + b"\r\n", (("Content-Type", RAW), ("Connection", "close")))
    replay = q.flag("logs") and (request.stdout or request.stderr)
    # Whoever starts the container next takes its lock: it must not come between the switch, which the client sees, and the handing over.
    trace = Trace("wherryd")
    use_trace(trace)
    try:
        with nullcontext() if replay else container.lock:
            client, early = switch(r, container.config.tty)
            if replay:
                _replay(d, container, request, client)
            with step("attach: hand over"):
                attach.hand_over(d, container, request, client, early)
    finally:
        use_trace(None)
    _remember(d, container, trace.spans)
    return Hijacked()


def _remember(d: Daemon, container: Container, spans: list[Span]) -> None:
    """An attach before the first start belongs to its trace."""
    if container.state.started_at:
        return
    with d.traces_lock:
        if container.id in d.traces:
            d.traces[container.id] = [*d.traces[container.id], *spans]


def _replay(d: Daemon, container: Container, request: AttachRequest, client: socket.socket) -> None:
    """What was logged so far. The client is not watched: it may have closed its input already, and still wants this output."""
    options = LogOptions(stdout=request.stdout, stderr=request.stderr)
    for chunk in follow.read(d, container, options, Cancel()):
        for piece in _pieces(chunk, container.config.tty):
            client.sendall(piece)


def _pieces(chunk: Chunk, tty: bool) -> list[bytes]:
    """A piece of a log as it is sent: raw with a terminal, else in frames."""
    stream, data = chunk
    if tty:
        return [data]
    number = _STREAMS[stream]
    return [stdcopy.encode(number, data[at:at + _FRAME]) for at in range(0, len(data), _FRAME)]


def container_logs(d: Daemon, r: Request) -> Stream:
    options = _log_options(r)
    container = follow.find(d, r.name, options)

    def produce(write: Write) -> None:
        write(b"")
        with r.client_watched() as cancel:
            for chunk in follow.read(d, container, options, cancel):
                write(b"".join(_pieces(chunk, container.config.tty)))

    return Stream(content_type(r.version, container.config.tty), produce)


def _log_options(r: Request) -> LogOptions:
    q = r.query
    return LogOptions(
        follow=q.flag("follow"), stdout=q.flag("stdout"), stderr=q.flag("stderr"), since=_time(q.text("since"), "since"),
        until=_time(q.text("until"), "until") if r.version >= (1, 35) else 0, timestamps=q.flag("timestamps"), tail=_tail(q.text("tail")),
        details=q.flag("details"))


def _time(text: str, what: str) -> int:
    return parse_unix(text, what) if text else 0


def _tail(text: str) -> int | None:
    """How many lines; what is no number, or negative, means all."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None


ROUTES = (
    Route("POST", "/containers/{name}/attach", attach_container),
    Route("GET", "/containers/{name}/logs", container_logs),
    *later("attaching through a WebSocket is not built yet", ("GET", "/containers/{name}/attach/ws")),
)
