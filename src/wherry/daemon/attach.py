"""`attach`: a client's socket is handed to the monitor (docs/adr/0002-attach.md)."""

from __future__ import annotations

import socket
from typing import NamedTuple

from wherry.daemon import holdings, start
from wherry.daemon.daemon import Daemon
from wherry.execdriver.client import MonitorGone
from wherry.model.container import Container
from wherry.model.errors import Conflict, InvalidArgument

DEFAULT_KEYS = "ctrl-p,ctrl-q"


class AttachRequest(NamedTuple):
    """What a client wants to see and say."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    stream: bool = True
    keys: bytes = b""


def parse_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as the bytes that a terminal sends; InvalidArgument for anything else (section 1.8 of Docker's API)."""
    keys = bytearray()
    for part in (text or DEFAULT_KEYS).split(","):
        if len(part) == 1 and part.isascii():
            keys += part.encode()
        elif part.startswith("ctrl-") and len(part) == 6 and part[5] in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            keys.append(ord(part[5].upper()) & 0x1F)
        else:
            raise InvalidArgument(f"Invalid detach keys: unknown character: '{part}'")
    return bytes(keys)


def find(d: Daemon, ref: str) -> Container:
    """The container, if it can be attached to now."""
    container = d.containers.get(ref)
    if container.state.paused:
        raise Conflict(f"container {ref} is paused, unpause the container before attach")
    if container.state.status == "restarting":
        raise Conflict(f"container {ref} is restarting, wait until the container is running")
    return container


def hand_over(d: Daemon, container: Container, request: AttachRequest, client: socket.socket, early: bytes) -> bool:
    """Gives the client's socket to the monitor, forking that before the first start. False where nothing will come: an ended container's stream
    is at its end at once. The caller closes its own copy of the socket, without shutdown."""
    with container.lock:
        if container.removed or not request.stream:
            return False
        if not container.state.running:
            holdings.wait_released(container)  # the last run's exec directory is on its way out, and must not go with the new monitor in it
        monitor = container.monitor if container.state.running else start.monitor_of(d, container)
        if monitor is None:
            return False
        try:
            monitor.attach(client, early, stdin=request.stdin and container.config.open_stdin, stdout=request.stdout, stderr=request.stderr,
                           framed=not container.config.tty, keys=request.keys)
        except MonitorGone:  # the run has just ended, or the monitor of the next one was killed
            if not container.state.running:
                monitor.close()
                container.monitor = None  # the start makes another
            return False
    d.event(container, "attach")
    return True
