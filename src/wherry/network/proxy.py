"""The port proxy: one single-threaded process that holds the bound socket of every published port and carries what the kernel cannot lead:
connections from 127.0.0.1 and [::1], over IPv6, and everything where there are no firewall rules.

It is forked from the launcher and outlives wherryd. wherryd talks to it through `proxy.sock` (SOCK_SEQPACKET; a request is one JSON packet with
the sockets attached, SCM_RIGHTS, and gets one JSON answer). What it holds it writes to its facts file before it answers, so that the next
proxy can bind the same ports by itself. It opens nothing inside a container's namespace: an open socket there would keep the veth alive.

    {"op": "add", "container": ID, "ports": [[protocol, host_ip, host_port, address, container_port], ...]}   with one socket for each port
    {"op": "remove", "container": ID}      {"op": "list"}      {"op": "exit"}
"""

from __future__ import annotations

import errno
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from wherry.linux import process
from wherry.model.steps import set_process, step
from wherry.network.relay import Pause, TcpRelay, Timed, UdpRelay
from wherry.network.sockets import open_socket

PACKET = 1 << 16  # bytes of one request or answer
PORTS_PER_PACKET = 100  # SCM_MAX_FD is 253
FACTS_FORMAT = 1


class Port(NamedTuple):
    """A published port: what is bound and where it leads."""

    container: str
    protocol: str
    host_ip: str
    host_port: int
    address: str
    container_port: int

    @property
    def bound(self) -> tuple[str, str, int]:
        return self.protocol, self.host_ip, self.host_port


def listen(path: str) -> socket.socket:
    """The control socket at `path`, 0600; what was there of an earlier proxy is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(16)
    except OSError:
        sock.close()
        raise
    return sock


def proxy_main(control: socket.socket, facts_path: str) -> NoReturn:
    """The whole life of the proxy, in a fresh fork: `control` is the listening socket of listen(). Never returns."""
    code = 1
    try:
        set_process("proxy")
        process.set_name("wherry-proxy")
        process.close_range(3, control.fileno() - 1)
        process.close_range(max(3, control.fileno() + 1))
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        Proxy(control, facts_path).run()
        code = 0
    except BaseException as error:  # the fork must never unwind into the launcher's own code
        complain(f"ended: {error!r}")
    finally:
        os._exit(code)


def complain(text: str) -> None:
    """A line on standard error, which is wherryd's log."""
    sys.stderr.write(f"wherry-proxy: {text}\n")
    sys.stderr.flush()


class Proxy:
    """Relays by what they have bound, and the control connections, on one selector. Selector data is what to call with the event mask."""

    def __init__(self, control: socket.socket, facts_path: str) -> None:
        self.selector = selectors.DefaultSelector()
        self.facts_path = facts_path
        self.relays: dict[tuple[str, str, int], TcpRelay | UdpRelay] = {}
        self.ports: dict[tuple[str, str, int], Port] = {}
        self.timed: set[Timed] = set()
        self.running = True
        control.setblocking(False)
        self.control = control
        self.selector.register(control, selectors.EVENT_READ, self._accept_control)

    def run(self) -> None:
        """Bind what the facts say, then serve until told to exit."""
        with step("proxy: facts"):
            self._bind_facts()
        while self.running:
            for key, mask in self.selector.select(self._timeout()):
                if self.selector.get_map().get(key.fd) is key:  # else an event before this one closed or changed it
                    key.data(mask)
            for relay in list(self.timed):
                relay.tick()

    def _timeout(self) -> float | None:
        return min((relay.timeout() for relay in self.timed), default=None)

    # Ports

    def add(self, port: Port, sock: socket.socket) -> None:
        """Serve a bound socket; one that is held already for the same binding is replaced."""
        self._drop(port.bound)
        sock.setblocking(False)
        kind = TcpRelay if port.protocol == "tcp" else UdpRelay
        self.relays[port.bound] = kind(self.selector, self.timed, sock, (port.address, port.container_port))
        self.ports[port.bound] = port

    def _drop(self, bound: tuple[str, str, int]) -> None:
        relay = self.relays.pop(bound, None)
        self.ports.pop(bound, None)
        if relay is not None:
            relay.close()

    def _bind_facts(self) -> None:
        for port in read_facts(self.facts_path):
            try:
                self.add(port, open_socket(*port.bound))
            except OSError as error:
                complain(f"cannot bind {port.host_ip}:{port.host_port}/{port.protocol} again: {error}")

    def _write_facts(self) -> None:
        data = json.dumps({"format": FACTS_FORMAT, "ports": list(self.ports.values())}).encode()
        temporary = f"{self.facts_path}.tmp"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
        os.rename(temporary, self.facts_path)

    # Control

    def _accept_control(self, mask: int) -> None:
        try:
            connection, _ = self.control.accept()
        except BlockingIOError:
            return
        except OSError as error:  # out of descriptors: no reason to drop every connection; whoever asks waits in the queue
            complain(f"a request waits: {error}")
            self.selector.unregister(self.control)
            self.timed.add(Pause(self._listen_again))
            return
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("=iII", credentials)[1] not in (0, os.geteuid()):
            connection.close()
            return
        connection.setblocking(False)
        self.selector.register(connection, selectors.EVENT_READ, lambda mask: self._serve(connection))

    def _listen_again(self, pause: Pause) -> None:
        self.timed.discard(pause)
        if self.running:
            self.selector.register(self.control, selectors.EVENT_READ, self._accept_control)

    def _serve(self, connection: socket.socket) -> None:
        try:
            data, fds, flags, _ = socket.recv_fds(connection, PACKET, 253)
        except BlockingIOError:
            return
        except OSError:
            data, fds, flags = b"", [], 0
        sockets = [socket.socket(fileno=fd) for fd in fds]
        if not data:
            self._hang_up(connection)
            return
        try:
            if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
                raise ValueError("request truncated: too many open files or too long")
            answers = self._answer(json.loads(data), sockets)
        except (ValueError, KeyError, TypeError, OSError) as error:
            answers = [{"error": f"{type(error).__name__}: {error}"}]
        held = {relay.sock for relay in self.relays.values()}
        for sock in sockets:
            if sock not in held:
                sock.close()
        try:
            connection.setblocking(True)
            connection.settimeout(5)
            for answer in answers:
                connection.send(json.dumps(answer).encode())
            connection.setblocking(False)
        except OSError:
            self._hang_up(connection)

    def _hang_up(self, connection: socket.socket) -> None:
        self.selector.unregister(connection)
        connection.close()

    def _answer(self, request: dict[str, Any], sockets: list[socket.socket]) -> list[dict[str, Any]]:
        verbs: dict[str, Callable[[dict[str, Any], list[socket.socket]], list[dict[str, Any]]]] = {
            "add": self._op_add, "remove": self._op_remove, "list": self._op_list, "exit": self._op_exit,
        }  # fmt: skip
        with step(f"proxy: {request['op']}"):
            return verbs[request["op"]](request, sockets)

    def _op_add(self, request: dict[str, Any], sockets: list[socket.socket]) -> list[dict[str, Any]]:
        ports = [Port(str(request["container"]), *values) for values in request["ports"]]
        if len(ports) != len(sockets):
            raise ValueError(f"{len(ports)} ports but {len(sockets)} sockets")
        for port, sock in zip(ports, sockets, strict=True):
            self.add(port, sock)
        self._write_facts()
        return [{"ok": True}]

    def _op_remove(self, request: dict[str, Any], sockets: list[socket.socket]) -> list[dict[str, Any]]:
        container = request["container"]
        for port in [port for port in self.ports.values() if port.container == container]:
            self._drop(port.bound)
        self._write_facts()
        return [{"ok": True}]

    def _op_list(self, request: dict[str, Any], sockets: list[socket.socket]) -> list[dict[str, Any]]:
        ports = list(self.ports.values())
        parts = [ports[at : at + PORTS_PER_PACKET] for at in range(0, len(ports), PORTS_PER_PACKET)] or [[]]
        return [{"ports": part, "more": part is not parts[-1]} for part in parts]

    def _op_exit(self, request: dict[str, Any], sockets: list[socket.socket]) -> list[dict[str, Any]]:
        self.running = False
        if self.control in self.selector.get_map():
            self.selector.unregister(self.control)  # before the answer: who comes after it finds nobody, rather than one who is leaving
        self.control.close()
        return [{"ok": True}]


def read_facts(path: str) -> list[Port]:
    """What an earlier proxy held. A missing file is none; a broken one is said on standard error and is none, too: wherryd hands over
    what is missing."""
    try:
        with open(path, "rb") as file:
            facts = json.load(file)
        if facts["format"] != FACTS_FORMAT:
            raise ValueError(f"format {facts['format']}")
        return [Port(*values) for values in facts["ports"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        complain(f"cannot read {path}: {error}")
        return []


def gone(error: OSError) -> bool:
    """Whether the error says that nobody listens at the other end."""
    return error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)
