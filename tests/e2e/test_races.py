"""Verbs that meet: each ends, each answers sensibly, and what they leave is one container in one state, or none."""

import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import snapshot
from harness.engine import Engine, engine
from harness.waiting import eventually

pytestmark = pytest.mark.own_daemon

SLEEPER = {"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"}}
BRIEF = {"Image": "busybox", "Cmd": ["echo", "hello"], "HostConfig": {"NetworkMode": "none"}}


@pytest.fixture(scope="module")
def private() -> Iterator[Engine]:
    with engine("races") as made:
        yield made


@pytest.fixture(autouse=True)
def clean_after(private: Engine) -> Iterator[None]:
    yield
    assert private.running, private.log_tail()
    private.remove_all()
    assert "Traceback" not in private.log_tail(1 << 20), private.log_tail(1 << 20)




def at_once(*calls: Callable[[], int]) -> list[int]:
    """The statuses of calls that begin together."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [one.result(60) for one in [pool.submit(call) for call in calls]]


def made(private: Engine, name: str, body: dict[str, object]) -> str:
    return str(private.api.ok("POST", f"/containers/create?name={name}", body)["Id"])


def state(private: Engine, name: str) -> dict[str, object]:
    shown = private.api.ok("GET", f"/containers/{name}/json")
    return {**shown["State"], "RestartCount": shown["RestartCount"]}


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def attach(private: Engine, name: str, query: str) -> socket.socket:
    """An attached client: the raw connection after the switch."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(private.socket)
    client.sendall(f"POST /containers/{name}/attach?{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = client.recv(1)
        assert piece, head
        head += piece
    assert b" 101 " in head, head
    return client


def read_to_end(client: socket.socket) -> bytes:
    data = b""
    with client:
        while piece := client.recv(65536):
            data += piece
    return data


def test_several_starts_at_once_are_one_start(private: Engine) -> None:
    for n in range(5):
        made(private, f"starts{n}", SLEEPER)
        statuses = at_once(*[lambda n=n: private.api("POST", f"/containers/starts{n}/start").status for _ in range(4)])
        assert sorted(statuses) == [204, 304, 304, 304]
        assert state(private, f"starts{n}")["Running"] is True
        assert private.api("DELETE", f"/containers/starts{n}?force=1").status == 204


def test_removal_by_force_meets_start(private: Engine) -> None:
    before = snapshot.settled(private)
    for n in range(10):
        name = f"meets{n}"
        made(private, name, SLEEPER)
        start, removal = at_once(lambda name=name: private.api("POST", f"/containers/{name}/start").status,
                                 lambda name=name: private.api("DELETE", f"/containers/{name}?force=1").status)
        assert removal == 204 and start in (204, 404, 409), (start, removal)
        assert private.api("GET", f"/containers/{name}/json").status == 404
    snapshot.assert_as_before(before, private)


def test_removal_without_force_never_removes_what_runs(private: Engine) -> None:
    for n in range(10):
        name = f"unforced{n}"
        made(private, name, SLEEPER)
        start, removal = at_once(lambda name=name: private.api("POST", f"/containers/{name}/start").status,
                                 lambda name=name: private.api("DELETE", f"/containers/{name}").status)
        assert (start, removal) in ((204, 409), (404, 204), (409, 204)), (start, removal)
        if start == 204:
            assert state(private, name)["Running"] is True
            assert private.api("DELETE", f"/containers/{name}?force=1").status == 204


def test_restarts_at_once(private: Engine) -> None:
    made(private, "restarts", SLEEPER)
    private.api.ok("POST", "/containers/restarts/start")
    statuses = at_once(*[lambda: private.api("POST", "/containers/restarts/restart?t=0").status for _ in range(4)])
    assert set(statuses) == {204}
    assert state(private, "restarts")["Running"] is True
    pid = int(str(state(private, "restarts")["Pid"]))
    assert Path(f"/proc/{pid}").exists()


def test_attach_at_the_end_of_the_last_run(private: Engine) -> None:
    """The exec directory of the last run is on its way out when the next monitor comes."""
    made(private, "again", BRIEF)
    for _ in range(15):
        client = attach(private, "again", "stream=1&stdout=1")
        private.api.ok("POST", "/containers/again/start")
        assert b"hello\n" in read_to_end(client)
        assert private.api.ok("POST", "/containers/again/wait")["StatusCode"] == 0


def test_an_attached_container_that_is_removed_ends_the_stream(private: Engine) -> None:
    made(private, "created", SLEEPER)
    client = attach(private, "created", "stream=1&stdout=1&stdin=1")
    private.api.ok("DELETE", "/containers/created")
    assert read_to_end(client) == b""


def test_a_detached_exec_that_meets_the_end_is_a_conflict(private: Engine) -> None:
    """Whatever step it is in when the kernel ends it with its container's init: the container was not running, nothing is wrong with the request."""
    made(private, "brief", {"Image": "busybox", "Cmd": ["sleep", "600"]})
    for _ in range(12):
        private.api.ok("POST", "/containers/brief/start")
        ids = [private.api.ok("POST", "/containers/brief/exec", {"Cmd": ["true"]})["Id"] for _ in range(4)]
        with ThreadPoolExecutor(5) as pool:
            answers = [pool.submit(private.api, "POST", f"/exec/{one}/start", {"Detach": True}) for one in ids]
            pool.submit(private.api, "POST", "/containers/brief/kill").result()
            assert {answer.result().status for answer in answers} <= {200, 409}, [answer.result() for answer in answers]


def test_execs_meet_the_end_of_their_container(private: Engine) -> None:
    made(private, "ending", SLEEPER)
    for _ in range(5):
        private.api.ok("POST", "/containers/ending/start")
        ids = [private.api.ok("POST", "/containers/ending/exec", {"Cmd": ["sleep", "600"], "AttachStdout": True})["Id"] for _ in range(3)]
        with ThreadPoolExecutor(4) as pool:
            streams = [pool.submit(private.api, "POST", f"/exec/{one}/start", {"Detach": False}) for one in ids]
            killed = pool.submit(private.api, "POST", "/containers/ending/kill")
            assert killed.result(30).status == 204
            for stream in streams:
                assert stream.result(30).status in (200, 101, 409, 500), stream.result()
        for one in ids:
            shown = private.api("GET", f"/exec/{one}/json")
            assert shown.status == 404 or shown.json["Running"] is False, shown
        eventually(lambda: state(private, "ending")["Running"] is False)


def test_a_program_that_closes_its_input_costs_nothing(private: Engine) -> None:
    made(private, "deaf", {"Image": "busybox", "Cmd": ["sh", "-c", "exec 0<&-; echo deaf; exec sleep 600"], "OpenStdin": True, "StdinOnce": True,
                           "AttachStdin": True, "HostConfig": {"NetworkMode": "none"}})  # fmt: skip
    client = attach(private, "deaf", "stream=1&stdin=1&stdout=1")
    private.api.ok("POST", "/containers/deaf/start")
    assert b"deaf" in client.recv(1000)
    client.sendall(b"for nobody\n" * 20000)  # does not block: nobody reads it, nothing keeps it
    monitor = parent(int(str(state(private, "deaf")["Pid"])))

    def used() -> int:
        return sum(map(int, Path(f"/proc/{monitor}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))

    began = used()
    with pytest.raises(TimeoutError):
        client.settimeout(1.0)
        client.recv(1)
    client.close()
    assert used() - began < 20, "clock ticks of 10 ms within a second"


class TestSignals:
    def test_what_ends_a_paused_container_lets_it_run(self, private: Engine) -> None:
        script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done"
        made(private, "paused", {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": {"NetworkMode": "none"}})
        for n, (verb, code) in enumerate((("stop?t=20", 5), ("kill?signal=TERM", 5), ("kill", 137))):
            private.api.ok("POST", "/containers/paused/start")
            eventually(lambda n=n: private.api("GET", "/containers/paused/logs?stdout=1").body.count(b"up") == n + 1)  # its trap is set
            private.api.ok("POST", "/containers/paused/pause")
            assert state(private, "paused")["Status"] == "paused"
            assert private.api("POST", f"/containers/paused/{verb}").status == 204
            eventually(lambda: state(private, "paused")["Status"] == "exited")
            assert state(private, "paused")["ExitCode"] == code, verb

    def test_a_restarting_container_is_not_removed_without_force(self, private: Engine) -> None:
        made(private, "loop", {"Image": "busybox", "Cmd": ["false"], "HostConfig": {"RestartPolicy": {"Name": "always"}, "NetworkMode": "none"}})
        private.api.ok("POST", "/containers/loop/start")
        eventually(lambda: int(str(state(private, "loop")["RestartCount"])) >= 3, 30)
        refused = private.api("DELETE", "/containers/loop")
        assert refused.status == 409 and b"stop the container" in refused.body
        private.api.ok("POST", "/containers/loop/stop")
        assert state(private, "loop")["Status"] == "exited"
        private.api.ok("POST", "/containers/loop/start")
        assert int(str(state(private, "loop")["RestartCount"])) <= 1, "a start by hand begins the count anew"
        private.api.ok("DELETE", "/containers/loop?force=1")


class TestDaemonRestart:
    def test_always_is_started_again_and_restarted_again(self, private: Engine) -> None:
        made(private, "always", {"Image": "busybox", "Cmd": ["sleep", "600"],
                                 "HostConfig": {"RestartPolicy": {"Name": "always"}, "NetworkMode": "none"}})  # fmt: skip
        private.api.ok("POST", "/containers/always/start")
        private.api.ok("POST", "/containers/always/stop?t=0")
        private.restart()
        eventually(lambda: state(private, "always")["Running"] is True and state(private, "always")["Pid"] != 0)
        os.kill(int(str(state(private, "always")["Pid"])), signal.SIGKILL)  # not by hand: the policy holds
        eventually(lambda: state(private, "always")["RestartCount"] == 1 and state(private, "always")["Pid"] != 0)

    def test_a_state_of_another_boot_is_no_running_container(self, private: Engine) -> None:
        """The exec root may be on a disk; PIDs and start times begin anew with every boot."""
        identifier = made(private, "rebooted", SLEEPER)
        private.api.ok("POST", "/containers/rebooted/start")
        pid = int(str(state(private, "rebooted")["Pid"]))
        private.kill()
        file = private.exec_root / "execdriver/native" / identifier / "state.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"boot": "another"}))
        os.kill(parent(pid), signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{pid}").exists())
        eventually((file.parent / "exit.json").exists)  # the launcher's word about that run: it would have been read
        (file.parent / "exit.json").unlink()
        private.start()
        shown = state(private, "rebooted")
        assert (shown["Status"], shown["ExitCode"], shown["Pid"]) == ("exited", 255, 0), shown
        private.api.ok("POST", "/containers/rebooted/start")
        assert state(private, "rebooted")["Running"] is True

    def test_launchers_killed_one_after_the_other(self, private: Engine) -> None:
        made(private, "first", SLEEPER)
        private.api.ok("POST", "/containers/first/start")
        for _ in range(3):
            private.api.ok("POST", "/containers/first/restart?t=0")
            launcher = parent(parent(int(str(state(private, "first")["Pid"]))))
            deaths = private.log_tail(1 << 20).count("the launcher process died")
            os.kill(launcher, signal.SIGKILL)
            # Heard without any request: the hub watches the launcher that came after the one that died, too.
            eventually(lambda deaths=deaths: private.log_tail(1 << 20).count("the launcher process died") == deaths + 1)


class TestInside:
    def test_descriptors_of_run_and_exec(self, private: Engine) -> None:
        cli = private.cli("wherry")
        assert cli("run", "--rm", "busybox", "ls", "/proc/self/fd").out.split() == ["0", "1", "2", "3"]
        assert cli("run", "--rm", "-i", "busybox", "ls", "/proc/self/fd").out.split() == ["0", "1", "2", "3"]
        cli("run", "-d", "--name", "fds", "busybox", "sleep", "600")
        assert cli("exec", "fds", "ls", "/proc/self/fd").out.split() == ["0", "1", "2", "3"]
        assert cli("exec", "fds", "ls", "/proc/1/fd").out.split() == ["0", "1", "2"]

    def test_files_and_name_of_a_shared_network(self, private: Engine) -> None:
        cli = private.cli("wherry")
        cli("run", "-d", "--name", "owner", "busybox", "sleep", "600")
        cli("run", "-d", "--name", "guest", "--network", "container:owner", "busybox", "sleep", "600")
        cli("rename", "owner", "renamed")
        assert cli("exec", "guest", "hostname").out == cli("exec", "renamed", "hostname").out
        cli("exec", "renamed", "sh", "-c", "echo 10.9.8.7 later >> /etc/hosts")
        assert "10.9.8.7 later" in cli("exec", "guest", "cat", "/etc/hosts").out
        cli("restart", "-t", "0", "guest")
        cli("rm", "-f", "renamed")
        refused = cli("restart", "-t", "0", "guest", code=1)
        assert "No such container" in refused.err

    def test_names_limits_and_descriptors(self, private: Engine) -> None:
        cli = private.cli("wherry")
        host = os.uname().nodename
        assert cli("run", "--rm", "--network", "host", "busybox", "hostname").line == host
        assert cli("run", "--rm", "--network", "host", "--hostname", "other", "busybox", "hostname").line == "other"
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # wherryd has it from here, and raises its own
        assert cli("run", "--rm", "busybox", "sh", "-c", "ulimit -n").line == str(soft)
        assert cli("run", "--rm", "--ulimit", "nofile=99:100", "busybox", "sh", "-c", "ulimit -n").line == "99"
        limited = made(private, "limited", {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Memory": 64 << 20}})
        assert private.api.ok("GET", f"/containers/{limited}/json")["HostConfig"]["MemorySwap"] == 128 << 20
