"""`wherry run --trace`: every act is named, taken in the process that did it, and what no step names is less than a tenth of the time."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from harness.cli import Cli
from harness.engine import Engine
from harness.external import external_host

pytestmark = pytest.mark.own_daemon
ACTS = {
    "wherryd": ["C1 TagStore", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "S1 lookup", "S2 DNS", "S3 mount", "S4", "S5", "S6", "S11", "S12"],
    "monitor": ["monitor: clone"],
    "init": ["init: mount /proc", "init: pivot_root"],
    "cli": ["arguments", "connect", "create", "start", "program"],
}


@pytest.fixture
def wherry(engine: Engine) -> Cli:
    assert not external_host()
    return engine.cli("wherry")


def rows(table: str) -> list[tuple[str, str, int]]:
    """Name, process and microseconds of each step of the table."""
    found = re.findall(r"^ *(\S.*?) {2,}(cli|wherryd|launcher|monitor|init|proxy) +(\d+)$", table, re.M)
    return [(name, process, int(micro)) for name, process, micro in found]


def test_table_names_every_act(wherry: Cli) -> None:
    result = wherry("run", "--rm", "--trace", "busybox", "echo", "hi")
    assert result.out == "hi\n"
    steps = rows(result.err)
    for process, names in ACTS.items():
        for name in names:
            assert any(step.startswith(name) and where == process for step, where, _ in steps), (name, process, result.err)


def test_named_steps_make_up_the_time(wherry: Cli) -> None:
    """The best of a few runs counts: on a busy machine a process may wait for a CPU between two steps."""
    shares = []
    for _ in range(5):
        err = wherry("run", "--rm", "--trace", "busybox", "true").err
        total, wall = (int(re.search(rf"^{name} +(\d+)$", err, re.M)[1]) for name in ("total of the steps", "wall"))  # type: ignore[index]
        shares.append(total / wall)
        if shares[-1] >= 0.9:
            break
    assert 0.9 <= max(shares) <= 1.0, shares


def test_file_is_a_chrome_trace(wherry: Cli, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    result = wherry("run", "--rm", f"--trace={path}", "busybox", "true")
    assert result.err == ""
    events = json.loads(path.read_text())["traceEvents"]
    named = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    complete = [event for event in events if event["ph"] == "X"]
    assert {named[event["pid"]] for event in complete} >= {"cli", "wherryd", "monitor", "init"}
    assert len(named) + len(complete) == len(events)
    for event in complete:  # what the format asks of a complete event, else a viewer leaves it out
        assert event["dur"] >= 0 and event["ts"] > 0 and isinstance(event["name"], str) and isinstance(event["cat"], str)
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
    for one, two in pairwise(event for event in complete if named[event["pid"]] == "init"):  # of one thread: nested or apart
        assert two["ts"] >= one["ts"] + one["dur"] - 0.001 or two["ts"] + two["dur"] <= one["ts"] + one["dur"] + 0.001


def test_detached_run_is_traced_up_to_its_start(wherry: Cli, name: str) -> None:
    result = wherry("run", "-d", "--trace", "--name", name, "busybox", "sleep", "100")
    assert len(result.line) == 64
    assert any(step.startswith("S12") for step, _, _ in rows(result.err))
