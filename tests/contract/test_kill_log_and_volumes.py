"""kill -9 of the process that writes a log or makes, fills and removes volumes: nothing that was done is lost, nothing is left half-done."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.daemon.logs import LogOptions, logs
from wherry.store.db import Database
from wherry.volume.store import VolumeStore

WRITER = """
import os, sys, time
from wherry.execdriver.jsonlog import JsonLog
log = JsonLog(os.open(sys.argv[1], os.O_RDONLY), "c.log", max_size=40000, max_file=1000)
number = 0
while True:
    lines = b"".join(b"line %d\\n" % n for n in range(number, number + 50))
    log.write("stdout", lines, time.time_ns())
    number += 50
    os.write(1, b"%d\\n" % number)
"""

FILLER = """
import os, sys
from pathlib import Path
from wherry.store.db import Database
from wherry.volume.store import VolumeStore
root = Path(sys.argv[1])
volumes = VolumeStore(root / "volumes", Database(root / "wherry.db"))
rootfs = os.open(root / "rootfs", os.O_PATH)
while True:
    for name in ("v1", "v2"):
        volumes.create(name, labels={"k": name}, container="c")
        volumes.copy_up("c", rootfs, "/data", name)
        os.write(1, b"+%s\\n" % name.encode())
    volumes.release("c", ["v1", "v2"])
    os.write(1, b"-\\n")
"""


def run_and_kill(script: str, directory: Path, seconds: float) -> list[str]:
    """What the script said before it was killed."""
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", script, str(directory)], stdout=write)
    os.close(write)
    with os.fdopen(read) as pipe:
        first = pipe.readline()  # it is up
        assert first
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        said = first + pipe.read()
    assert process.wait() == -signal.SIGKILL
    return said.splitlines()


@pytest.mark.parametrize("seed", range(2))
def test_killed_writer_loses_no_written_line(tmp_path: Path, seed: int) -> None:
    """Two writers one after the other, as over two runs of a container."""
    expected: list[int] = []
    for _ in range(2):
        said = run_and_kill(WRITER, tmp_path, random.Random(seed).uniform(0.01, 0.15))
        expected.append(int(said[-1]))
    text = b"".join(data for _, data in logs(tmp_path, "c.log", LogOptions())).decode()
    numbers = [int(line.removeprefix("line ")) for line in text.splitlines()]
    second = numbers.index(0, 1)
    for got, written in ((numbers[:second], expected[0]), (numbers[second:], expected[1])):
        assert got == list(range(len(got))) and written <= len(got) <= written + 50


@pytest.mark.parametrize("seed", range(2))
def test_killed_store_leaves_whole_volumes_or_none(tmp_path: Path, seed: int) -> None:
    data = tmp_path / "rootfs/data"
    for number in range(30):
        (data / f"d{number}").mkdir(parents=True)
        (data / f"d{number}/f").write_text("x" * 1000)
    rng = random.Random(seed)
    for _ in range(3):
        said = run_and_kill(FILLER, tmp_path, rng.uniform(0.005, 0.1))
        db = Database(tmp_path / "wherry.db")
        volumes = VolumeStore(tmp_path / "volumes", db)
        names = [volume.name for volume in volumes.list()]
        assert sorted(os.listdir(tmp_path / "volumes")) == names
        for name in names:
            assert os.listdir(tmp_path / "volumes" / name) == ["_data"] and volumes.get(name).labels == {"k": name}
            inside = sorted(os.listdir(volumes.path(name)))
            assert inside in ([], sorted(os.listdir(data)))
            assert all((volumes.path(name) / entry / "f").stat().st_size == 1000 for entry in inside)
        if said[-1] == "+v1":
            assert "v1" in names and os.listdir(volumes.path("v1"))
        volumes.reconcile(set(), set())
        for name in names:
            volumes.remove(name)
        db.close()
