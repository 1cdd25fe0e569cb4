"""The monitor's streams: detach keys in pieces, frames, back-pressure."""

from __future__ import annotations

import os
import select
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.execdriver import messages
from wherry.execdriver.streams import HIGH_WATER, Client, DetachKeys, StreamName, Streams


@given(st.lists(st.binary(max_size=6), max_size=6))
def test_detach_keys_are_found_in_any_pieces(pieces: list[bytes]) -> None:
    keys = DetachKeys(b"\x10\x11")
    out, detached = b"", False
    for piece in pieces:
        got, detached = keys.scan(piece)
        out += got
        if detached:
            break
    whole = b"".join(pieces)
    assert detached == (b"\x10\x11" in whole)
    if detached:
        assert out == whole[: whole.index(b"\x10\x11")]
    else:
        assert out == whole or out + b"\x10" == whole


def test_a_lagging_client_stops_the_program_and_loses_nothing() -> None:
    poll = select.epoll()
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    streams = Streams(poll, None, lambda: None)
    streams.attach(Client(theirs.detach(), stdin=False, stdout=True, stderr=True, framed=False), b"")
    read, write = os.pipe()
    streams.connect({read: "stdout"}, -1, tty=False, stdin_once=False)
    os.set_blocking(write, False)
    sent = 0
    for _ in range(1000):
        try:
            sent += os.write(write, b"x" * 65536)
        except BlockingIOError:
            if streams.stalled:
                break
        for fd, events in poll.poll(0):
            streams.ready(fd, events)
    assert streams.stalled
    assert sent < HIGH_WATER + (1 << 20)
    os.close(write)
    got = 0
    while streams.outputs or streams.unsent:
        got += len(ours.recv(1 << 20))
        for fd, events in poll.poll(0):
            streams.ready(fd, events)
    ours.setblocking(False)
    streams.close()
    while piece := ours.recv(1 << 20):
        got += len(piece)
    assert got == sent
    ours.close()
    poll.close()


def test_messages_carry_descriptors() -> None:
    one, other = messages.pair()
    read, write = os.pipe()
    messages.send(one, {"op": "x", "text": "y" * 300_000}, [write])
    received = messages.receive(other)
    assert received is not None
    message, fds = received
    os.write(fds[0], b"z")
    assert (message["op"], len(message["text"]), os.read(read, 1)) == ("x", 300_000, b"z")
    assert not messages.peer_gone(other)
    one.close()
    assert messages.peer_gone(other)
    assert messages.receive(other) is None
    other.close()
    for fd in (read, write, *fds):
        os.close(fd)


def test_an_end_of_input_before_the_program_is_there_reaches_it() -> None:
    """`docker run -i` attaches before the start, and a short input is over by then."""
    poll = select.epoll()
    ours, theirs = socket.socketpair()
    streams = Streams(poll, None, lambda: None)
    streams.attach(Client(theirs.detach(), stdin=True, stdout=True, stderr=True, framed=False), b"early ")
    ours.sendall(b"late")
    ours.shutdown(socket.SHUT_WR)
    for _ in range(3):
        for fd, events in poll.poll(0):
            streams.ready(fd, events)
    program, stdin = os.pipe()
    output, output_end = os.pipe()
    streams.connect({output: "stdout"}, stdin, tty=False, stdin_once=True)
    for _ in range(5):
        for fd, events in poll.poll(0):
            streams.ready(fd, events)
    os.set_blocking(program, False)
    assert os.read(program, 100) == b"early late"
    assert os.read(program, 100) == b""  # the end; BlockingIOError where the writing end is still open
    streams.close()
    for fd in (program, output_end):
        os.close(fd)
    ours.close()
    poll.close()


class Piped:
    """Streams over pipes, with one client that has standard input."""

    def __init__(self, *, stdin_once: bool = True, early: bytes = b"", keys: bytes = b"", tty: bool = False) -> None:
        self.poll = select.epoll()
        self.ours, theirs = socket.socketpair()
        self.detached = 0
        self.streams = Streams(self.poll, None, self._on_detach)
        self.streams.attach(Client(theirs.detach(), stdin=True, stdout=True, stderr=True, framed=False, keys=keys), early)
        self.program, stdin = os.pipe()
        output, self.output_end = os.pipe()
        self.streams.connect({output: "stdout"}, stdin, tty=tty, stdin_once=stdin_once)
        os.set_blocking(self.program, False)

    def _on_detach(self) -> None:
        self.detached += 1

    def turn(self, times: int = 5) -> int:
        """Deals with what is ready now; how many events there were in the last round."""
        count = 0
        for _ in range(times):
            found = self.poll.poll(0)
            count = len(found)
            for fd, events in found:
                self.streams.ready(fd, events)
        return count

    def close(self, *open_fds: int) -> None:
        self.streams.close()
        for fd in (self.output_end, *open_fds):
            os.close(fd)
        self.ours.close()
        self.poll.close()


def test_a_closed_input_is_no_busy_loop_and_what_comes_for_it_is_dropped() -> None:
    piped = Piped()
    os.close(piped.program)
    piped.turn()
    assert piped.turn(1) == 0, "epoll has nothing more to say"
    piped.ours.setblocking(False)
    for _ in range(100):
        piped.ours.sendall(b"x" * 4096)
        piped.turn(2)
    os.write(piped.output_end, b"still heard")
    piped.turn()
    assert piped.ours.recv(100) == b"still heard"
    piped.close()


def test_a_client_that_vanishes_behind_full_input_ends_it() -> None:
    """Its input is not read while the program lags, so its end of file is never seen: the hang-up has to do."""
    piped = Piped()
    piped.ours.setblocking(False)
    try:
        while True:
            piped.ours.send(b"x" * 65536)
            piped.turn(2)
    except BlockingIOError:
        pass
    piped.ours.close()
    piped.turn()
    assert not piped.streams.clients
    os.set_blocking(piped.program, True)
    while True:  # ends: BlockingIOError cannot come, only the end of file
        piped.turn(2)
        if not os.read(piped.program, 1 << 20):
            break
    piped.close(piped.program)


def test_the_input_of_a_shared_stdin_stays_open() -> None:
    piped = Piped(stdin_once=False)
    piped.ours.shutdown(socket.SHUT_WR)
    piped.turn()
    with pytest.raises(BlockingIOError):
        os.read(piped.program, 1)
    piped.close(piped.program)


def test_detach_keys_may_come_with_the_request() -> None:
    poll = select.epoll()
    ours, theirs = socket.socketpair()
    detached: list[int] = []
    streams = Streams(poll, None, lambda: detached.append(1))
    output, output_end = os.pipe()
    program, stdin = os.pipe()
    streams.connect({output: "stdout"}, stdin, tty=True, stdin_once=False)
    streams.attach(Client(theirs.detach(), stdin=True, stdout=True, stderr=True, framed=False, keys=b"\x10\x11"), b"ls\x10\x11")
    assert detached and not streams.clients
    assert ours.recv(1) == b"" and os.read(program, 10) == b"ls"
    streams.close()
    ours.close()
    poll.close()
    for fd in (output_end, program):
        os.close(fd)


def test_a_stranger_that_writes_on_does_not_hold_up_the_drain() -> None:
    """What an output held at the end is read, and no more: the rest comes through the loop, which stops where a client lags."""
    poll = select.epoll()
    ours, theirs = socket.socketpair()
    streams = Streams(poll, None, lambda: None)
    client = Client(theirs.detach(), stdin=False, stdout=True, stderr=True, framed=False)
    streams.attach(client, b"")
    read, write = os.pipe()
    streams.connect({read: "stdout"}, -1, tty=False, stdin_once=False)
    before = os.write(write, b"x" * 60_000)
    take = client.queue
    taken = 0

    def queue(stream: StreamName, data: bytes) -> None:
        nonlocal taken
        take(stream, data)
        taken += len(data)
        assert taken < 10 * before, "it reads for ever"
        os.write(write, b"y" * len(data))

    client.queue = queue  # type: ignore[method-assign]
    streams.drain(before)
    assert read in streams.outputs and taken == before
    os.close(write)
    streams.close()
    ours.close()
    poll.close()
