"""Netlink, as far as every family of it is alike: messages, attributes, acknowledgements, and a socket that sends several requests at once.

Standard library only and light, because the init uses it too. A failed request raises OSError with the operation, the object and the
kernel's own words (extended ack). Routing is in `rtnetlink`, tracked connections in `conntrack`.

Sources: netlink(7), linux/netlink.h, Documentation/userspace-api/netlink/intro.rst.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Self

_NLMSG_ERROR, _NLMSG_DONE, _NLMSG_OVERRUN = 2, 3, 4
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP_INTR, _NLM_F_DUMP, _NLM_F_ACK_TLVS = 0x1, 0x4, 0x10, 0x300, 0x200
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400
SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_NLA_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTR = struct.Struct("=HH")  # nlattr: length, type
_RECEIVE = 1 << 16  # the kernel fills at most 32 KiB for one answer of a dump


class Request:
    """One message to the kernel; `operation` and `subject` name it in an error."""

    __slots__ = ("operation", "subject", "kind", "flags", "body")

    def __init__(self, operation: str, subject: str, kind: int, flags: int, body: bytes) -> None:
        self.operation, self.subject, self.kind, self.flags, self.body = operation, subject, kind, flags, body


# Encoding


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes. ValueError past 65531 bytes: the length field has 16 bits and must never wrap."""
    length = _ATTR.size + len(payload)
    if length > 0xFFFF:
        raise ValueError(f"netlink attribute {kind} of {len(payload)} bytes does not fit its 16-bit length")
    return _ATTR.pack(length, kind) + payload + bytes(-length % 4)


def u32(kind: int, value: int) -> bytes:
    return attr(kind, struct.pack("=I", value))


# Decoding: every length is checked against what was received


def malformed(what: str) -> OSError:
    return OSError(errno.EBADMSG, f"malformed netlink message: {what}")


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages of one datagram as (type, flags, sequence, body). OSError(EBADMSG) when a length does not add up."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise malformed("truncated header")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or length > len(data) - offset:
            raise malformed(f"length {length} of {len(data) - offset} bytes")
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by type, without the nested and byte-order bits. OSError(EBADMSG) when a length does not add up."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset < len(data):
        if len(data) - offset < _ATTR.size:
            raise malformed("truncated attribute")
        length, kind = _ATTR.unpack_from(data, offset)
        if length < _ATTR.size or length > len(data) - offset:
            raise malformed(f"attribute {kind & _NLA_TYPE_MASK} of length {length}")
        found[kind & _NLA_TYPE_MASK] = data[offset + _ATTR.size : offset + length]
        offset += (length + 3) & ~3
    return found


def fixed(layout: struct.Struct, body: bytes) -> tuple[int, ...]:
    if len(body) < layout.size:
        raise malformed(f"body of {len(body)} bytes")
    return layout.unpack_from(body)


def integer(found: dict[int, bytes], kind: int) -> int:
    raw = found.get(kind, b"\0\0\0\0")
    if len(raw) != 4:
        raise malformed(f"attribute {kind} is no 32-bit number")
    return int(struct.unpack("=I", raw)[0])


def text(found: dict[int, bytes], kind: int) -> str:
    return found.get(kind, b"").split(b"\0", 1)[0].decode("utf-8", "replace")


def parse_ack(flags: int, body: bytes) -> tuple[int, str]:
    """(errno, the kernel's explanation or "") from the body of NLMSG_ERROR; errno 0 is success."""
    if len(body) < 4 + _HEADER.size:
        raise malformed("truncated acknowledgement")
    (code,) = struct.unpack_from("=i", body)
    if code > 0:
        raise malformed(f"error code {code}")
    if not flags & _NLM_F_ACK_TLVS:
        return -code, ""
    return -code, text(attributes(body[4 + _HEADER.size :]), 1)  # NLMSGERR_ATTR_MSG; NETLINK_CAP_ACK: no payload is echoed


def ack_error(request: Request, code: int, explanation: str) -> OSError:
    """The OSError for a refused request."""
    reason = os.strerror(code) + (f" ({explanation})" if explanation else "")
    return OSError(code, f"netlink {request.operation}: {reason}", request.subject)


# The socket


class Netlink:
    """A netlink socket in the network namespace of the thread that opens it. One thread at a time; close it, or use it as a context manager."""

    def __init__(self, protocol: int, fd: int = -1) -> None:
        """A new socket, or `fd`, one that another Netlink opened (in another network namespace, before a clone); it is closed with this."""
        if fd >= 0:
            self.sock, self._sequence = socket.socket(fileno=fd), 1 << 31
            return
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self.sock.setsockopt(SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            self.sock.setsockopt(SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            self.sock.setsockopt(SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
            self.sock.bind((0, 0))
        except OSError:
            self.sock.close()
            raise
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def _next(self) -> int:
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        return self._sequence

    def receive(self) -> bytes:
        """One datagram of the kernel's; of anybody else's nothing."""
        data, _, flags, sender = self.sock.recvmsg(_RECEIVE)
        if flags & socket.MSG_TRUNC:
            raise malformed("datagram longer than the buffer")
        return data if sender[0] == 0 else b""  # only the kernel is port 0 (netlink(7))

    def batch(self, *requests: Request) -> None:
        """Send all requests in one datagram and check every acknowledgement; the first refused request is raised. The kernel goes on
        after a refusal, so requests that build on each other fail together and the caller undoes what the batch names."""
        waiting: dict[int, Request] = {}
        parts = []
        for request in requests:
            sequence = self._next()
            waiting[sequence] = request
            flags = request.flags | _NLM_F_REQUEST | _NLM_F_ACK
            parts.append(_HEADER.pack(_HEADER.size + len(request.body), request.kind, flags, sequence, 0))
            parts.append(request.body + bytes(-len(request.body) % 4))
        self.sock.sendmsg(parts)
        first: OSError | None = None
        while waiting:
            for kind, flags, sequence, body in messages(self.receive()):
                if kind == _NLMSG_OVERRUN:
                    raise OSError(errno.ENOBUFS, "netlink: acknowledgements lost")
                if kind != _NLMSG_ERROR or sequence not in waiting:
                    continue
                code, explanation = parse_ack(flags, body)
                request = waiting.pop(sequence)
                if code and first is None:
                    first = ack_error(request, code, explanation)
        if first is not None:
            raise first

    def dump(self, operation: str, kind: int, body: bytes) -> list[bytes]:
        """The bodies of all answers to a dump request, taken again when the kernel's table changed meanwhile."""
        while True:
            found, whole = self._dump_once(operation, kind, body)
            if whole:
                return found

    def _dump_once(self, operation: str, kind: int, body: bytes) -> tuple[list[bytes], bool]:
        """One dump; the second value is False when the kernel says that the table changed under it (NLM_F_DUMP_INTR)."""
        sequence = self._next()
        self.sock.sendmsg([_HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST | _NLM_F_DUMP, sequence, 0), body])
        found: list[bytes] = []
        whole = True
        while True:
            for answer, flags, number, content in messages(self.receive()):
                if number != sequence:
                    continue
                whole = whole and not flags & _NLM_F_DUMP_INTR
                if answer == _NLMSG_ERROR:
                    code, explanation = parse_ack(flags, content)
                    raise ack_error(Request(operation, "all", kind, 0, b""), code, explanation)
                if answer == _NLMSG_DONE:
                    return found, whole
                found.append(content)

    def get(self, operation: str, subject: str, kind: int, body: bytes) -> bytes:
        """The body of the one answer to a request for one object."""
        sequence = self._next()
        self.sock.sendmsg([_HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST, sequence, 0), body])
        while True:
            for answer, flags, number, content in messages(self.receive()):
                if number != sequence:
                    continue
                if answer == _NLMSG_ERROR:
                    raise ack_error(Request(operation, subject, kind, 0, b""), *parse_ack(flags, content))
                return content
