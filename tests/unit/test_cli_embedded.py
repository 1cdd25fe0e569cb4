"""The embedded default: a daemon is started once, however many CLIs ask for it, and a start that fails is explained."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.cli import embedded
from wherry.cli.errors import CliError

# A stand-in for wherryd: counts its starts, says ready (or dies), answers every request with 204 until it is ended.
DAEMON = """\
import os, socket, sys
folder, mode = sys.argv[1:3]
assert sys.argv[3] == "--ready-fd"
with open(folder + "/starts", "a") as file:
    file.write(f"{os.getpid()} {os.getsid(0)} {os.getcwd()}\\n")
if mode == "die":
    print("cannot lay the keel")
    sys.exit(1)
listener = socket.socket(socket.AF_UNIX)
listener.bind(folder + "/w.sock")
listener.listen()
os.write(int(sys.argv[4]), b"1")
os.close(int(sys.argv[4]))
while True:
    sock, _ = listener.accept()
    while sock.recv(65536):
        sock.sendall(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
    sock.close()
"""

CLI = """\
import sys
from wherry.cli import context, embedded, main
folder, mode = sys.argv[1:]
context.DEFAULT_HOST = "unix://" + folder + "/w.sock"
embedded.daemon_argv = lambda: [sys.executable, folder + "/daemon.py", folder, mode]
sys.exit(main.run(["kill", "x"]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "daemon.py").write_text(DAEMON)
    (tmp_path / "cli.py").write_text(CLI)
    yield tmp_path
    for pid, _, _ in starts(tmp_path):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass


def starts(folder: Path) -> list[tuple[int, int, str]]:
    path = folder / "starts"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), int(session), cwd) for pid, session, cwd in (line.split() for line in lines)]


def cli(folder: Path, mode: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("WHERRY_HOST", "DOCKER_HOST")}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    argv = [sys.executable, str(folder / "cli.py"), str(folder), mode]
    return subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_one_daemon_for_many_clis(folder: Path) -> None:
    processes = [cli(folder, "serve") for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "x\n", "")
    assert cli(folder, "serve").communicate(timeout=30) == ("x\n", "")
    [(pid, session, cwd)] = starts(folder)
    assert session == pid and cwd == "/"
    assert sorted(os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)) == ["/dev/null", *[str(folder / "wherryd.log")] * 2]
    held = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not [name for name in held if name.startswith("pipe:") or name.endswith("start.lock")]


def test_a_daemon_that_dies_is_explained(folder: Path) -> None:
    process = cli(folder, "die")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert "wherryd ended before it was ready" in err and "cannot lay the keel" in err


def test_a_daemon_that_cannot_be_executed_is_explained(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(CliError, match="ended before it was ready"):
        embedded._launch([str(tmp_path / "nosuch")], str(log))
    assert "No such file or directory" in log.read_text()


def test_the_daemon_is_found_beside_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wherryd").write_text("#!/bin/true\n")
    (tmp_path / "wherryd").chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "wherry")])
    assert embedded.daemon_argv() == [str(tmp_path / "wherryd")]
    monkeypatch.setattr(sys, "argv", ["/nonexistent/wherry"])
    monkeypatch.setattr(sys, "executable", "/nonexistent/python3")
    assert embedded.daemon_argv() == ["/nonexistent/python3", "-m", "wherry.wherryd"]
