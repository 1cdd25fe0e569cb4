"""One client connection as HTTP messages: h11 does the protocol, this file moves its bytes over the socket.

h11 knows no sockets, so bytes that a client sends early, after a request that upgrades the connection, are never lost: they stay in
`trailing_data` until `hijack` takes them (RFC 9110 section 7.8, RFC 9112).
"""

from __future__ import annotations

import socket
import time
from email.utils import formatdate
from http import HTTPStatus

import h11

#: Longest request line with headers, bytes; more is answered 431.
MAX_HEADER = 256 * 1024
#: How much of a body that nobody read is read and dropped to keep the connection; with more left the connection is closed.
MAX_DRAIN = 256 * 1024
#: How long a client that still sends its body may go on before its connection is closed, seconds: all in all, and silent.
LINGER = 30.0
LINGER_SILENT = 2.0
RECEIVE = 64 * 1024

Headers = list[tuple[str, str]]

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class ClientGone(ConnectionError):
    """The client closed the connection, or broke it, before its answer was complete."""


class Channel:
    """Reads requests from, and writes answers to, one connected socket. Used by one thread."""

    def __init__(self, sock: socket.socket, common: Headers) -> None:
        self.sock = sock
        self._common = common
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER)
        self.hijacked = False
        self.began = False                       # the status line of the current answer is out

    def next_request(self) -> h11.Request | None:
        """Wait for the next request; None when the client closed. Raises h11.RemoteProtocolError for what is not HTTP."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        self.began = False
        event = self._event()
        if isinstance(event, h11.Request):
            return event
        return None

    def read_body(self) -> bytes:
        """The next bytes of the request's body, as they come; b"" at its end. Raises ClientGone."""
        if self._http.their_state is not h11.SEND_BODY:
            return b""
        if self._http.they_are_waiting_for_100_continue:
            self._send(self._http.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")))
        try:
            event = self._event()
        except h11.RemoteProtocolError as error:
            raise ClientGone(f"the request's body broke off: {error}") from None
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return b""
        raise ClientGone("the request's body broke off")

    def answer(self, status: int, headers: Headers, body: bytes, head_only: bool = False) -> None:
        """Send one complete answer in one piece; `head_only` announces the body's length and sends none (HEAD)."""
        fields = [*headers, *self._common, ("Date", formatdate(usegmt=True))]
        if status not in (204, 304):
            fields.append(("Content-Length", str(len(body))))
        out = self._head(status, fields)
        if body and not head_only and status not in (204, 304):
            out += self._http.send(h11.Data(data=body)) or b""
        self._send(out + (self._http.send(h11.EndOfMessage()) or b""))

    def begin(self, status: int, headers: Headers, first: bytes = b"") -> None:
        """Send the status line, the headers and perhaps the first bytes of an answer of unknown length (chunked)."""
        out = self._head(status, [*headers, *self._common, ("Date", formatdate(usegmt=True))])
        if first:
            out += self._http.send(h11.Data(data=first)) or b""
        self._send(out)

    def write(self, data: bytes) -> None:
        """Send one more chunk, at once. Raises ClientGone."""
        if data:
            self._send(self._http.send(h11.Data(data=data)))

    def end(self) -> None:
        self._send(self._http.send(h11.EndOfMessage()))

    def reusable(self) -> bool:
        """Read and drop what is left of the request's body; True when another request can follow on this connection.

        Closing a socket with unread input takes away what the client has not read yet, so a client that is not done sending is listened to.
        """
        drained = 0
        while self._http.their_state is h11.SEND_BODY and not self._http.they_are_waiting_for_100_continue:
            data = self.read_body()
            drained += len(data)
            if not data:
                break
            if drained > MAX_DRAIN:
                self._linger()
                return False
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def hijack(self, status: int, headers: Headers) -> bytes:
        """Write the status line and the headers of an answer that never ends; return the bytes that came after the request.

        From here on the socket carries a stream that is no HTTP; this channel only closes its own descriptor, without shutdown.
        """
        while self._http.their_state is h11.SEND_BODY:
            if not self.read_body():
                break
        early, _closed = self._http.trailing_data
        reason = b"UPGRADED" if status == 101 else _REASONS[status]
        lines = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in [*headers, *self._common])
        self.hijacked = True
        self.began = True
        self._send(b"HTTP/1.1 %d %s\r\n%s\r\n" % (status, reason, lines))
        return early

    def _linger(self) -> None:
        deadline = time.monotonic() + LINGER
        try:
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(LINGER_SILENT)
            while self.sock.recv(RECEIVE) and time.monotonic() < deadline:
                pass
        except OSError as error:
            raise ClientGone(f"the client left while it sent its body: {error}") from error

    def _head(self, status: int, headers: Headers) -> bytes:
        self.began = True
        response = h11.Response(status_code=status, headers=headers, reason=_REASONS.get(status, b""))
        return self._http.send(response) or b""

    def _event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            try:
                data = self.sock.recv(RECEIVE)
            except OSError as error:
                raise ClientGone(f"cannot read from the client: {error}") from error
            self._http.receive_data(data)

    def _send(self, data: bytes | None) -> None:
        if not data:
            return
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise ClientGone(f"cannot write to the client: {error}") from error
