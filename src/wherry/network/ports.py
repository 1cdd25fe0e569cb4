"""Published ports: what the API asks for, and the sockets that hold them.

A published port is a bound socket from the start, so that a taken port is refused at once, in either direction: a program that comes later
finds the port in use, too.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from typing import NamedTuple

from wherry.model.config import PortBinding
from wherry.model.errors import Internal, InvalidArgument, Unimplemented
from wherry.network.endpoint import PortMapping
from wherry.network.sockets import open_socket


class Bound(NamedTuple):
    """A mapping as it is, one for each address, and its socket."""

    mapping: PortMapping
    sock: socket.socket


def parse_port(key: str) -> tuple[int, str]:
    """`80/tcp`, `53/udp` or `80` as (port, protocol)."""
    number, _, protocol = key.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol == "sctp":
        raise Unimplemented(f"port {key}: sctp is not built yet")
    if protocol not in ("tcp", "udp"):
        raise InvalidArgument(f"invalid port specification: \"{key}\" (unknown protocol)")
    return _number(number, key), protocol


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535):
        raise InvalidArgument(f"invalid port specification: \"{where}\" (a port is a number from 1 to 65535)")
    return int(text)


def parse_bindings(bindings: Mapping[str, Sequence[PortBinding] | None] | None) -> list[PortMapping]:
    """HostConfig.PortBindings as mappings, in their order. HostPort may be empty or 0 (any free one) or a range `8000-8010`.

    InvalidArgument for what is no port or address, Unimplemented for SCTP."""
    found: list[PortMapping] = []
    for key, wanted in (bindings or {}).items():
        port, protocol = parse_port(key)
        for one in wanted or [PortBinding()]:
            low, dash, high = one.host_port.partition("-")
            first = 0 if low in ("", "0") else _number(low, one.host_port)
            last = _number(high, one.host_port) if dash else 0
            if dash and not 0 < first <= last:
                raise InvalidArgument(f"invalid port range {one.host_port!r}")
            found.append(PortMapping(port, protocol, _host_ip(one.host_ip), first, last if last != first else 0))
    return found


def _host_ip(text: str) -> str:
    try:
        return str(ip_address(text.removeprefix("[").removesuffix("]"))) if text else ""
    except ValueError:
        raise InvalidArgument(f"invalid IP address {text!r} in a port binding") from None


def host_addresses(host_ip: str) -> list[str]:
    """The addresses to bind for a HostIp: both families where it is empty."""
    return [host_ip] if host_ip else ["0.0.0.0", "::"]


def overlap(one: str, other: str) -> bool:
    """Whether two bound addresses exclude each other at the same port: the same, or one of them every address of that family."""
    return one == other or (":" in one) == (":" in other) and ("0.0.0.0" in (one, other) or "::" in (one, other))


class Binder:
    """Binds the sockets of mappings. `ours(protocol, host_ip, port)` says whether another container of this engine has the port."""

    def __init__(self, ours: Callable[[str, str, int], bool]) -> None:
        self._ours = ours
        self._lock = threading.Lock()
        self._pending: set[tuple[str, str, int]] = set()  # bound, but not recorded yet
        self._last = 0

    def bind(self, mappings: Iterable[PortMapping], address: str) -> list[Bound]:
        """All sockets of `mappings`, or none of them and Internal in Docker's words. `address` is the container's."""
        with ExitStack() as undo:
            found: list[Bound] = []
            for mapping in mappings:
                bound = self._bind_any(mapping, address)
                undo.callback(self.close, bound)
                found += bound
            undo.pop_all()
            return found

    def close(self, bound: Iterable[Bound]) -> None:
        """Close our copies of the sockets: by now they are recorded and held by the proxy, or given up."""
        for mapping, sock in bound:
            sock.close()
            with self._lock:
                self._pending.discard((mapping.protocol, mapping.host_ip, mapping.host_port))

    def _taken(self, protocol: str, host_ip: str, port: int) -> bool:
        with self._lock:
            pending = [ip for kind, ip, number in self._pending if (kind, number) == (protocol, port)]
        return any(overlap(host_ip, ip) for ip in pending) or self._ours(protocol, host_ip, port)

    def _bind_any(self, mapping: PortMapping, address: str) -> list[Bound]:
        if mapping.host_port and not mapping.host_port_end:
            return self._bind_port(mapping, mapping.host_port, address)
        shown = _show(mapping.host_ip or "0.0.0.0", mapping.host_port or "")
        for port in self._candidates(mapping):
            try:
                return self._bind_port(mapping, port, address)
            except Internal as error:
                if getattr(error.__cause__, "errno", errno.EADDRINUSE) != errno.EADDRINUSE:
                    raise
        raise Internal(f"Bind for {shown} failed: all ports are allocated")

    def _candidates(self, mapping: PortMapping) -> Iterable[int]:
        """The asked range from its start; else the kernel's range of ephemeral ports, going on after the last one given."""
        if mapping.host_port_end:
            return range(mapping.host_port, mapping.host_port_end + 1)
        low, high = ephemeral_range()
        with self._lock:
            start = self._last + 1 if low <= self._last < high else low
        return [*range(start, high + 1), *range(low, start)]

    def _bind_port(self, mapping: PortMapping, port: int, address: str) -> list[Bound]:
        found: list[Bound] = []
        with ExitStack() as undo:
            undo.callback(self.close, found)
            for host_ip in host_addresses(mapping.host_ip):
                sock = self._bind_one(mapping, host_ip, port, address)
                if sock is not None:
                    found.append(Bound(PortMapping(mapping.container_port, mapping.protocol, host_ip, port), sock))
            undo.pop_all()
        if not mapping.host_port:
            with self._lock:
                self._last = port
        return found

    def _bind_one(self, mapping: PortMapping, host_ip: str, port: int, address: str) -> socket.socket | None:
        if self._taken(mapping.protocol, host_ip, port):
            raise Internal(f"Bind for {_show(host_ip, port)} failed: port is already allocated")
        try:
            sock = open_socket(mapping.protocol, host_ip, port)
            with self._lock:
                self._pending.add((mapping.protocol, host_ip, port))
            return sock
        except OSError as error:
            if not mapping.host_ip and host_ip == "::" and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                return None  # a host without IPv6
            reason = os.strerror(error.errno or 0).lower()
            where = f"{_show(host_ip, port)}:{address}:{mapping.container_port}/{mapping.protocol}"
            raise Internal(f"failed to bind host port for {where}: {reason}") from error


def _show(host_ip: str, port: int | str) -> str:
    return f"[{host_ip}]:{port}" if ":" in host_ip else f"{host_ip}:{port}"


def ephemeral_range() -> tuple[int, int]:
    """The kernel's range of ephemeral ports, both ends included; ip(7), ip_local_port_range."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        low, high = file.read().split()
    return int(low), int(high)
