"""The bound socket of a published port. Light: the proxy is a fork of the launcher and imports nothing later."""

from __future__ import annotations

import socket

IP_PKTINFO = 8  # ip(7); the socket module has no name for it
_BACKLOG = 4096


def open_socket(protocol: str, host_ip: str, port: int) -> socket.socket:
    """A bound, non-blocking socket (TCP: listening), or OSError. IPv6 sockets take IPv6 only."""
    family = socket.AF_INET6 if ":" in host_ip else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            # Past connections in TIME_WAIT do not hold the port; a listening socket still does (socket(7), tcp(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.bind((host_ip, port))
        if protocol == "tcp":
            sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
