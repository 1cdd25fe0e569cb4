"""C4 and S9: the documented rules of merging an image's defaults with a request, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.daemon.environment import DEFAULT_PATH, environment
from wherry.daemon.runconfig import argv_of, merge, merge_env
from wherry.model.config import Config, HealthConfig
from wherry.model.errors import InvalidArgument


@pytest.mark.parametrize(("image", "asked", "argv"), [
    ({"Cmd": ["sh"]}, Config(), ["sh"]),
    ({"Cmd": ["sh"]}, Config(cmd=["ls", "-l"]), ["ls", "-l"]),
    ({"Entrypoint": ["e"], "Cmd": ["c"]}, Config(), ["e", "c"]),
    ({"Entrypoint": ["e"], "Cmd": ["c"]}, Config(cmd=["x"]), ["e", "x"]),
    ({"Entrypoint": ["e"], "Cmd": ["c"]}, Config(entrypoint=["n"]), ["n"]),
    ({"Entrypoint": ["e"], "Cmd": ["c"]}, Config(entrypoint=["n"], cmd=["x"]), ["n", "x"]),
    ({"Entrypoint": ["e"], "Cmd": ["c"]}, Config(entrypoint=[""], cmd=["x"]), ["x"]),
    ({"Entrypoint": ["e"]}, Config(entrypoint=[], cmd=["x"]), ["x"]),
])
def test_entrypoint_and_command(image: dict[str, Any], asked: Config, argv: list[str]) -> None:
    assert argv_of(merge(image, asked)) == argv


def test_no_command_at_all() -> None:
    with pytest.raises(InvalidArgument, match="no command specified"):
        argv_of(merge({}, Config()))


def test_scalars_and_maps() -> None:
    image = {"User": "www", "WorkingDir": "/srv", "StopSignal": "SIGQUIT", "Labels": {"a": "1", "b": "1"}, "ExposedPorts": {"80/tcp": {}},
             "Volumes": {"/data": {}}, "OnBuild": ["RUN x"]}
    merged = merge(image, Config(labels={"b": "2"}, exposed_ports={"81/tcp": {}}, working_dir="/w", on_build=["y"]))
    assert (merged.user, merged.working_dir, merged.stop_signal) == ("www", "/w", "SIGQUIT")
    assert merged.labels == {"a": "1", "b": "2"}
    assert set(merged.exposed_ports or {}) == {"80/tcp", "81/tcp"}
    assert set(merged.volumes or {}) == {"/data"}
    assert merged.on_build is None


def test_environment_by_key() -> None:
    assert merge_env(["A=1", "B=2"], ["B=3", "C"]) == ["B=3", "C", "A=1"]
    with pytest.raises(InvalidArgument, match="without '='"):
        merge_env(["*"], [])


def test_health_is_filled_up_from_the_image() -> None:
    merged = merge({"Healthcheck": {"Test": ["CMD", "x"], "Interval": 5}}, Config(healthcheck=HealthConfig(interval=7)))
    assert merged.healthcheck == HealthConfig(test=["CMD", "x"], interval=7)


def test_environment_of_the_program() -> None:
    assert environment(["A=1"], "box", tty=False) == [f"PATH={DEFAULT_PATH}", "HOSTNAME=box", "A=1"]
    assert "TERM=xterm" in environment([], "box", tty=True)
    assert environment(["PATH", "HOSTNAME=me"], "box", tty=False) == ["HOSTNAME=me"]
