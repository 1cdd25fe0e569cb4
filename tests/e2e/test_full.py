"""Something of the host is used up (disk, processes, descriptors): clear errors, nothing lost, and all goes on once there is room."""

import contextlib
import json
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.engine import Engine, engine, image_path
from harness.waiting import eventually

pytestmark = pytest.mark.own_daemon
CHATTER = ["sh", "-c", "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done"]


@pytest.fixture(autouse=True)
def clean_after() -> None:
    """The session's daemon is not used here."""


def fill(directory: Path) -> list[Path]:
    """Takes every last byte; the files to remove for room."""
    made = []
    for size in (1 << 16, 1 << 9):
        made.append(directory / f"filler-{size}")
        with open(made[-1], "ab", 0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(size))
    assert os.statvfs(directory).f_bavail == 0
    return made


def create(made: Engine, name: str, *cmd: str, **host: object) -> str:
    return str(made.api.ok("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": list(cmd), "HostConfig": host})["Id"])


def state(made: Engine, name: str) -> dict[str, object]:
    return dict(made.api.ok("GET", f"/containers/{name}/json")["State"])


@pytest.fixture(params=["tmpfs", "ext4"])
def full_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine whose data root is a small file system of its own."""
    made = Engine("full")
    made.data_root.mkdir()
    if request.param == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", made.data_root], check=True)
    else:
        image = tmp_path / "disk"
        with open(image, "wb") as file:
            file.truncate(48 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, made.data_root], check=True)
    try:
        made.start()
        made.load("busybox")
        yield made
    finally:
        made.close()


def test_a_full_disk(full_disk: Engine) -> None:
    made, api = full_disk, full_disk.api
    create(made, "ends", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
    create(made, "kept", "true")
    create(made, "talks", *CHATTER)
    create(made, "removed", "sleep", "600")
    create(made, "gone", "sleep", "600", AutoRemove=True)
    for name in ("ends", "talks", "removed", "gone"):
        api.ok("POST", f"/containers/{name}/start")
    filler = fill(made.data_root)

    refused = api("POST", "/containers/create?name=more", {"Image": "busybox", "Cmd": ["true"]})
    assert refused.status == 503 and "No space left" in refused.message and "make room" in refused.message, refused
    assert api("GET", "/containers/more/json").status == 404
    failed = api("POST", "/containers/kept/start")
    assert failed.status >= 500 and "No space left" in failed.message and "step" in failed.message, failed
    assert state(made, "kept")["Error"]
    tagged = api("POST", "/images/busybox/tag?repo=another")
    assert tagged.status == 503 and "No space left" in tagged.message, tagged
    assert api("GET", "/images/another/json").status == 404
    with open(image_path("debian"), "rb") as archive:
        loaded = api("POST", "/images/load?quiet=1", raw=archive.read(64 << 20), Content_Type="application/x-tar")
    assert "no space left" in loaded.body.decode().lower(), loaded
    assert [tag for image in api.ok("GET", "/images/json") for tag in image["RepoTags"]] == ["busybox:latest"]

    # What makes room must work, and what ends must be known.
    api.ok("POST", "/containers/ends/kill?signal=TERM")
    eventually(lambda: state(made, "ends")["ExitCode"] == 7, what="the exit is known")
    assert state(made, "talks")["Running"], "a log that cannot be written stopped the program"
    api.ok("POST", "/containers/gone/stop?t=0")
    api.ok("DELETE", "/containers/removed?force=1")
    eventually(lambda: {n for c in api.ok("GET", "/containers/json?all=1") for n in c["Names"]} == {"/ends", "/kept", "/talks"})

    made.kill()
    fill(made.data_root)  # the removals have made a little room
    made.start()
    assert state(made, "talks")["Running"] and state(made, "ends")["ExitCode"] == 7

    for file in filler:
        file.unlink()
    before = made.api("GET", "/containers/talks/logs?stdout=1&tail=1").body
    eventually(lambda: made.api("GET", "/containers/talks/logs?stdout=1&tail=1").body != before, what="the log goes on")
    made.api.ok("POST", "/containers/kept/start")
    create(made, "more", "true")
    made.api.ok("POST", "/containers/more/start")
    made.load("busybox")


def test_a_full_exec_root() -> None:
    made = Engine("xroot")
    made.exec_root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", made.exec_root], check=True)
    try:
        made.start()
        made.load("busybox")
        create(made, "runs", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
        create(made, "late", "true")
        made.api.ok("POST", "/containers/runs/start")
        filler = fill(made.exec_root)
        failed = made.api("POST", "/containers/late/start")
        assert failed.status >= 500 and "No space left" in failed.message and "step" in failed.message, failed
        made.api.ok("POST", "/containers/runs/kill?signal=TERM")
        eventually(lambda: state(made, "runs")["ExitCode"] == 7, what="the exit is known")
        for file in filler:
            file.unlink()
        made.api.ok("POST", "/containers/late/start")
        assert made.api.ok("POST", "/containers/late/wait")["StatusCode"] == 0
    finally:
        made.close()


@pytest.fixture
def pids_group() -> Iterator[Path]:
    """A group of our own in the pids hierarchy (v1), or a v2 group with that controller."""
    root = Path("/sys/fs/cgroup/pids")
    group = (root if root.is_dir() else Path("/sys/fs/cgroup")) / f"wherry-test-{os.getpid()}"
    group.mkdir()
    yield group
    eventually(lambda: group.rmdir() or True, what="the test's group is empty")


def test_a_full_pids_limit(pids_group: Path) -> None:
    with engine("pids") as made:
        for pid in [made.pid, *made.processes()]:
            (pids_group / "cgroup.procs").write_text(str(pid))
        create(made, "runs", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
        create(made, "late", "true")
        made.api.ok("POST", "/containers/runs/start")
        made.api.ok("POST", "/containers/late/start")
        made.api.ok("POST", "/containers/late/wait")

        parked = eventually(lambda: len(made.processes()) >= 4 and made.processes(), what="monitors are parked")
        assert parked
        with made.api.connection() as kept:  # its thread is there already
            kept.request("GET", "/_ping")
            kept.getresponse().read()
            (pids_group / "pids.max").write_text("1")
            steps = set()
            for _ in range(5):  # the parked monitors are used up on the way
                kept.request("POST", "/containers/late/start")
                answer = kept.getresponse()
                message = json.loads(answer.read())["message"]
                assert answer.status >= 500 and "temporarily unavailable" in message, message
                steps |= {name for name in ("monitor: clone", "launcher: monitor") if name in message}
            assert steps == {"monitor: clone", "launcher: monitor"}
            refused = made.api("GET", "/_ping")  # another connection, whose thread cannot be made
            assert refused.status == 503 and "limit of processes" in refused.message, refused
            kept.request("POST", "/containers/runs/kill?signal=TERM")
            assert kept.getresponse().read() == b""
            (pids_group / "pids.max").write_text("max")
            eventually(lambda: state(made, "runs")["ExitCode"] == 7, what="the exit is known")
        made.api.ok("POST", "/containers/late/start")
        assert made.api.ok("POST", "/containers/late/wait")["StatusCode"] == 0


def test_few_descriptors() -> None:
    """With no descriptor left connections wait, starts fail at a named step, and all goes on when others have closed theirs."""
    with engine("nofile") as made:
        create(made, "late", "true")
        made.api.ok("POST", "/containers/late/start")
        made.api.ok("POST", "/containers/late/wait")
        limits = resource.prlimit(made.pid, resource.RLIMIT_NOFILE)
        with contextlib.ExitStack() as open_ones:
            kept = open_ones.enter_context(made.api.connection())
            kept.request("GET", "/_ping")
            kept.getresponse().read()
            used = max(map(int, os.listdir(f"/proc/{made.pid}/fd"))) + 1
            resource.prlimit(made.pid, resource.RLIMIT_NOFILE, (used + 6, limits[1]))
            for _ in range(12):
                open_ones.enter_context(made.api.connection()).connect()
            eventually(lambda: "cannot accept" in made.log_tail(), what="accepting pauses")
            kept.request("POST", "/containers/late/start")
            answer = kept.getresponse()
            message = json.loads(answer.read())["message"]
            assert answer.status >= 500 and "step" in message and "open files" in message, message
        resource.prlimit(made.pid, resource.RLIMIT_NOFILE, limits)
        made.api.ok("POST", "/containers/late/start")
        assert made.api.ok("POST", "/containers/late/wait")["StatusCode"] == 0
        assert made.log_tail(100_000).count("cannot accept") < 100, "it does not spin"
