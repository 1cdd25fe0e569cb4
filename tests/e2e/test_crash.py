"""kill -9 of wherryd, launcher, monitor, init and proxy at every step of create, start, exec, stop, restart, kill, remove and of each end.

The steps are not listed here: a traced run of the same verbs names them, so that a new step is covered as soon as it exists.
After a restart every container is wholly there or wholly gone, running ones run, exit codes and log lines are kept, nothing leaks.
"""

import contextlib
import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import snapshot
from harness.api import Answer
from harness.engine import Engine, engine
from harness.waiting import eventually

pytestmark = [pytest.mark.own_daemon, pytest.mark.timeout(900)]

SLEEPER = {"Image": "busybox", "Cmd": ["sh", "-c", "echo started; trap 'exit 3' TERM; while :; do sleep 0.05; done"],
           "HostConfig": {"Binds": ["crash-volume:/data"], "PortBindings": {"80/tcp": [{"HostPort": "0"}]}}}  # fmt: skip


@pytest.fixture(scope="module")
def private() -> Iterator[Engine]:
    with engine("crash") as made:
        yield made


def ask(made: Engine, method: str, path: str, body: object = None) -> Answer | None:
    """A request whose daemon may die under it."""
    try:
        return made.api(method, path, body, timeout=20)
    except (OSError, http.client.HTTPException):
        return None


def exercise(made: Engine, name: str) -> None:
    """Every verb once; each may fail when a process is killed under it."""
    ask(made, "POST", f"/containers/create?name={name}", SLEEPER)
    ask(made, "POST", f"/containers/{name}/start")
    made_exec = ask(made, "POST", f"/containers/{name}/exec", {"Cmd": ["true"], "AttachStdout": True})
    if made_exec is not None and made_exec.status == 201:
        ask(made, "POST", f"/exec/{made_exec.json['Id']}/start", {"Detach": False})
    ask(made, "POST", f"/containers/{name}/stop?t=5")
    ask(made, "POST", f"/containers/{name}/restart?t=5")  # one that is stopped
    ask(made, "POST", f"/containers/{name}/restart?t=5")  # one that runs
    ask(made, "POST", f"/containers/{name}/kill?signal=TERM")
    ask(made, "POST", f"/containers/{name}/restart?t=5")
    ask(made, "DELETE", f"/containers/{name}?force=1&v=1")


def steps_of(made: Engine) -> list[tuple[str, str]]:
    """(process, step) of every step that `exercise` passes: from the engine's own record, those of the init from the trace of a start."""
    made.signal(signal.SIGTERM)
    os.environ["WHERRY_STEPS_LOG"] = "1"
    try:
        made.start()
        exercise(made, "traced")
        container = made.api.ok("POST", "/containers/create?name=traced", SLEEPER)["Id"]
        made.api.ok("POST", f"/containers/{container}/start")
        spans = made.api.ok("GET", f"/wherry/v1/traces/{container}")
        made.api.ok("DELETE", f"/containers/{container}?force=1&v=1")
        made.signal(signal.SIGTERM)
    finally:
        del os.environ["WHERRY_STEPS_LOG"]
    lines = [line.split("\t") for line in made.log.read_text().splitlines()]
    found = dict.fromkeys((line[1], line[2]) for line in lines if line[0] == "step")
    found |= dict.fromkeys((span["process"], span["name"]) for span in spans["steps"])
    return [(process, step) for process, step in found]


def whole_or_gone(made: Engine, name: str) -> None:
    """The container answers every question consistently, can be removed, or is unknown everywhere."""
    answer = made.api("GET", f"/containers/{name}/json")
    listed = [each for each in made.api.ok("GET", "/containers/json?all=1") if f"/{name}" in each["Names"]]
    if answer.status == 404:
        assert not listed
        return
    shown = answer.json
    assert answer.status == 200 and [each["Id"] for each in listed] == [shown["Id"]]
    state = shown["State"]
    if state["Running"]:
        assert Path(f"/proc/{state['Pid']}").exists(), state
        assert b"started" in made.api("GET", f"/containers/{name}/logs?stdout=1").body
    else:
        assert state["Pid"] == 0, state
        if state["Status"] == "exited":
            assert state["ExitCode"] in (0, 3, 137, 143, 255, 126, 127, 128), state
            started = made.api("POST", f"/containers/{name}/start")
            assert started.status in (204, 304), started
    assert made.api("DELETE", f"/containers/{name}?force=1&v=1").status == 204


@pytest.mark.timeout(1200)
def test_kill_at_every_step(private: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "SHARED", True)  # two engines work at the same time
    steps = steps_of(private)
    assert {process for process, _ in steps} >= {"wherryd", "launcher", "monitor", "init", "proxy"}, steps
    assert {name.partition(":")[0] for process, name in steps if process == "wherryd"} >= {"exec", "stop", "restart", "kill", "end", "rm"}, steps
    spots = [
        f"{process}:{step.split(',')[0]}:{moment}:kill"  # a step is matched by how its name begins
        for process, step in steps
        for moment in (("before", "after") if process != "init" else ("before",))  # after one of its steps is before the next one
    ]
    failures: list[str] = []
    with engine("crush") as other:  # two engines share the work: most of it is waiting
        other.signal(signal.SIGTERM)
        half = threading.Thread(target=kill_at, args=(other, spots[1::2], failures))
        half.start()
        kill_at(private, spots[::2], failures)
        half.join()
    assert not failures, "\n\n".join(failures)


def kill_at(private: Engine, spots: list[str], failures: list[str]) -> None:
    private.start()
    private.api.ok("POST", "/containers/create?name=bystander", SLEEPER | {"HostConfig": {}})
    private.api.ok("POST", "/containers/bystander/start")
    bystander = private.api.ok("GET", "/containers/bystander/json")["State"]["Pid"]
    private.restart()  # the bystander's monitor keeps the launcher that made it beside that of each later daemon
    exercise(private, "warm")
    private.api("DELETE", "/volumes/crash-volume")
    before = snapshot.settled(private, daemon=False)
    private.signal(signal.SIGTERM)
    for n, spot in enumerate(spots):
        try:
            one_spot(private, spot, f"victim{n}", bystander, before)
        except Exception as error:
            failures.append(f"{spot}: {error}"[:3000])
            with contextlib.suppress(Exception):
                if private.running:
                    private.kill()
        if len(failures) > 12:
            return
    private.start()
    private.remove_all()


def one_spot(private: Engine, spot: str, name: str, bystander: int, before: snapshot.Snapshot) -> None:
    private.start(failpoint=spot, wait=False)
    with contextlib.suppress(AssertionError, RuntimeError):
        private.wait_ready()
        exercise(private, name)
    if private.running:
        private.kill()
    else:
        private.wait_end()
    private.start()
    assert private.api.ok("GET", "/containers/bystander/json")["State"]["Pid"] == bystander, "the bystander runs on"
    assert Path(f"/proc/{bystander}").exists()
    whole_or_gone(private, name)
    private.api("DELETE", "/volumes/crash-volume")
    snapshot.assert_as_before(before, private, daemon=False)
    private.signal(signal.SIGTERM)


class TestByHand:
    def test_monitor_killed_is_reaped_and_reported(self, private: Engine) -> None:
        if not private.running:
            private.start()
        private.api.ok("POST", "/containers/create?name=orphan", SLEEPER)
        private.api.ok("POST", "/containers/orphan/start")
        init = private.api.ok("GET", "/containers/orphan/json")["State"]["Pid"]
        parent = int(Path(f"/proc/{init}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(parent, signal.SIGKILL)
        eventually(lambda: private.api.ok("GET", "/containers/orphan/json")["State"]["Running"] is False)
        shown = private.api.ok("GET", "/containers/orphan/json")["State"]
        assert shown["ExitCode"] != 0 or shown["Error"], shown
        eventually(lambda: not Path(f"/proc/{init}").exists())
        private.api.ok("POST", "/containers/orphan/start")
        private.api.ok("DELETE", "/containers/orphan?force=1&v=1")

    def test_launcher_killed_is_restarted(self, private: Engine) -> None:
        cli = private.cli("wherry")
        cli("run", "-d", "--name", "before-launcher", "busybox", "sleep", "600")
        init = private.api.ok("GET", "/containers/before-launcher/json")["State"]["Pid"]
        monitor = int(Path(f"/proc/{init}/stat").read_text().rsplit(")", 1)[1].split()[1])
        launcher = int(Path(f"/proc/{monitor}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(launcher, signal.SIGKILL)
        assert eventually(lambda: cli("run", "--rm", "busybox", "echo", "again", code=None).out == "again\n")
        assert cli("inspect", "-f", "{{.State.Running}}", "before-launcher").line == "true"
        assert cli("exec", "before-launcher", "echo", "in").out == "in\n"
        cli("kill", "before-launcher")
        assert cli("wait", "before-launcher").line == "137"
        cli("rm", "before-launcher")

    def test_broken_record_is_set_aside(self, private: Engine) -> None:
        cli = private.cli("wherry")
        broken = cli("create", "--name", "broken", "busybox", "true").line
        cli("create", "--name", "sound", "busybox", "echo", "fine")
        private.signal(signal.SIGTERM)
        (private.data_root / "containers" / broken / "config.json").write_bytes(b"\x00 not json {")
        private.start()
        assert cli("start", "-a", "sound").out == "fine\n"
        assert broken[:12] in private.log_tail(100_000)
        assert cli("ps", "-aq", "--no-trunc", "--filter", "name=broken").out == ""
        cli("rm", "sound")

    def test_reply_of_create_means_it_is_kept(self, private: Engine) -> None:
        created = private.api.ok("POST", "/containers/create?name=kept", SLEEPER)
        private.kill()
        private.start()
        shown = private.api.ok("GET", "/containers/kept/json")
        assert shown["Id"] == created["Id"] and json.dumps(shown["Config"]["Cmd"]) == json.dumps(SLEEPER["Cmd"])
        private.api.ok("DELETE", "/containers/kept?force=1&v=1")
