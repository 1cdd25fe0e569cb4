"""Times as Docker reads and words them. Everything inside is nanoseconds since the epoch."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone

from wherry.model.errors import InvalidArgument

SECOND = 1_000_000_000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400

_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_UNIX = re.compile(r"(-?\d{1,18})(?:\.(\d{1,9})\d*)?")
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?)?)?(Z|z|[+-]\d\d:\d\d)?")


def human_duration(ns: int) -> str:
    """A span of time in the words that `docker ps` uses: `Less than a second`, `5 minutes`, `About an hour`, `3 weeks`."""
    seconds = ns // SECOND
    if seconds < 1:
        return "Less than a second"
    if seconds == 1:
        return "1 second"
    if seconds < _MINUTE:
        return f"{seconds} seconds"
    minutes = seconds // _MINUTE
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(ns / SECOND / _HOUR + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, size, unit in ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks"), (24 * 365 * 2, 24 * 30, "months")):
        if hours < limit:
            return f"{hours // size} {unit}"
    return f"{hours // (24 * 365)} years"


def parse_duration(text: str) -> int | None:
    """A Go duration (`1h30m`, `1.5s`) in nanoseconds; None when it is none."""
    if text in ("0", "+0", "-0"):
        return 0
    if not _DURATION.fullmatch(text):
        return None
    total = sum(int(float(number) * _UNITS[unit]) if "." in number else int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return -total if text.startswith("-") else total


def parse_unix(text: str, what: str) -> int:
    """Unix seconds, perhaps with a fraction (`1700000000.000000001`), as nanoseconds. Raises InvalidArgument naming `what`."""
    found = _UNIX.fullmatch(text)
    if not found:
        raise InvalidArgument(f"{what} is not a Unix time: {text!r}")
    return int(found[1]) * SECOND + int((found[2] or "").ljust(9, "0"))


def parse_moment(text: str, what: str, now: int | None = None) -> int:
    """A Unix time, a Go duration (that long before `now`), or an RFC 3339 date of any precision. Raises InvalidArgument naming `what`."""
    if _UNIX.fullmatch(text):
        return parse_unix(text, what)
    duration = parse_duration(text)
    if duration is not None:
        return (time.time_ns() if now is None else now) - duration
    try:
        return parse_date(text)
    except ValueError as error:
        raise InvalidArgument(f"{what} is no time: {text!r}: {error}") from None


def parse_date(text: str) -> int:
    """An RFC 3339 date of any precision. ValueError for anything else."""
    date = _DATE.fullmatch(text)
    if not date:
        raise ValueError("a Unix time, a duration such as 24h, or a date such as 2026-01-31T12:00:00Z is needed")
    year, month, day, hour, minute, second, fraction, zone = date.groups()
    moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=_zone(zone))
    return int(moment.timestamp()) * SECOND + int((fraction or "").ljust(9, "0"))


def _zone(text: str | None) -> timezone:
    if text is None or text in "Zz":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)
