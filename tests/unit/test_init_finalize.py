"""The order of the last steps, seen by a recorder in place of the kernel. Real containers prove its effect in tests/contract/test_init.py."""

from __future__ import annotations

import pytest

from wherry.init import finalize
from wherry.init.user import User
from wherry.linux import capability
from wherry.model.command import Capabilities, Process, Rlimit

HELD = capability.mask(["SYS_ADMIN", "CHOWN", "SETUID"])
ASKED = capability.mask(["CHOWN", "NET_RAW"])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls in their order; nothing reaches the kernel."""
    made: list[str] = []

    def record(target: object, name: str, label: str | None = None, result: object = None) -> None:
        def fake(*args: object) -> object:
            made.append(f"{label or name}{args if label is None else ''}")
            return result

        monkeypatch.setattr(target, name, fake)

    for name in ("setgroups", "setresgid", "setresuid", "umask"):
        record(finalize.os, name)
    record(finalize, "set_rlimit", "rlimit")
    record(finalize, "reset_signals", "signals")
    record(finalize.signal, "pthread_sigmask", "sigmask")
    record(finalize, "own_stdio", "stdio")
    record(finalize, "enter_cwd", "cwd")
    record(finalize, "close_and_check", "close")
    record(finalize, "load_seccomp", "seccomp")
    record(finalize, "prctl")
    record(finalize.capability, "drop_bounding", "bounding")
    record(finalize.capability, "clear_ambient", "ambient")
    record(finalize.capability, "set_all", "capset")
    record(finalize.capability, "get", "capget", (0, HELD, 0))
    return made


def run(**changes: object) -> None:
    process = Process(["true"], [], capabilities=Capabilities(ASKED, ASKED, ASKED), seccomp="00" * 8, rlimits=[Rlimit(7, "nofile", 1, 1)])
    finalize.finalize(process._replace(**changes), User(1000, 1001, [1001, 5], "/"), -1)  # type: ignore[arg-type]


COMMON = ["rlimit", "umask(18,)", "signals", "sigmask", "stdio", "bounding", "ambient", "prctl(8, 1)", "setgroups([1001, 5],)",
          "setresgid(1001, 1001, 1001)", "setresuid(1000, 1000, 1000)", "capget", "capset", "cwd"]  # fmt: skip


def test_without_no_new_privileges_the_filter_comes_before_the_final_sets(calls: list[str]) -> None:
    run()
    assert calls == [*COMMON, "close", "seccomp", "capset"]


def test_with_no_new_privileges_the_filter_comes_last(calls: list[str]) -> None:
    run(no_new_privileges=True)
    assert calls == [*COMMON, "prctl(38, 1)", "capset", "close", "seccomp"]


def test_without_a_filter_none_is_loaded(calls: list[str]) -> None:
    run(seccomp="")
    assert calls == [*COMMON, "close", "capset"]


@pytest.mark.parametrize(("uid", "expected"), [(0, (HELD & ASKED, HELD & ASKED, 0)), (1000, (0, 0, 0))])
def test_the_final_sets(calls: list[str], monkeypatch: pytest.MonkeyPatch, uid: int, expected: tuple[int, int, int]) -> None:
    """Root gets what was asked for as far as the host has it, another user nothing."""
    sets: list[tuple[int, ...]] = []
    monkeypatch.setattr(finalize.capability, "set_all", lambda *args: sets.append(args))
    process = Process(["true"], [], capabilities=Capabilities(ASKED, ASKED, ASKED))
    finalize.finalize(process, User(uid, uid, [uid], "/"), -1)
    assert sets == [(HELD, HELD, 0), expected]
