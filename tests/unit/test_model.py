"""Identifiers, steps, and the Command's way through JSON."""

from __future__ import annotations

import pytest

from wherry.model import steps
from wherry.model.command import Capabilities, Command, Mount, Process, Rlimit, from_json, to_json
from wherry.model.config import HostConfig
from wherry.model.container import ZERO_TIME, rfc3339
from wherry.model.errors import InvalidArgument, NotFound
from wherry.model.ids import TruncIndex, check_name, new_id


def test_trunc_index_finds_unique_prefixes_and_names_candidates() -> None:
    index = TruncIndex()
    for identifier in ("abc1" + "0" * 60, "abc2" + "0" * 60, "def" + "0" * 61):
        index.add(identifier)
    assert index.get("d").startswith("def")
    with pytest.raises(InvalidArgument, match="abc100000000, abc200000000"):
        index.get("abc")
    index.remove("abc1" + "0" * 60)
    assert index.get("abc").startswith("abc2")
    for wrong in ("", "xyz", "abc3", "../x"):
        with pytest.raises(NotFound):
            index.get(wrong)


@pytest.mark.parametrize("name", ["a", "-ab", "a/b", "a b", "ä1", "a\0b", "../etc", "a" * 300])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        check_name(name)


def test_good_names_lose_their_slash() -> None:
    assert check_name("/web_1.x-y") == "web_1.x-y"
    assert len(new_id()) == 64


def test_command_survives_json() -> None:
    command = Command(id="x", process=Process(argv=["sh"], env=["A=b"], capabilities=Capabilities(1, 2, 3), rlimits=[Rlimit(7, "nofile", 1, -1)]),
                      mounts=[Mount("tmpfs", "/t", options={"size": "1m", "noswap": None})], sysctls={"net.x": "1"})
    again = from_json(to_json(command))
    assert to_json(again) == to_json(command)
    assert again.process.capabilities == command.process.capabilities
    assert again.mounts[0].options == {"size": "1m", "noswap": None}
    with pytest.raises(ValueError, match="format"):
        from_json(b'{"version": 2}')


def test_field_names_are_dockers() -> None:
    names = set(HostConfig.__struct_encode_fields__)
    assert {"NanoCpus", "UTSMode", "ContainerIDFile", "BlkioDeviceReadIOps", "IOMaximumIOps", "PidsLimit", "CgroupnsMode", "ShmSize"} <= names


def test_steps_record_and_name_errors() -> None:
    trace = steps.Trace("test")
    steps.use_trace(trace)
    try:
        with steps.step("outer"), steps.step("inner"):
            pass
        with pytest.raises(OSError) as caught, steps.step("outer"), steps.step("broken"):
            raise OSError(5, "x")
    finally:
        steps.use_trace(None)
    assert [s.name for s in trace.spans] == ["inner", "outer", "broken", "outer"]
    assert caught.value.step == "broken"  # type: ignore[attr-defined]


def test_times() -> None:
    assert rfc3339(0) == ZERO_TIME
    assert rfc3339(1_000_000_000_500_000_000) == "2001-09-09T01:46:40.5Z"
