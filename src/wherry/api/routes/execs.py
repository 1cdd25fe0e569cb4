"""Routes of execs: other programs in a running container."""

from __future__ import annotations

import socket

import msgspec

from wherry.api.messages import Answer, Hijacked, Request, json_answer
from wherry.api.router import Reply, Route
from wherry.api.routes.streams import switch
from wherry.daemon import attach, exec
from wherry.daemon.daemon import Daemon
from wherry.model.config import ExecConfig
from wherry.model.errors import InvalidArgument
from wherry.model.steps import Trace, use_trace


class StartBody(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    """The body of `POST /exec/{id}/start`."""

    detach: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None


def create(d: Daemon, r: Request) -> Answer:
    asked = r.json(ExecConfig)
    if r.version < (1, 42):
        asked = msgspec.structs.replace(asked, console_size=None)
    return json_answer({"Id": exec.create(d, r.name, asked, attach.parse_keys(asked.detach_keys))}, 201)


def start(d: Daemon, r: Request) -> Reply:
    body = r.json_or_none(StartBody) or StartBody()
    if body.console_size is not None and not body.tty:
        raise InvalidArgument("ConsoleSize goes with Tty only")
    size = body.console_size if r.version >= (1, 42) else None
    tty = exec.find(d, r.name).asked.tty

    def hijack() -> tuple[socket.socket, bytes]:
        return switch(r, tty)

    use_trace(Trace("wherryd"))
    try:
        exec.start(d, r.name, detach=body.detach, console_size=size, hijack=None if body.detach else hijack)
    finally:
        use_trace(None)
    return Answer(200) if body.detach else Hijacked()


def resize(d: Daemon, r: Request) -> Answer:
    exec.resize(d, r.name, r.query.size("h"), r.query.size("w"))
    return Answer(200)


def inspect(d: Daemon, r: Request) -> Answer:
    return json_answer(exec.inspect(d, r.name))


ROUTES = (
    Route("POST", "/containers/{name}/exec", create),
    Route("POST", "/exec/{name}/start", start),
    Route("POST", "/exec/{name}/resize", resize),
    Route("GET", "/exec/{name}/json", inspect),
)
