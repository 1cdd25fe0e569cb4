"""The client against a small engine on a unix socket."""

import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_engine import Engine, Handler, Request, Talk

from wherry.cli import jsonlite
from wherry.cli.client import Client, open_socket
from wherry.cli.errors import ApiError, CliError

Serve = Callable[[Handler], Engine]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    engines: list[Engine] = []

    def start(handler: Handler) -> Engine:
        engines.append(Engine(str(tmp_path / f"e{len(engines)}.sock"), handler))
        return engines[-1]

    yield start
    gc.collect()
    for engine in engines:
        engine.close()


def client_of(engine: Engine) -> Client:
    return Client(lambda: open_socket(engine.host))


def test_calls_share_one_connection(serve: Serve) -> None:
    engine = serve(lambda request, talk: talk.json({"n": 1}) if request.method == "GET" else talk.empty())
    client = client_of(engine)
    assert client.call("GET", "/a b".replace(" ", "%20"), {"x": True}) == {"n": 1}
    assert client.call("POST", "/c", body={"é": [1, 2.5, None, True]}) is None
    assert client.call_status("POST", "/c", headers={"X-Wherry-Trace": "1"})[0] == 204
    assert engine.connections == 1
    first, second, third = engine.requests
    assert (first.path, first.version, first.query) == ("/a%20b", "1.51", {"x": "1"})
    assert second.body == {"é": [1, 2.5, None, True]}
    assert third.headers["x-wherry-trace"] == "1"
    client.close()


def test_an_older_daemon_is_met_in_its_version(serve: Serve) -> None:
    def handler(request: Request, talk: Talk) -> None:
        if request.version != "1.44":
            talk.json({"message": "client version 1.51 is too new"}, "400 Bad Request", Api_Version="1.44")
        else:
            talk.json(request.body)

    engine = serve(handler)
    client = client_of(engine)
    assert client.call("POST", "/echo", body=[1]) == [1]
    assert client.call("POST", "/echo", body=[2]) == [2]
    assert [request.version for request in engine.requests] == ["1.51", "1.44", "1.44"]
    assert engine.connections == 1
    client.close()


def test_a_fixed_version_is_not_changed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_API_VERSION", "1.49")
    engine = serve(lambda request, talk: talk.json({"message": "no"}, "400 Bad Request", Api_Version="1.44"))
    client = client_of(engine)
    with pytest.raises(ApiError, match="no"):
        client.call("GET", "/x")
    assert [request.version for request in engine.requests] == ["1.49"]
    client.close()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"message":"No such container: x"}\n', "No such container: x"),
        (b"plain text", "plain text"),
        (b"", "request returned 404 Not Found"),
    ],
)
def test_errors_carry_the_daemons_text(serve: Serve, body: bytes, text: str) -> None:
    engine = serve(lambda request, talk: talk.raw(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)))
    client = client_of(engine)
    for _ in range(2):
        with pytest.raises(ApiError) as caught:
            client.call("GET", "/x")
        assert caught.value.status == 404 and caught.value.text == text
        assert caught.value.message == "Error response from daemon: " + text
    assert engine.connections == 1
    client.close()


def test_lines_arrive_one_by_one_and_a_body_is_streamed(serve: Serve) -> None:
    def handler(request: Request, talk: Talk) -> None:
        if request.path == "/version":
            talk.json({})
            return
        talk.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b'{"a":', b'1}\r\n{"a":2}\n', b'{"a":3}'):
            talk.raw(b"%x\r\n%b\r\n" % (len(piece), piece))
        talk.raw(b"0\r\n\r\n")

    engine = serve(handler)
    client = client_of(engine)
    assert list(client.lines("POST", "/images/load", body=iter([b"ab", b"", b"cd"]))) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [request.path for request in engine.requests] == ["/version", "/images/load"]
    assert engine.requests[-1].body == b"abcd"
    client.close()


def test_hijack_keeps_early_bytes_and_half_closes(serve: Serve) -> None:
    def handler(request: Request, talk: Talk) -> None:
        talk.upgrade(early=b"early ")
        data = b""
        while piece := talk.sock.recv(100):
            data += piece
        talk.raw(data.upper())

    engine = serve(handler)
    stream = client_of(engine).hijack("/containers/x/attach", {"stream": True})
    stream.sock.sendall(b"input")
    stream.sock.shutdown(1)
    data = stream.early
    while piece := stream.sock.recv(100):
        data += piece
    stream.close()
    assert data == b"early INPUT"
    assert engine.requests[0].headers["upgrade"] == "tcp" and engine.requests[0].headers["connection"] == "Upgrade"


def test_a_refused_hijack_is_an_error(serve: Serve) -> None:
    engine = serve(
        lambda request, talk: (
            talk.raw(b"HTTP/1.1 409 Conflict\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\npaused") or talk.sock.shutdown(2)
        )
    )
    with pytest.raises(ApiError, match="paused"):
        client_of(engine).hijack("/containers/x/attach")


def test_wait_is_registered_before_it_is_answered(serve: Serve) -> None:
    def handler(request: Request, talk: Talk) -> None:
        talk.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert talk.sock.recv(1) == b"."
        talk.raw(b'10\r\n{"StatusCode":3}\r\n0\r\n\r\n')

    engine = serve(handler)
    pending = client_of(engine).begin("POST", "/containers/x/wait", {"condition": "next-exit"})
    pending.head()
    pending.connection.sock.sendall(b".")
    assert pending.result() == {"StatusCode": 3}


@pytest.mark.parametrize("host", ["ssh://x", "nothing", "http://x"])
def test_unknown_hosts_are_refused(host: str) -> None:
    with pytest.raises(CliError, match="unable to parse docker host"):
        open_socket(host)


@pytest.mark.parametrize("value", [None, True, 0, -12, 1.5, 'a\n"é\u2028', [], {}, {"a": [1, {"b": None}]}, 10**30])
def test_json_is_the_standard_librarys(value: object) -> None:
    import json

    assert json.loads(jsonlite.dumps(value)) == value
    assert jsonlite.loads(f" {json.dumps(value)}\r\n") == value


@pytest.mark.parametrize("text", ["", " ", "{", "[1,]", "nul", '{"a":1} x', "'a'"])
def test_bad_json(text: str) -> None:
    with pytest.raises(ValueError):
        jsonlite.loads(text)


def test_import_budget(serve: Serve) -> None:
    """`wherry wait` loads nothing that is slow to load. What the interpreter itself loads at its start is not counted."""
    engine = serve(lambda request, talk: talk.json({"StatusCode": 7}))
    code = (
        "import os, sys; before = set(sys.modules)\n"
        "from wherry.cli import main\n"
        "assert main.run(['wait', 'x']) == 0\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    env = {**os.environ, "WHERRY_HOST": engine.host, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=env, capture_output=True, text=True, check=True)
    exit_code, modules = done.stdout.splitlines()
    assert exit_code == "7"
    loaded = modules.split()
    slow = {
        "re",
        "socket",
        "argparse",
        "json",
        "enum",
        "typing",
        "collections",
        "functools",
        "signal",
        "subprocess",
        "dataclasses",
        "shutil",
    }
    assert not slow & set(loaded)
    assert len(loaded) <= 16, loaded
    assert not [name for name in loaded if re.match(r"wherry\.(?!cli)", name)]
