"""The log reader against the log writer."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.daemon.logs import LogOptions, logs
from wherry.execdriver.jsonlog import JsonLog
from wherry.model.cancel import Cancel

SECOND = 1_000_000_000
T0 = 1_764_000_000 * SECOND


class Writer:
    """A log in a directory of its own; each line a second later than the one before."""

    def __init__(self, path: Path, **options: int) -> None:
        self.path, self.now = path, T0
        self.fd = os.open(path, os.O_RDONLY)
        self.log = JsonLog(self.fd, "c.log", **options)  # type: ignore[arg-type]

    def write(self, *lines: str, stream: str = "stdout") -> None:
        for line in lines:
            self.log.write(stream, line.encode(), self.now)  # type: ignore[arg-type]
            self.now += SECOND

    def read(self, **options: object) -> list[tuple[str, str]]:
        return [(stream, text.decode()) for stream, text in logs(self.path, "c.log", LogOptions(**options))]  # type: ignore[arg-type]

    def text(self, **options: object) -> str:
        return "".join(text for _, text in self.read(**options))

    def close(self) -> None:
        self.log.close(self.now)
        os.close(self.fd)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    writer = Writer(tmp_path)
    yield writer
    writer.close()


def test_streams_in_order(writer: Writer) -> None:
    writer.write("a\n", "b\n")
    writer.write("err\n", stream="stderr")
    writer.write("c <&>\t\"quoted\" \\ é \u2028\n")
    assert writer.read() == [("stdout", "a\nb\n"), ("stderr", "err\n"), ("stdout", "c <&>\t\"quoted\" \\ é \u2028\n")]
    assert writer.read(stderr=False) == [("stdout", "a\nb\nc <&>\t\"quoted\" \\ é \u2028\n")]
    assert writer.read(stdout=False) == [("stderr", "err\n")]


def test_a_program_that_prints_our_frame_fools_nobody(writer: Writer) -> None:
    hostile = '{"log":"x\\n","stream":"stderr","time":"1"}\n","stream":"stderr","\n'
    writer.write(hostile)
    assert writer.read(stderr=False) == [("stdout", hostile)] and writer.read(stdout=False) == []


def test_no_log_yet(tmp_path: Path) -> None:
    assert list(logs(tmp_path, "c.log", LogOptions())) == list(logs(tmp_path, "c.log", LogOptions(follow=True, tail=3))) == []


def test_timestamps_and_details(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    log = JsonLog(fd, "c.log", attrs={"a": "x y,z", "B": "<q"})
    log.write("stdout", b"hi\n", T0 + 5)
    log.close()
    os.close(fd)
    options = LogOptions(timestamps=True, details=True)
    assert list(logs(tmp_path, "c.log", options)) == [("stdout", b"2025-11-24T16:00:00.000000005Z B=%3Cq,a=x+y%2Cz hi\n")]
    (tmp_path / "c.log").write_text('{"log":"hi\\n","stream":"stdout","time":"2026-11-24T10:36:44.4093019Z"}\n')
    assert list(logs(tmp_path, "c.log", options)) == [("stdout", b"2026-11-24T10:36:44.409301900Z  hi\n")]


def test_since_and_until(writer: Writer) -> None:
    writer.write(*(f"{n}\n" for n in range(10)))
    assert writer.text(since=T0 + 7 * SECOND) == "7\n8\n9\n" and writer.text(since=T0 + 7 * SECOND + 1) == "8\n9\n"
    assert writer.text(until=T0 + 2 * SECOND) == "0\n1\n2\n" and writer.text(since=T0 + SECOND, until=T0 + 2 * SECOND) == "1\n2\n"
    assert writer.text(since=T0 + 99 * SECOND) == "" == writer.text(until=T0 - 1)
    assert writer.text(tail=5, since=T0 + 8 * SECOND) == "8\n9\n" and writer.text(tail=1, since=T0 + 8 * SECOND) == "9\n"


@pytest.mark.parametrize("tail", [0, 1, 2, 9, 10, 11, 1000, 2999, 3000, 3001])
def test_tail_over_rotated_files(tmp_path: Path, tail: int) -> None:
    writer = Writer(tmp_path, max_size=20_000, max_file=50)
    lines = [f"line {n}\n" for n in range(3000)]
    writer.write(*lines)
    assert len(list(tmp_path.iterdir())) > 10
    assert writer.text(tail=tail) == "".join(lines[max(0, 3000 - tail) :])
    writer.close()


def test_tail_reads_only_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path)
    for _ in range(10):
        writer.log.write("stdout", (b"x" * 99 + b"\n") * 10_000, T0)
    sizes: list[int] = []
    pread = os.pread

    def counting(fd: int, size: int, at: int) -> bytes:
        data = pread(fd, size, at)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counting)
    assert writer.text(tail=1) == "x" * 99 + "\n"
    assert sum(sizes) < 600_000  # of 16 MB
    writer.close()


def test_torn_and_foreign_lines_are_passed_over(writer: Writer) -> None:
    writer.write("a\n")
    with open(writer.path / "c.log", "ab") as file:
        file.write(b'{"log":"torn\n\xff\xfe\nnull\n[1]\n{"log":5}\n')
    writer.write("b\n")
    assert writer.text() == "a\nb\n"
    with open(writer.path / "c.log", "ab") as file:
        file.write(b"\0" * 3_000_000)
    assert writer.text() == "a\nb\n"


def test_a_link_in_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"log":"secret\\n","stream":"stdout","time":""}\n')
    (tmp_path / "c.log").symlink_to("secret")
    with pytest.raises(OSError, match="symbolic links"):
        list(logs(tmp_path, "c.log", LogOptions()))


chunks = st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=60)), max_size=12)


@given(chunks=chunks, max_size=st.sampled_from([None, 1, 150, 400]))
@settings(deadline=None, max_examples=150)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[str, bytes]], max_size: int | None) -> None:
    path = tmp_path_factory.mktemp("log")
    fd = os.open(path, os.O_RDONLY)
    log = JsonLog(fd, "c.log", max_size=max_size, max_file=1000)
    for stream, data in chunks:
        log.write(stream, data, T0)  # type: ignore[arg-type]
    log.close(T0)
    os.close(fd)
    got = {"stdout": b"", "stderr": b""}
    for stream, data in logs(path, "c.log", LogOptions()):
        got[stream] += data
    for stream in got:
        sent = b"".join(data for name, data in chunks if name == stream)
        # Docker's rule for what is not UTF-8: a replacement character for each byte.
        text = sent.decode("utf-8", "surrogateescape")
        assert got[stream].decode() == "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in text)


class Follower(threading.Thread):
    """Follows a log in a thread of its own and keeps what it gets."""

    def __init__(self, path: Path, **options: object) -> None:
        super().__init__(daemon=True)
        self.path, self.options = path, LogOptions(follow=True, **options)  # type: ignore[arg-type]
        self.got, self.changed = b"", threading.Condition()
        self.event_fd = os.eventfd(0)
        self.over, self.cancel = threading.Event(), Cancel()
        self.start()

    def run(self) -> None:
        for _, data in logs(self.path, "c.log", self.options, ended=self.over.is_set, ended_fd=self.event_fd, cancel=self.cancel):
            with self.changed:
                self.got += data
                self.changed.notify_all()

    def wait_for(self, text: bytes) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.got == text, 10), self.got[-200:]

    def end(self) -> None:
        self.over.set()
        os.eventfd_write(self.event_fd, 1)
        self.join(10)
        assert not self.is_alive()
        os.close(self.event_fd)


def test_follow_from_before_the_log_exists_to_its_end(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    writer = Writer(tmp_path)
    writer.write("a\n")
    follower.wait_for(b"a\n")
    writer.write("b\n", "unfinished")
    follower.wait_for(b"a\nb\n")
    writer.close()
    follower.end()
    assert follower.got == b"a\nb\nunfinished"


def test_follow_with_tail(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write("a\n", "b\n")
    follower = Follower(tmp_path, tail=1)
    follower.wait_for(b"b\n")
    writer.write("c\n")
    follower.wait_for(b"b\nc\n")
    follower.end()
    writer.close()


@pytest.mark.parametrize("max_file", [1, 3, 100])
def test_follow_over_rotation_loses_nothing(tmp_path: Path, max_file: int) -> None:
    writer = Writer(tmp_path, max_size=2000, max_file=max_file)
    follower = Follower(tmp_path)
    expected = b""
    for n in range(300):
        line = f"line {n}\n"
        expected += line.encode()
        writer.write(line)
        if n % 7 == 0:  # the follower keeps up, as far as few files reach; with many it need not
            follower.wait_for(expected) if max_file < 100 else None
    follower.wait_for(expected)
    follower.end()
    writer.close()


def test_storm_of_rotation(tmp_path: Path) -> None:
    writer = Writer(tmp_path, max_size=2500, max_file=300)
    follower = Follower(tmp_path)
    lines = [f"line {n}\n" for n in range(3000)]
    writer.write(*lines)
    writer.close()
    follower.end()
    assert follower.got == "".join(lines).encode()


def test_cancel_and_until_end_a_follower(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write("a\n")
    follower = Follower(tmp_path)
    follower.wait_for(b"a\n")
    follower.cancel.set()
    follower.join(10)
    assert not follower.is_alive()
    timed = Follower(tmp_path, until=time.time_ns() + 200_000_000)
    timed.join(10)
    assert not timed.is_alive() and timed.got == b"a\n"
    for one in (follower, timed):
        os.close(one.event_fd)
    writer.close()


def test_readers_leave_no_descriptor(tmp_path: Path) -> None:
    writer = Writer(tmp_path, max_size=100, max_file=5)
    writer.write(*(f"{n}\n" for n in range(50)))
    before = sorted(os.listdir("/proc/self/fd"))
    for options in (LogOptions(), LogOptions(tail=3), LogOptions(follow=True)):
        for number, _ in enumerate(logs(tmp_path, "c.log", options)):
            if number == 1:
                break
    assert sorted(os.listdir("/proc/self/fd")) == before
    writer.close()
