"""The HTTP server with bytes over socket pairs and unix sockets, over a router of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wherry.api.listen import open_listeners
from wherry.api.messages import NO_CONTENT, Answer, Hijacked, Request, Stream, json_answer
from wherry.api.router import Route, Router
from wherry.api.server import Server
from wherry.model.config import HostConfig
from wherry.model.errors import InvalidArgument, NotFound, NotModified, StartFailed, Unavailable
from wherry.model.version import Version

seen: dict[str, Any] = {}


def echo(_: Any, r: Request) -> Answer:
    return json_answer({"vars": r.vars, "version": str(r.version), "query": r.query.texts("q"), "body": len(r.body().read())})


def fail(_: Any, r: Request) -> Answer:
    raise {"304": NotModified, "404": NotFound, "400": InvalidArgument, "500": ZeroDivisionError}[r.name]("because")


def start_failed(_: Any, r: Request) -> Answer:
    raise StartFailed("no such program", exit_code=int(r.name))


def wait(_: Any, r: Request) -> Stream:
    def produce(write: Any) -> None:
        write(b"")
        seen["registered"].set()
        with r.client_watched() as cancel, cancel.calling(seen["gone"].set):
            assert seen["gone"].wait(10)

    return Stream("application/json", produce)


def count(_: Any, r: Request) -> Stream:
    def produce(write: Any) -> None:
        if r.query.flag("early"):
            raise NotFound("before the first byte")
        for number in range(3):
            write(b"%d\n" % number)
        if r.query.flag("late"):
            raise NotFound("too late")

    return Stream("application/x-count", produce)


def hijack(_: Any, r: Request) -> Hijacked:
    copy = None
    body = r.read()
    sock, early = r.hijack(101, [("Connection", "Upgrade"), ("Upgrade", "tcp")])
    copy = sock.dup()
    seen["hijacked"] = (copy, early, body)
    seen["done"].set()
    return Hijacked()


def host_config(_: Any, r: Request) -> Answer:
    return json_answer(r.json(HostConfig).memory)


ROUTES = (
    Route("GET", "/things/json", lambda d, r: json_answer(["list"])),
    Route("GET", "/things/{name}/json", echo),
    Route("POST", "/things/{name}/json", echo),
    Route("GET", "/things/new", lambda d, r: NO_CONTENT, Version(1, 40)),
    Route("GET", "/fail/{name}", fail),
    Route("GET", "/start/{name}", start_failed),
    Route("GET", "/wait", wait),
    Route("GET", "/count", count),
    Route("HEAD", "/count", count),
    Route("POST", "/hijack", hijack),
    Route("POST", "/host", host_config),
)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    before = set(os.listdir("/proc/self/fd"))
    seen.update({key: threading.Event() for key in ("registered", "gone", "done")})
    where = str(tmp_path / "api.sock")
    server = Server(open_listeners([f"unix://{where}"]), Router(ROUTES), None, [("Api-Version", "1.51")])
    server.start()
    yield where
    assert server.stop(5)
    assert not [t for t in threading.enumerate() if t.name.startswith("api-")]
    if "hijacked" in seen:
        seen.pop("hijacked")[0].close()
    assert len(set(os.listdir("/proc/self/fd"))) <= len(before)


class Client:
    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.sock.close()

    def ask(self, method: str, target: str, body: bytes = b"", *headers: str) -> tuple[int, dict[str, str], bytes]:
        lines = [f"{method} {target} HTTP/1.1", "Host: x", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return self.answer(method)

    def head(self) -> tuple[int, dict[str, str]]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers

    def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        status, headers = self.head()
        if method == "HEAD" or status in (204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self.file.readline(), 16):
                parts.append(self.file.read(size))
                self.file.readline()
            self.file.readline()
            return status, headers, b"".join(parts)
        return status, headers, self.file.read(int(headers.get("content-length", 0)))


def test_routes_versions_and_names_with_slashes(path: str) -> None:
    with Client(path) as client:
        status, headers, body = client.ask("GET", "/v1.41/things/a/b%2Fc:tag/json?q=1&q=%202")
        assert status == 200 and headers["api-version"] == "1.51" and headers["content-type"] == "application/json"
        assert json.loads(body) == {"vars": {"name": "a/b/c:tag"}, "version": "1.41", "query": ["1", " 2"], "body": 0}
        assert body.endswith(b"\n")
        assert json.loads(client.ask("GET", "/things/json")[2]) == ["list"]
        assert client.ask("GET", "/v1.39/things/new")[0] == 404
        assert client.ask("GET", "/v1.40/things/new")[0] == 204


@pytest.mark.parametrize("target", ["/nothing", "/v1.41/", "/", "/things", "/v1.41/v1.41/things/json"])
def test_unknown_paths_and_methods(path: str, target: str) -> None:
    with Client(path) as client:
        for method in ("GET", "DELETE", "PUT"):
            status, headers, body = client.ask(method, target)
            assert (status, json.loads(body)) == (404, {"message": "page not found"}) and headers["content-type"] == "application/json"
        assert client.ask("OPTIONS", target)[::2] == (200, b"")


@pytest.mark.parametrize("version", ["1.23", "1.9", "1.52", "2.0", "1.41.1", "1..2"])
def test_versions_out_of_range(path: str, version: str) -> None:
    with Client(path) as client:
        status, headers, body = client.ask("GET", f"/v{version}/things/json")
        old = version in ("1.23", "1.9")
        assert status == 400 and headers["content-type"] == ("text/plain; charset=utf-8" if old else "application/json")
        assert version.split(".")[0] in (body.decode() if old else json.loads(body)["message"])


def test_errors(path: str) -> None:
    with Client(path) as client:
        for code in (304, 404, 400, 500):
            status, headers, body = client.ask("GET", f"/fail/{code}")
            assert status == code
            assert code == 304 or json.loads(body)["message"] in ("because",)
        assert [client.ask("GET", f"/start/{code}")[0] for code in (126, 127, 128, 125)] == [400, 400, 500, 500]


def test_bodies(path: str) -> None:
    with Client(path) as client:
        assert json.loads(client.ask("POST", "/things/x/json", b"y" * 3_000_000)[2])["body"] == 3_000_000
        client.sock.sendall(b"POST /things/x/json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")
        assert json.loads(client.answer()[2])["body"] == 6
        client.sock.sendall(b"POST /things/x/json HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert client.head()[0] == 100
        client.sock.sendall(b"ab")
        assert json.loads(client.answer()[2])["body"] == 2


def test_a_body_nobody_reads_does_not_confuse_the_next_request(path: str) -> None:
    with Client(path) as client:
        assert client.ask("POST", "/nothing", b"GET /things/json HTTP/1.1\r\n\r\n")[0] == 404
        assert client.ask("GET", "/things/json")[0] == 200


JSON_TYPE = "Content-Type: application/json; charset=utf-8"


@pytest.mark.parametrize(("body", "headers", "status", "message"), [
    (b'{"memory": 7, "Unknown": 1, "CpuShares": null}', [JSON_TYPE], 200, ""),
    (b'{"Memory": 7}', [], 400, "Content-Type"),
    (b'{"Memory": 7}', ["Content-Type: text/plain"], 400, "Content-Type"),
    (b"", [JSON_TYPE], 400, "JSON body"),
    (b'{"Memory": "7"}', [JSON_TYPE], 400, "Memory"),
    (b'{"LogConfig": {"config": {"a": 1}}}', [JSON_TYPE], 400, "LogConfig.Config"),
    (b'{"Memory": 7} x', [JSON_TYPE], 400, "JSON"),
    (b'{"Memory"', [JSON_TYPE], 400, "JSON"),
    (b"\xff\xfe", [JSON_TYPE], 400, "JSON"),
    (b"[]", [JSON_TYPE], 400, "object"),
    (b'{"Binds": ["' + b"x" * (4 << 20) + b'"]}', [JSON_TYPE], 413, "larger"),
])
def test_json_bodies(path: str, body: bytes, headers: list[str], status: int, message: str) -> None:
    with Client(path) as client:
        got, _, answer = client.ask("POST", "/host", body, *headers)
        assert got == status
        assert answer == b"7\n" if status == 200 else message in json.loads(answer)["message"]


def test_streams(path: str) -> None:
    with Client(path) as client:
        status, headers, body = client.ask("GET", "/count")
        assert (status, body, headers["content-type"]) == (200, b"0\n1\n2\n", "application/x-count")
        assert client.ask("GET", "/count?early=1")[0] == 404
        assert client.ask("HEAD", "/count")[::2] == (200, b"")
        assert client.ask("GET", "/things/json")[0] == 200
        client.sock.sendall(b"GET /count HTTP/1.0\r\n\r\n")
        assert client.head()[0] == 200 and client.file.read() == b"0\n1\n2\n"
    with Client(path) as client:
        client.sock.sendall(b"GET /count?late=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.head()[0] == 200
        assert not client.file.read().endswith(b"0\r\n\r\n")


def test_a_client_that_leaves_is_noticed(path: str) -> None:
    with Client(path) as client:
        client.sock.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.head()[0] == 200
        assert seen["registered"].wait(5) and not seen["gone"].is_set()
    assert seen["gone"].wait(5)


def test_a_hundred_clients_that_break_off_leave_nothing(path: str) -> None:
    """Waiting, sending a body, or idle: their threads and descriptors go; the fixture counts the descriptors."""
    body = b"POST /host HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
    for number in range(100):
        with Client(path) as client:
            client.sock.sendall((b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n", body, b"")[number % 3])
            if number % 3 == 0:
                assert client.head()[0] == 200
    with Client(path) as client:
        assert client.ask("GET", "/things/json")[0] == 200
    for thread in threading.enumerate():
        if thread.name == "api-connection":
            thread.join(5)
            assert not thread.is_alive()


def test_stop_ends_waiting_and_idle_connections(tmp_path: Path) -> None:
    seen.update({key: threading.Event() for key in ("registered", "gone")})
    where = str(tmp_path / "s")
    server = Server(open_listeners([f"unix://{where}"]), Router(ROUTES), None, [])
    server.start()
    with Client(where) as idle, Client(where) as waiting:
        assert idle.ask("GET", "/things/json")[0] == 200
        waiting.sock.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert seen["registered"].wait(5)
        assert server.stop(5)
        assert idle.file.read() == b""
        assert waiting.answer()[0] == 200


def test_hijack_keeps_early_bytes_and_leaves_the_stream_open(path: str) -> None:
    with Client(path) as client:
        request = b"POST /hijack HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}early"
        client.sock.sendall(request)
        status, headers = client.head()
        assert status == 101 and headers["upgrade"] == "tcp"
        assert seen["done"].wait(5)
        sock, early, body = seen["hijacked"]
        assert (early, body) == (b"early", b"{}")
        sock.sendall(b"from the other process")
        assert client.file.read(22) == b"from the other process"
        client.sock.sendall(b"input")
        assert sock.recv(10) == b"input"


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"GET /things/json HTTP/1.1\r\n\r\n"])
def test_what_is_not_http(path: str, garbage: bytes) -> None:
    with Client(path) as client:
        client.sock.sendall(garbage)
        status, headers, body = client.answer()
        assert status == 400 and "HTTP" in json.loads(body)["message"]
        assert client.file.read() == b""


def test_too_long_headers(path: str) -> None:
    with Client(path) as client:
        client.sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 300_000)
        assert client.answer()[0] == 431


def test_a_stale_socket_is_replaced_and_a_live_one_refused(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/deep/s"
    [first] = open_listeners([host])
    with pytest.raises(Unavailable):
        open_listeners([host])
    first.close()
    [second] = open_listeners([host])
    assert os.stat(tmp_path / "deep/s").st_mode & 0o777 == 0o660
    second.close()
    (tmp_path / "file").write_text("")
    for bad, error in ((f"unix://{tmp_path}/file", Unavailable), ("unix://@abstract", InvalidArgument), ("nonsense", InvalidArgument),
                       ("fd://", Unavailable), ("udp://x", InvalidArgument)):
        with pytest.raises(error):
            open_listeners([bad])


def test_answers_are_one_packet(path: str) -> None:
    with Client(path) as client:
        client.sock.sendall(b"GET /things/json HTTP/1.1\r\nHost: x\r\n\r\n")
        data = client.sock.recv(65536)
        assert msgspec.json.decode(data.partition(b"\r\n\r\n")[2]) == ["list"]


PASSED = """
import sys
from wherry.api.listen import open_listeners
[sock] = open_listeners([sys.argv[1]])
connection, _ = sock.accept()
connection.sendall(b"passed")
"""


@pytest.mark.parametrize("host", ["fd://", "fd://3", "fd://api"])
def test_sockets_passed_by_a_service_manager(tmp_path: Path, host: str) -> None:
    [listener] = open_listeners([f"unix://{tmp_path}/s"])
    # The shell puts the socket where sd_listen_fds(3) says it is, and its own PID, which exec keeps, into the environment.
    script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=api exec "$0" -c "$1" "$2"'
    process = subprocess.Popen(["bash", "-c", script, sys.executable, PASSED, host], pass_fds=[listener.fileno()])
    try:
        with Client(f"{tmp_path}/s") as client:
            assert client.file.read() == b"passed"
    finally:
        listener.close()
        assert process.wait(10) == 0


def test_a_socket_that_was_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    with pytest.raises(Unavailable, match="fd://77"):
        open_listeners(["fd://77"])


def test_many_connections_at_once(path: str) -> None:
    clients = [Client(path) for _ in range(64)]
    for client in clients:
        client.sock.sendall(b"GET /things/a/json HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [client.answer()[0] for client in clients] == [200] * 64
    for client in clients:
        client.__exit__()


def test_pipelined_requests_are_answered_in_order(path: str) -> None:
    with Client(path) as client:
        client.sock.sendall(b"".join(b"GET /things/%d/json HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5)))
        assert [json.loads(client.answer()[2])["vars"]["name"] for _ in range(5)] == list("01234")
