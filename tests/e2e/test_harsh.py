"""Starts that fail half-way: each leaves the host as it was, and its error says at which step, why, and with which errno."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness import snapshot
from harness.api import Answer
from harness.engine import Engine, engine
from harness.waiting import eventually

pytestmark = pytest.mark.own_daemon


class Case(NamedTuple):
    """A container whose start must fail; the words that its error must have; what is done between create and start."""

    name: str
    body: dict[str, Any]
    words: tuple[str, ...]
    before_start: Callable[[Engine, Path], object] = lambda _engine, _scratch: None
    at_create: bool = False  # may be refused as early as that


def seccomp(text: str) -> dict[str, Any]:
    return {"HostConfig": {"SecurityOpt": [f"seccomp={text}"]}}


def vanish(_engine: Engine, scratch: Path) -> None:
    (scratch / "gone").rmdir()


CASES = [
    Case("bind source vanishes", {"HostConfig": {"Mounts": [{"Type": "bind", "Source": "SCRATCH/gone", "Target": "/x"}]}},
         ("gone", "S6 volumes"), vanish),
    Case("target under a file", {"HostConfig": {"Binds": ["SCRATCH:/etc/passwd/below"]}}, ("/etc/passwd", "init: ")),
    Case("file onto a directory", {"HostConfig": {"Binds": ["/etc/hosts:/tmp"]}}, ("/tmp", "init: ")),
    Case("bad sysctl value", {"HostConfig": {"Sysctls": {"net.ipv4.ip_forward": "nonsense"}}}, ("ip_forward", "init: ")),
    Case("unknown sysctl", {"HostConfig": {"Sysctls": {"net.ipv4.no_such_thing": "1"}}}, ("no_such_thing", "init: ")),
    Case("bad device", {"HostConfig": {"Devices": [{"PathOnHost": "/dev/no-such", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}]}},
         ("/dev/no-such",), at_create=True),
    Case("ulimit over the hard limit", {"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 1 << 40, "Hard": 1 << 40}]}}, ("nofile",),
         at_create=True),
    Case("cpuset of no such cpu", {"HostConfig": {"CpusetCpus": "4000"}}, ("4000", "available"), at_create=True),
    Case("real-time limit the kernel refuses", {"HostConfig": {"CpuPeriod": 1000, "CpuQuota": 1 << 60}}, ("quota",), at_create=True),
    Case("working directory is a file", {"WorkingDir": "/etc/passwd"}, ("/etc/passwd", "init: ")),
    Case("user of no such name", {"User": "nobody-of-this-name"}, ("nobody-of-this-name",)),
    Case("group of no such name", {"User": "0:nothing"}, ("nothing",)),
    Case("group-add of no such name", {"HostConfig": {"GroupAdd": ["nothing"]}}, ("nothing",)),
    Case("port taken", {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "HELD"}]}}}, ("HELD", "already", "S11 published ports")),
    Case("one port of two taken", {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "0"}], "81/tcp": [{"HostPort": "HELD"}]}}},
         ("HELD", "already", "S11 published ports")),
    Case("network of a container that does not run", {"HostConfig": {"NetworkMode": "container:stopped"}}, ("non running container", "S9-S10")),
    Case("network of no container", {"HostConfig": {"NetworkMode": "container:nowhere"}}, ("nowhere",), at_create=True),
    Case("seccomp profile is no JSON", seccomp("{"), ("seccomp",), at_create=True),
    Case("seccomp profile without default action", seccomp(json.dumps({"syscalls": []})), ("seccomp",), at_create=True),
    Case("seccomp profile with an unknown action",
         seccomp(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NONSENSE"}]})),
         ("seccomp",), at_create=True),
    Case("program not found", {"Cmd": ["no-such-program"]}, ("no-such-program", "init: exec")),
    Case("program not executable", {"Cmd": ["/etc/passwd"]}, ("/etc/passwd", "init: exec")),
    Case("--init without its program", {"HostConfig": {"Init": True}}, ("no-such-tini", "ENOENT")),
]  # fmt: skip


@pytest.fixture(scope="module")
def private() -> Iterator[Engine]:
    with engine("harsh", "--init-path", "/no-such-tini") as made:
        made.api.ok("POST", "/containers/create?name=stopped", {"Image": "busybox", "Cmd": ["true"]})
        made.api.ok("POST", "/containers/create?name=holder", {"Image": "busybox", "Cmd": ["sleep", "6000"], "HostConfig": {
            "PortBindings": {"80/tcp": [{"HostPort": "0"}]}}})
        made.api.ok("POST", "/containers/holder/start")
        yield made


@pytest.fixture(autouse=True)
def clean_after() -> None:
    """The session's daemon is not used here."""


class Bench(NamedTuple):
    """The private engine, a directory of the tests', and the host as it is with nothing of the cases on it."""

    engine: Engine
    scratch: Path
    port: str
    before: snapshot.Snapshot


@pytest.fixture(scope="module")
def bench(private: Engine, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Each case has run once: what is made once and kept (caches, threads, the shared init layer) is there."""
    ports = private.api.ok("GET", "/containers/holder/json")["NetworkSettings"]["Ports"]
    made = Bench(private, tmp_path_factory.mktemp("harsh"), str(ports["80/tcp"][0]["HostPort"]), {})
    for case in CASES:
        attempt(made, case)
    return made._replace(before=snapshot.settled(private))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_failing_start_leaves_nothing(bench: Bench, case: Case) -> None:
    answer = attempt(bench, case)
    assert answer.status >= 400, answer
    for word in case.words:
        assert word.replace("HELD", bench.port) in answer.message, answer
    snapshot.assert_as_before(bench.before, bench.engine)


def attempt(bench: Bench, case: Case) -> Answer:
    """Create, start and remove; the answer of what failed."""
    api = bench.engine.api
    (bench.scratch / "gone").mkdir(exist_ok=True)
    body = {"Image": "busybox", "Cmd": ["true"],
            **json.loads(json.dumps(case.body).replace("SCRATCH", str(bench.scratch)).replace("HELD", bench.port))}
    answer = api("POST", "/containers/create?name=failing", body)
    if answer.status != 201:
        assert case.at_create, answer
        return answer
    case.before_start(bench.engine, bench.scratch)
    answer = api("POST", "/containers/failing/start")
    state = api.ok("GET", "/containers/failing/json")["State"]
    assert not state["Running"] and state["Pid"] == 0 and state["ExitCode"] in (126, 127, 128) and state["Error"], (answer, state)
    api.ok("DELETE", "/containers/failing?v=1")
    return answer


def test_the_address_pool_is_used_up() -> None:
    """A /29 has six addresses, one is the bridge's: the sixth container is refused at the named step and leaves nothing."""
    with engine("pool", "--bip", "10.213.77.1/29") as made:
        def create(name: str) -> None:
            made.api.ok("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": ["sleep", "600"]})

        for number in range(5):
            create(f"fits{number}")
            made.api.ok("POST", f"/containers/fits{number}/start")
        create("more")
        refused = made.api("POST", "/containers/more/start")
        before = snapshot.settled(made)
        refused = made.api("POST", "/containers/more/start")
        assert refused.status >= 500 and "S1 journal intent" in refused.message and "address" in refused.message, refused
        snapshot.assert_as_before(before, made)
        made.api.ok("DELETE", "/containers/fits3?force=1")
        made.api.ok("POST", "/containers/more/start")


def test_a_flooded_and_a_deleted_log() -> None:
    """max-size holds under a flood; a log file that somebody deletes takes nobody down, and reading it is no error."""
    with engine("flood") as made:
        options = {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "2"}}
        body = {"Image": "busybox", "Cmd": ["sh", "-c", "yes 0123456789 | head -n 200000; echo end; sleep 600"], "HostConfig": {"LogConfig": options}}
        identifier = made.api.ok("POST", "/containers/create?name=flood", body)["Id"]
        made.api.ok("POST", "/containers/flood/start")
        directory = made.data_root / "containers" / identifier
        eventually(lambda: made.cli("wherry")("logs", "--tail", "1", "flood").line == "end", 30, what="the flood is over")
        files = {one.name: one.stat().st_size for one in directory.iterdir() if "-json.log" in one.name}
        assert files.keys() == {f"{identifier}-json.log", f"{identifier}-json.log.1"}
        assert all(size <= 65 * 1024 for size in files.values()), files
        for name in files:
            (directory / name).unlink()
        assert made.cli("wherry")("logs", "flood").out == ""
        assert made.api.ok("GET", "/containers/flood/json")["State"]["Running"]
        made.api.ok("POST", "/containers/flood/stop?t=0")
        made.api.ok("POST", "/containers/flood/start")
        eventually(lambda: made.cli("wherry")("logs", "--tail", "1", "flood").line == "end", 30, what="it is logged again")
