"""Carrying bytes and datagrams between a bound socket and a container, without blocking: the inside of the port proxy.

A TCP pair keeps at most one chunk for each direction: while it cannot be sent, nothing is read, so a slow reader slows the writer. End of
file is passed on as a half-close; a reset as a reset. UDP has a flow for each client, forgotten after a while of silence.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from time import monotonic
from typing import Any, Protocol

from wherry.network.sockets import IP_PKTINFO

CHUNK = 1 << 17  # bytes held for one direction of a connection
ROUNDS = 8  # chunks or datagrams handled before others get their turn
UDP_SILENCE = 90.0  # seconds after which a client's flow is forgotten (Docker's proxy has the same)
UDP_FLOWS = 1024  # flows of one port; the longest silent one goes first
PAUSE = 1.0  # seconds without accepting when descriptors ran out
_RESET = struct.pack("=ii", 1, 0)  # struct linger: close with a reset (socket(7))


class Timed(Protocol):
    """A relay that has something to do later; it puts itself into the proxy's set of them while it has."""

    def timeout(self) -> float: ...
    def tick(self) -> None: ...


class Pause:
    """Calls `then` with itself once, PAUSE seconds from now."""

    def __init__(self, then: Callable[[Pause], None]) -> None:
        self._then, self._end = then, monotonic() + PAUSE

    def timeout(self) -> float:
        """Seconds until then."""
        return max(0.0, self._end - monotonic())

    def tick(self) -> None:
        """Call it, if it is time."""
        if monotonic() >= self._end:
            self._then(self)


def watch(selector: BaseSelector, sock: socket.socket, mask: int, call: object) -> None:
    """Register, change or unregister a socket: mask 0 is not watched."""
    known = selector.get_map().get(sock.fileno())
    if known is None:
        if mask:
            selector.register(sock, mask, call)
    elif not mask:
        selector.unregister(sock)
    elif known.events != mask:
        selector.modify(sock, mask, call)


class _Half:
    """One direction of a pair: a chunk that waits to be sent, and how far it has come to its end."""

    __slots__ = ("source", "sink", "chunk", "ended", "closed")

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.chunk = memoryview(b"")
        self.ended = False  # end of file was read
        self.closed = False  # and passed on

    def pump(self) -> None:
        """Move what can be moved now. OSError when either end is broken."""
        for _ in range(ROUNDS):
            try:
                if self.chunk:
                    self.chunk = self.chunk[self.sink.send(self.chunk) :]
                    continue
                if self.ended:
                    break
                data = self.source.recv(CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            self.chunk, self.ended = memoryview(data), not data
        if self.ended and not self.chunk and not self.closed:
            self.closed = True
            self.sink.shutdown(socket.SHUT_WR)


class Pair:
    """A client's connection and the container's."""

    __slots__ = ("relay", "client", "server", "up", "down", "connected")

    def __init__(self, relay: TcpRelay, client: socket.socket) -> None:
        self.relay, self.client = relay, client
        self.server = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.up, self.down = _Half(client, self.server), _Half(self.server, client)
        self.connected = False
        for sock in (client, self.server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self.server.connect_ex(relay.target)
        if code not in (0, errno.EINPROGRESS):
            self.close(reset=True)
            return
        watch(relay.selector, self.server, EVENT_WRITE, self.ready)

    def ready(self, mask: int) -> None:
        """Something can be read or written at either end."""
        try:
            if not self.connected:
                code = self.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, "connect")
                self.connected = True
            self.up.pump()
            self.down.pump()
        except OSError:
            self.close(reset=True)
            return
        if self.up.closed and self.down.closed:
            self.close()
            return
        self._interest(self.client, self.up, self.down)
        self._interest(self.server, self.down, self.up)

    def _interest(self, sock: socket.socket, outgoing: _Half, incoming: _Half) -> None:
        mask = EVENT_READ if not outgoing.ended and not outgoing.chunk else 0
        watch(self.relay.selector, sock, mask | (EVENT_WRITE if incoming.chunk else 0), self.ready)

    def close(self, reset: bool = False) -> None:
        """End both connections."""
        for sock in (self.client, self.server):
            if sock.fileno() < 0:
                continue
            watch(self.relay.selector, sock, 0, None)
            if reset:
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                except OSError:
                    pass
            sock.close()
        self.relay.pairs.discard(self)


class TcpRelay:
    """A listening socket and its connections."""

    def __init__(self, selector: BaseSelector, timed: set[Timed], sock: socket.socket, target: tuple[str, int]) -> None:
        self.selector, self.timed, self.sock, self.target = selector, timed, sock, target
        self.pairs: set[Pair] = set()
        self._resume = 0.0
        watch(selector, sock, EVENT_READ, self._accept)

    def _accept(self, mask: int) -> None:
        for _ in range(ROUNDS):
            try:
                client, _ = self.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # out of descriptors, or an error of the network (accept(2)): neither may end the proxy
                self._pause()
                return
            client.setblocking(False)
            try:
                pair = Pair(self, client)
            except OSError:
                client.close()
                self._pause()
                return
            if pair.client.fileno() >= 0:
                self.pairs.add(pair)

    def _pause(self) -> None:
        """The clients wait in the backlog; looking at once again would only spin."""
        watch(self.selector, self.sock, 0, None)
        self._resume = monotonic() + PAUSE
        self.timed.add(self)

    def timeout(self) -> float:
        """Seconds until tick() has something to do."""
        return max(0.0, self._resume - monotonic())

    def tick(self) -> None:
        """Accept again after a pause."""
        if monotonic() >= self._resume:
            self.timed.discard(self)
            watch(self.selector, self.sock, EVENT_READ, self._accept)

    def close(self) -> None:
        """Close the port and its connections."""
        self.timed.discard(self)
        watch(self.selector, self.sock, 0, None)
        self.sock.close()
        for pair in list(self.pairs):
            pair.close(reset=True)


class _Flow:
    """What one client exchanges with the container: `client` as recvmsg gave it, `local` the ancillary data that answers from the
    address the client wrote to."""

    __slots__ = ("key", "client", "local", "server", "last")

    def __init__(self, key: object, client: Any, local: list[tuple[int, int, bytes]], server: socket.socket) -> None:
        self.key, self.client, self.local, self.server = key, client, local, server
        self.last = monotonic()


class UdpRelay:
    """A bound datagram socket and a connected one towards the container for each client, the longest silent first."""

    def __init__(self, selector: BaseSelector, timed: set[Timed], sock: socket.socket, target: tuple[str, int]) -> None:
        self.selector, self.timed, self.sock, self.target = selector, timed, sock, target
        self.flows: OrderedDict[object, _Flow] = OrderedDict()
        watch(selector, sock, EVENT_READ, self._from_client)

    def _from_client(self, mask: int) -> None:
        for _ in range(ROUNDS):
            try:
                data, ancillary, _, client = self.sock.recvmsg(65535, 256)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # a pending ICMP error of an earlier answer; the socket itself is fine (udp(7))
                continue
            local = [_answer_from(one) for one in ancillary]
            flow = self._flow(client, local)
            if flow is not None:
                self._send(flow.server, data)

    def _flow(self, client: Any, local: list[tuple[int, int, bytes]]) -> _Flow | None:
        key = (client, local[0][2] if local else b"")
        flow = self.flows.get(key)
        if flow is None:
            if len(self.flows) >= UDP_FLOWS:
                self._forget(next(iter(self.flows.values())))
            try:
                server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            except OSError:
                return None  # out of descriptors: a datagram may be lost
            try:
                server.connect(self.target)
            except OSError:
                server.close()
                return None
            flow = self.flows[key] = _Flow(key, client, local, server)
            one = flow
            watch(self.selector, server, EVENT_READ, lambda mask: self._from_server(one))
            self.timed.add(self)
        self._touch(flow)
        return flow

    def _touch(self, flow: _Flow) -> None:
        flow.last = monotonic()
        self.flows.move_to_end(flow.key)

    @staticmethod
    def _send(sock: socket.socket, data: bytes) -> None:
        try:
            sock.send(data)
        except OSError:
            pass  # nobody listens there, or the queue is full: datagrams may be lost

    def _from_server(self, flow: _Flow) -> None:
        for _ in range(ROUNDS):
            try:
                data = flow.server.recv(65535)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                continue  # refused: the container does not listen (yet)
            try:
                self.sock.sendmsg([data], flow.local, 0, flow.client)
            except OSError:
                pass
            self._touch(flow)

    def _forget(self, flow: _Flow) -> None:
        self.flows.pop(flow.key, None)
        if not self.flows:
            self.timed.discard(self)
        watch(self.selector, flow.server, 0, None)
        flow.server.close()

    def timeout(self) -> float:
        """Seconds until the longest silent flow is forgotten."""
        return max(0.0, next(iter(self.flows.values())).last + UDP_SILENCE - monotonic())

    def tick(self) -> None:
        """Forget the flows that were silent for too long."""
        for flow in list(self.flows.values()):
            if flow.last + UDP_SILENCE > monotonic():
                break
            self._forget(flow)

    def close(self) -> None:
        """Close the port and its flows."""
        watch(self.selector, self.sock, 0, None)
        self.sock.close()
        for flow in list(self.flows.values()):
            self._forget(flow)


def _answer_from(ancillary: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """The control message that sends from the address a datagram came to; ip(7) IP_PKTINFO, ipv6(7) IPV6_PKTINFO. The interface is left to
    the routes, but for IPv6 link-local addresses, which mean nothing without it."""
    level, kind, data = ancillary
    if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
        _, local, _ = struct.unpack("=i4s4s", data[:12])
        return level, kind, struct.pack("=i4s4s", 0, local, bytes(4))
    address, index = struct.unpack("=16si", data[:20])
    return level, kind, struct.pack("=16si", address, index if address[:2] == b"\xfe\x80" else 0)
