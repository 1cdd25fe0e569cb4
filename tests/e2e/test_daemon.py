"""What wherryd promises of itself: two side by side, containers that outlive it, its flags, one daemon per root."""

import json
import os
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from harness.engine import BIN, Engine, engine
from harness.waiting import eventually

pytestmark = pytest.mark.own_daemon


def state(made: Engine, name: str) -> dict[str, object]:
    found: dict[str, object] = made.api.ok("GET", f"/containers/{name}/json")["State"]
    return found


def test_two_daemons_side_by_side(free_port: int) -> None:
    with engine("one") as one, engine("two") as two:
        for made in (one, two):
            made.cli("docker")("run", "-d", "--name", "same-name", "busybox", "sleep", "600")
        assert [len(made.api.ok("GET", "/containers/json")) for made in (one, two)] == [1, 1]
        addresses = {made.api.ok("GET", "/containers/same-name/json")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] for made in (one, two)}
        assert len(addresses) == 2, "each bridge has a subnet of its own"
        one.cli("docker")("run", "-d", "-p", f"{free_port}:80", "busybox", "sleep", "600")
        taken = two.cli("docker")("run", "-d", "-p", f"{free_port}:80", "busybox", "sleep", "600", code=None)
        assert taken.code == 125 and "address already in use" in taken.err
        one.signal(signal.SIGTERM)
        assert two.cli("docker")("exec", "same-name", "echo", "on").out == "on\n"


def test_sigterm_leaves_containers_running_and_the_next_daemon_finds_them(free_port: int) -> None:
    serve = "while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhere' | nc -l -p 80 >/dev/null; done"
    with engine("term") as made:
        cli = made.cli("docker")
        cli("run", "-d", "--name", "web", "-p", f"{free_port}:80", "busybox", "sh", "-c", serve)
        cli("run", "-d", "--name", "brief", "busybox", "sh", "-c", "sleep 1; echo last words; exit 9")
        cli("run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "1")
        before = state(made, "web")["Pid"]
        assert made.signal(signal.SIGTERM) == 0
        assert Path(f"/proc/{before}").exists()
        page = urllib.request.urlopen(f"http://127.0.0.1:{free_port}", timeout=5).read()  # the proxy carries on
        assert page == b"here"
        eventually(lambda: len(list((made.exec_root / "execdriver/native").glob("*/exit.json"))) == 2, what="ends are recorded without a daemon")
        made.start()
        assert state(made, "web")["Pid"] == before
        ended = eventually(lambda: state(made, "brief") if state(made, "brief")["Status"] == "exited" else None)
        assert ended["ExitCode"] == 9
        assert cli("logs", "brief").out == "last words\n"
        eventually(lambda: made.api("GET", "/containers/gone/json").status == 404, what="--rm holds over a restart of the daemon")
        assert cli("exec", "web", "echo", "in").out == "in\n"
        assert urllib.request.urlopen(f"http://127.0.0.1:{free_port}", timeout=5).read() == b"here"
        cli("rm", "-f", "web", "brief")


def test_without_live_restore_containers_end_with_the_daemon() -> None:
    with engine("endw", "--live-restore=false", "--shutdown-timeout", "1") as made:
        made.cli("docker")("run", "-d", "--name", "cc", "--restart", "always", "busybox", "sleep", "600")
        made.cli("docker")("run", "-d", "--name", "oo", "busybox", "sleep", "600")
        pids = [state(made, "cc")["Pid"], state(made, "oo")["Pid"]]
        assert made.signal(signal.SIGTERM) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        made.start()
        eventually(lambda: state(made, "cc")["Running"], what="its policy starts it again")
        assert state(made, "oo")["Status"] == "exited"


def test_flags_and_the_config_file(tmp_path: Path) -> None:
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({"bip": "172.29.7.1/24", "default-shm-size": "32m", "log-opts": {"max-size": "1m", "max-file": "2"}, "init": True,
                                  "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 555, "Hard": 600}}, "dns": ["9.9.9.9"]}))  # fmt: skip
    second = tmp_path / "second.sock"
    with engine("conf", "--config-file", str(config), "-H", f"unix://{second}", "--icc=false") as made:
        cli = made.cli("docker")
        look = "ulimit -n; grep nameserver /etc/resolv.conf; ip -4 addr show eth0; df -k /dev/shm; cat /proc/1/comm"
        out = cli("run", "--rm", "busybox", "sh", "-c", look)
        assert "555\n" in out.out and "nameserver 9.9.9.9" in out.out and "172.29.7." in out.out and "32768" in out.out
        assert out.out.endswith("docker-init\n")
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(str(second))
            other.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert other.recv(4096).startswith(b"HTTP/1.1 200")
        assert (made.dir / "wherryd.pid").read_text().strip() == str(made.pid)


def test_one_daemon_per_root() -> None:
    with engine("alone") as made:
        os.kill(made.pid, signal.SIGHUP)
        eventually(lambda: "not built yet" in made.log_tail(), what="a reload is refused, not an end")
        again = subprocess.run([BIN / "wherryd", "--data-root", made.data_root, "--exec-root", made.dir / "other", "-b", "weother0"],
                               capture_output=True, text=True, timeout=30, check=False)  # fmt: skip
        assert again.returncode == 1 and "another wherryd uses" in again.stderr


def test_a_daemon_that_cannot_start_ends(tmp_path: Path) -> None:
    """A launcher that fails at its start, when threads of the daemon run already."""
    argv = [BIN / "wherryd", "--data-root", tmp_path / "data", "--exec-root", tmp_path / "run", "-b", "weend0"]
    refused = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False,
                             env={**os.environ, "WHERRY_FAILPOINT": "launcher:launcher: mount namespace:before:error"})  # fmt: skip
    assert refused.returncode == 1 and "cannot start" in refused.stderr, refused
