"""Messages between wherryd, launcher and monitor: one JSON object and a few descriptors in one SOCK_SEQPACKET datagram (unix(7)).

wherryd -> launcher   {"op": "monitor", "key"}                     fds: control end
                      {"op": "assign", "key"}                      fds: exec directory
                      {"op": "proxy", "facts"}                     fds: listening socket, exec root
launcher -> wherryd   {"event": "ready"}; on the control end of a monitor that could not be forked: {"event": "failed", ...}
wherryd -> monitor    {"op": "adopt", "exec"}                      fds: exec directory, log directory
                      {"op": "start", ...Start}                    fds: the sources of mounts
                      {"op": "attach", ...Attach}                  fds: the client's socket
                      {"op": "resize", "rows", "columns"}
monitor -> wherryd    {"event": "started", "pid", "ticks", "spans"}
                      {"event": "failed", "step", "errno", "path", "message", "code", "spans"}
                      {"event": "exited", "code", "at", "oom"}
                      {"event": "detached"} | {"event": "log", "message"} | {"event": "oom"}
"""

from __future__ import annotations

import array
import errno
import json
import os
import socket
from typing import Any

MAX_MESSAGE = 1 << 20
MAX_FDS = 253  # SCM_MAX_FD, unix(7)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    for end in (ours, theirs):
        # Early bytes of an attach travel inside a message; the default (208 KiB) is too near to what a client may send ahead.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_MESSAGE)
    return ours, theirs


def send(end: socket.socket, message: dict[str, Any], fds: list[int] | None = None) -> None:
    """Sends one message. OSError where the other end is gone, or ValueError for too many descriptors."""
    if fds and len(fds) > MAX_FDS:
        raise ValueError(f"{len(fds)} mounts: the kernel passes at most {MAX_FDS} descriptors in one message")
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    end.sendmsg([json.dumps(message, separators=(",", ":")).encode()], ancillary, socket.MSG_NOSIGNAL)


def receive(end: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message with its descriptors (close-on-exec); None at the end of file."""
    try:
        raw, fds, flags, _ = socket.recv_fds(end, MAX_MESSAGE, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    except (ConnectionResetError, BrokenPipeError):
        if not waiting(end):
            return None
        # The peer ended with messages of ours unread: the kernel says so once, ahead of what the peer still said.
        raw, fds, flags, _ = socket.recv_fds(end, MAX_MESSAGE, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    if not raw:
        return None
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise OSError(errno.EMSGSIZE, "a message between wherryd and its helpers was truncated")
    message: dict[str, Any] = json.loads(raw)
    return message, fds


def peer_gone(end: socket.socket) -> bool:
    """Whether the other end is closed and nothing is left to read."""
    try:
        return not end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def waiting(end: socket.socket) -> bool:
    """Whether a message can be read now, be it the last word of a peer that is gone."""
    for _ in range(2):
        try:
            return bool(end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False
        except ConnectionResetError:
            continue
    return False


def bound_address(dir_fd: int, name: str) -> str:
    """The address of a socket file, within the 107 bytes of sun_path however long the directory's own path is (unix(7))."""
    return f"/proc/self/fd/{dir_fd}/{name}"
