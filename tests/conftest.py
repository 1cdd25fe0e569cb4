"""Rules for the whole suite: a skip is a failure when WHERRY_STRICT is set, and the fast part has a budget that is printed."""

import gc
import os
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

STRICT = os.environ.get("WHERRY_STRICT") == "1"
FAST_BUDGET = 60.0  # seconds for unit and contract tests together
spent = {"fast": 0.0}
settings.register_profile("long", max_examples=5000, deadline=None)  # make test-long


def is_fast(path: Path) -> bool:
    return bool({"unit", "contract"} & set(path.parts))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, None]:
    report = (yield).get_result()  # type: ignore[attr-defined]
    if is_fast(item.path):
        spent["fast"] += report.duration
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which this run does not allow: {item.nodeid}: {report.longrepr}"


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, None]:
    report = (yield).get_result()  # type: ignore[attr-defined]
    if STRICT and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped, which this run does not allow: {collector.nodeid}: {report.longrepr}"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: belongs to make test-long only")
    config.addinivalue_line("markers", "own_daemon: needs control of the daemon, not only its socket")
    config.stash[started] = time.monotonic()


started = pytest.StashKey[float]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fast tests first; tests marked long run only where they are asked for with -m long."""
    if not config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
    items.sort(key=lambda item: not is_fast(item.path))


def pytest_collection_finish() -> None:
    """All that was imported and collected is here to stay: a test that collects garbage looks at its own objects only, which takes 1 ms, not 100."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if spent["fast"]:
        over = f"  OVER ITS BUDGET of {FAST_BUDGET:.0f} s" if spent["fast"] > FAST_BUDGET else ""
        terminalreporter.write_line(f"unit and contract tests took {spent['fast']:.1f} s{over}")
