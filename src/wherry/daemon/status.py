"""A container's state in Docker's words and JSON."""

from __future__ import annotations

import time
from typing import Any

from wherry.model.container import State, rfc3339
from wherry.model.times import human_duration

#: Every value of `status`; what `ps --filter status=` takes.
STATUSES = frozenset({"created", "running", "paused", "restarting", "removing", "exited", "dead"})


def status_text(state: State, now: int | None = None) -> str:
    """The Status column of `ps`: `Up 5 minutes`, `Exited (0) 3 hours ago`."""
    moment = time.time_ns() if now is None else now
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {human_duration(moment - state.finished_at)} ago"
    if state.running:
        return f"Up {human_duration(moment - state.started_at)}" + (" (Paused)" if state.paused else "")
    if state.status == "removing":
        return "Removal In Progress"
    if state.status == "dead":
        return "Dead"
    if state.status == "created" or not state.finished_at:
        return "Created"
    return f"Exited ({state.exit_code}) {human_duration(moment - state.finished_at)} ago"


def state_json(state: State) -> dict[str, Any]:
    """The `State` of `inspect`. A container that waits for its restart counts as running, as in Docker."""
    return {
        "Status": state.status,
        "Running": state.running or state.status == "restarting",
        "Paused": state.paused,
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": rfc3339(state.started_at),
        "FinishedAt": rfc3339(state.finished_at),
    }
