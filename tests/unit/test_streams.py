"""The monitor's streams: detach keys in pieces, frames, back-pressure."""

from __future__ import annotations

import os
import select
import socket

from hypothesis import given
from hypothesis import strategies as st

from wherry.execdriver import messages
from wherry.execdriver.streams import HIGH_WATER, Client, DetachKeys, Streams


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
