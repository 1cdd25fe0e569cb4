"""Times as people write them for --since and --until, as Unix seconds for the daemon."""

import time

from wherry.cli import units
from wherry.cli.errors import CliError


def to_unix(text: str, flag: str, now_ns: "int | None" = None) -> str:
    """`SECONDS[.NANOSECONDS]` of a duration before now (`42m`), a Unix time, or a date: `2013-01-02[T13[:23[:37[.123]]]][Z or +01:00]`.
    A date without a zone is in the local one. CliError if it is none of these."""
    try:
        ago = units.duration(text)
    except ValueError:
        pass
    else:
        if not text.lstrip("+-").isdigit():
            moment = (time.time_ns() if now_ns is None else now_ns) - ago
            return f"{moment // 10**9}.{moment % 10**9:09d}"
    seconds, dot, fraction = text.partition(".")
    if seconds.removeprefix("-").isdigit() and (not dot or (fraction.isdigit() and len(fraction) <= 9)):
        return text
    try:
        return _date(text)
    except (ValueError, OverflowError):
        raise CliError(f'invalid value for "{flag}": failed to parse value as time or duration: "{text}"') from None


def _date(text: str) -> str:
    day, separator, clock = text.partition("T")
    zone: int | None = None
    if text.endswith("Z"):
        zone = 0
        day, clock = day.removesuffix("Z"), clock.removesuffix("Z")
    elif separator and ("+" in clock or "-" in clock):
        sign = "+" if "+" in clock else "-"
        clock, _, offset = clock.partition(sign)
        hours, _, minutes = offset.partition(":")
        zone = (int(hours) * 3600 + int(minutes or "0") * 60) * (1 if sign == "+" else -1)
    year, month, date = (_field(part) for part in day.split("-"))
    clock, _, fraction = clock.partition(".")
    parts = [_field(part) for part in clock.split(":")] if separator else []
    if len(parts) > 3 or (fraction and (len(parts) < 3 or not fraction.isdigit())) or (separator and not parts):
        raise ValueError(text)
    hour, minute, second = (parts + [0, 0, 0])[:3]
    if not (1 <= month <= 12 and 1 <= date <= 31 and hour < 24 and minute < 60 and second < 61):
        raise ValueError(text)
    if zone is None:
        unix = int(time.mktime((year, month, date, hour, minute, second, 0, 0, -1)))
    else:
        unix = _days(year, month, date) * 86400 + hour * 3600 + minute * 60 + second - zone
    return f"{unix}.{(fraction + '000000000')[:9]}"


def _field(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(text)
    return int(text)


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar; the year is counted from March, so that the leap day is its last."""
    if month <= 2:
        year, month = year - 1, month + 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719469
