from __future__ import annotations

import os
import subprocess
import sys

import pytest

from wherry.daemon import processes
from wherry.model.errors import InvalidArgument


@pytest.mark.parametrize(("arguments", "titles"), [
    ("", "UID PID PPID C STIME TTY TIME CMD"), ("-ef", "UID PID PPID C STIME TTY TIME CMD"), ("-e -f", "UID PID PPID C STIME TTY TIME CMD"),
    ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"), ("-e", "PID TTY TIME CMD"), ("-o pid,comm", "PID COMMAND"),
    ("-eo pid=,user=WHO,args", "PID WHO COMMAND"), ("-opid", "PID"),
])
def test_titles(arguments: str, titles: str) -> None:
    assert " ".join(title for title, _ in processes.layout(arguments)) == titles


@pytest.mark.parametrize("arguments", ["-o", "-o comm", "-o pid,secret", "--forest", "-Z", "'", "; rm -rf /", "-p 1"])
def test_bad_arguments(arguments: str) -> None:
    with pytest.raises(InvalidArgument, match="ps_args"):
        processes.layout(arguments)


def test_rows_of_a_real_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()", "two words"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stdout.readline()
        rows = processes.table([child.pid, 2**22 + 1], processes.layout("-o pid,ppid,user,args,vsz,rss,stat,etimes"))["Processes"]
        assert len(rows) == 1
        pid, ppid, user, args, vsz, rss, stat, elapsed = rows[0]
        assert (int(pid), int(ppid), user) == (child.pid, os.getpid(), "root") and args.endswith("two words")
        assert int(vsz) >= int(rss) > 100 and stat[0] in "RSD" and 0 <= int(elapsed) < 60
    finally:
        child.communicate(b"\n")
    assert processes.read(child.pid) is None


def test_the_same_as_ps() -> None:
    """The columns that cannot change between two looks, compared with procps where it is there."""
    try:
        command = ["ps", "-o", "pid,ppid,user,nlwp,tname,stime,comm", "-p", str(os.getpid())]
        theirs = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("no ps on this machine")
    ours = processes.table([os.getpid()], processes.layout("-o pid,ppid,user,nlwp,tname,stime,comm"))["Processes"][0]
    assert theirs.stdout.splitlines()[1].split() == ours
