"""The copying loop, the frames, the terminal's keys and the times of --since."""

import os
import pty
import socket
import threading
from collections.abc import Iterator

import pytest

from wherry.cli.client import Stream
from wherry.cli.errors import CliError
from wherry.cli.streams import Demux, Pump
from wherry.cli.terminal import DetachWatch, RawMode, key_bytes
from wherry.cli.timestamps import to_unix


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize("step", [1, 3, 8, 9, 1000])
def test_demux_cut_anywhere(step: int) -> None:
    data = frame(1, b"out") + frame(1, b"") + frame(1, b"more") + frame(2, b"err") + frame(1, b"x" * 300)
    demux = Demux()
    got = {1: b"", 2: b""}
    for at in range(0, len(data), step):
        for stream, payload in demux.feed(data[at : at + step]):
            got[stream] += payload
    assert got == {1: b"outmore" + b"x" * 300, 2: b"err"}
    assert demux.finish() == []


def test_demux_joins_neighbours_and_keeps_the_order() -> None:
    assert Demux().feed(frame(1, b"a") + frame(1, b"b") + frame(2, b"c") + frame(1, b"d")) == [(1, b"ab"), (2, b"c"), (1, b"d")]


def test_a_frame_cut_off_by_the_end_is_still_shown() -> None:
    demux = Demux()
    assert demux.feed(frame(2, b"half a line")[:12]) == []
    assert demux.finish() == [(2, b"half")]
    assert demux.finish() == []


@pytest.mark.parametrize("data", [b"\x04\0\0\0\0\0\0\0", b"\x01\0\0\x01\0\0\0\0", b"plain te"])
def test_no_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(CliError, match="unrecognized input header"):
        Demux().feed(data)


class Loop:
    """A Pump with its descriptors: what the daemon holds is `peer`, what the user typed goes into `typed`, what is shown comes from `shown`."""

    def __init__(self) -> None:
        self.peer, mine = socket.socketpair()
        self.stream = Stream.__new__(Stream)
        self.stream.sock, self.stream.early, self.stream.content_type = mine, b"", ""
        self.stdin, self.typed = os.pipe()
        self.out, self.err = os.memfd_create("out"), os.memfd_create("err")

    def pump(self, tty: bool, stdin: bool, watch: DetachWatch | None = None) -> bool:
        """Run a Pump on descriptors 0, 1 and 2."""
        saved = os.dup(0), os.dup(1), os.dup(2)
        for number, fd in enumerate((self.stdin, self.out, self.err)):
            os.dup2(fd, number)
        os.close(self.stdin)
        try:
            return Pump(self.stream, tty, stdin, watch).run()
        finally:
            for number, fd in enumerate(saved):
                os.dup2(fd, number)
                os.close(fd)

    def shown(self) -> tuple[bytes, bytes]:
        return os.pread(self.out, 1 << 24, 0), os.pread(self.err, 1 << 20, 0)

    def close(self) -> None:
        for fd in (self.out, self.err):
            os.close(fd)
        if self.typed >= 0:
            os.close(self.typed)
        self.peer.close()
        self.stream.sock.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def test_pump_copies_both_ways_and_half_closes(loop: Loop) -> None:
    received = []

    def daemon() -> None:
        data = b""
        while piece := loop.peer.recv(1 << 16):
            data += piece
        received.append(data)
        loop.peer.sendall(frame(2, b"bye"))
        loop.peer.close()

    loop.stream.early = frame(1, b"early ")[:9]
    loop.peer.sendall(frame(1, b"early ")[9:] + frame(1, b"hello"))
    os.write(loop.typed, b"typed")
    os.close(loop.typed)
    loop.typed = -1
    thread = threading.Thread(target=daemon)
    thread.start()
    assert loop.pump(tty=False, stdin=True) is False
    thread.join(10)
    assert received == [b"typed"]
    assert loop.shown() == (b"early hello", b"bye")


def test_output_goes_on_while_the_program_reads_nothing(loop: Loop) -> None:
    """A program that writes 4 MB before it reads its 4 MB of input must not stall."""
    size = 4 << 20
    got = []

    def feed() -> None:
        block = memoryview(b"i" * size)
        while block:
            block = block[os.write(loop.typed, block) :]
        os.close(loop.typed)
        loop.typed = -1

    def daemon() -> None:
        for _ in range(size >> 16):
            loop.peer.sendall(frame(1, b"o" * (1 << 16)))
        count = 0
        while piece := loop.peer.recv(1 << 16):
            count += len(piece)
        got.append(count)
        loop.peer.close()

    threads = [threading.Thread(target=feed), threading.Thread(target=daemon)]
    for thread in threads:
        thread.start()
    loop.pump(tty=False, stdin=True)
    for thread in threads:
        thread.join(10)
    assert got == [size]
    assert loop.shown()[0] == b"o" * size


def test_a_program_that_closed_its_input_still_shows_its_output(loop: Loop) -> None:
    loop.peer.shutdown(socket.SHUT_RD)
    os.write(loop.typed, b"nobody reads this")

    def daemon() -> None:
        loop.peer.sendall(frame(1, b"still here"))
        loop.peer.close()

    timer = threading.Timer(0.1, daemon)
    timer.start()
    loop.pump(tty=False, stdin=True)
    timer.join()
    assert loop.shown()[0] == b"still here"


@pytest.mark.parametrize(("typed", "detached"), [(b"ls\x10\x11", True), (b"\x10\x11x", False), (b"exit\r", False)])
def test_a_detach_is_told_from_an_end(loop: Loop, typed: bytes, detached: bool) -> None:
    os.write(loop.typed, typed)

    def daemon() -> None:
        data = b""
        while len(data) < len(typed):
            data += loop.peer.recv(100)
        loop.peer.close()

    thread = threading.Thread(target=daemon)
    thread.start()
    assert loop.pump(tty=True, stdin=True, watch=DetachWatch("")) is detached
    thread.join(10)


def test_an_error_of_the_daemon_in_the_stream(loop: Loop) -> None:
    loop.peer.sendall(frame(3, b"it broke"))
    with pytest.raises(CliError, match="it broke"):
        loop.pump(tty=False, stdin=False)


def test_keys() -> None:
    assert key_bytes("ctrl-p,ctrl-q") == b"\x10\x11"
    assert key_bytes("a,ctrl-[,ctrl-_,,".removesuffix(",,")) == b"a\x1b\x1f"
    for bad in ("", "ctrl-", "ctrl-1", "ab", "a,,b"):
        with pytest.raises(CliError, match="invalid detach keys"):
            key_bytes(bad)


def test_raw_mode_passes_every_key_and_is_undone() -> None:
    import termios

    main, terminal = pty.openpty()
    try:
        before = termios.tcgetattr(terminal)
        with RawMode(terminal):
            os.write(main, b"\x03\x1a\r")
            assert os.read(terminal, 10) == b"\x03\x1a\r"
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(main)
        os.close(terminal)


@pytest.mark.parametrize(
    ("text", "unix"),
    [
        ("10m", "1000000400.000000005"),
        ("1.5s", "1000000998.500000005"),
        ("1136073600", "1136073600"),
        ("1136073600.000000001", "1136073600.000000001"),
        ("0", "0"),
        ("2006-01-02T15:04:05Z", "1136214245.000000000"),
        ("2006-01-02T15:04:05.999999999Z", "1136214245.999999999"),
        ("2006-01-02T15:04:05+07:00", "1136189045.000000000"),
        ("2006-01-02T15:04-07:00", "1136239440.000000000"),
        ("2006-01-02Z", "1136160000.000000000"),
        ("2006-01-02", "1136160000.000000000"),
        ("2006-01-02T15:04:05", "1136214245.000000000"),
        ("2004-02-29T00:00:00Z", "1078012800.000000000"),
    ],
)
def test_times(text: str, unix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert to_unix(text, "since", now_ns=1_000_001_000_000_000_005) == unix


@pytest.mark.parametrize(
    "text", ["", "zzz", "x2006-01-02", "2006-13-01Z", "2006-01-02T25:00:00Z", "2006-01-02T15:04:05.xZ", "1.2.3", "2006-01-02T"]
)
def test_bad_times(text: str) -> None:
    with pytest.raises(CliError, match="failed to parse"):
        to_unix(text, "since")
