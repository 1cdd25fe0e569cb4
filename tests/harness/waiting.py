"""Waiting for what has no event of its own (a port that answers, a state of a container), always with an end."""

import os
import select
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
SLOWNESS = float(os.environ.get("WHERRY_TEST_SLOWNESS", "1"))  # how much longer everything may take: a virtual machine without KVM


def eventually(probe: Callable[[], T], seconds: float = 10.0, every: float = 0.05, what: str = "") -> T:
    """Calls `probe` until it returns something true; an exception counts as "not yet". Fails with the last outcome."""
    seconds *= SLOWNESS
    deadline = time.monotonic() + seconds
    while True:
        try:
            outcome: object = probe()
            if outcome:
                return outcome  # type: ignore[return-value]
        except (OSError, AssertionError, LookupError, ValueError) as error:
            outcome = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or probe}: last outcome {outcome!r}")
        time.sleep(every)


def until_ended(pid: int, seconds: float = 10.0) -> None:
    """Until a process is gone, which its pidfd tells (pidfd_open(2))."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(seconds * SLOWNESS * 1000), f"process {pid} has not ended within {seconds} s"
    finally:
        os.close(fd)
