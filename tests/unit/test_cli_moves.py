"""Moving images: what load, import, save and tag send, show and refuse."""

import os
import pty
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_engine import Engine, Request, Talk

from wherry.cli import human, main, progress
from wherry.cli.errors import CliError
from wherry.cli.load import platform
from wherry.cli.reference import split

Serve = Callable[[Callable[[Request, Talk], None]], Engine]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    made: list[Engine] = []

    def start(handler: Callable[[Request, Talk], None]) -> Engine:
        engine = Engine(str(tmp_path / "d.sock"), handler)
        made.append(engine)
        monkeypatch.setenv("WHERRY_HOST", engine.host)
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        return engine

    yield start
    for engine in made:
        engine.close()


def lines(*texts: str) -> Callable[[Request, Talk], None]:
    def handler(request: Request, talk: Talk) -> None:
        if request.path == "/version":
            talk.json({})
            return
        body = "".join(text + "\n" for text in texts).encode()
        talk.taken = True
        talk.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))

    return handler


def test_load_sends_the_file_and_shows_the_result(serve: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "x.tar").write_bytes(data)
    detail = '{"status":"Loading layer","progressDetail":{"current":1,"total":2},"id":"abc"}'
    engine = serve(lines(detail, '{"stream":"Loaded image: x:1\\n"}'))
    assert main.run(["load", "-i", "x.tar", "--platform", "linux/arm64/v8"]) == 0
    assert capfd.readouterr().out == "Loaded image: x:1\n"
    request = engine.requests[-1]
    assert request.path == "/images/load" and request.body == data and request.headers["content-type"] == "application/x-tar"
    assert request.query == {"quiet": "1", "platform": '{"os":"linux","architecture":"arm64","variant":"v8"}'}


def test_load_fails_with_the_daemons_words(serve: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.tar").write_bytes(b"x")
    serve(lines('{"errorDetail":{"message":"no archive"},"error":"no archive"}'))
    assert main.run(["load", "-i", "x.tar"]) == 1
    assert capfd.readouterr().err == "no archive\n"


def test_import_sends_name_message_and_changes(serve: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.tar").write_bytes(b"tar")
    engine = serve(lines('{"status":"sha256:abc"}'))
    assert main.run(["import", "-c", "ENV a=b", "-m", "hi there", "x.tar", "reg:5000/a/b:c"]) == 0
    assert capfd.readouterr().out == "sha256:abc\n"
    request = engine.requests[-1]
    assert request.path == "/images/create" and request.body == b"tar"
    assert request.query == {"fromSrc": "-", "repo": "reg:5000/a/b", "tag": "c", "message": "hi there", "changes": "ENV a=b"}


def test_import_of_a_url_is_not_built(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    engine = serve(lines())
    assert main.run(["import", "https://example.org/x.tar"]) == 125
    assert "not built yet" in capfd.readouterr().err and engine.requests == []


def test_save_writes_the_file_wholly_or_not_at_all(serve: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def handler(request: Request, talk: Talk) -> None:
        talk.taken = True
        broken = "broken" in request.query["names"]
        talk.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + (b"half" if broken else b"archived"))

    engine = serve(handler)
    assert main.run(["save", "a", "-o", "x.tar"]) == 0
    assert (tmp_path / "x.tar").read_bytes() == b"archived" and (tmp_path / "x.tar").stat().st_mode & 0o777 == 0o600
    assert main.run(["save", "broken", "-o", "x.tar"]) == 1
    assert "closed in the middle of the body" in capfd.readouterr().err
    assert (tmp_path / "x.tar").read_bytes() == b"archived" and not list(tmp_path.glob("*.tmp*"))
    assert main.run(["save", "a"]) == 0
    assert capfd.readouterr().out == "archived"
    assert engine.requests[-1].query == {"names": "a"}


def test_progress_on_a_terminal_is_rewritten_in_place() -> None:
    messages = [
        {"id": "a", "status": "Loading layer", "progressDetail": {"current": 1000, "total": 4000}},
        {"id": "b", "status": "Loading layer", "progressDetail": {"current": 5}},
        {"id": "a", "status": "Loading layer", "progressDetail": {"current": 4000, "total": 4000}},
        {"stream": "Loaded image: x\n"},
    ]
    pid, master = pty.fork()
    if pid == 0:
        try:
            progress.follow(messages)
        finally:
            os._exit(0)
    seen = b""
    try:
        while select.select([master], [], [], 10)[0]:
            try:
                seen += os.read(master, 4096)
            except OSError:  # EIO: the child has ended
                break
    finally:
        os.waitpid(pid, 0)
        os.close(master)
    first, second, rest = seen.decode().split("\r\n")[:3]
    assert (first, second) == ("a: Loading layer      1kB/4kB", "b: Loading layer       5B")
    assert rest == "\x1b[2A\x1b[2K\ra: Loading layer      4kB/4kB\r\x1b[2BLoaded image: x"


def test_bar() -> None:
    assert progress.how_far({"current": 1, "total": 2}, True) == "[" + "=" * 25 + ">" + " " * 25 + "]       1B/2B"


@pytest.mark.parametrize(
    ("name", "parts"),
    [("a", ("a", "")), ("a:b", ("a", "b")), ("localhost:5000/a", ("localhost:5000/a", "")), ("Host.io/a/b:C_1", ("Host.io/a/b", "C_1"))],
)
def test_reference(name: str, parts: tuple[str, str]) -> None:
    assert split(name) == parts


@pytest.mark.parametrize("name", ["", "A:b", "a:", "a b", "a:-x", "a@sha256:" + "0" * 64, "x/A", ":b"])
def test_bad_reference(name: str) -> None:
    with pytest.raises(CliError):
        split(name)


def test_platform() -> None:
    assert platform("") == "" and platform("linux") == '{"os":"linux"}'


@pytest.mark.parametrize(
    ("zone", "text", "long"),
    [("UTC", "2023-11-14T22:13:20Z", "2023-11-14 22:13:20 +0000 UTC"), ("EST5EDT", "2023-11-14T17:13:20-05:00", "2023-11-14 17:13:20 -0500 EST")],
)
def test_times_in_zones(zone: str, text: str, long: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert human.rfc3339(1700000000) == text and human.go_time(1700000000) == long
    finally:
        monkeypatch.undo()
        time.tzset()
