"""The verbs that list, show and move images print what docker prints (list_answers.py says for what, list_outputs.json what that is)."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import list_answers
import pytest
from cli_engine import Engine

from wherry.cli import human, main, table
from wherry.cli.ps import ports_text

OUTPUTS: dict[str, tuple[int, str, str]] = json.loads(list_answers.OUTPUTS.read_text())


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    made = Engine(str(tmp_path / "d.sock"), list_answers.answer)
    monkeypatch.setenv("WHERRY_HOST", made.host)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(tmp_path)
    time.tzset()
    yield made
    made.close()


@pytest.fixture
def no_input() -> Iterator[None]:
    saved, null = os.dup(0), os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    yield
    os.dup2(saved, 0)
    os.close(saved)
    os.close(null)


@pytest.mark.parametrize("line", list_answers.LINES)
def test_as_docker(line: str, engine: Engine, no_input: None, capfd: pytest.CaptureFixture[str]) -> None:
    code = main.run(shlex.split(line))
    out, err = capfd.readouterr()
    assert [code, list_answers.settled(out), list_answers.settled(err)] == list(OUTPUTS[line])


@pytest.mark.parametrize(
    ("line", "path", "query"),
    [
        ("ps", "/containers/json", {}),
        ("ps -a -f status=exited -f label=a=b -f status=dead", "/containers/json",
         {"all": "1", "filters": '{"status":{"exited":true,"dead":true},"label":{"a=b":true}}'}),
        ("ps -l", "/containers/json", {"limit": "1"}),
        ("ps -n 3 -l", "/containers/json", {"limit": "3"}),
        ("ps --format {{.Size}}", "/containers/json", {"size": "1"}),
        ("ps --format {{.ID}}", "/containers/json", {}),
        ("ps -q -s", "/containers/json", {"size": "1"}),
        ("images -a a/b:c", "/images/json", {"all": "1", "filters": '{"reference":{"a/b:c":true}}'}),
        ("volume prune -a -f", "/volumes/prune", {"filters": '{"all":{"true":true}}'}),
        ("image prune -a -f --filter until=1h", "/images/prune", {"filters": '{"until":{"1h":true},"dangling":{"false":true}}'}),
        ("image prune -f", "/images/prune", {"filters": '{"dangling":{"true":true}}'}),
        ("rmi -f --no-prune x", "/images/x", {"force": "1", "noprune": "1"}),
        ("tag x localhost:5000/y:z", "/images/x/tag", {"repo": "localhost:5000/y", "tag": "z"}),
        ("inspect -s c", "/containers/c/json", {"size": "1"}),
        ("events --since 2 --until 3.5 -f type=image", "/events", {"since": "2", "until": "3.5", "filters": '{"type":{"image":true}}'}),
    ],
)  # fmt: skip
def test_what_is_asked(line: str, path: str, query: dict[str, str], engine: Engine) -> None:
    assert main.run(shlex.split(line)) == 0
    last = engine.requests[-1]
    assert (last.path, last.query) == (path, query)


def test_formats_of_the_configuration(engine: Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = {"psFormat": "{{.Names}}", "imagesFormat": "{{.Tag}}", "volumesFormat": "{{.Name}}!"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for verb, first in (("ps", "web"), ("images", "latest"), ("volume ls", "9z!")):
        assert main.run(verb.split()) == 0
        assert capfd.readouterr().out.splitlines()[0] == first
    assert main.run(["ps", "-q"]) == 0
    assert capfd.readouterr().out.splitlines()[0] == "a1a1a1a1a1a1"


def test_ps_loads_nothing_slow(engine: Engine) -> None:
    code = "import sys; before = set(sys.modules)\nfrom wherry.cli import main\nmain.run(['ps'])\nprint(*sorted(set(sys.modules) - before))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=env, capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert not {"re", "json", "typing", "enum", "collections", "datetime", "argparse", "wherry.cli.template", "wherry.cli.goparse"} & set(loaded)
    assert len(loaded) <= 26, loaded


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (125, "2 minutes"), (3599, "59 minutes"),
     (3600, "About an hour"), (5400, "2 hours"), (47 * 3600, "47 hours"), (48 * 3600, "2 days"), (14 * 86400, "2 weeks"), (60 * 86400, "2 months"),
     (729 * 86400, "24 months"), (730 * 86400, "2 years")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert human.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1982569, "1.98MB"), (999999, "1e+03kB"), (10**21, "1ZB")])
def test_sizes(count: int, text: str) -> None:
    assert human.size(count, 3) == text


def test_table_with_lines_of_different_length() -> None:
    """A line without a column ends it; what follows is aligned anew."""
    assert table.lay_out("a\tb\tc\nlooooooooooong\tb\nx\n\ny\tz\n") == "a                b         c\nlooooooooooong   b\nx\n\ny         z\n"


def test_ports_that_are_published_elsewhere_come_last() -> None:
    ports = [list_answers.port(80, 81, "0.0.0.0"), list_answers.port(90), list_answers.port(91), list_answers.port(80, 80, "::1")]
    assert ports_text(ports) == "[::1]:80->80/tcp, 90-91/tcp, 0.0.0.0:81->80/tcp"
