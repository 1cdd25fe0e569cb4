from __future__ import annotations

import pytest

from wherry.model.errors import InvalidArgument
from wherry.model.times import SECOND, human_duration, parse_duration, parse_moment, parse_unix

HOUR = 3600


@pytest.mark.parametrize(("seconds", "words"), [
    (0, "Less than a second"), (0.9, "Less than a second"), (1, "1 second"), (1.9, "1 second"), (2, "2 seconds"), (59, "59 seconds"),
    (60, "About a minute"), (119, "About a minute"), (120, "2 minutes"), (59 * 60 + 59, "59 minutes"), (HOUR, "About an hour"),
    (1.49 * HOUR, "About an hour"), (1.5 * HOUR, "2 hours"), (47 * HOUR, "47 hours"), (48 * HOUR, "2 days"), (13 * 24 * HOUR, "13 days"),
    (14 * 24 * HOUR, "2 weeks"), (59 * 24 * HOUR, "8 weeks"), (60 * 24 * HOUR, "2 months"), (729 * 24 * HOUR, "24 months"),
    (730 * 24 * HOUR, "2 years"),
])
def test_words(seconds: float, words: str) -> None:
    assert human_duration(int(seconds * SECOND)) == words


@pytest.mark.parametrize(("text", "ns"), [("1h30m", 5400 * SECOND), ("1.5s", 1_500_000_000), ("-2ms", -2_000_000), ("0", 0), ("5", None),
                                          ("1d", None),
                                          ("", None), ("h", None), ("1us", 1000), ("1µs", 1000)])
def test_durations(text: str, ns: int | None) -> None:
    assert parse_duration(text) == ns


def test_unix_times() -> None:
    assert parse_unix("1700000000.000000001", "since") == 1_700_000_000_000_000_001
    assert parse_unix("1.5", "since") == 1_500_000_000
    for bad in ("", "x", "1.", "1e5", "1 "):
        with pytest.raises(InvalidArgument, match="since"):
            parse_unix(bad, "since")


@pytest.mark.parametrize(("text", "ns"), [
    ("10", 10 * SECOND), ("24h", -24 * HOUR * SECOND), ("1970-01-02", 86400 * SECOND), ("1970-01-01T00:00:01Z", SECOND),
    ("1970-01-01T01:00:00.5+01:00", 500_000_000), ("1970-01-01T00:01", 60 * SECOND), ("1970-01-01T00:00:00-00:30", 1800 * SECOND),
])
def test_moments(text: str, ns: int) -> None:
    assert parse_moment(text, "until", now=0) == ns


@pytest.mark.parametrize("text", ["yesterday", "1970-13-01", "1970-01-01T25:00", ""])
def test_no_moments(text: str) -> None:
    with pytest.raises(InvalidArgument, match="until"):
        parse_moment(text, "until")
