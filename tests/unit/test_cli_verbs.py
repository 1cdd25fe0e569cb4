"""The verbs against a small engine: which calls they make in which order, what they print, how they end."""

import fcntl
import gc
import json
import os
import pty
import queue
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_engine import Engine, Request, Talk

from wherry.cli import main, spans
from wherry.cli.spans import Step

ID = "ab" * 32
DETAILS = {
    "Id": ID,
    "State": {"Running": True, "Paused": False, "Restarting": False, "ExitCode": 4},
    "Config": {"Tty": False, "OpenStdin": False},
    "HostConfig": {"AutoRemove": False},
    "NetworkSettings": {
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}], "9/udp": None}
    },
}


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


class FakeDaemon:
    """Answers like a daemon with one container. `output` goes to whoever attaches, once it is started; then it exits with `code`."""

    def __init__(self) -> None:
        self.output = frame(1, b"out\n") + frame(2, b"err\n")
        self.code = 0
        self.refuse: dict[str, tuple[str, str]] = {}  # "POST /path" -> status, message
        self.details: dict[str, Any] = json.loads(json.dumps(DETAILS))
        self.lock = threading.Lock()
        self.attached: list[Talk] = []
        self.waiting: list[Talk] = []
        self.on_start: Callable[[], None] = self._end_all
        self.trace: list[dict[str, Any]] = []

    def __call__(self, request: Request, talk: Talk) -> None:
        what = f"{request.method} {request.path.replace(ID, 'ID')}"
        if what in self.refuse:
            status, message = self.refuse[what]
            talk.json({"message": message}, status)
        elif what.endswith(("/attach", "/exec/E/start")) and (not isinstance(request.body, dict) or not request.body.get("Detach")):
            with self.lock:  # the client may start at once when it has the head: then this stream has to be known
                talk.upgrade()
                talk.kept = True
                self.attached.append(talk)
            if "exec" in what:
                self._end_streams()
        elif what.endswith("/wait"):
            talk.taken = talk.kept = True
            with self.lock:
                talk.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                self.waiting.append(talk)
            if what == "POST /containers/x/wait":
                self._end()
        elif what == "POST /containers/ID/start":
            talk.empty()
            self.on_start()
        elif what == "POST /containers/ID/kill":
            talk.empty()
            self._end_all()
        else:
            self._plain(what, talk)

    def _plain(self, what: str, talk: Talk) -> None:
        answers: dict[str, Any] = {
            "POST /containers/create": {"Id": ID, "Warnings": ["mind the gap"]},
            "POST /containers/x/exec": {"Id": "E"},
            "GET /exec/E/json": {"ExitCode": self.code},
            "GET /wherry/v1/traces/ID": {"steps": self.trace},
            "GET /containers/x/top": {"Titles": ["PID", "CMD"], "Processes": [["1", "sleep 5"], ["22", "sh"]]},
        }
        if what in ("GET /containers/x/json", "GET /containers/ID/json"):
            talk.json(self.details)
        elif what in answers:
            talk.json(answers[what])
        else:
            talk.empty()

    def _end_all(self) -> None:
        self._end_streams()
        self._end()

    def _end_streams(self) -> None:
        with self.lock:
            while self.attached:
                talk = self.attached.pop()
                talk.raw(self.output)
                talk.sock.shutdown(1)

    def _end(self) -> None:
        body = json.dumps({"StatusCode": self.code}).encode()
        with self.lock:
            while self.waiting:
                self.waiting.pop().raw(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))


Run = Callable[..., tuple[int, str, str, list[str]]]


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def run(tmp_path: Path, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    engine = Engine(str(tmp_path / "d.sock"), daemon)
    monkeypatch.setenv("WHERRY_HOST", engine.host)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def call(*argv: str) -> tuple[int, str, str, list[str]]:
        capfd.readouterr()
        engine.requests.clear()
        code = main.run(list(argv))
        out, err = capfd.readouterr()
        gc.collect()
        return code, out, err, [_shown(request) for request in engine.requests]

    yield call
    gc.collect()
    engine.close()


def _shown(request: Request) -> str:
    query = "".join(f" {key}={value}" for key, value in sorted(request.query.items()))
    return f"{request.method} {request.path.replace(ID, 'ID')}{query}"


ATTACH = "POST /containers/ID/attach stderr=1 stdout=1 stream=1"


def test_run_makes_its_calls_in_order(run: Run, daemon: FakeDaemon) -> None:
    daemon.code = 7
    code, out, err, calls = run("run", "--name", "n", "busybox", "true")
    assert (code, out) == (7, "out\n")
    assert err == "WARNING: mind the gap\nerr\n"
    assert calls[0] == "POST /containers/create name=n"
    assert sorted(calls[1:3]) == [ATTACH, "POST /containers/ID/wait condition=next-exit"]
    assert calls[3:] == ["POST /containers/ID/start"]


def test_run_rm_waits_for_the_removal(run: Run) -> None:
    assert "POST /containers/ID/wait condition=removed" in run("run", "--rm", "busybox")[3]


def test_run_detached(run: Run) -> None:
    code, out, _, calls = run("run", "-d", "busybox")
    assert (code, out) == (0, ID + "\n")
    assert calls == ["POST /containers/create", "POST /containers/ID/start"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ("stat /x: no such file or directory", 127),
        ("exec /etc: permission denied", 126),
        ("/etc: is a directory", 126),
        ("driver failed programming external connectivity", 125),
    ],
)
def test_run_start_failures(run: Run, daemon: FakeDaemon, message: str, expected: int) -> None:
    daemon.refuse["POST /containers/ID/start"] = ("400 Bad Request", message)
    code, out, err, _ = run("run", "busybox", "x")
    assert code == expected and out == ""
    assert err.endswith(f"wherry: Error response from daemon: {message}\n\nRun 'wherry run --help' for more information\n")


def test_run_without_the_image(run: Run, daemon: FakeDaemon) -> None:
    daemon.refuse["POST /containers/create"] = ("404 Not Found", "No such image: nosuch:latest")
    code, _, err, calls = run("run", "nosuch")
    assert code == 125 and len(calls) == 1
    assert "Unable to find image 'nosuch' locally" in err and "wherry load" in err
    code, _, err, _ = run("create", "--pull", "never", "nosuch")
    assert (code, err) == (1, "Error response from daemon: No such image: nosuch:latest\n")


def test_run_errors_are_125_before_the_daemon_is_asked(run: Run) -> None:
    code, _, err, calls = run("run", "--pid", "foo", "busybox")
    assert (code, calls) == (125, [])
    assert err == "wherry: --pid: invalid PID mode\n\nRun 'wherry run --help' for more information\n"
    code, _, err, calls = run("run", "--ulimit", "foo=1", "busybox")
    assert (code, calls) == (125, [])
    assert err.startswith('invalid argument "foo=1" for "--ulimit" flag: invalid ulimit type: foo\n\nUsage:  wherry run [OPTIONS] IMAGE')
    assert run("run", "-d", "-a", "stdout", "busybox")[0] == 1
    assert run("run", "-it", "busybox")[0] == 1


def test_cidfile(run: Run, daemon: FakeDaemon, tmp_path: Path) -> None:
    assert run("create", "--cidfile", "id", "busybox")[:2] == (0, ID + "\n")
    assert (tmp_path / "id").read_text() == ID
    code, _, err, calls = run("run", "--cidfile", "id", "busybox")
    assert code == 125 and "container ID file found" in err and calls == []
    daemon.refuse["POST /containers/create"] = ("409 Conflict", "taken")
    assert run("create", "--cidfile", "id2", "busybox")[0] == 1
    assert not (tmp_path / "id2").exists()


def test_create_start_attach_exec_and_wait(run: Run, daemon: FakeDaemon) -> None:
    daemon.code = 3
    assert run("create", "busybox")[3] == ["POST /containers/create"]
    code, out, _, calls = run("start", "x", "y")
    assert (code, out) == (0, "x\ny\n") and calls == ["POST /containers/x/start", "POST /containers/y/start"]
    code, out, err, calls = run("start", "-a", "x")
    assert (code, out, err) == (3, "out\n", "err\n")
    assert calls[0] == "GET /containers/x/json" and calls[-1] == "POST /containers/ID/start"
    assert run("wait", "x")[:2] == (0, "3\n")
    assert run("start", "-a", "x", "y")[0] == 1


def test_exec(run: Run, daemon: FakeDaemon) -> None:
    daemon.code = 5
    code, out, err, calls = run("exec", "x", "sh", "-c", "-t")
    assert (code, out, err) == (5, "out\n", "err\n")
    assert calls == ["POST /containers/x/exec", "POST /exec/E/start", "GET /exec/E/json"]
    code, out, _, calls = run("exec", "-d", "x", "sh")
    assert (code, out) == (0, "") and calls == ["POST /containers/x/exec", "POST /exec/E/start"]


@pytest.mark.parametrize(("state", "message"), [("Running", "stopped"), ("Paused", "paused"), ("Restarting", "restarting")])
def test_attach_refuses(run: Run, daemon: FakeDaemon, state: str, message: str) -> None:
    daemon.details["State"][state] = not daemon.details["State"][state]
    code, _, err, calls = run("attach", "x")
    assert code == 1 and f"cannot attach to a {message} container" in err and len(calls) == 1


def test_good_ones_are_done_and_bad_ones_told(run: Run, daemon: FakeDaemon) -> None:
    daemon.refuse["POST /containers/bad/stop"] = ("404 Not Found", "No such container: bad")
    code, out, err, calls = run("stop", "-t", "3", "a", "bad", "b")
    assert (code, out, err) == (1, "a\nb\n", "Error response from daemon: No such container: bad\n")
    assert calls[0] == "POST /containers/a/stop t=3"
    daemon.refuse["DELETE /containers/bad"] = ("404 Not Found", "No such container: bad")
    assert run("rm", "bad")[0] == 1
    code, out, err, calls = run("rm", "-fv", "bad", "/a")
    assert (code, out) == (0, "/a\n") and calls == ["DELETE /containers/bad force=1 v=1", "DELETE /containers/a force=1 v=1"]


def test_small_verbs(run: Run) -> None:
    assert run("kill", "-s", "HUP", "x")[3] == ["POST /containers/x/kill signal=HUP"]
    assert run("kill", "x")[3] == ["POST /containers/x/kill"]
    assert run("restart", "--time", "0", "x")[3] == ["POST /containers/x/restart t=0"]
    assert run("container", "pause", "x")[:2] == (0, "x\n")
    assert run("unpause", "x")[3] == ["POST /containers/x/unpause"]
    assert run("rename", "x", "y")[1:] == ("", "", ["POST /containers/x/rename name=y"])
    code, out, _, calls = run("top", "x", "-o", "pid,cmd")
    assert out == "PID                 CMD\n1                   sleep 5\n22                  sh\n"
    assert calls == ["GET /containers/x/top ps_args=-o pid,cmd"]


def test_port(run: Run) -> None:
    assert run("port", "x")[1] == "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"
    assert run("port", "x", "80")[1] == "0.0.0.0:8080\n[::]:8080\n"
    code, _, err, _ = run("port", "x", "81")
    assert (code, err) == (1, "Error: No public port '81' published for x\n")


def test_logs(run: Run, daemon: FakeDaemon) -> None:
    calls = run("logs", "-ft", "-n", "5", "--since", "12", "x")[3]
    assert calls == ["GET /containers/x/json", "GET /containers/ID/logs follow=1 since=12 stderr=1 stdout=1 tail=5 timestamps=1"]
    assert run("logs", "--since", "zzz", "x")[0] == 1


def test_names_cannot_reach_another_path(run: Run) -> None:
    assert run("kill", "../x?y")[3] == ["POST /containers/..%2Fx%3Fy/kill"]


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (["--help"], 0, "Usage:  wherry [OPTIONS] COMMAND"),
        (["help", "nosuch"], 1, "unknown help topic: nosuch"),
        (["start", ""], 1, "value is empty\nError: failed to start containers: \n"),
        (["wait", ""], 1, "invalid container name or ID: value is empty"),
        (["exec", "", "x"], 1, "invalid container name or ID: value is empty"),
        (["container", "--help"], 0, "Usage:  wherry container COMMAND"),
        (["help", "stop"], 0, "Usage:  wherry stop [OPTIONS] CONTAINER [CONTAINER...]"),
        (["container", "stop", "--help"], 0, "Usage:  wherry container stop [OPTIONS] CONTAINER"),
        (["-v"], 0, "Wherry version"),
        (["nosuch"], 1, "unknown command: wherry nosuch"),
        (["container", "nosuch"], 1, "unknown command: wherry container nosuch"),
        (["pull", "x"], 125, "not built yet"),
        (["image", "push"], 125, "not built yet"),
        (["rm"], 1, "'wherry rm' requires at least 1 argument"),
        (["rename", "a"], 1, "'wherry rename' requires 2 arguments"),
        (["rm", "--foo"], 125, "unknown flag: --foo"),
        (["--foo"], 125, "unknown flag: --foo"),
        (["--tls", "kill", "x"], 125, "--tls is not built yet"),
        (["-l", "loud", "kill", "x"], 1, "Unable to parse logging level: loud"),
        (["-H", "a", "-H", "b", "kill", "x"], 1, "Specify only one -H"),
        (["-H", "unix:///nonexistent/x.sock", "kill", "x"], 1, "Cannot connect to the Wherry daemon at unix:///nonexistent/x.sock"),
        (["-H", "unix:///nonexistent/x.sock", "run", "x"], 125, "Cannot connect to the Wherry daemon"),
        (["start", "--checkpoint", "c", "x"], 125, "--checkpoint is not built yet"),
    ],
)
def test_main(run: Run, argv: list[str], code: int, text: str) -> None:
    got, out, err, calls = run(*argv)
    assert got == code and text in (err if code else out)
    assert calls == []


def test_every_verb_has_help(run: Run) -> None:
    """The table of flags is wrapped at 80 columns where no terminal says otherwise."""
    for verb in ("run", "create", "start", "stop", "kill", "rm", "exec", "logs", "attach"):
        code, out, _, _ = run(verb, "--help")
        assert code == 0
        assert f"wherry {verb} [OPTIONS]" in out and max(map(len, out.splitlines())) <= 80, verb
    out = run("run", "--help")[1]
    assert re.search(r"^  -e, --env list +\S", out, re.M) and re.search(r"^      --rm +\S", out, re.M)
    out = " ".join(out.split())
    assert "(default -1)" in out and '(default "missing")' in out and "--net " not in out


def test_signals_are_passed_on(run: Run, daemon: FakeDaemon) -> None:
    """SIGUSR1 while the program runs becomes a kill call, after which the fake program ends."""

    def on_start() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.getsignal(signal.SIGUSR1)
    daemon.on_start = on_start
    code, _, _, calls = run("run", "busybox")
    assert code == 0 and calls[-1] == "POST /containers/ID/kill signal=SIGUSR1"
    assert signal.getsignal(signal.SIGUSR1) == before


@pytest.mark.parametrize("how", ["hangup", "resize"])
def test_terminal(daemon: FakeDaemon, tmp_path: Path, how: str) -> None:
    """The size is told at the start and after each change; a hung-up terminal ends the CLI, and the program is told."""
    seen: queue.Queue[Request] = queue.Queue()

    def handler(request: Request, talk: Talk) -> None:
        daemon(request, talk)
        seen.put(request)

    def next_call(verb: str) -> Request:
        while not (request := seen.get(timeout=20)).path.endswith(verb):
            pass
        return request

    daemon.on_start = lambda: None
    engine = Engine(str(tmp_path / "d.sock"), handler)
    env = {**os.environ, "WHERRY_HOST": engine.host, "DOCKER_CONFIG": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    terminal, inside = pty.openpty()
    own_it = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    argv = [sys.executable, "-c", own_it, "-m", "wherry.cli", "run", "-it", "busybox"]
    process = subprocess.Popen(argv, env=env, stdin=inside, stdout=inside, stderr=inside, start_new_session=True)
    os.close(inside)
    try:
        next_call("/start")
        if how == "hangup":
            os.close(terminal)
            while next_call("/kill").query != {"signal": "SIGHUP"}:  # the kernel sends SIGCONT too
                pass
            assert process.wait(20) == 128 + signal.SIGHUP
        else:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
            assert next_call("/resize").query == {"h": "33", "w": "77"}
            daemon.code = 6
            daemon._end_all()
            assert process.wait(20) == 6
            os.close(terminal)
    finally:
        process.kill()
        process.wait()
        engine.close()


def test_trace_table_and_file(run: Run, daemon: FakeDaemon, tmp_path: Path) -> None:
    now = time.monotonic_ns()
    daemon.trace = [
        {"process": "wherryd", "name": "C1 TagStore", "start_ns": now - 3000, "end_ns": now - 2000, "pid": 7},
        {"process": "init", "name": "init: mount /proc", "start_ns": now - 1000, "end_ns": now, "pid": 9},
    ]
    code, out, err, calls = run("run", "--trace", "busybox")
    assert (code, out) == (0, "out\n")
    assert calls[-1] == "GET /wherry/v1/traces/ID"
    for text in (
        "STEP",
        "C1 TagStore",
        "init: mount /proc",
        "arguments",
        "connect",
        "create",
        "start",
        "program",
        "total of the steps",
        "wall",
    ):
        assert text in err
    assert run("run", "--trace=t.json", "busybox")[2] == "WARNING: mind the gap\nerr\n"
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert {"ph": "M", "name": "process_name", "pid": 7, "tid": 7, "args": {"name": "wherryd"}} in events
    complete = [event for event in events if event["ph"] == "X"]
    assert all({"name", "ts", "dur", "pid", "tid"} <= set(event) for event in complete)
    assert {"C1 TagStore", "connect"} <= {event["name"] for event in complete}


def test_trace_arithmetic() -> None:
    steps = [
        Step("cli", "arguments", 0, 100_000, 1),
        Step("cli", "create", 100_000, 1_000_000, 1, waits=True),
        Step("wherryd", "outer", 200_000, 900_000, 2),
        Step("wherryd", "inner", 300_000, 400_000, 2),
        Step("cli", "program", 1_000_000, 2_000_000, 1),
    ]
    assert [(depth, step.name) for depth, step in spans.ordered(steps)] == [
        (0, "arguments"),
        (0, "create"),
        (1, "outer"),
        (2, "inner"),
        (0, "program"),
    ]
    assert spans.covered(steps) == 1_800_000
    last = [line.split() for line in spans.table(steps).splitlines()[-3:]]
    assert last[0][-1] == "1800" and last[1] == ["wall", "2000"] and last[2][-2:] == ["(10.0%)", "200"]


def test_closed_pipe_ends_the_command_as_any_other(tmp_path: Path) -> None:
    """`wherry logs | head` dies of SIGPIPE instead of printing a traceback."""

    def handler(request: Request, talk: Talk) -> None:
        if request.path.endswith("/json"):
            talk.json(DETAILS)
            return
        talk.raw(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            talk.raw(frame(1, b"y" * 65536))

    engine = Engine(str(tmp_path / "d.sock"), handler)
    try:
        env = {**os.environ, "WHERRY_HOST": engine.host, "PYTHONPATH": os.pathsep.join(sys.path)}
        reader, writer = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "wherry.cli", "logs", "x"], env=env, stdout=writer, stderr=subprocess.PIPE, text=True
        )
        os.close(writer)
        assert os.read(reader, 1) == b"y"
        os.close(reader)
        _, err = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGPIPE and err == ""
    finally:
        engine.close()
