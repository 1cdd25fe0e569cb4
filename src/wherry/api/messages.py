"""What a route gets and gives: Request, Answer, Stream, Hijacked."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec

from wherry.api import decode
from wherry.api.channel import Channel, Headers
from wherry.api.query import Query
from wherry.model.cancel import Cancel
from wherry.model.errors import InvalidArgument, TooLarge
from wherry.model.version import NEWEST, Version

#: Largest JSON body of a request, bytes; more is answered 413.
MAX_JSON = 4 * 1024 * 1024

T = TypeVar("T")
Write = Callable[[bytes], None]
Watch = Callable[[socket.socket, Cancel], None]


class Answer(NamedTuple):
    """A complete answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Stream(NamedTuple):
    """An answer that `produce` writes piece by piece; each piece is sent at once, the headers go out with the first (an empty one too).

    An error raised before the first write is answered as any other; a later one breaks the connection off.
    """

    content_type: str
    produce: Callable[[Write], None]
    headers: tuple[tuple[str, str], ...] = ()


class Hijacked(NamedTuple):
    """The route took the connection over; the server closes its own descriptor of it and says nothing more."""


_JSON = ("Content-Type", "application/json")


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode(value) + b"\n", (_JSON,))


NO_CONTENT = Answer(204)
EMPTY = Answer(200)


class Body(io.RawIOBase):
    """The body of a request as a file that is read once, front to back; nothing of it is kept."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(self._channel.read_body())
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class Request:
    """One request. `vars` are the variable parts of its path, `version` the API version it speaks."""

    __slots__ = ("_channel", "_watch", "_unwatch", "method", "path", "query", "headers", "version", "vars")

    def __init__(self, channel: Channel, method: str, target: str, headers: dict[str, str], watch: Watch, unwatch: Watch) -> None:
        path, _, query = target.partition("?")
        if "%" in path:
            path = unquote(path)
        if not path.startswith("/") or "\0" in path:
            raise InvalidArgument(f"not a path: {target!r}")
        self._channel = channel
        self._watch = watch
        self._unwatch = unwatch
        self.method = method
        self.path = path
        self.query = Query(query)
        self.headers = headers
        self.version: Version = NEWEST
        self.vars: dict[str, str] = {}

    @property
    def name(self) -> str:
        return self.vars["name"]

    @property
    def has_body(self) -> bool:
        return "transfer-encoding" in self.headers or self.headers.get("content-length", "0").strip("0") != ""

    def body(self) -> io.BufferedReader:
        """The body as it comes, of any length."""
        return io.BufferedReader(Body(self._channel), 256 * 1024)

    def read(self, limit: int = MAX_JSON) -> bytes:
        """The whole body. Raises TooLarge beyond `limit` bytes."""
        if int(self.headers.get("content-length", "0")) > limit:
            raise TooLarge(f"the request's body is larger than {limit} bytes")
        parts: list[bytes] = []
        length = 0
        while data := self._channel.read_body():
            length += len(data)
            if length > limit:
                raise TooLarge(f"the request's body is larger than {limit} bytes")
            parts.append(data)
        return b"".join(parts)

    def json(self, kind: type[T]) -> T:
        """The body as `kind`. Raises InvalidArgument with the path of the field that is wrong, also for no body."""
        found = self.json_or_none(kind)
        if found is None:
            raise InvalidArgument("the request needs a JSON body")
        return found

    def json_or_none(self, kind: type[T]) -> T | None:
        """As json(); None for an empty body."""
        if not self.has_body:
            return None
        media = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        raw = self.read()
        if not raw.strip():
            return None
        if media != "application/json":
            raise InvalidArgument(f"Content-Type must be application/json, not {media!r}")
        return decode.decode(raw, kind)

    def read_form(self) -> None:
        """A urlencoded body counts as query parameters."""
        if self.method == "POST" and self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            try:
                self.query.add(self.read().decode())
            except UnicodeDecodeError:
                raise InvalidArgument("the form in the request's body is not UTF-8") from None

    @contextmanager
    def client_watched(self) -> Iterator[Cancel]:
        """Within this context the Cancel is set when the client leaves or the server stops."""
        cancel = Cancel()
        self._watch(self._channel.sock, cancel)
        try:
            yield cancel
        finally:
            self._unwatch(self._channel.sock, cancel)

    def hijack(self, status: int, headers: Headers) -> tuple[socket.socket, bytes]:
        """Send the status line and headers and take the connection over: its socket (a copy of the server's own) and early input."""
        early = self._channel.hijack(status, headers)
        return self._channel.sock, early
