"""Signals to, and the end of, processes of a group."""

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress


def kill_all(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_gone(pids: Iterable[int], timeout: float) -> None:
    """Return when every process has ended, or after `timeout` seconds. A pidfd becomes readable at the end (pidfd_open(2))."""
    deadline = time.monotonic() + timeout
    with ExitStack() as close:
        poll = select.poll()
        left = 0
        for pid in pids:
            with suppress(ProcessLookupError):
                fd = os.pidfd_open(pid)
                close.callback(os.close, fd)
                poll.register(fd, select.POLLIN)
                left += 1
        while left and (remaining := deadline - time.monotonic()) > 0:
            for fd, _ in poll.poll(remaining * 1000):
                poll.unregister(fd)
                left -= 1
