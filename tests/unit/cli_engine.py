"""A small engine for tests of the CLI: answers on a unix socket by a script, records every request."""

import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Request(NamedTuple):
    method: str
    path: str  # without the version
    version: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Talk:
    """One connection; a handler may answer, or take the socket over."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.taken = False  # no further request is read
        self.kept = False  # the socket stays open when the handler returns; close() ends it

    def raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def json(self, value: Any, status: str = "200 OK", **headers: str) -> None:
        body = json.dumps(value).encode()
        extra = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
        self.raw(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def empty(self, status: str = "204 No Content") -> None:
        self.raw(f"HTTP/1.1 {status}\r\n\r\n".encode())

    def upgrade(self, early: bytes = b"", kind: str = "multiplexed") -> None:
        self.taken = True
        head = f"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.{kind}-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        self.raw(head.encode() + early)


Handler = Callable[[Request, Talk], None]


class Engine:
    """Serve `handler` on a socket at path until closed."""

    def __init__(self, path: str, handler: Handler) -> None:
        self.path = path
        self.host = f"unix://{path}"
        self.requests: list[Request] = []
        self.connections = 0
        self.errors: list[BaseException] = []
        self._handler = handler
        self._threads: list[threading.Thread] = []
        self._socks: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(16)
        self._spawn(self._accept)

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._socks.append(sock)
            self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        talk = Talk(sock)
        reader = sock.makefile("rb")
        try:
            while (request := self._read(reader)) is not None:
                self.requests.append(request)
                self._handler(request, talk)
                if talk.taken:
                    break
        except (ConnectionError, ValueError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            reader.close()
            if not talk.kept:
                sock.close()

    def _read(self, reader: Any) -> Request | None:
        line = reader.readline().decode()
        if not line:
            return None
        method, target, _ = line.split(" ")
        headers = {}
        while text := reader.readline().decode().strip():
            name, _, value = text.partition(": ")
            headers[name.lower()] = value
        body = reader.read(int(headers.get("content-length", "0")))
        if headers.get("transfer-encoding") == "chunked":
            while size := int(reader.readline(), 16):
                body += reader.read(size)
                reader.readline()
            reader.readline()
        url = urlsplit(target)
        path, version = url.path, ""
        if path.startswith("/v1."):
            version, _, path = path[2:].partition("/")
            path = "/" + path
        is_json = headers.get("content-type") == "application/json"
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        return Request(method, path, version, query, headers, json.loads(body) if is_json else body)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        for thread in self._threads:
            thread.join(10)
        os.unlink(self.path)
        assert not self.errors, self.errors
