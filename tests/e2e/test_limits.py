"""Limits that bite, shown by python3 in a Debian container."""

import json

from harness.cli import Cli

EAT = "data = []\nwhile True: data.append(bytearray(b'x' * 1_000_000))"
BURN = (
    "import time\nbegan = time.monotonic(); used = time.process_time(); n = 0\nwhile time.monotonic() - began < 2: n += 1\n"
    "print((time.process_time() - used) / (time.monotonic() - began))"
)
FORK = (
    "import os, time\nn = 0\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(20); os._exit(0)\n    n += 1\n"
    "except OSError as error: print(n, error.errno)"
)


def test_memory_limit_kills(cli: Cli, name: str) -> None:
    cli("run", "--name", name, "-m", "64m", "--memory-swap", "64m", "debian", "python3", "-c", EAT, code=137)
    state = json.loads(cli("inspect", name).out)[0]["State"]
    assert (state["OOMKilled"], state["ExitCode"], state["Status"]) == (True, 137, "exited")


def test_memory_below_the_limit_is_fine(cli: Cli, name: str) -> None:
    cli("run", "--name", name, "-m", "128m", "debian", "python3", "-c", "x = bytearray(b'x' * 40_000_000); print(len(x))")
    assert cli("inspect", "-f", "{{.State.OOMKilled}} {{.HostConfig.Memory}}", name).line == "false 134217728"


def test_cpu_limit(cli: Cli) -> None:
    share = float(cli("run", "--rm", "--cpus", "0.25", "debian", "python3", "-c", BURN).line)
    assert 0.05 < share < 0.35, share  # a busy host may give less than the limit


def test_cpuset(cli: Cli) -> None:
    assert cli("run", "--rm", "--cpuset-cpus", "0", "debian", "python3", "-c", "import os; print(os.sched_getaffinity(0))").line == "{0}"


def test_pids_limit(cli: Cli) -> None:
    made, errno = cli("run", "--rm", "--pids-limit", "20", "debian", "python3", "-c", FORK).line.split()[:2]
    assert 10 <= int(made) < 20 and int(errno) == 11


def test_ulimit(cli: Cli) -> None:
    assert cli("run", "--rm", "--ulimit", "nofile=123:456", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn").out == "123\n456\n"


def test_limits_are_seen_in_the_groups(cli: Cli) -> None:
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
    assert cli("run", "--rm", "-m", "50m", "busybox", "sh", "-c", script).line == str(50 << 20)


def test_memory_too_small_is_refused(cli: Cli) -> None:
    assert "6MB" in cli("run", "--rm", "-m", "1m", "busybox", "true", code=125).err


def test_out_of_range_cpus_is_refused(cli: Cli) -> None:
    assert cli("run", "--rm", "--cpus", "4000", "busybox", "true", code=125).err
