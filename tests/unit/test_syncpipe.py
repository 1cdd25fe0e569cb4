"""The sync pipe: each message through a real socketpair."""

from __future__ import annotations

import os

import pytest

from wherry.init.syncpipe import Console, Failed, Ready, SyncPipe
from wherry.model.command import Network
from wherry.model.steps import Span

SPAN = Span("init", 1, "init: x", 1, 2)


def test_messages_both_ways() -> None:
    monitor, init = SyncPipe.pair()
    state = Network(name="eth0", address="10.0.0.2", prefix_len=16, gateway="10.0.0.1")
    monitor.send_network(state)
    monitor.send_go()
    assert init.wait_network() == state
    init.wait_go()
    read, write = os.pipe()
    init.send_console(write)
    init.send_ready([SPAN])
    init.send_failed("init: exec", 2, "/x", "no such file", [SPAN])
    console = monitor.receive()
    assert isinstance(console, Console)
    os.write(console.master, b"x")
    assert os.read(read, 1) == b"x"
    assert monitor.receive() == Ready([SPAN])
    assert monitor.receive() == Failed("init: exec", 2, "/x", "no such file", [SPAN])
    init.close()
    assert monitor.receive() is None
    for fd in (read, write, console.master):
        os.close(fd)
    monitor.close()


def test_a_failure_is_heard_although_go_was_never_read() -> None:
    monitor, init = SyncPipe.pair()
    monitor.send_network(Network())
    monitor.send_go()
    init.send_failed("init: sysctls", 0, "", "no", [])
    init.close()
    assert monitor.receive() == Failed("init: sysctls", 0, "", "no", [])
    assert monitor.receive() is None
    monitor.close()


def test_a_monitor_that_is_gone_is_an_end_of_file() -> None:
    monitor, init = SyncPipe.pair()
    monitor.close()
    with pytest.raises(EOFError):
        init.wait_go()
    init.close()


def test_a_message_out_of_turn_is_an_error() -> None:
    monitor, init = SyncPipe.pair()
    monitor.send_go()
    with pytest.raises(ValueError, match="instead of"):
        init.wait_network()
    monitor.close()
    init.close()


def test_a_long_failure_still_fits() -> None:
    monitor, init = SyncPipe.pair()
    init.send_failed("s", 1, "p" * 100_000, "m" * 100_000, [SPAN] * 1000)
    assert isinstance(monitor.receive(), Failed)
    monitor.close()
    init.close()
