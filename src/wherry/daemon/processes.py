"""What `ps` shows of processes, read from /proc: no program is started for it (proc(5), ps(1))."""

from __future__ import annotations

import os
import pwd
import shlex
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from wherry.model.errors import InvalidArgument

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One process. `start` and `cpu` in seconds (start since the epoch), memory in KiB."""

    pid: int
    ppid: int
    uid: int
    command: str
    name: str
    state: str
    session_leader: bool
    threads: int
    nice: int
    tty: int
    start: float
    cpu: float
    virtual: int
    resident: int


def read(pid: int) -> Process | None:
    """The process `pid`; None when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            raw = file.read()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            argv = file.read().rstrip(b"\0").split(b"\0")
        uid = os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = raw[raw.index(b"(") + 1:raw.rindex(b")")].decode("utf-8", "replace")
    fields = raw[raw.rindex(b")") + 2:].split()
    numbers = [0, *map(int, fields[1:])]         # numbers[n] is field n + 3 of proc_pid_stat(5)
    command = " ".join(arg.decode("utf-8", "replace") for arg in argv) or f"[{name}]"
    return Process(pid, numbers[1], uid, command, name, fields[0].decode(), numbers[3] == pid, numbers[17], numbers[16], numbers[4],
                   _boot_time() + numbers[19] / _TICKS, (numbers[11] + numbers[12]) / _TICKS, numbers[20] // 1024, numbers[21] * _PAGE // 1024)


def _boot_time() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _user(p: Process) -> str:
    try:
        return pwd.getpwuid(p.uid).pw_name
    except KeyError:
        return str(p.uid)


def _tty(p: Process) -> str:
    major, minor = os.major(p.tty), os.minor(p.tty)
    if not p.tty:
        return "?"
    if 136 <= major <= 143:
        return f"pts/{minor + (major - 136) * 256}"
    return f"tty{minor}" if major == 4 else "?"


def _clock(p: Process) -> str:
    seconds = int(p.cpu)
    days = f"{seconds // 86400}-" if seconds >= 86400 else ""
    return f"{days}{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _minutes(p: Process) -> str:
    return f"{int(p.cpu) // 60}:{int(p.cpu) % 60:02}"


def _started(p: Process) -> str:
    begun, now = time.localtime(p.start), time.localtime()
    if (begun.tm_year, begun.tm_yday) == (now.tm_year, now.tm_yday):
        return time.strftime("%H:%M", begun)
    return time.strftime("%b%d" if begun.tm_year == now.tm_year else "%Y", begun)


def _elapsed(p: Process) -> str:
    seconds = max(0, int(time.time() - p.start))
    days = f"{seconds // 86400}-" if seconds >= 86400 else ""
    hours = f"{seconds // 3600 % 24:02}:" if seconds >= 3600 else ""
    return f"{days}{hours}{seconds // 60 % 60:02}:{seconds % 60:02}"


def _share(p: Process) -> float:
    return 100 * p.cpu / max(time.time() - p.start, 0.01)


def _memory_share(p: Process) -> str:
    return f"{100 * p.resident * 1024 / (_PAGE * os.sysconf('SC_PHYS_PAGES')):.1f}"


def _state(p: Process) -> str:
    return p.state + ("<" if p.nice < 0 else "N" if p.nice > 0 else "") + ("s" if p.session_leader else "") + ("l" if p.threads > 1 else "")


#: Columns by the names of ps(1), "STANDARD FORMAT SPECIFIERS": title and value.
COLUMNS: dict[str, tuple[str, Callable[[Process], str]]] = {
    "pid": ("PID", lambda p: str(p.pid)), "ppid": ("PPID", lambda p: str(p.ppid)), "uid": ("UID", lambda p: str(p.uid)),
    "user": ("USER", _user), "euser": ("EUSER", _user), "comm": ("COMMAND", lambda p: p.name), "ucmd": ("CMD", lambda p: p.name),
    "args": ("COMMAND", lambda p: p.command), "command": ("COMMAND", lambda p: p.command), "cmd": ("CMD", lambda p: p.command),
    "%cpu": ("%CPU", lambda p: f"{_share(p):.1f}"), "pcpu": ("%CPU", lambda p: f"{_share(p):.1f}"), "c": ("C", lambda p: str(int(_share(p)))),
    "%mem": ("%MEM", _memory_share), "pmem": ("%MEM", _memory_share), "vsz": ("VSZ", lambda p: str(p.virtual)),
    "rss": ("RSS", lambda p: str(p.resident)), "tty": ("TT", _tty), "tt": ("TT", _tty), "tname": ("TTY", _tty), "stat": ("STAT", _state),
    "s": ("S", lambda p: p.state), "state": ("S", lambda p: p.state), "time": ("TIME", _clock), "cputime": ("TIME", _clock),
    "etime": ("ELAPSED", _elapsed), "etimes": ("ELAPSED", lambda p: str(max(0, int(time.time() - p.start)))), "stime": ("STIME", _started),
    "start_time": ("START", _started), "ni": ("NI", lambda p: str(p.nice)), "nice": ("NI", lambda p: str(p.nice)),
    "nlwp": ("NLWP", lambda p: str(p.threads)), "thcount": ("THCNT", lambda p: str(p.threads)),
}

Layout = list[tuple[str, Callable[[Process], str]]]

_FULL: Layout = [("UID", _user), *(COLUMNS[name] for name in ("pid", "ppid", "c", "stime", "tname", "time", "cmd"))]
_BRIEF: Layout = [COLUMNS[name] for name in ("pid", "tname", "time", "ucmd")]
_USER: Layout = [*(COLUMNS[name] for name in ("user", "pid", "%cpu", "%mem", "vsz", "rss", "tname", "stat", "start_time")), ("TIME", _minutes),
                 COLUMNS["args"]]


def layout(arguments: str) -> Layout:
    """The columns that `ps` with these arguments shows. Raises InvalidArgument for what is not known here, or has no PID."""
    try:
        words = shlex.split(arguments) or ["-ef"]
    except ValueError as error:
        raise InvalidArgument(f"ps_args: {error}") from None
    chosen = _BRIEF
    while words:
        word = words.pop(0)
        letters = word.removeprefix("-")
        head, formatted, rest = letters.partition("o")
        if not letters or not set(head) <= set("eAafuxwH" if word.startswith("-") else "aefuxwH"):
            raise InvalidArgument(f"ps_args: {word!r} is not known (-ef, aux, and -o with a list of columns are)")
        if "u" in head:
            chosen = _USER
        elif "f" in head and word.startswith("-"):
            chosen = _FULL
        if formatted:
            if not rest and not words:
                raise InvalidArgument("ps_args: -o needs a list of columns")
            chosen = [_column(name) for name in (rest or words.pop(0)).split(",")]
    if not any(title == "PID" for title, _ in chosen):
        raise InvalidArgument("ps_args: the column PID is needed")
    return chosen


def _column(text: str) -> tuple[str, Callable[[Process], str]]:
    name, equals, title = text.partition("=")
    if name.lower() not in COLUMNS:
        raise InvalidArgument(f"ps_args: the column {name!r} is not known")
    known = COLUMNS[name.lower()]
    return (title or known[0], known[1]) if equals else known


def table(pids: Iterable[int], columns: Layout) -> dict[str, list[str] | list[list[str]]]:
    """Titles and rows, by PID."""
    found = [process for pid in sorted(pids) if (process := read(pid)) is not None]
    return {"Titles": [title for title, _ in columns], "Processes": [[value(p) for _, value in columns] for p in found]}
