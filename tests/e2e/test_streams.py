"""Streams of a running program: clients with different needs, slow ones, ones that die; ends that others delay; terminals left for a moment."""

import json
import os
import signal
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from harness.api import Api
from harness.cli import Cli
from harness.engine import Engine
from harness.waiting import eventually


def hijack(engine: Engine, path: str, body: bytes = b"") -> socket.socket:
    """A connection that has become a stream."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(30)
    sock.connect(engine.socket)
    sock.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
                 f"Content-Length: {len(body)}\r\n\r\n".encode() + body)  # fmt: skip
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return sock


def attach(engine: Engine, name: str, **streams: int) -> socket.socket:
    return hijack(engine, f"/containers/{name}/attach?stream=1&" + "&".join(f"{key}={value}" for key, value in streams.items()))


def read_all(sock: socket.socket) -> bytes:
    data = bytearray()
    with sock:
        while piece := sock.recv(1 << 16):
            data += piece
    return bytes(data)


def streams_of(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while data:
        number, size = struct.unpack(">BxxxI", data[:8])
        found[number] = found.get(number, b"") + data[8 : 8 + size]
        data = data[8 + size :]
    return found


pytestmark = pytest.mark.own_daemon


def test_each_client_gets_the_streams_it_asked_for(engine: Engine, api: Api, name: str) -> None:
    body = {"Image": "busybox", "OpenStdin": True, "Cmd": ["sh", "-c", "read x; echo out $x; echo err >&2"]}
    api.ok("POST", f"/containers/create?name={name}", body)
    out, err = attach(engine, name, stdout=1), attach(engine, name, stderr=1)
    both, typist = attach(engine, name, stdout=1, stderr=1), attach(engine, name, stdin=1)
    api("POST", f"/containers/{name}/start")
    typist.sendall(b"typed\n")
    assert streams_of(read_all(out)) == {1: b"out typed\n"}
    assert streams_of(read_all(err)) == {2: b"err\n"}
    assert streams_of(read_all(both)) == {1: b"out typed\n", 2: b"err\n"}
    assert read_all(typist) == b""


@pytest.mark.parametrize("once", [False, True])
def test_the_end_of_one_clients_input(engine: Engine, api: Api, name: str, once: bool) -> None:
    """With StdinOnce it is the end of the program's input; without, the next client types on."""
    body = {"Image": "busybox", "OpenStdin": True, "StdinOnce": once, "Cmd": ["sh", "-c", "while read x; do echo $x; done; echo end"]}
    api.ok("POST", f"/containers/create?name={name}", body)
    first = attach(engine, name, stdin=1, stdout=1)
    api("POST", f"/containers/{name}/start")
    first.sendall(b"one\n")
    first.shutdown(socket.SHUT_WR)
    if once:
        assert streams_of(read_all(first)) == {1: b"one\nend\n"}
        return
    assert first.recv(100)[8:] == b"one\n"
    second = attach(engine, name, stdin=1, stdout=1)
    second.sendall(b"two\n")
    assert second.recv(100)[8:] == first.recv(100)[8:] == b"two\n"
    assert api.ok("GET", f"/containers/{name}/json")["State"]["Running"] is True
    first.close()
    second.close()


@pytest.mark.parametrize("tty", [False, True])
def test_a_client_killed_while_the_program_waits_for_it(cli: Cli, name: str, tty: bool) -> None:
    """It is stopped until the program is slowed, then killed: the program goes on."""
    script = "n=0; while n=$((n+1)); do head -c 100000 /dev/zero | tr '\\0' x; echo $n >/count; done"
    args = ["run", *(["-t"] if tty else []), "--log-driver", "none", "--name", name, "busybox", "sh", "-c", script]
    with cli.start(*args) as process:
        assert process.stdout
        process.stdout.read(10)
        process.send_signal(signal.SIGSTOP)

        def count() -> int:
            return int(cli("exec", name, "cat", "/count", code=None).out or 0)

        def slowed() -> bool:
            before = count()
            time.sleep(0.3)  # what is watched for is that nothing happens
            return 0 < before == count()

        eventually(slowed, 20)
        stuck = count()
        process.kill()
        process.stdout.read()
    eventually(lambda: count() > stuck + 20, 20)


def test_a_slow_client_slows_the_program_and_the_others_lose_nothing(engine: Engine, api: Api, name: str) -> None:
    api.ok("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": ["seq", "1", "600000"]})
    slow, quick = attach(engine, name, stdout=1), attach(engine, name, stdout=1)
    api("POST", f"/containers/{name}/start")
    wanted = b"".join(b"%d\n" % n for n in range(1, 600001))
    got = bytearray()
    quick.settimeout(1)
    with pytest.raises(TimeoutError):
        while piece := quick.recv(1 << 16):
            got += piece
    assert 0 < len(got) < len(wanted)
    assert api.ok("GET", f"/containers/{name}/json")["State"]["Running"] is True
    quick.settimeout(30)
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(read_all, quick)
        assert streams_of(read_all(slow)) == {1: wanted}
        assert streams_of(bytes(got) + rest.result()) == {1: wanted}


def test_the_rest_waits_for_a_client_after_the_end(engine: Engine, api: Api, name: str) -> None:
    """Half a megabyte fits into no socket: the program has ended and is removed while a pager still shows the first page."""
    body = {"Image": "busybox", "HostConfig": {"AutoRemove": True}, "Cmd": ["head", "-c", "900000", "/dev/zero"]}
    api.ok("POST", f"/containers/create?name={name}", body)
    pager = attach(engine, name, stdout=1)
    api("POST", f"/containers/{name}/start")
    eventually(lambda: api("GET", f"/containers/{name}/json").status == 404, 10)
    assert len(streams_of(read_all(pager))[1]) == 900_000


@pytest.mark.parametrize("tty", [False, True])
def test_a_grandchild_that_writes_on_delays_the_end_of_an_exec_only_a_while(cli: Cli, name: str, tty: bool) -> None:
    cli("run", "-d", "--init", "--name", name, "busybox", "sleep", "600")
    began = time.monotonic()
    script = "trap '' HUP; yes & echo $! >/pid; exit 3"
    result = cli("exec", *(["-t"] if tty else []), name, "sh", "-c", script, code=3, timeout=20)
    assert time.monotonic() - began < 10
    assert set(result.out.split()) <= {"y"}
    cli("exec", name, "sh", "-c", "kill -9 $(cat /pid)", code=None)


def test_nothing_of_a_container_in_the_hosts_pid_namespace_outlives_it(cli: Cli, engine: Engine) -> None:
    began = time.monotonic()
    mark = f"{os.getpid() % 9000 + 1000}{time.monotonic_ns() % 1000:03d}"
    result = cli("run", "--rm", "--pid", "host", "busybox", "sh", "-c", f"sleep {mark} & echo done", timeout=20)
    assert result.out == "done\n" and time.monotonic() - began < 10

    def alive() -> bool:
        return any(f"sleep\0{mark}" in command(pid) for pid in os.listdir("/proc") if pid.isdigit())

    def command(pid: str) -> str:
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                return file.read()
        except OSError:
            return ""

    eventually(lambda: not alive(), 10)


def test_a_terminal_that_nobody_holds_for_a_moment(cli: Cli, name: str) -> None:
    """The program closes the last descriptor of its terminal, and opens it again: neither output nor input is lost."""
    script = "echo before; exec 0</dev/null 1>/dev/null 2>&1; sleep 0.4; exec 0</dev/console 1>/dev/console 2>&1; echo after; read x; echo got $x"
    with cli.terminal("run", "-it", "--name", name, "busybox", "sh", "-c", script) as terminal:
        terminal.expect(r"before\r\n")
        terminal.expect(r"after\r\n")
        terminal.type("input\n")
        terminal.expect(r"got input\r\n")
        assert terminal.wait() == 0
    assert cli("logs", name).out == "before\r\nafter\r\ninput\r\ngot input\r\n"


def test_the_size_is_there_before_the_program(cli: Cli, name: str) -> None:
    """The first thing a program asks for is right: no SIGWINCH has to come first."""
    with cli.terminal("run", "-it", "--name", name, "busybox", "stty", "size", rows=17, columns=133) as terminal:
        terminal.expect(r"^17 133\r\n")
        assert terminal.wait() == 0
    cli("run", "-d", "--name", f"{name}-2", "busybox", "sleep", "600")
    with cli.terminal("exec", "-it", f"{name}-2", "stty", "size", rows=18, columns=134) as terminal:
        terminal.expect(r"^18 134\r\n")
        assert terminal.wait() == 0


def test_detach_keys_of_ones_own(cli: Cli, name: str, engine: Engine) -> None:
    with cli.terminal("run", "-it", "--detach-keys", "ctrl-a,d", "--name", name, "busybox", "cat") as terminal:
        terminal.type("x\r")
        terminal.expect(r"x\r\nx\r\n")
        terminal.type("\x10\x11\r\x01")  # not the keys, and the first of them
        terminal.type("d")
        assert terminal.wait() == 0
    assert cli("inspect", "-f", "{{.State.Running}}", name).line == "true"
    with cli.terminal("exec", "-it", "--detach-keys", "ctrl-a,d", name, "cat") as terminal:
        terminal.type("y\r")
        terminal.expect(r"y\r\ny\r\n")
        terminal.type("\x01d")
        assert terminal.wait() == 1
    assert "cat" in cli("top", name).out
    assert cli("run", "-it", "--detach-keys", "nonsense", "busybox", "true", code=None).code in (1, 125)


def test_without_sig_proxy_a_signal_is_the_clients_own(engine: Engine, name: str) -> None:
    cli = engine.cli("wherry")
    script = "trap 'echo caught' TERM INT; echo ready; while :; do sleep 0.1; done"
    with cli.start("run", "--sig-proxy=false", "--name", name, "busybox", "sh", "-c", script) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(20) != 0
    assert cli("inspect", "-f", "{{.State.Running}}", name).line == "true"
    assert cli("logs", name).out == "ready\n"


def test_exit_codes_of_start_and_exec(cli: Cli, name: str) -> None:
    """What a program's end, a signal, and a program that cannot run look like; recorded from Docker 28.5."""
    cli("create", "--init", "--name", name, "busybox", "sh", "-c", "kill -TERM $$; sleep 5")
    cli("start", "-a", name, code=143)
    cli("run", "-d", "--name", f"{name}-2", "busybox", "sleep", "600")
    cli("exec", f"{name}-2", "sh", "-c", "kill -9 $$", code=137)
    cli("exec", f"{name}-2", "/etc", code=126)
    cli("exec", f"{name}-2", "/no/such", code=127)
    cli("exec", "-w", "/no/such", f"{name}-2", "true", code=127)


def test_logs_followed_over_a_restart_of_the_daemon(cli: Cli, name: str, engine: Engine) -> None:
    """A follower ends with its daemon; the next one goes on from where that was, with no line lost."""
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done")
    with cli.start("logs", "-f", "-t", name) as follower:
        assert follower.stdout
        first = follower.stdout.readline()
        engine.kill()
        seen = [first, *follower.stdout.read().splitlines(True)]
    engine.start()
    whole = [line for line in seen if line.endswith(b"\n")]
    last = whole[-1].split()
    with cli.start("logs", "-f", "--since", last[0].decode(), name) as follower:
        assert follower.stdout
        follower.stdout.readline()
        numbers = [int(follower.stdout.readline()) for _ in range(30)]
        follower.kill()
    assert [int(line.split()[1]) for line in whole] == list(range(1, int(last[1]) + 1))
    assert numbers == list(range(int(last[1]) + 1, int(last[1]) + 31))


def test_memory_ran_out_in_this_run_only(cli: Cli, name: str, api: Api) -> None:
    script = "test -e /second && exit 0; touch /second; exec head -c 100000000 /dev/zero | tail"
    cli("run", "-d", "--name", name, "-m", "16m", "busybox", "sh", "-c", script)
    cli("wait", name)
    assert cli("inspect", "-f", "{{.State.OOMKilled}}", name).line == "true"
    cli("start", "-a", name)
    assert cli("inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", name).line == "false 0"


def test_the_back_off_doubles(cli: Cli, name: str, api: Api) -> None:
    """100, 200, 400, 800 ms between an end and the next start."""
    began = time.time()
    cli("run", "-d", "--restart", "on-failure:4", "--network", "none", "--name", name, "busybox", "false")
    eventually(lambda: cli("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", name).line == "exited 4", 30)
    filters = quote(json.dumps({"container": [name], "event": ["start", "die"]}))
    lines = api("GET", f"/events?since={began - 1:.3f}&until={time.time() + 1:.3f}&filters={filters}").body.decode().splitlines()
    events = [json.loads(line) for line in lines]
    assert [e["Action"] for e in events] == ["start", "die"] * 5
    gaps = [(b["timeNano"] - a["timeNano"]) / 1e9 for a, b in zip(events, events[1:], strict=False) if a["Action"] == "die"]
    for gap, delay in zip(gaps, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert delay <= gap < delay * 1.5 + 0.5, gaps


def test_an_exec_is_no_way_around_what_the_container_may(cli: Cli, name: str) -> None:
    """Its groups are the container's too; --privileged gives it capabilities, but the container's filter of system calls stays: as in Docker 28.5."""
    cli("run", "-d", "--group-add", "555", "--name", name, "busybox", "sleep", "600")
    assert cli("exec", "-u", "1000", name, "id", "-G").line == "0 555"
    status = cli("exec", "--privileged", name, "grep", "-E", "^(CapEff|Seccomp):", "/proc/self/status").out.split()
    assert status[3] == "2" and int(status[1], 16) > int(cli("exec", name, "grep", "CapEff", "/proc/self/status").out.split()[1], 16)
    assert cli("exec", "--privileged", name, "mount", "-t", "tmpfs", "x", "/mnt", code=None).code != 0


def test_a_failure_before_the_network_is_told_as_what_it_is(cli: Cli) -> None:
    for _ in range(5):  # the init that fails gives up its network namespace first
        assert "not a directory" in cli("run", "--rm", "-w", "/etc/passwd", "busybox", "true", code=125).err.lower()
