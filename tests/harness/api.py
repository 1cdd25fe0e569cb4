"""A bare HTTP client for a unix socket: what the tests ask the API directly, without a client library between."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float = 60.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:500]!r}>"


class Api:
    def __init__(self, path: str) -> None:
        self.path = path

    @contextlib.contextmanager
    def connection(self, timeout: float = 60.0) -> Iterator[UnixConnection]:
        connection = UnixConnection(self.path, timeout)
        try:
            yield connection
        finally:
            connection.close()

    def __call__(self, method: str, path: str, body: object = None, *, raw: bytes | None = None, timeout: float = 60.0, **headers: str) -> Answer:
        """One request; `body` is sent as JSON, `raw` as it is. Header names are given with _ for -."""
        data = raw if raw is not None else (json.dumps(body).encode() if body is not None else None)
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        if data is not None and "Content-Type" not in sent:
            sent["Content-Type"] = "application/json"
        with self.connection(timeout) as connection:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())

    def ok(self, method: str, path: str, body: object = None, **kwargs: Any) -> Any:
        """Like a call, but any error status fails; returns the decoded JSON, or None for an empty body."""
        answer = self(method, path, body, **kwargs)
        assert answer.status < 400, f"{method} {path}: {answer!r}"
        return answer.json if answer.body.strip() else None
