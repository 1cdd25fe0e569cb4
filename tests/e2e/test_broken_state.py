"""Broken files under a data root: the daemon starts with all the others, says what it found, and keeps what it set aside."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator

import pytest

from harness.engine import Engine
from harness.waiting import eventually

pytestmark = pytest.mark.own_daemon

GARBAGE = {
    "empty": b"", "binary": b"\x00\xff\xfe" * 100, "no object": b"[]",
    "other types": b'{"version":"x","id":7,"host":5,"Version":"x","pid":"x","code":"x"}',
    "newer format": b'{"version":99,"Version":99}', "deep": b"[" * 100_000,
}  # fmt: skip


@pytest.fixture(autouse=True)
def clean_after() -> None:
    """The session's daemon is not used here."""


@pytest.fixture(scope="module")
def made() -> Iterator[Engine]:
    engine = Engine("broken")
    try:
        engine.start()
        engine.load("busybox")
        create(engine, "whole")
        yield engine
    finally:
        engine.close()


def create(made: Engine, name: str, *cmd: str) -> str:
    return str(made.api.ok("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": cmd or ["true"]})["Id"])


def names(made: Engine) -> set[str]:
    return {name for one in made.api.ok("GET", "/containers/json?all=1") for name in one["Names"]}


def test_containers_of_broken_records(made: Engine) -> None:
    broken = {}
    for file in ("config.json", "hostconfig.json"):
        for number, garbage in enumerate([*GARBAGE, "truncated"]):
            broken[create(made, f"broken-{file}-{number}")] = (file, garbage)
    made.signal(15)
    for identifier, (file, garbage) in broken.items():
        path = made.data_root / "containers" / identifier / file
        path.write_bytes(path.read_bytes()[:-10] if garbage == "truncated" else GARBAGE[garbage])
    made.start()
    assert names(made) == {"/whole"}
    for identifier, (file, _) in broken.items():
        assert f"container {identifier[:12]} cannot be loaded and is set aside" in made.log_tail(100_000)
        assert (made.data_root / "containers" / f"broken-{identifier}" / file).exists()
    create(made, "broken-config.json-1")  # its name is free
    made.api.ok("DELETE", "/containers/broken-config.json-1")


def test_broken_files_of_runs(made: Engine) -> None:
    """They run on under the next daemon, whatever became of their small files: the rest is in wherry.db."""
    runs = {}
    for file in ("container.json", "state.json", "exit.json"):
        for number, garbage in enumerate(GARBAGE.values()):
            name = f"runs-{file}-{number}"
            identifier = create(made, name, "sleep", "600")
            made.api.ok("POST", f"/containers/{name}/start")
            runs[name] = (made.exec_root / "execdriver/native" / identifier / file, garbage, state(made, name)["Pid"])
    made.kill()
    for path, garbage, _ in runs.values():
        path.write_bytes(garbage)
    made.start()
    assert names(made) == {"/whole", *(f"/{name}" for name in runs)}
    for name, (path, _, pid) in runs.items():
        found = state(made, name)
        assert found["Running"] and found["Pid"] == pid, (name, found)
        made.api.ok("DELETE", f"/containers/{name}?force=1")
        eventually(lambda path=path: not path.parent.exists(), what=f"{path} is gone")
    assert names(made) == {"/whole"}


def state(made: Engine, name: str) -> dict[str, object]:
    return dict(made.api.ok("GET", f"/containers/{name}/json")["State"])


@pytest.mark.parametrize("garbage", ["other types", "deep"])
@pytest.mark.parametrize("kind", ["repositories.json", "images", "layers"])
def test_broken_files_of_images(kind: str, garbage: str) -> None:
    made = Engine("brokimg")
    try:
        made.start()
        made.load("busybox")
        create(made, "kept")
        made.signal(15)
        path = made.data_root / kind
        for file in [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]:
            file.write_bytes(GARBAGE[garbage])
        made.start()
        assert names(made) == {"/kept"}
        made.api.ok("GET", "/images/json")
        assert "broken" in made.log_tail() or "aside" in made.log_tail() or "cannot" in made.log_tail(), made.log_tail()
        made.load("busybox")
        made.api.ok("GET", "/images/busybox/json")
        create(made, "fresh")
        made.api.ok("POST", "/containers/fresh/start")
        assert made.api.ok("POST", "/containers/fresh/wait")["StatusCode"] == 0
    finally:
        made.close()


@pytest.mark.parametrize("how", ["garbage", "newer", "torn"])
def test_a_broken_database_is_refused(how: str) -> None:
    """Everything is in it, so nothing is guessed: the daemon says what is wrong and what to do, and changes no content."""
    made = Engine("brokdb")
    try:
        made.start()
        made.load("busybox")
        create(made, "kept")
        made.signal(15)
        path = made.data_root / "wherry.db"
        whole = path.read_bytes()
        if how == "newer":
            with sqlite3.connect(path) as database:
                database.execute("PRAGMA user_version=99")
            database.close()
        else:
            path.write_bytes(os.urandom(len(whole)) if how == "garbage" else whole[:4096] + os.urandom(len(whole) - 4096))
        broken = path.read_bytes()
        made.start(wait=False)
        assert made.wait_end() == 1
        assert str(path) in made.log_tail() and ("newer wherryd" in made.log_tail() or "damaged" in made.log_tail()), made.log_tail()
        assert path.read_bytes()[4096:] == broken[4096:]  # the first page has SQLite's own counters
        path.write_bytes(whole)
        made.start()
        assert names(made) == {"/kept"}
    finally:
        made.close()


def test_a_read_only_data_root() -> None:
    made = Engine("ro")
    made.data_root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", made.data_root], check=True)
    try:
        made.start()
        made.load("busybox")
        create(made, "kept")
        made.signal(15)

        def remounted() -> bool:
            return subprocess.run(["mount", "-o", "remount,ro", made.data_root], capture_output=True).returncode == 0

        eventually(remounted, what="nobody writes any more")
        made.start(wait=False)
        assert made.wait_end() == 1
        assert "cannot start" in made.log_tail() and "ead-only" in made.log_tail(), made.log_tail()
        subprocess.run(["mount", "-o", "remount,rw", made.data_root], check=True)
        made.start()
        assert names(made) == {"/kept"}
    finally:
        made.close()
