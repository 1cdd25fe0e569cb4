"""What the log of a storm's container must look like: runs that begin with `begin` and count their lines without a gap."""

from __future__ import annotations

import re

_LINE = re.compile(r"(begin|line (\d+)|end (\d+)|err (\d+))\Z")


def lines_of(stream: bytes) -> list[tuple[int, str]]:
    """(stream number, line) of Docker's multiplexed stream, in its order; ValueError where a frame is cut."""
    found: list[tuple[int, str]] = []
    rest = {1: b"", 2: b""}
    at = 0
    while at < len(stream):
        kind, size = stream[at], int.from_bytes(stream[at + 4 : at + 8], "big")
        if at + 8 + size > len(stream) or kind not in rest:
            raise ValueError(f"a frame at {at} of {len(stream)} bytes is broken")
        *whole, rest[kind] = (rest[kind] + stream[at + 8 : at + 8 + size]).split(b"\n")
        found += [(kind, line.decode(errors="replace")) for line in whole]
        at += 8 + size
    return found + [(kind, left.decode(errors="replace")) for kind, left in rest.items() if left]


def problems(stream: bytes, *, cut: bool, ended: bool) -> list[str]:
    """What is wrong. `cut`: a monitor was killed, so each run may miss its end (never its middle)."""
    try:
        lines = lines_of(stream)
    except ValueError as error:
        return [str(error)]
    found: list[str] = []
    expected, runs = 0, 0
    for number, (_, text) in enumerate(lines):
        match = _LINE.match(text)
        if match is None:
            if not cut:
                found.append(f"line {number} is {text!r}")
        elif text == "begin":
            expected, runs = 0, runs + 1
        elif match[2] is not None:
            if int(match[2]) != expected or not runs:
                found.append(f"in run {runs} line {expected} is missing: {text!r} follows")
            expected = int(match[2]) + 1
        elif match[3] is not None and not expected - 1 <= int(match[3]) <= expected:
            found.append(f"run {runs} ended after {match[3]} lines, and {expected} are in the log")
    if ended and not cut and lines and not lines[-1][1].startswith("end"):
        found.append(f"it ended by its own trap, and its last line is {lines[-1][1]!r}")
    return found[:5]
