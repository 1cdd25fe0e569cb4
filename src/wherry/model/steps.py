"""Steps: one mechanism for the trace, the failpoints and the errors of the run flow.

A step is a named part of run-flow. `with step("C1 TagStore"):` records when it ran (CLOCK_MONOTONIC nanoseconds,
comparable between processes), is a failpoint before and after, and lets an exception that leaves it know where it happened.
Standard library only, and light: the init imports it.
"""

from __future__ import annotations

import errno
import os
import signal
from threading import local
from time import monotonic_ns
from types import TracebackType
from typing import NamedTuple


class Span(NamedTuple):
    """One finished step: times in CLOCK_MONOTONIC nanoseconds."""

    process: str
    pid: int
    name: str
    start_ns: int
    end_ns: int


class Trace:
    """The steps that one process took for one job."""

    __slots__ = ("pid", "process", "spans")

    def __init__(self, process: str) -> None:
        self.process = process
        self.pid = os.getpid()
        self.spans: list[Span] = []

    def add(self, name: str, start_ns: int, end_ns: int) -> None:
        self.spans.append(Span(self.process, self.pid, name, start_ns, end_ns))


class _Current(local):
    trace: Trace | None = None
    last: str = ""


_current = _Current()
_PROCESS = "wherryd"
_ARMED: tuple[str, str, str] | None = None
_RECORD = False
_WATCHED = False


def set_process(name: str) -> None:
    """Says what kind of process this is (wherryd, launcher, monitor, init, proxy) and arms the failpoint meant for it.

    `WHERRY_FAILPOINT=PROCESS:STEP:before|after:kill|error`: STEP matches by prefix. `WHERRY_STEPS_LOG` (tests only, too): a line
    `step<tab>PROCESS<tab>STEP` on standard error, which is the daemon's log, for each step entered: what there is to fail at. Not in the
    init, whose standard error is the container's; its steps are in the trace of a start."""
    global _PROCESS, _ARMED, _RECORD, _WATCHED
    _PROCESS = name
    _ARMED = None
    for one in os.environ.get("WHERRY_FAILPOINT", "").split(","):
        process, _, rest = one.partition(":")
        if process == name and rest.count(":") >= 2:
            wanted, when, action = rest.rsplit(":", 2)
            _ARMED = (wanted, when, action)
    _RECORD = "WHERRY_STEPS_LOG" in os.environ and name != "init"
    _WATCHED = _ARMED is not None or _RECORD


def process() -> str:
    """The kind of this process."""
    return _PROCESS


def use_trace(trace: Trace | None) -> None:
    """Makes `trace` the one that steps of this thread are recorded in."""
    _current.trace = trace


def current_trace() -> Trace | None:
    """The trace of this thread."""
    return _current.trace


def last_step() -> str:
    """The step that this thread entered last: where an error came from."""
    return _current.last


def _watch(name: str, when: str) -> None:
    if _RECORD and when == "before":
        os.write(2, f"step\t{_PROCESS}\t{name}\n".encode())
    if _ARMED is None:
        return
    wanted, at, action = _ARMED
    if at != when or not name.startswith(wanted):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise OSError(errno.EIO, f"failpoint {when} {name}")


class step:  # noqa: N801 - reads as a statement
    """Context manager of one named step."""

    __slots__ = ("name", "start")

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        _current.last = self.name
        if _WATCHED:
            _watch(self.name, "before")
        self.start = monotonic_ns()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        trace = _current.trace
        if trace is not None:
            trace.spans.append(Span(trace.process, trace.pid, self.name, self.start, monotonic_ns()))
        if error is not None:
            if getattr(error, "step", None) is None:
                try:
                    error.step = self.name  # type: ignore[attr-defined]
                except AttributeError:
                    pass
            return
        if _WATCHED:
            _watch(self.name, "after")
