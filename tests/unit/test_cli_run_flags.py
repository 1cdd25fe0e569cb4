"""Every flag of `run` and `create`, as the JSON that is sent. The expected bodies in cli_run_bodies.json are what docker 28.2 sends for
the same command line, without the fields that say nothing; messages are docker's, with our name."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from wherry.cli.context import Cli
from wherry.cli.create import as_own, prepare
from wherry.cli.errors import CliError
from wherry.cli.flags import SAME_AS, Flags, parse
from wherry.cli.options.table import CREATE, RUN

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cli_run_bodies.json").read_text())
NOT_IN_THE_BODY = {"name", "use-api-socket", "help", "platform", "quiet", "cidfile", "detach-keys", "sig-proxy", "trace"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ef").write_text("\n# c\nA=1\n  B=2 x\nHOME\nNOPE_X\n")
    (tmp_path / "lf").write_text("l1=v\nl2\n")
    (tmp_path / "bad").write_text("A B=1\n")
    (tmp_path / "sc.json").write_text('{ "defaultAction": "SCMP_ACT_ALLOW",\n "syscalls": [] }')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MYV", "mine")
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.delenv("NOPEY", raising=False)
    monkeypatch.delenv("NOPE_X", raising=False)
    return tmp_path


def body_of(line: str) -> dict[str, Any]:
    words = shlex.split(line)
    table = CREATE
    if words[0] == "RUN":
        table, words = RUN, words[1:]
    flags = Flags(table)
    args = parse(flags, words, interspersed=False)
    return prepare(Cli(config_dir="/nonexistent"), flags, args, table is RUN and flags.on("detach"))


def without_nothing(value: Any) -> Any:
    """The value without fields that say nothing; the members of sets, which are objects with empty values, stay."""
    if isinstance(value, list):
        return [without_nothing(item) for item in value]
    if isinstance(value, dict):
        kept = {key: given if key in ("ExposedPorts", "Volumes") else without_nothing(given) for key, given in value.items()}
        return {key: item for key, item in kept.items() if item not in ({}, "", 0, None, [])}
    return value


@pytest.mark.parametrize("case", [case for case in CASES if "body" in case], ids=lambda case: case["args"])
def test_body(case: dict[str, Any], folder: Path) -> None:
    body = body_of(case["args"])
    assert body["Cmd"] if shlex.split(case["args"])[-1] != "b" else "Cmd" not in body
    here = os.getcwd()
    expected = json.dumps(case["body"]).replace("@CWD@", here).replace("@UP@", os.path.dirname(here))
    assert without_nothing(body) == without_nothing(json.loads(expected))


def test_variables_keep_their_order(folder: Path) -> None:
    env = body_of("-e A=1 -e MYV -e NOPEY --env-file ef -e B=3 b")["Env"]
    assert env == ["A=1", "B=2 x", "HOME=/root", "A=1", "MYV=mine", "NOPEY", "B=3"]


@pytest.mark.parametrize("case", [case for case in CASES if "error" in case], ids=lambda case: case["args"])
def test_refused(case: dict[str, Any], folder: Path) -> None:
    with pytest.raises(CliError) as caught:
        body_of(case["args"])
    error = as_own(caught.value, "create")
    assert error.code == case["code"]
    assert error.message == case["error"]


def test_every_flag_has_a_row() -> None:
    seen: set[str] = set()
    for case in CASES:
        words = shlex.split(case["args"])
        flags = Flags(RUN)
        try:
            parse(flags, words[words[0] == "RUN" :], interspersed=False)
        except CliError:
            pass
        seen |= set(flags.values)
    missing = {flag[0] for flag in RUN} - seen - NOT_IN_THE_BODY - set(SAME_AS)
    assert not missing


@pytest.mark.parametrize("flag", ["--pull=always", "--use-api-socket", "--disable-content-trust=false"])
def test_unbuilt_flags_say_so(flag: str) -> None:
    with pytest.raises(CliError, match="is not built yet") as caught:
        body_of(f"{flag} b")
    assert caught.value.code == 125


def test_false_init_and_zero_timeout_are_said() -> None:
    assert body_of("--init=false b")["HostConfig"]["Init"] is False
    assert "Init" not in body_of("b")["HostConfig"]
    assert body_of("--stop-timeout 0 b")["StopTimeout"] == 0
    assert "StopTimeout" not in body_of("b")
    assert body_of("--memory-swappiness 0 b")["HostConfig"]["MemorySwappiness"] == 0


def test_empty_path_lists_of_systempaths_are_sent() -> None:
    host = body_of("--security-opt systempaths=unconfined b")["HostConfig"]
    assert host["MaskedPaths"] == [] and host["ReadonlyPaths"] == []
    assert "MaskedPaths" not in body_of("b")["HostConfig"]


def test_proxies_of_the_configuration_become_variables(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "x"}}}')
    flags = Flags(RUN)
    args = parse(flags, ["-e", "HTTP_PROXY=mine", "b"], interspersed=False)
    body = prepare(Cli(["unix:///x"], config_dir=str(tmp_path)), flags, args, False)
    assert body["Env"] == ["HTTP_PROXY=mine", "http_proxy=http://p:1", "NO_PROXY=x", "no_proxy=x"]
