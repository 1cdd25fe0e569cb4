"""HTTP/1.1 (RFC 9112) as a client needs it, without I/O of its own: requests are made as bytes, answers are read through a function that
returns the next bytes (empty: the other side closed)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Query = dict[str, "str | int | bool | list[str]"]

_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~")
_MAX_HEAD = 1 << 16


class ProtocolError(Exception):
    """The answer is not HTTP, or ended in its middle."""


def quote(text: str, keep: bytes = b"") -> str:
    """Percent-encode (RFC 3986 section 2) all but the unreserved characters and `keep`."""
    return "".join(chr(byte) if byte in _SAFE or byte in keep else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


def query_string(query: "Query") -> str:
    """`?a=1&b=x`: True is 1; False, empty texts and empty lists are left out; a list repeats its key."""
    pairs = []
    for key, value in query.items():
        if value is False or value == "" or value == []:
            continue
        for item in value if isinstance(value, list) else [value]:
            pairs.append(f"{quote(key)}={quote('1' if item is True else str(item))}")
    return "?" + "&".join(pairs) if pairs else ""


def request(method: str, target: str, headers: "dict[str, str]", body: bytes = b"") -> bytes:
    """A whole request. A body always has a Content-Length; POST and PUT have one even without a body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: wherry"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or (method in ("POST", "PUT") and "Transfer-Encoding" not in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


class Response:
    """Status and headers (names in lower case) of an answer."""

    __slots__ = ("headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: "dict[str, str]") -> None:
        self.status = status
        self.reason = reason
        self.headers = headers


class Reader:
    """Reads answers one after another from `receive`. What came early, beyond an answer's end, is in `rest`."""

    def __init__(self, receive: "Callable[[int], bytes]") -> None:
        self._receive = receive
        self.rest = b""
        self.left_open = False  # the last body was read to its end and the connection can carry another request

    def _more(self, what: str) -> None:
        data = self._receive(1 << 18)
        if not data:
            raise ProtocolError(f"the connection was closed {what}")
        self.rest += data

    def head(self) -> Response:
        """The next answer's status and headers. Interim answers (100 to 199) other than 101 are skipped."""
        self.left_open = False
        while True:
            while b"\r\n\r\n" not in self.rest:
                if len(self.rest) > _MAX_HEAD:
                    raise ProtocolError("the header of the answer is over 64 KiB")
                self._more("before an answer" if not self.rest else "in the middle of the header")
            head, _, self.rest = self.rest.partition(b"\r\n\r\n")
            response = _parse_head(head.decode("latin-1"))
            if response.status == 101 or response.status >= 200:
                return response

    def body(self, response: Response, method: str) -> "Iterator[bytes]":
        """The pieces of the body as they arrive."""
        headers = response.headers
        if method == "HEAD" or response.status in (204, 304):
            pass
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            yield from self._chunks()
        elif "content-length" in headers:
            yield from self._exactly(_number(headers["content-length"], 10))
        else:
            yield from self._to_the_end()
            return
        self.left_open = headers.get("connection", "").lower() != "close"

    def _exactly(self, count: int) -> "Iterator[bytes]":
        while count:
            if not self.rest:
                self._more("in the middle of the body")
            piece, self.rest = self.rest[:count], self.rest[count:]
            count -= len(piece)
            yield piece

    def _chunks(self) -> "Iterator[bytes]":
        while True:
            size = _number(self._line().partition(b";")[0].decode("latin-1").strip(), 16)
            if size == 0:
                while self._line():  # trailers
                    pass
                return
            yield from self._exactly(size)
            if self._line():
                raise ProtocolError("a chunk is longer than it said")

    def _line(self) -> bytes:
        while b"\r\n" not in self.rest:
            if len(self.rest) > _MAX_HEAD:
                raise ProtocolError("a line of the chunked body is over 64 KiB")
            self._more("in the middle of a chunked body")
        line, _, self.rest = self.rest.partition(b"\r\n")
        return line

    def _to_the_end(self) -> "Iterator[bytes]":
        if self.rest:
            piece, self.rest = self.rest, b""
            yield piece
        while piece := self._receive(1 << 18):
            yield piece


def _number(text: str, base: int) -> int:
    digits = "0123456789abcdefABCDEF" if base == 16 else "0123456789"
    if not text or text.strip(digits):
        raise ProtocolError(f"{text!r} is no length")
    return int(text, base)


def _parse_head(text: str) -> Response:
    first, *lines = text.split("\r\n")
    version, _, rest = first.partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdigit():
        raise ProtocolError(f"{first[:80]!r} is no HTTP/1.1 status line")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ProtocolError(f"{line[:80]!r} is no header")
        headers[name.strip().lower()] = value.strip()
    return Response(int(code), reason, headers)
