"""The client of the Engine API: one kept-alive connection for plain calls, further ones for what lasts (attach, wait, streams).

The API version is not asked for: the newest one we know is used at once, and a daemon that refuses it names its own newest version in the
header `Api-Version` of the refusal, which we then use. DOCKER_API_VERSION fixes the version, as with docker.
"""

import _socket
import os

from wherry.cli import http1, jsonlite
from wherry.cli.errors import ApiError, CliError, ConnectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

API_VERSION = "1.51"
MSG_NOSIGNAL = _socket.MSG_NOSIGNAL


def _newer(a: str, b: str) -> bool:
    try:
        return [int(part) for part in a.split(".")] > [int(part) for part in b.split(".")]
    except ValueError:
        return False


def open_socket(host: str) -> "_socket.socket":
    """Connect to `unix://PATH` or `tcp://ADDRESS:PORT`; OSError if nobody listens, CliError for another form."""
    scheme, separator, address = host.partition("://")
    if not separator or scheme not in ("unix", "tcp"):
        raise CliError(f"unable to parse docker host `{host}`: use unix://PATH or tcp://ADDRESS:PORT")
    if scheme == "unix":
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        where: Any = address
    else:
        name, _, port = address.rpartition(":")
        family, kind, protocol, _, where = _socket.getaddrinfo(name.strip("[]"), port or "2375", 0, _socket.SOCK_STREAM)[0]
        sock = _socket.socket(family, kind, protocol)
    try:
        sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock


class Connection:
    """One connection: send a request, read its answer."""

    def __init__(self, sock: "_socket.socket") -> None:
        self.sock = sock
        self.reader = http1.Reader(sock.recv)

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data, MSG_NOSIGNAL)
        except OSError as error:
            raise http1.ProtocolError(f"sending the request: {error.strerror}") from None

    def head(self) -> http1.Response:
        try:
            return self.reader.head()
        except OSError as error:
            raise http1.ProtocolError(f"reading the answer: {error.strerror}") from None

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream:
    """A hijacked connection: the bytes that came with the 101 are in `early`, then the socket is the stream."""

    def __init__(self, connection: Connection, response: http1.Response) -> None:
        self.sock = connection.sock
        self.early = connection.reader.rest
        self.content_type = response.headers.get("content-type", "")

    def close(self) -> None:
        self.sock.close()


class Pending:
    """A request that was sent on a connection of its own and whose answer is read later (`wait`)."""

    def __init__(self, client: "Client", connection: Connection, method: str) -> None:
        self._client = client
        self.connection = connection
        self.method = method
        self.response: http1.Response | None = None

    def fileno(self) -> int:
        return self.connection.sock.fileno()

    def head(self) -> None:
        """Wait until the daemon has taken the request; ApiError if it refused."""
        self.response = self.connection.head()
        if self.response.status >= 400:
            with self.connection:
                raise self._client.error_of(self.connection, self.response, self.method)

    def result(self) -> "Any":
        """The whole answer, as JSON."""
        if self.response is None:
            self.head()
        assert self.response is not None
        with self.connection:
            return jsonlite.loads(b"".join(self.connection.reader.body(self.response, self.method)))

    def close(self) -> None:
        self.connection.close()


class Client:
    """Calls of one daemon. `connect` makes a connection to it (and may start it)."""

    def __init__(self, connect: "Callable[[], _socket.socket]", headers: "dict[str, str] | None" = None) -> None:
        self._connect = connect
        self.headers = {"User-Agent": "Wherry-Client/0.1.0 (linux)", **(headers or {})}
        fixed = os.environ.get("DOCKER_API_VERSION", "").removeprefix("v")
        self.version = fixed or API_VERSION
        self._settled = bool(fixed)
        self._kept: Connection | None = None

    # -- connections

    def connection(self) -> Connection:
        """A new connection."""
        return Connection(self._connect())

    def prepare(self) -> None:
        """Connect now, so that the cost is seen apart and the first call does not pay it."""
        if self._kept is None:
            self._kept = self.connection()

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _target(self, path: str, query: "http1.Query | None") -> str:
        versioned = path if path.startswith(("/_ping", "/wherry/")) else f"/v{self.version}{path}"
        return versioned + http1.query_string(query or {})

    def _exchange(
        self, connection: Connection, method: str, path: str, query: "http1.Query | None", body: bytes, headers: "dict[str, str]"
    ) -> http1.Response:
        """Send and read the head of the answer; once more in the daemon's version if ours is too new for it."""
        connection.send(http1.request(method, self._target(path, query), {**self.headers, **headers}, body))
        response = connection.head()
        theirs = response.headers.get("api-version", "")
        if response.status == 400 and not self._settled and theirs and _newer(self.version, theirs):
            for _ in connection.reader.body(response, method):
                pass
            self.version = theirs
            self._settled = True
            return self._exchange(connection, method, path, query, body, headers)
        self._settled = True
        return response

    def error_of(self, connection: Connection, response: http1.Response, method: str) -> ApiError:
        """The error that an answer of 400 or more stands for."""
        text = b"".join(connection.reader.body(response, method)).decode("utf-8", "replace").strip()
        try:
            value = jsonlite.loads(text)
            message = value.get("message") if isinstance(value, dict) else None
        except ValueError:
            message = None
        return ApiError(response.status, str(message or text or f"request returned {response.status} {response.reason}"))

    # -- calls

    def call(
        self, method: str, path: str, query: "http1.Query | None" = None, body: object = None, headers: "dict[str, str] | None" = None
    ) -> "Any":
        """One call on the kept connection. Returns the JSON of the answer, or None without a body. ApiError for 400 and more."""
        status, data = self.call_status(method, path, query, body, headers)
        return jsonlite.loads(data) if data and status != 304 else None

    def call_status(
        self, method: str, path: str, query: "http1.Query | None" = None, body: object = None, headers: "dict[str, str] | None" = None
    ) -> "tuple[int, bytes]":
        """As `call`, but the bare status and body (304 tells that there was nothing to do)."""
        self.prepare()
        connection = self._kept
        assert connection is not None
        payload = b"" if body is None else jsonlite.dumps(body).encode("utf-8", "surrogateescape")
        extra = {**({"Content-Type": "application/json"} if payload else {}), **(headers or {})}
        try:
            response = self._exchange(connection, method, path, query, payload, extra)
            if response.status >= 300 and response.status != 304:
                raise self.error_of(connection, response, method)
            return response.status, b"".join(connection.reader.body(response, method))
        finally:
            if not connection.reader.left_open:
                self.close()

    def begin(self, method: str, path: str, query: "http1.Query | None" = None, connection: Connection | None = None) -> Pending:
        """Send a request without a body on a connection of its own and do not wait for the answer. Call something else before, once,
        so that the version is settled."""
        connection = connection or self.connection()
        connection.send(http1.request(method, self._target(path, query), self.headers))
        return Pending(self, connection, method)

    def stream(
        self,
        method: str,
        path: str,
        query: "http1.Query | None" = None,
        headers: "dict[str, str] | None" = None,
        body: "Iterable[bytes] | None" = None,
    ) -> "tuple[http1.Response, Iterator[bytes]]":
        """A call whose answer is read piece by piece. A body is sent chunked, as it comes."""
        if body is not None and not self._settled:
            self.call("GET", "/version")
        connection = self.connection()
        if body is None:
            response = self._exchange(connection, method, path, query, b"", headers or {})
        else:
            all_headers = {**self.headers, **(headers or {}), "Transfer-Encoding": "chunked"}
            connection.send(http1.request(method, self._target(path, query), all_headers))
            self._send_chunks(connection, body)
            response = connection.head()
        if response.status >= 400:
            with connection:
                raise self.error_of(connection, response, method)
        return response, self._pieces(connection, response, method)

    @staticmethod
    def _pieces(connection: Connection, response: http1.Response, method: str) -> "Iterator[bytes]":
        with connection:
            yield from connection.reader.body(response, method)

    @staticmethod
    def _send_chunks(connection: Connection, body: "Iterable[bytes]") -> None:
        """Send all of body; a daemon that refuses early has closed its side, and its answer is read all the same."""
        try:
            for piece in body:
                if piece:
                    connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            connection.send(b"0\r\n\r\n")
        except http1.ProtocolError:
            pass

    def lines(self, method: str, path: str, query: "http1.Query | None" = None, body: "Iterable[bytes] | None" = None) -> "Iterator[Any]":
        """The objects of a stream of JSON lines (`events`, `load`, `pull`) as they arrive."""
        headers = {"Content-Type": "application/x-tar"} if body is not None else None
        _, pieces = self.stream(method, path, query, headers, body)
        rest = b""
        for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    yield jsonlite.loads(line)
        if rest.strip():
            yield jsonlite.loads(rest)

    def hijack(self, path: str, query: "http1.Query | None" = None, body: object = None, connection: Connection | None = None) -> Stream:
        """POST that turns the connection into a two-way stream (101 UPGRADED, or 200 from old daemons)."""
        return self.hijacked(self.begin_hijack(path, query, body, connection))

    def begin_hijack(
        self, path: str, query: "http1.Query | None" = None, body: object = None, connection: Connection | None = None
    ) -> Connection:
        """The first half of `hijack`: send the request. The version must have been settled by an earlier call."""
        connection = connection or self.connection()
        payload = b"" if body is None else jsonlite.dumps(body).encode("utf-8", "surrogateescape")
        headers = {**self.headers, "Connection": "Upgrade", "Upgrade": "tcp"}
        if payload:
            headers["Content-Type"] = "application/json"
        connection.send(http1.request("POST", self._target(path, query), headers, payload))
        return connection

    def hijacked(self, connection: Connection) -> Stream:
        """The second half of `hijack`: the stream, or ApiError."""
        response = connection.head()
        if response.status not in (101, 200):
            with connection:
                raise self.error_of(connection, response, "POST")
        return Stream(connection, response)


def no_daemon(host: str, error: OSError) -> ConnectError:
    return ConnectError(f"Cannot connect to the Wherry daemon at {host}: {error.strerror}. Is wherryd running?")
