"""`run --trace`: the CLI's own steps, merged with those that the daemon, the monitor and the init recorded, as a table or a Chrome trace.

All times are CLOCK_MONOTONIC in nanoseconds, which is one clock for all processes of the host.
"""

import os
import time

from wherry.cli import context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Cli


class Step:
    """One named step of one process. `waits`: the CLI only waited for the daemon, whose own steps name what was done."""

    __slots__ = ("end", "name", "pid", "process", "start", "tid", "waits")

    def __init__(self, process: str, name: str, start: int, end: int, pid: int, tid: int = 0, waits: bool = False) -> None:
        self.process = process
        self.name = name
        self.start = start
        self.end = end
        self.pid = pid
        self.tid = tid or pid
        self.waits = waits


class Spans:
    """The CLI's steps, one after another: each begins where the one before it ends. Without --trace nothing is kept."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.steps: list[Step] = []
        if wanted:
            began, used = context.started
            now = time.monotonic_ns()
            if began:
                # The time before main is not seen from inside; the CPU time used until then is close, as little is waited for.
                self.steps.append(Step("cli", "interpreter", began - used, began, os.getpid()))
            self.steps.append(Step("cli", "arguments", began or now, 0, os.getpid()))

    def begin(self, name: str, waits: bool = False) -> None:
        if self.wanted:
            now = time.monotonic_ns()
            self._end(now)
            self.steps.append(Step("cli", name, now, 0, os.getpid(), waits=waits))

    def _end(self, now: int) -> None:
        if self.steps and not self.steps[-1].end:
            self.steps[-1].end = now

    def report(self, cli: "Cli", container: str, path: str) -> None:
        """Print the table on stderr, or write the Chrome trace to path."""
        if not self.wanted:
            return
        self._end(time.monotonic_ns())
        from wherry.cli.errors import CliError

        try:
            answer = cli.client.call("GET", f"/wherry/v1/traces/{container}")
        except CliError as error:
            cli.err(f"WARNING: the daemon gives no trace: {error.message}")
            answer = {"steps": []}
        steps = self.steps + [
            Step(
                str(step["process"]),
                str(step["name"]),
                int(step["start_ns"]),
                int(step["end_ns"]),
                int(step["pid"]),
                int(step.get("tid") or 0),
            )
            for step in answer["steps"]
        ]
        if path:
            from wherry.cli import jsonlite
            from wherry.cli.context import write_all

            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                write_all(fd, jsonlite.dumps(chrome(steps)).encode())
            finally:
                os.close(fd)
        else:
            cli.err(table(steps))


def ordered(steps: "list[Step]") -> "list[tuple[int, Step]]":
    """Depth and step, by start: a step lies in the one that was going on when it began."""
    result: list[tuple[int, Step]] = []
    open_steps: list[Step] = []
    for step in sorted(steps, key=lambda step: (step.start, -step.end)):
        while open_steps and open_steps[-1].end <= step.start:
            open_steps.pop()
        result.append((len(open_steps), step))
        open_steps.append(step)
    return result


def covered(steps: "list[Step]") -> int:
    """Nanoseconds in which at least one step did named work (overlaps count once; waiting for the daemon is no work)."""
    total, reached = 0, 0
    for step in sorted((step for step in steps if not step.waits), key=lambda step: step.start):
        if step.end > reached:
            total += step.end - max(step.start, reached)
            reached = step.end
    return total


def table(steps: "list[Step]") -> str:
    """Step, process, microseconds; then the sum of all that is named, the wall time, and what no step names."""
    rows = [("STEP", "PROCESS", "MICROSECONDS")]
    rows += [("  " * depth + step.name, step.process, _micro(step.end - step.start)) for depth, step in ordered(steps)]
    wall = max(step.end for step in steps) - min(step.start for step in steps)
    named = covered(steps)
    rows += [("total of the steps", "", _micro(named)), ("wall", "", _micro(wall))]
    rows.append((f"in no step ({(wall - named) / max(wall, 1):.1%})", "", _micro(wall - named)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(f"{name:<{widths[0]}}   {process:<{widths[1]}}   {micro:>{widths[2]}}" for name, process, micro in rows)


def _micro(nanoseconds: int) -> str:
    return f"{nanoseconds / 1000:.0f}"


def chrome(steps: "list[Step]") -> "dict[str, Any]":
    """Chrome's trace event format: complete events ("X") with times in microseconds, and the names of the processes ("M")."""
    names = {step.pid: step.process for step in steps}
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": pid, "tid": pid, "args": {"name": name}} for pid, name in names.items()
    ]
    for step in sorted(steps, key=lambda step: (step.start, -step.end)):
        span = {"ts": step.start / 1000, "dur": (step.end - step.start) / 1000}
        events.append({"ph": "X", "name": step.name, "cat": step.process, "pid": step.pid, "tid": step.tid, **span})
    return {"traceEvents": events, "displayTimeUnit": "ms"}
