"""The json-file writer: Docker's record format, splitting, rotation, full disk."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.execdriver import jsonlog
from wherry.execdriver.jsonlog import MAX_RECORD, JsonLog

NOW = 1_764_000_000_123_456_789  # 2025-11-24T16:00:00.123456789Z


def go_text(raw: bytes) -> str:
    """Oracle: Go's conversion of bytes to text, one byte at a time."""
    out, at = "", 0
    while at < len(raw):
        for size in (1, 2, 3, 4):
            try:
                out += raw[at : at + size].decode()
                at += size
                break
            except UnicodeDecodeError:
                continue
        else:
            out += "\ufffd"
            at += 1
    return out


def records(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def written(tmp_path: Path, dir_fd: int, *chunks: bytes) -> bytes:
    log = JsonLog(dir_fd, "c.log")
    for chunk in chunks:
        log.write("stdout", chunk, NOW)
    log.close(NOW)
    return (tmp_path / "c.log").read_bytes()


def test_record_is_byte_for_byte_what_docker_writes(tmp_path: Path, dir_fd: int) -> None:
    end = b'\\n","stream":"stdout","time":"2025-11-24T16:00:00.123456789Z"}\n'
    got = written(tmp_path, dir_fd, bytes(range(10)) + b'\x0b\x0c\r\x1b "#&<=>\\\x7f\x80\xff\n', "\u2028\u2029é\u0080\U0001f600/\n".encode())
    assert got == (
        rb'{"log":"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u0009\u000b\u000c\r\u001b \"#\u0026\u003c=\u003e\\'
        + b"\x7f\\ufffd\\ufffd"
        + end
        + b'{"log":"\\u2028\\u2029\xc3\xa9\xc2\x80\xf0\x9f\x98\x80/'
        + end
    )


def test_invalid_utf8_as_go(tmp_path: Path, dir_fd: int) -> None:
    written(tmp_path, dir_fd, b"\xe2\x82|\xff\xfe|\xed\xa0\x80|\xf0\x9f\x98|\xc0\x80|\xf4\x90\x80\x80|\xe2\x82\xe2\x82\xac\n")
    expected = "|".join("\ufffd" * n for n in (2, 2, 3, 3, 2, 4, 2)) + "\u20ac\n"
    assert records(tmp_path / "c.log")[0]["log"] == expected


@pytest.mark.parametrize(
    ("raw", "sizes"),
    [
        (b"a" * 20000 + b"\n", [16384, 3617]),
        (b"a" * 16384 + b"\n", [16384, 1]),
        (b"a" * 16383 + b"\n", [16384]),
        (b"a" * 32768 + b"\nb\n", [16384, 16384, 1, 2]),
        (b"short\n" + b"a" * 16385 + b"\n\ntail", [6, 16384, 2, 1, 4]),
    ],
)
def test_long_lines_become_partial_records(tmp_path: Path, dir_fd: int, raw: bytes, sizes: list[int]) -> None:
    written(tmp_path, dir_fd, raw)
    assert [len(r["log"]) for r in records(tmp_path / "c.log")] == sizes
    assert "".join(r["log"] for r in records(tmp_path / "c.log")).encode() == raw


def test_a_long_line_is_not_cut_inside_a_character(tmp_path: Path, dir_fd: int) -> None:
    text = "x" + "é" * 20000 + "\n"
    written(tmp_path, dir_fd, text.encode())
    got = records(tmp_path / "c.log")
    assert "".join(r["log"] for r in got) == text and len(got) == 3


def test_unfinished_line_waits_and_streams_do_not_mix(tmp_path: Path, dir_fd: int) -> None:
    log = JsonLog(dir_fd, "c.log")
    log.write("stdout", b"out", NOW)
    log.write("stderr", memoryview(b"err\n"), NOW)
    assert [(r["stream"], r["log"]) for r in records(tmp_path / "c.log")] == [("stderr", "err\n")]
    log.write("stdout", b"put\nrest", NOW + 5_000_000_000)
    log.close(NOW)
    assert [(r["stream"], r["log"]) for r in records(tmp_path / "c.log")[1:]] == [("stdout", "output\n"), ("stdout", "rest")]
    assert records(tmp_path / "c.log")[1]["time"] == "2025-11-24T16:00:05.123456789Z"


def test_complete_lines_are_in_the_file_when_write_returns(tmp_path: Path, dir_fd: int) -> None:
    log = JsonLog(dir_fd, "c.log")
    for n in range(1, 4):
        log.write("stdout", b"line\nhalf" if n == 3 else b"line\n", NOW)
        assert len(records(tmp_path / "c.log")) == n  # no user-space buffer: kill -9 now would lose none of these


def test_attributes_stand_in_each_record(tmp_path: Path, dir_fd: int) -> None:
    log = JsonLog(dir_fd, "c.log", attrs={"b": 'x "y"', "a": "<1>"})
    log.write("stdout", b"hi\n", NOW)
    log.close()
    line = (tmp_path / "c.log").read_bytes()
    assert line.startswith(b'{"log":"hi\\n","stream":"stdout","attrs":{"a":"\\u003c1\\u003e","b":"x \\"y\\""},"time":"')
    assert json.loads(line)["attrs"] == {"a": "<1>", "b": 'x "y"'}


def test_torn_record_of_a_killed_writer_is_ended(tmp_path: Path, dir_fd: int) -> None:
    (tmp_path / "c.log").write_bytes(b'{"log":"torn')
    written(tmp_path, dir_fd, b"next\n")
    lines = (tmp_path / "c.log").read_bytes().splitlines()
    assert lines[0] == b'{"log":"torn' and json.loads(lines[1])["log"] == "next\n"


def test_a_link_in_place_of_the_log_is_not_followed(tmp_path: Path, dir_fd: int) -> None:
    (tmp_path / "victim").write_bytes(b"")
    (tmp_path / "c.log").symlink_to("victim")
    failures: list[OSError] = []
    log = JsonLog(dir_fd, "c.log", on_failure=failures.append)
    log.write("stdout", b"x\n", NOW)
    log.close()
    assert len(failures) == 1 and (tmp_path / "victim").read_bytes() == b""


@pytest.mark.parametrize("max_file", [1, 2, 4])
def test_rotation(tmp_path: Path, dir_fd: int, max_file: int) -> None:
    log = JsonLog(dir_fd, "c.log", max_size=1000, max_file=max_file)
    for n in range(0, 200, 20):
        log.write("stdout", b"".join(b"line %d\n" % i for i in range(n, n + 20)), NOW)
    log.close()
    names = ["c.log"] + [f"c.log.{i}" for i in range(1, max_file)]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    got = [r["log"] for name in reversed(names) for r in records(tmp_path / name)]
    assert got == [f"line {i}\n" for i in range(200 - len(got), 200)]  # the newest lines, none missing
    record = len((tmp_path / "c.log").read_bytes().splitlines()[0]) + 1
    assert all((tmp_path / name).stat().st_size < 1000 + record for name in names)
    assert all((tmp_path / name).stat().st_size >= 1000 for name in names[1:])


def test_rotation_fills_the_gap_that_a_kill_left(tmp_path: Path, dir_fd: int) -> None:
    for number in (2, 3):
        (tmp_path / f"c.log.{number}").write_bytes(b"%d\n" % number)
    log = JsonLog(dir_fd, "c.log", max_size=10, max_file=4)
    for _ in range(2):
        log.write("stdout", b"x\n", NOW)
    log.close()
    assert [(tmp_path / f"c.log.{number}").read_bytes() for number in (2, 3)] == [b"2\n", b"3\n"]


@given(raw=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=6))
@settings(deadline=None, max_examples=150)
def test_any_bytes_in_any_chunks(tmp_path_factory: pytest.TempPathFactory, raw: bytes, cuts: list[int]) -> None:
    path = tmp_path_factory.mktemp("log")
    fd = os.open(path, os.O_RDONLY)
    places = [0, *sorted(min(c, len(raw)) for c in cuts), len(raw)]
    written(path, fd, *(raw[a:b] for a, b in zip(places, places[1:], strict=False)))
    os.close(fd)
    got = [r["log"] for r in records(path / "c.log")]
    assert "".join(got) == go_text(raw)
    assert len(got) == raw.count(b"\n") + (raw[-1:] not in (b"", b"\n"))


def test_escapes_agree_with_a_json_reader() -> None:
    raw = bytes(range(128)).replace(b"\n", b"")
    assert json.loads(b'"' + jsonlog.escape(raw) + b'"') == raw.decode()
    assert MAX_RECORD == 16 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "vol-test", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_full_disk_stops_the_log_and_nothing_else(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 40960)
    failures: list[OSError] = []
    resumed: list[int] = []
    fd = os.open(small_disk, os.O_RDONLY)
    log = JsonLog(fd, "c.log", on_failure=failures.append, on_resume=resumed.append)
    lines = [b"line %4d %s\n" % (n, b"x" * 80) for n in range(600)]
    for n in range(0, 400, 10):
        log.write("stdout", b"".join(lines[n : n + 10]), NOW)
    assert len(failures) == 1 and failures[0].errno == 28 and not resumed
    whole = records(small_disk / "c.log")  # every line of the file parses: no torn record
    assert [r["log"].encode() for r in whole] == lines[: len(whole)]
    ballast.unlink()
    log.write("stdout", b"".join(lines[400:410]), NOW)
    log.close()
    os.close(fd)
    assert [r["log"].encode() for r in records(small_disk / "c.log")] == lines[: len(whole)] + lines[400:410]
    record = len((small_disk / "c.log").read_bytes().splitlines()[0]) + 1
    assert resumed == [(400 - len(whole)) * record] and len(failures) == 1


def test_disk_full_at_rotation(small_disk: Path) -> None:
    fd = os.open(small_disk, os.O_RDONLY)
    failures: list[OSError] = []
    log = JsonLog(fd, "c.log", max_size=30000, max_file=5, on_failure=failures.append)
    for n in range(1000):
        log.write("stdout", b"line %04d %s\n" % (n, b"x" * 80), NOW)
    assert len(failures) == 1
    (small_disk / "c.log.1").unlink()
    log.write("stdout", b"again\n", NOW)
    log.close()
    os.close(fd)
    last = sorted(small_disk.glob("c.log*"), key=lambda p: p.name)[0]
    assert records(last)[-1]["log"] == "again\n"
    assert all(re.match(r"line \d{4}|again", r["log"]) for p in small_disk.iterdir() for r in records(p))
