"""Times, sizes and long texts as docker shows them to people."""

import time

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def size(count: float, digits: int = 4) -> str:
    """`1.98MB`: powers of 1000, so many significant digits."""
    return _scaled(count, 1000.0, _DECIMAL, digits)


def binary_size(count: float) -> str:
    """`23.54GiB`: powers of 1024, four digits."""
    return _scaled(count, 1024.0, _BINARY, 4)


def _scaled(count: float, base: float, units: "tuple[str, ...]", digits: int) -> str:
    unit = 0
    while count >= base and unit < len(units) - 1:
        count /= base
        unit += 1
    return f"{count:.{digits}g}{units[unit]}"


def duration(seconds: float) -> str:
    """How long something took, in the largest unit that fits: `3 hours`, `About a minute`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return f"{whole} second{'' if whole == 1 else 's'}"
    minutes = whole // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    if hours < 24 * 14:
        return f"{hours // 24} days"
    if hours < 24 * 60:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"


def ago(unix: float) -> str:
    return duration(time.time() - unix) + " ago"


def go_time(unix: int) -> str:
    """`2026-11-24 11:21:35 +0000 UTC`, in the local zone: Go's Time.String."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(unix))


def rfc3339(unix: int) -> str:
    """`2026-11-24T11:21:35Z`, `2026-11-24T12:21:35+01:00`, in the local zone."""
    zone = time.strftime("%z", time.localtime(unix))
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(unix)) + ("Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}")


def short_id(text: str) -> str:
    """The first twelve digits of an ID, without `sha256:`."""
    return text.partition(":")[2][:12] if ":" in text else text[:12]


def columns(text: str) -> int:
    """How many columns of a terminal a text takes (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def ellipsis(text: str, width: int) -> str:
    """At most `width` columns of text, cut with an ellipsis."""
    if columns(text) <= width:
        return text
    used, end = 0, 0
    while end < len(text) and used + columns(text[end]) <= width - 1:
        used += columns(text[end])
        end += 1
    return text[:end] + "…"
