"""The storm: eight clients do random verbs on their own and on shared containers while wherryd, launchers, monitors and the proxy are killed.

Every choice comes from the seed; what the machine makes of it (who is first, where a kill hits) does not. A client knows what it did to its own
containers and checks each answer against that; nobody knows anything about the shared ones. What is left at the end is checked in check.py.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness.api import Answer
from harness.engine import Engine
from harness.waiting import eventually
from long import loglines

CLIENTS = 8
OWN = 3  # containers of each client at a time
SHARED = ["shared-0", "shared-1", "shared-2"]
KILL_EVERY = 20.0  # seconds between kills of wherryd
SLACK = 3.0  # seconds around a kill in which any verb may fail
PROGRAM = r"""
trap 'echo "end $i"; exit 7' TERM
i=0; echo begin
httpd -p 80 -h /etc
while :; do
  for n in 1 2 3 4 5 6 7 8 9 10; do echo "line $i"; i=$((i+1)); done
  echo "err $i" >&2
  sleep 0.2
done
"""


@dataclass
class Box:
    """A container of one client, and what that client knows of it."""

    name: str
    id: str
    code: int | None  # of a program that ends by itself
    ports: bool
    codes: set[int] = field(default_factory=set)  # what its last end may have been


class Storm:
    """The clients, the killer, and the list of what was wrong."""

    def __init__(self, engine: Engine, seed: int, seconds: float) -> None:
        self.engine, self.seed = engine, seed
        self.end = time.monotonic() + seconds
        self.verbs: collections.Counter[str] = collections.Counter()
        self.kills: collections.Counter[str] = collections.Counter()
        self.killed_at: list[float] = []
        self.cut: set[str] = set()  # IDs of containers whose monitor was killed: their output may miss its end
        self.wrong: list[str] = []
        self.lock = threading.Lock()
        self.up = threading.Event()
        self.up.set()

    def over(self) -> bool:
        return time.monotonic() > self.end or len(self.wrong) >= 20

    def say(self, text: str) -> None:
        with self.lock:
            self.wrong.append(f"{time.monotonic() - self.end:+.1f} s: {text}"[:2000])

    def disturbed(self, since: float) -> bool:
        """Whether something was killed since then, or just before."""
        return not self.up.is_set() or any(at > since - SLACK for at in self.killed_at)

    def run(self) -> None:
        """Until the time is over; afterwards the daemon runs and nobody asks it anything."""
        clients = [threading.Thread(target=self._guard, args=(Client(self, n).run,), name=f"client {n}") for n in range(CLIENTS)]
        for one in clients:
            one.start()
        self._guard(Killer(self).run)
        for one in clients:
            one.join(120)
            if one.is_alive():
                self.say(f"{one.name} hangs")
        if not self.engine.running:
            self.engine.start()

    def _guard(self, work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except Exception as error:
            self.say(f"{threading.current_thread().name} ended: {error!r}")


class Killer:
    """kill -9 of wherryd every 20 s, of launchers, monitors and the proxy in between."""

    def __init__(self, storm: Storm) -> None:
        self.storm, self.engine = storm, storm.engine
        self.pick = random.Random(storm.seed)

    def run(self) -> None:
        storm, next_daemon = self.storm, time.monotonic() + KILL_EVERY
        while not storm.over():
            time.sleep(min(self.pick.uniform(2, 6), max(0.0, storm.end - time.monotonic())))
            if storm.over():
                return
            if time.monotonic() > next_daemon:
                self._daemon()
                next_daemon = time.monotonic() + KILL_EVERY
            else:
                kind = self.pick.choice(["monitor", "monitor", "monitor", "proxy", "launcher"])
                getattr(self, f"_{kind}")()

    def _mark(self, kind: str) -> None:
        self.storm.killed_at.append(time.monotonic())
        self.storm.kills[kind] += 1

    def _daemon(self) -> None:
        storm = self.storm
        if not self.engine.running:
            storm.say(f"wherryd died by itself: {self.engine.log_tail(1500)}")
        storm.up.clear()
        self._mark("wherryd")
        self.engine.kill()
        self.engine.start()
        storm.killed_at.append(time.monotonic())
        storm.up.set()

    def _monitor(self) -> None:
        runs = sorted((self.engine.exec_root / "execdriver/native").glob("*/state.json"))
        if not runs:
            return
        path = self.pick.choice(runs)
        with contextlib.suppress(OSError, ValueError):
            state = json.loads(path.read_text())
            self.storm.cut.add(path.parent.name)
            self._kill("monitor", state["monitor"] if isinstance(state["monitor"], int) else state["monitor"]["pid"])

    def _proxy(self) -> None:
        self._by_name("proxy", "wherry-proxy")

    def _launcher(self) -> None:
        self._by_name("launcher", "wherry-launcher")  # of this daemon, or of an earlier one whose monitors live on

    def _by_name(self, kind: str, name: str) -> None:
        found = []
        for pid in self.engine.processes():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == f"{name}\n"[:16]:
                    found.append(pid)
        if found:
            self._kill(kind, self.pick.choice(found))

    def _kill(self, kind: str, pid: int) -> None:
        if f"{self.engine.dir}".encode() not in Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes():
            return  # somebody else's by now
        self._mark(kind)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.storm.killed_at.append(time.monotonic())


class Client:
    """One client: a random verb on one of its containers, or on a shared one, again and again."""

    def __init__(self, storm: Storm, number: int) -> None:
        self.storm, self.number = storm, number
        self.pick = random.Random(storm.seed * 100 + number)
        self.boxes: list[Box] = []
        self.made = 0
        self.cli = storm.engine.cli("wherry")

    def run(self) -> None:
        while not self.storm.over():
            roll = self.pick.random()
            if len(self.boxes) < OWN and roll < 0.5:
                self.create()
            elif roll < 0.25:
                self.on_shared()
            elif roll < 0.32:
                self.by_cli()
            elif self.boxes:
                verb = self.pick.choice([self.start, self.start, self.stop, self.stop, self.kill, self.pause, self.restart, self.rename, self.execute,
                                         self.execute, self.logs, self.logs, self.wait, self.attach, self.remove, self.inspect])  # fmt: skip
                verb(self.pick.choice(self.boxes))

    # Asking

    def ask(self, method: str, path: str, body: object = None, timeout: float = 90.0) -> tuple[Answer | None, bool]:
        """(the answer, whether nothing was killed meanwhile); None where the daemon was killed. A verb that takes too long is wrong."""
        self.storm.up.wait(60)
        began = time.monotonic()
        verb = path.split("?")[0].rsplit("/", 1)[-1] if method == "POST" else method
        self.storm.verbs[verb] += 1
        try:
            answer = self.storm.engine.api(method, path, body, timeout=timeout)
        except TimeoutError:
            self.storm.say(f"{method} {path} has no answer within {timeout} s")
            return None, False
        except (OSError, http.client.HTTPException) as error:
            if not self.storm.disturbed(began):
                self.storm.say(f"{method} {path}: {error!r}, and nothing was killed")
            return None, False
        calm = not self.storm.disturbed(began)
        if answer.status >= 500 and calm and b"is not paused" not in answer.body:  # that is 500 for Docker's clients
            self.storm.say(f"{method} {path}: {answer!r}, and nothing was killed")
        return answer, calm

    def expect(self, answer: Answer | None, calm: bool, statuses: set[int], what: str) -> bool:
        """Says what is wrong when nothing explains the status; True where it was one of these."""
        if answer is not None and answer.status in statuses:
            return True
        if calm and answer is not None:
            self.storm.say(f"{what}: {answer!r}, and nothing was killed")
        return False

    # Verbs on its own containers

    def create(self) -> None:
        self.made += 1
        name, ports = f"c{self.number}-{self.made}", self.pick.random() < 0.4
        code = self.pick.choice([None, None, None, 0, 3, 42])
        host: dict[str, object] = {"Binds": self.pick.choice([[], [f"vol-{self.pick.randrange(4)}:/data"], ["/anonymous-data"]])}
        volumes = {"/anon": {}} if self.pick.random() < 0.3 else None
        if host["Binds"] == ["/anonymous-data"]:
            host["Binds"], volumes = [], {"/anonymous-data": {}}
        if ports:
            host["PortBindings"] = {"80/tcp": [{"HostPort": "0"}]}
        if self.pick.random() < 0.15:
            host["RestartPolicy"] = {"Name": self.pick.choice(["always", "unless-stopped", "on-failure"])}
        script = PROGRAM if code is None else f"echo begin; echo 'line 0'; sleep 0.{self.pick.randrange(1, 9)}; echo 'line 1'; exit {code}"
        body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host, "Volumes": volumes}
        answer, calm = self.ask("POST", f"/containers/create?name={name}", body)
        if self.expect(answer, calm, {201}, f"create {name}"):
            assert answer is not None
            self.boxes.append(Box(name, answer.json["Id"], code, ports))

    def start(self, box: Box) -> None:
        answer, calm = self.ask("POST", f"/containers/{box.name}/start")
        self.expect(answer, calm, {204, 304, 409}, f"start {box.name}")

    def stop(self, box: Box) -> None:
        answer, calm = self.ask("POST", f"/containers/{box.name}/stop?t={self.pick.choice([0, 2, 5])}")
        if self.expect(answer, calm, {204, 304}, f"stop {box.name}") and calm:
            shown, calm = self.ask("GET", f"/containers/{box.name}/json")
            if self.expect(shown, calm, {200}, f"inspect {box.name}") and calm and shown is not None and shown.json["State"]["Running"]:
                self.storm.say(f"{box.name} runs after it was stopped: {shown.json['State']}")

    def kill(self, box: Box) -> None:
        number = self.pick.choice(["KILL", "TERM", "USR1"])
        answer, calm = self.ask("POST", f"/containers/{box.name}/kill?signal={number}")
        self.expect(answer, calm, {204, 409}, f"kill {box.name}")

    def pause(self, box: Box) -> None:
        answer, calm = self.ask("POST", f"/containers/{box.name}/pause")
        if self.expect(answer, calm, {204, 409}, f"pause {box.name}") and answer is not None and answer.status == 204:
            if self.pick.random() < 0.3:
                return  # and it stays paused for a while: every other verb must deal with it
            answer, calm = self.ask("POST", f"/containers/{box.name}/unpause")
            self.expect(answer, calm, {204, 409, 500}, f"unpause {box.name}")

    def restart(self, box: Box) -> None:
        answer, calm = self.ask("POST", f"/containers/{box.name}/restart?t={self.pick.choice([0, 3])}")
        self.expect(answer, calm, {204}, f"restart {box.name}")

    def rename(self, box: Box) -> None:
        self.made += 1
        name = f"c{self.number}-{self.made}"
        answer, calm = self.ask("POST", f"/containers/{box.id}/rename?name={name}")
        if self.expect(answer, calm, {204}, f"rename {box.name} to {name}"):
            box.name = name
        else:
            shown, _ = self.ask("GET", f"/containers/{box.id}/json")
            if shown is not None and shown.status == 200:
                box.name = shown.json["Name"].lstrip("/")

    def execute(self, box: Box) -> None:
        word = f"word-{self.pick.randrange(10**9)}"
        answer, calm = self.ask("POST", f"/containers/{box.name}/exec", {"Cmd": ["echo", word], "AttachStdout": True, "AttachStderr": True})
        if not self.expect(answer, calm, {201, 409}, f"exec in {box.name}") or answer is None or answer.status != 201:
            return
        identifier = answer.json["Id"]
        answer, calm = self.ask("POST", f"/exec/{identifier}/start", {"Detach": False})
        if not self.expect(answer, calm, {200, 404, 409}, f"start of an exec in {box.name}") or answer is None or answer.status != 200 or not calm:
            return
        shown, calm = self.ask("GET", f"/exec/{identifier}/json")
        if not calm or shown is None or shown.status != 200:
            return
        if shown.json["ExitCode"] == 0 and word.encode() not in answer.body:
            self.storm.say(f"exec in {box.name}: exit code 0 and no output: {answer!r}")

    def logs(self, box: Box) -> None:
        answer, calm = self.ask("GET", f"/containers/{box.name}/logs?stdout=1&stderr=1")
        if self.expect(answer, calm, {200}, f"logs of {box.name}") and answer is not None:
            for problem in loglines.problems(answer.body, cut=box.id in self.storm.cut, ended=False):
                self.storm.say(f"log of {box.name} {box.id[:12]}: {problem}")

    def wait(self, box: Box) -> None:
        if box.code is None:
            return
        began = time.monotonic()
        shown, calm = self.ask("GET", f"/containers/{box.name}/json")
        if shown is None or shown.status != 200 or shown.json["State"]["Status"] != "running":
            return
        if shown.json["HostConfig"]["RestartPolicy"]["Name"] not in ("", "no"):
            return
        answer, _ = self.ask("POST", f"/containers/{box.name}/wait", timeout=60)
        if answer is not None and answer.status == 200 and not self.storm.disturbed(began) and box.id not in self.storm.cut:
            code = answer.json["StatusCode"]
            if code != box.code:
                self.storm.say(f"{box.name} should end with {box.code}, and ended with {code}")

    def attach(self, box: Box) -> None:
        process = self.cli.start("attach", "--no-stdin", "--sig-proxy=false", box.name)
        self.storm.verbs["attach (CLI)"] += 1
        with contextlib.suppress(Exception):
            process.wait(self.pick.uniform(0.2, 0.8))
        process.kill()
        process.communicate()

    def inspect(self, box: Box) -> None:
        answer, calm = self.ask("GET", f"/containers/{box.id}/json?size={self.pick.randrange(2)}")
        self.expect(answer, calm, {200}, f"inspect {box.name}")
        answer, calm = self.ask("GET", f"/containers/{box.id}/top")
        self.expect(answer, calm, {200, 409}, f"top of {box.name}")

    def remove(self, box: Box) -> None:
        self.logs(box)
        answer, calm = self.ask("DELETE", f"/containers/{box.name}?force=1&v=1")
        if self.expect(answer, calm, {204}, f"rm {box.name}"):
            self.boxes.remove(box)
        else:
            shown, _ = self.ask("GET", f"/containers/{box.id}/json")
            if shown is not None and shown.status == 404:
                self.boxes.remove(box)

    # What anybody does with anything

    def on_shared(self) -> None:
        name = self.pick.choice(SHARED)
        verb = self.pick.choice(["create", "start", "start", "stop?t=1", "kill", "pause", "unpause", "restart?t=1", "rm", "exec", "rename"])
        if verb == "create":
            host = {"AutoRemove": self.pick.random() < 0.3, "Binds": [f"vol-{self.pick.randrange(4)}:/data"],
                    "PortBindings": {"80/tcp": [{"HostPort": "0"}]}}  # fmt: skip
            body = {"Image": "busybox", "Cmd": ["sh", "-c", PROGRAM], "HostConfig": host}
            answer, calm = self.ask("POST", f"/containers/create?name={name}", body)
            self.expect(answer, calm, {201, 409}, f"create {name}")
        elif verb == "rm":
            answer, calm = self.ask("DELETE", f"/containers/{name}?force=1&v=1")
            self.expect(answer, calm, {204, 404, 409}, f"rm {name}")
        elif verb == "exec":
            answer, calm = self.ask("POST", f"/containers/{name}/exec", {"Cmd": ["sleep", "0.3"]})
            if self.expect(answer, calm, {201, 404, 409}, f"exec in {name}") and answer is not None and answer.status == 201:
                answer, calm = self.ask("POST", f"/exec/{answer.json['Id']}/start", {"Detach": True})
                self.expect(answer, calm, {200, 204, 404, 409}, f"start of an exec in {name}")
        elif verb == "rename":
            answer, calm = self.ask("POST", f"/containers/{name}/rename?name={self.pick.choice(SHARED)}")
            self.expect(answer, calm, {204, 400, 404, 409}, f"rename {name}")
        else:
            answer, calm = self.ask("POST", f"/containers/{name}/{verb}")
            self.expect(answer, calm, {204, 304, 404, 409, 500} if verb == "unpause" else {204, 304, 404, 409}, f"{verb} {name}")

    def by_cli(self) -> None:
        """A whole `run --rm`, with its output and its exit code."""
        self.storm.up.wait(60)
        began, code = time.monotonic(), self.pick.choice([0, 5])
        self.storm.verbs["run --rm (CLI)"] += 1
        result = self.cli("run", "--rm", "busybox", "sh", "-c", f"for i in 1 2 3 4 5; do echo $i; done; exit {code}", code=None, timeout=90)
        if (result.code, result.out) != (code, "1\n2\n3\n4\n5\n") and not self.storm.disturbed(began):
            self.storm.say(f"wherry run --rm, and nothing was killed: {result!r}")


def settle(engine: Engine) -> None:
    """Until nothing goes on by itself: no program that ends, none that a policy starts again, no removal."""
    for one in engine.api.ok("GET", "/containers/json?all=1"):
        shown = engine.api.ok("GET", f"/containers/{one['Id']}/json")
        if shown["HostConfig"]["RestartPolicy"]["Name"] not in ("", "no"):
            engine.api("POST", f"/containers/{one['Id']}/stop?t=2")

    def still() -> bool:
        listed = engine.api.ok("GET", "/containers/json?all=1")
        ending = [one for one in listed if one["State"] == "running" and "trap" not in one["Command"]]
        return not ending and not {"removing", "restarting"} & {one["State"] for one in listed}

    eventually(still, 30, what="programs and removals end")
    time.sleep(1.0)  # what an end gives back, it gives back behind its report
