"""Launcher, monitor, init and exec with a real busybox: streams, exit codes, failures that leave nothing, deaths of every process."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.waiting import eventually
from wherry import cgroups
from wherry.execdriver.client import Hub, Launcher, Monitor, RunFiles
from wherry.init import defaults
from wherry.linux import capability, mount
from wherry.model.command import Capabilities, Command, Namespaces, Process, to_json
from wherry.model.errors import StartFailed

BUSYBOX = "/bin/busybox"


class Run:
    """One container run without a daemon."""

    def __init__(self, launcher: Launcher, hub: Hub, root: Path, tmp: Path, name: str) -> None:
        self.launcher, self.hub, self.root, self.name = launcher, hub, root, name
        self.logs = tmp / "logs"
        self.logs.mkdir(exist_ok=True)
        self.events: list[dict[str, Any]] = []
        self.ended = threading.Event()
        self.monitor: Monitor = launcher.monitor(name, self.logs)
        self.monitor.on_event = self._heard

    def _heard(self, _: Monitor, event: dict[str, Any]) -> None:
        self.events.append(event)
        if event["event"] in ("exited", "gone"):
            self.ended.set()

    def attach(self, *, stdin: bool = False, framed: bool = True) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self.monitor.attach(theirs, b"", stdin=stdin, stdout=True, stderr=True, framed=framed, keys=b"\x10\x11")
        return ours

    def start(self, *argv: str, open_stdin: bool = False, stdin_once: bool = False, log: bool = True, **process: Any) -> int:
        caps = capability.resolve()
        command = Command(
            id=self.name, process=Process(argv=argv, env=["PATH=/bin"], capabilities=Capabilities(caps, caps, caps), **process), rootfs=0,
            hostname="test", namespaces=Namespaces(), mounts=defaults.default_mounts(), masked_paths=defaults.masked_paths(1),
            readonly_paths=defaults.READONLY_PATHS, cgroup_path=f"wherry-test-{os.getpid()}/{self.name}",
        )
        directory = self.launcher.exec_dir(self.name)
        (directory / "container.json").write_bytes(to_json(command))
        rootfs = mount.open_tree(str(self.root))
        try:
            options = {"name": f"{self.name}.log", "max_size": None, "max_file": 1} if log else None
            pid, _ = self.monitor.start([rootfs], open_stdin=open_stdin, stdin_once=stdin_once, log=options)
        finally:
            os.close(rootfs)
        self.hub.add(self.monitor)
        return pid

    def exit_code(self) -> int:
        assert self.ended.wait(20), self.events
        return int(self.events[-1]["code"])

    def log(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in (self.logs / f"{self.name}.log").read_text().splitlines()]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("rootfs")
    for directory in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (top / directory).mkdir()
    (top / "bin/busybox").write_bytes(Path(BUSYBOX).read_bytes())
    (top / "bin/busybox").chmod(0o755)
    for applet in ("sh", "cat", "echo", "sleep", "true", "false", "id", "ls", "yes", "head", "kill", "tr"):
        (top / "bin" / applet).symlink_to("busybox")
    (top / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/tmp:/bin/sh\n")
    (top / "etc/group").write_text("root:x:0:\nbob:x:1000:\n")
    return top


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Launcher, Hub]]:
    hub = Hub()
    launcher = Launcher(tmp_path_factory.mktemp("exec"), hub, print)
    yield launcher, hub
    hub.close()
    launcher.close()
    os.waitpid(launcher.pid(), 0)
    trees = cgroups.detect()
    assert trees.open(f"wherry-test-{os.getpid()}").remove(timeout=5)  # the runs' groups are wherryd's to remove, and there is none here
    trees.close()


@pytest.fixture
def run(driver: tuple[Launcher, Hub], root: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], Run]:
    count = iter(range(100))
    name = "".join(c for c in request.node.name if c.isalnum())[:40]
    return lambda: Run(*driver, root, tmp_path, f"{name}{next(count)}")


def read_all(client: socket.socket) -> bytes:
    client.settimeout(20)
    data = bytearray()
    with client:
        while piece := client.recv(1 << 16):
            data += piece
    return bytes(data)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        number, size = struct.unpack(">BxxxI", data[:8])
        found.append((number, data[8 : 8 + size]))
        data = data[8 + size :]
    return found


def test_output_goes_to_log_and_client_and_the_code_comes_back(run: Callable[[], Run]) -> None:
    one = run()
    client = one.attach()
    one.start("sh", "-c", "echo out; echo err >&2; exit 7")
    assert one.exit_code() == 7
    got = frames(read_all(client))
    assert b"".join(d for n, d in got if n == 1) == b"out\n"
    assert b"".join(d for n, d in got if n == 2) == b"err\n"
    assert sorted((r["stream"], r["log"]) for r in one.log()) == [("stderr", "err\n"), ("stdout", "out\n")]
    files = RunFiles(one.monitor.exec_dir)
    assert files.exit() is not None and files.exit()["code"] == 7  # type: ignore[index]


def test_killed_by_a_signal(run: Callable[[], Run]) -> None:
    one = run()
    pid = one.start("sleep", "100")
    os.kill(pid, signal.SIGKILL)
    assert one.exit_code() == 137


def test_stdin_half_close(run: Callable[[], Run]) -> None:
    one = run()
    client = one.attach(stdin=True)
    client.sendall(b"early ")
    one.start("tr", "a-z", "A-Z", open_stdin=True, stdin_once=True)
    client.sendall(b"words")
    client.shutdown(socket.SHUT_WR)
    assert b"".join(d for _, d in frames(read_all(client))) == b"EARLY WORDS"
    assert one.exit_code() == 0


def test_large_output_is_never_dropped(run: Callable[[], Run]) -> None:
    one = run()
    client = one.attach()
    one.start("sh", "-c", "yes 0123456789 | head -c 20000000", log=False)
    got = frames(read_all(client))
    assert sum(len(d) for _, d in got) == 20_000_000
    assert one.exit_code() == 0


def test_terminal(run: Callable[[], Run]) -> None:
    one = run()
    client = one.attach(stdin=True, framed=False)
    one.start("sh", tty=True, open_stdin=True, console_size=[30, 100])
    client.sendall(b"echo $((6*7)); exit 3\n")
    assert b"42" in read_all(client)
    assert one.exit_code() == 3


def test_detach_keys_leave_the_program_running(run: Callable[[], Run]) -> None:
    one = run()
    client = one.attach(stdin=True, framed=False)
    pid = one.start("cat", tty=True, open_stdin=True)
    client.sendall(b"x\x10\x11")
    read_all(client)
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)
    assert one.exit_code() == 137
    assert {"event": "detached"} in one.events


@pytest.mark.parametrize(("argv", "number", "text"), [
    (["nosuch"], 2, "executable file not found"), (["/etc/passwd"], 13, "permission denied"), (["/bin/nosuch"], 2, "no such file"),
])
def test_a_program_that_cannot_run(run: Callable[[], Run], argv: list[str], number: int, text: str) -> None:
    one = run()
    with pytest.raises(StartFailed) as caught:
        one.start(*argv)
    assert caught.value.errno == number and text in str(caught.value)
    assert RunFiles(one.monitor.exec_dir).state() is None
    assert not list(Path("/sys/fs/cgroup").glob(f"*/wherry-test-{os.getpid()}/{one.name}"))
    one.monitor.close()


def test_death_of_the_monitor_ends_the_container_and_is_recorded(run: Callable[[], Run]) -> None:
    one = run()
    pid = one.start("sleep", "100")
    state = RunFiles(one.monitor.exec_dir).state()
    assert state is not None
    pidfd = os.pidfd_open(pid)
    os.kill(state["monitor"], signal.SIGKILL)
    assert one.ended.wait(10)
    assert one.events[-1]["event"] == "gone"
    waiter = select.poll()
    waiter.register(pidfd, select.POLLIN)
    assert waiter.poll(10_000)
    os.close(pidfd)
    one.monitor.close()


def test_reconnect_after_the_first_wherryd_went(run: Callable[[], Run], driver: tuple[Launcher, Hub]) -> None:
    one = run()
    pid = one.start("sleep", "100")
    again = driver[0].reconnect(one.name)
    assert again is not None
    heard: list[dict[str, Any]] = []
    ended = threading.Event()
    again.on_event = lambda _, event: (heard.append(event), ended.set())  # type: ignore[assignment,func-returns-value]
    driver[1].add(again)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGKILL)
    assert ended.wait(10)
    assert heard[0]["code"] == 137
    assert one.exit_code() == 137


def parked(launcher: Launcher) -> list[int]:
    """PIDs of the launcher's children that wait for a run."""
    children = Path(f"/proc/{launcher.pid()}/task/{launcher.pid()}/children").read_text().split()
    return [int(pid) for pid in children if not Path(f"/proc/{pid}/task/{pid}/children").read_text()]


def test_a_parked_monitor_is_used_and_a_dead_one_is_passed_over(run: Callable[[], Run], driver: tuple[Launcher, Hub]) -> None:
    launcher = driver[0]
    launcher.replenish()
    eventually(lambda: len(parked(launcher)) >= 2)
    one = run()
    one.start("sh", "-c", "exit 4")
    assert one.exit_code() == 4
    launcher.replenish()
    eventually(lambda: len(parked(launcher)) >= 2)
    dead = parked(launcher)
    for pid in dead:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not set(dead) & set(parked(launcher)))
    other = run()
    other.start("sh", "-c", "exit 5")
    assert other.exit_code() == 5
