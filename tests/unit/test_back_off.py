"""The back-off of restart policies: 100 ms, doubled up to a minute, and from the start again after ten seconds of life."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.daemon import ends


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []

    class Timer:
        daemon = False

        def __init__(self, delay: float, *_: Any) -> None:
            found.append(delay)

        def start(self) -> None:
            pass

    monkeypatch.setattr(threading, "Timer", Timer)
    return found


def test_it_doubles_up_to_a_minute_and_begins_anew_after_a_life(delays: list[float]) -> None:
    container: Any = SimpleNamespace(delay=0.0, timer=None)
    d: Any = SimpleNamespace(submit=None)
    for _ in range(12):
        ends._restart_later(d, container, lived=9_000_000_000)
    assert delays == pytest.approx([0.1 * 2**n for n in range(10)] + [60.0, 60.0])
    ends._restart_later(d, container, lived=10_000_000_001)
    ends._restart_later(d, container, lived=0)
    assert delays[-2:] == pytest.approx([0.1, 0.2])
