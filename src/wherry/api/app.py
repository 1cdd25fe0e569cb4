"""The Engine API over a Daemon: all routes, the headers of every answer, the server."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from wherry import __version__
from wherry.api.channel import Headers
from wherry.api.router import Router
from wherry.api.routes import containers, execs, images, networks, single, streams, system, volumes
from wherry.api.server import Server
from wherry.daemon.daemon import Daemon
from wherry.model.version import NEWEST

#: On every answer, also on errors. Clients look for `Docker/` in Server.
COMMON: Headers = [("Api-Version", str(NEWEST)), ("Docker-Experimental", "false"), ("Ostype", "linux"), ("Server", f"Docker/{__version__} (linux)")]

ROUTES = (*system.ROUTES, *containers.ROUTES, *streams.ROUTES, *execs.ROUTES, *images.ROUTES, *volumes.ROUTES, *networks.ROUTES, *single.ROUTES)


def make_server(daemon: Daemon, listeners: Iterable[socket.socket]) -> Server:
    """A server of the API, not started yet; it owns the listeners."""
    return Server(listeners, Router(ROUTES), daemon, COMMON)
