"""`logs` and `attach`: every line, in order, with the options of the stock client."""

import re
import signal

from harness.cli import Cli

STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")


def test_both_streams_and_tail(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "for n in 1 2 3 4 5; do echo out $n; done; echo err >&2")
    assert cli("wait", name).line == "0"
    logs = cli("logs", name)
    assert (logs.out, logs.err) == ("out 1\nout 2\nout 3\nout 4\nout 5\n", "err\n")
    assert (cli("logs", "--tail", "1", name).out + cli("logs", "--tail", "1", name).err) == "err\n"
    assert cli("logs", "-n", "3", name).out == "out 4\nout 5\n"
    assert cli("logs", "--tail", "0", name).out == ""


def test_timestamps_since_until(cli: Cli, name: str) -> None:
    cli("run", "--name", name, "busybox", "sh", "-c", "echo early; sleep 1.1; echo late")
    first, second = cli("logs", "-t", name).out.splitlines()
    assert STAMP.match(first) and STAMP.match(second) and first.endswith(" early")
    between = second.split()[0]
    assert cli("logs", "--since", between, name).out == "late\n"
    assert cli("logs", "--until", first.split()[0], name).out == "early\n"
    assert cli("logs", "--since", "1h", name).out == "early\nlate\n"


def test_follow_until_the_end(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "for n in 1 2 3 4 5 6; do echo $n; sleep 0.2; done")
    assert cli("logs", "-f", name).out.split() == ["1", "2", "3", "4", "5", "6"]


def test_no_line_is_lost(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "seq", "1", "200000")
    assert cli("wait", name).line == "0"
    assert cli("logs", name).out.split() == [str(n) for n in range(1, 200001)]


def test_long_and_partial_lines(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'no newline at the end'")
    cli("wait", name)
    assert cli("logs", name).out == "x" * 100000 + "\n" + "no newline at the end"


def test_rotation(cli: Cli, name: str) -> None:
    cli("run", "--name", name, "--log-opt", "max-size=20k", "--log-opt", "max-file=2", "busybox", "seq", "1", "5000")
    kept = cli("logs", name).out.split()
    assert kept[-1] == "5000" and 100 < len(kept) < 5000
    assert kept == [str(n) for n in range(int(kept[0]), 5001)]


def test_logs_of_a_terminal(cli: Cli, name: str) -> None:
    cli("run", "-d", "-t", "--name", name, "busybox", "echo", "hi")
    cli("wait", name)
    assert cli("logs", name).out == "hi\r\n"


def test_driver_none(cli: Cli, name: str) -> None:
    assert cli("run", "--name", name, "--log-driver", "none", "busybox", "echo", "seen once").out == "seen once\n"
    assert cli("logs", name, code=1).err


def test_attach_sees_what_comes_and_passes_the_code(cli: Cli, name: str) -> None:
    cli("run", "-d", "-i", "--name", name, "busybox", "sh", "-c", "read line; echo got $line; exit 4")
    with cli.start("attach", name) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"bytes\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"got bytes\n"
        assert process.wait(20) == 4


def test_attach_passes_signals(cli: Cli, name: str) -> None:
    script = "trap 'echo bye; exit 6' INT; while :; do echo tick; sleep 0.1; done"
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", script)
    with cli.start("attach", name) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"tick\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().endswith(b"bye\n")
        assert process.wait(20) == 6


def test_grandchild_that_keeps_the_pipe_delays_the_end_only_a_while(cli: Cli) -> None:
    result = cli("run", "--rm", "busybox", "sh", "-c", "sleep 300 & echo parent done", timeout=20)
    assert result.out == "parent done\n"
