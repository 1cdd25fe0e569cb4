"""Listening sockets from `-H`: `unix://PATH` and `fd://` (sd_listen_fds(3))."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from wherry.model.errors import InvalidArgument, Unavailable, Unimplemented

#: The first descriptor that a service manager passes (sd_listen_fds(3)).
FIRST_PASSED = 3


def open_listeners(hosts: list[str], group: int | None = None) -> list[socket.socket]:
    """Open one listening socket per host, or all that were passed for `fd://`.

    `group` is the gid that may connect to the unix sockets (None: root's group). On an error those already open are closed again.
    Raises InvalidArgument for a host that names no socket, Unavailable for one that is taken, Unimplemented for other kinds.
    """
    opened: list[socket.socket] = []
    try:
        for host in hosts:
            scheme, separator, rest = host.partition("://")
            if not separator:
                raise InvalidArgument(f"not a host to listen on: {host!r} (unix:///run/wherry/wherry.sock, or fd://)")
            if scheme == "unix":
                opened.append(_unix(rest, group))
            elif scheme == "fd":
                opened.extend(_passed(rest))
            elif scheme == "tcp":
                raise Unimplemented(f"listening on {host!r} is not built yet; use unix:// or fd://")
            else:
                raise InvalidArgument(f"cannot listen on {host!r}: unknown scheme {scheme!r}")
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return opened


def _unix(path: str, group: int | None) -> socket.socket:
    """A listening socket at `path`, which is absolute; a stale one of a daemon that died is replaced."""
    if not path.startswith("/"):
        raise InvalidArgument(f"the path of a unix socket must be absolute: {path!r}")
    if len(os.fsencode(path)) > 107:
        raise InvalidArgument(f"the path of a unix socket has at most 107 bytes (unix(7)): {path!r}")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o117)                 # 0660 from the first moment on: between bind and chmod anybody could connect
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        if group is not None:
            os.chown(path, 0, group, follow_symlinks=False)
        sock.listen(512)
    except BaseException:
        sock.close()
        raise
    return sock


def remove_paths(hosts: list[str]) -> None:
    """Remove the unix sockets' names. Called while they still listen: until then no other daemon can have taken a name."""
    for host in hosts:
        if host.startswith("unix://"):
            with suppress(FileNotFoundError):
                os.unlink(host.removeprefix("unix://"))


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Unavailable(f"cannot listen on {path}: it exists and is no socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise Unavailable(f"cannot listen on {path}: {error}") from error
    raise Unavailable(f"cannot listen on {path}: another process does; stop it or choose another path")


def _passed(which: str) -> list[socket.socket]:
    """The sockets a service manager passed: all of them, the one with this descriptor number, or the one with this name."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise Unavailable("fd:// needs sockets passed by the service manager (LISTEN_PID names another process or none)")
    count = int(os.environ.get("LISTEN_FDS", "0") or "0")
    fds = list(range(FIRST_PASSED, FIRST_PASSED + count))
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    if which.isdigit():
        fds = [fd for fd in fds if fd == int(which)]
    elif which not in ("", "*"):
        fds = [fd for fd, name in zip(fds, names, strict=False) if name == which]
    if not fds:
        raise Unavailable(f"fd://{which}: the service manager passed no such socket")
    for fd in fds:
        os.set_inheritable(fd, False)
    return [socket.socket(fileno=fd) for fd in fds]
