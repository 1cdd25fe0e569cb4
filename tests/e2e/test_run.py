"""`run` as users know it: output, exit codes, streams, the program's environment."""

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from harness.api import Api
from harness.cli import Cli
from harness.waiting import eventually


def test_output_of_both_streams(cli: Cli) -> None:
    result = cli("run", "--rm", "busybox", "sh", "-c", "echo hi; echo oops >&2")
    assert (result.out, result.err) == ("hi\n", "oops\n")


@pytest.mark.parametrize("network", ["bridge", "none", "host"])
def test_hello_on_each_network(cli: Cli, network: str) -> None:
    assert cli("run", "--rm", "--network", network, "busybox", "echo", "hello from wherry").out == "hello from wherry\n"


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code_is_the_programs(cli: Cli, code: int) -> None:
    cli("run", "--rm", "busybox", "sh", "-c", f"exit {code}", code=code)


def test_exit_code_of_a_signal(cli: Cli) -> None:
    result = cli("run", "--rm", "--init", "busybox", "sh", "-c", "kill -SEGV $$", code=None)
    assert result.code == 128 + signal.SIGSEGV


def test_killed_container_reports_137(cli: Cli, name: str) -> None:
    process = cli.start("run", "--name", name, "busybox", "sleep", "60")
    eventually(lambda: cli("inspect", "-f", "{{.State.Running}}", name, code=None).line == "true")
    assert cli("kill", name).line == name
    _, _ = process.communicate(timeout=30)
    assert process.returncode == 137
    assert cli("inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Status}}", name).line == "137 false exited"


def test_codes_of_the_engines_own_failures(cli: Cli, name: str) -> None:
    assert cli("run", "--rm", "busybox", "no-such-program", code=127).err
    assert cli("run", "--rm", "busybox", "/no/such/program", code=127).err
    assert cli("run", "--rm", "busybox", "/etc/passwd", code=126).err
    assert cli("run", "--rm", "busybox", "/etc", code=126).err
    assert 'exec: "": executable file not found' in cli("run", "--rm", "busybox", "", code=127).err
    assert cli("run", "--rm", "--no-such-flag", "busybox", code=125).err
    assert cli("run", "--rm", "--memory", "nonsense", "busybox", "true", code=125).err
    assert cli("run", "--rm", "--name", "bad/name", "busybox", "true", code=125).err
    cli("create", "--name", name, "busybox")
    assert name in cli("run", "--name", name, "busybox", "true", code=125).err


def test_stdin_is_passed_and_closed(cli: Cli) -> None:
    assert cli("run", "--rm", "-i", "busybox", "cat", stdin="one\ntwo\n").out == "one\ntwo\n"
    assert cli("run", "--rm", "-i", "busybox", "wc", "-c", stdin=b"x" * 3_000_000).line.strip() == "3000000"


def test_half_close_leaves_the_output_open(cli: Cli) -> None:
    script = "cat >/dev/null; echo after the end of input; sleep 0.3; echo still here"
    assert cli("run", "--rm", "-i", "busybox", "sh", "-c", script, stdin="x").out == "after the end of input\nstill here\n"


def test_without_i_stdin_is_empty(cli: Cli) -> None:
    assert cli("run", "--rm", "busybox", "wc", "-c", stdin="text").line.strip() == "0"


def test_large_output_arrives_whole(cli: Cli) -> None:
    result = cli("run", "--rm", "busybox", "sh", "-c", "head -c 20000000 /dev/zero; echo end >&2")
    assert len(result.raw_out) == 20_000_000 and result.err == "end\n"


def test_slow_reader_loses_nothing(cli: Cli) -> None:
    with cli.start("run", "--rm", "busybox", "seq", "1", "400000") as process:
        assert process.stdout and process.stdin
        process.stdin.close()
        first = os.read(process.stdout.fileno(), 10)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.7)
        signal.pause()
        rest = process.stdout.read()
    assert (first + rest).decode().split() == [str(n) for n in range(1, 400001)]


def test_environment_and_working_directory(cli: Cli) -> None:
    out = cli("run", "--rm", "-e", "A=1", "-e", "INHERITED", "-w", "/made/by/run", "busybox", "sh", "-c", "env; pwd", env={"INHERITED": "yes"}).out
    lines = out.splitlines()
    assert {"A=1", "INHERITED=yes", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} <= set(lines)
    assert any(line.startswith("HOSTNAME=") and len(line) == len("HOSTNAME=") + 12 for line in lines)
    assert lines[-1] == "/made/by/run"


def test_env_file(cli: Cli, tmp_path: str) -> None:
    path = os.path.join(tmp_path, "env")
    with open(path, "w") as out:
        out.write("# comment\nFROM_FILE=a b c\n")
    assert "FROM_FILE=a b c\n" in cli("run", "--rm", "--env-file", path, "busybox", "env").out


def test_user_by_number_and_name(cli: Cli) -> None:
    assert cli("run", "--rm", "-u", "33:100", "busybox", "id", "-u").line == "33"
    assert cli("run", "--rm", "-u", "daemon", "busybox", "id").line == "uid=1(daemon) gid=1(daemon) groups=1(daemon),29(audio)"
    assert "HOME=/usr/sbin\n" in cli("run", "--rm", "-u", "daemon", "busybox", "env").out
    assert cli("run", "--rm", "-u", "nosuchuser", "busybox", "id", code=None).code in (125, 126)


def test_hostname_hosts_and_resolver(cli: Cli) -> None:
    out = cli("run", "--rm", "-h", "boat", "--add-host", "pier:10.9.8.7", "--dns", "192.0.2.1", "--dns-search", "example.org", "busybox",
              "sh", "-c", "hostname; cat /etc/hosts /etc/resolv.conf").out  # fmt: skip
    assert out.startswith("boat\n")
    assert "10.9.8.7\tpier" in out and "nameserver 192.0.2.1" in out and "search example.org" in out
    assert any(line.split()[-1:] == ["boat"] for line in out.splitlines() if "\t" in line)


def test_pid_1_and_init(cli: Cli) -> None:
    assert cli("run", "--rm", "busybox", "cat", "/proc/1/comm").line == "cat"
    assert "init" in cli("run", "--rm", "--init", "busybox", "sh", "-c", "cat /proc/1/comm; :").line
    script = "(sleep 0.1 & exec true) ; sleep 0.5; ps -o stat | grep -c Z; true"
    assert cli("run", "--rm", "--init", "busybox", "sh", "-c", script).line == "0"


def test_signals_are_proxied(cli: Cli, name: str) -> None:
    process = cli.start("run", "--name", name, "busybox", "sh", "-c", "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    assert process.stdout and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == (b"got it\n", 3)


def test_rm_leaves_nothing_and_keeps_otherwise(cli: Cli, name: str) -> None:
    cli("run", "--rm", "--name", name, "busybox", "true")
    assert cli("ps", "-aq", "--filter", f"name={name}").out == ""
    cli("run", "--name", name, "busybox", "true")
    assert cli("ps", "-aq", "--filter", f"name={name}").out != ""


def test_detached_prints_the_id_and_runs(cli: Cli, name: str, api: Api) -> None:
    container = cli("run", "-d", "--name", name, "busybox", "sleep", "60").line
    assert len(container) == 64 and int(container, 16)
    assert api.ok("GET", f"/containers/{container[:12]}/json")["State"]["Running"] is True


def test_writes_survive_stop_and_never_reach_the_image(cli: Cli, name: str) -> None:
    cli("run", "--name", name, "busybox", "sh", "-c", "cat /kept 2>/dev/null; echo kept >/kept")
    assert cli("start", "-a", name).out == "kept\n"
    cli("run", "--rm", "busybox", "test", "-e", "/kept", code=1)


def test_read_only_root_with_tmpfs(cli: Cli) -> None:
    result = cli("run", "--rm", "--read-only", "--tmpfs", "/scratch:size=1m", "busybox", "sh", "-c",
                 "touch /x 2>&1; echo y >/scratch/y && cat /scratch/y; mount | grep -c ' /scratch type tmpfs'")  # fmt: skip
    assert "Read-only file system" in result.out and result.out.endswith("y\n1\n")


def test_read_only_root_covers_the_engines_files(cli: Cli) -> None:
    script = "for f in hosts hostname resolv.conf; do echo x 2>/dev/null >>/etc/$f && echo $f; done; touch /dev/shm/x && echo shm"
    assert cli("run", "--rm", "--read-only", "busybox", "sh", "-c", script, code=None).line == "shm"
    assert cli("run", "--rm", "busybox", "sh", "-c", script).line == "hosts\nhostname\nresolv.conf\nshm"


def test_message_queues_of_the_hosts_ipc_namespace(cli: Cli) -> None:
    script = "readlink /proc/self/ns/ipc; grep -c '^mqueue /dev/mqueue mqueue' /proc/mounts"
    assert cli("run", "--rm", "--ipc", "host", "busybox", "sh", "-c", script).line == f"{os.readlink('/proc/self/ns/ipc')}\n1"


def test_sysctl_of_a_network_that_is_joined(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "sleep", "100")
    join = ("run", "--rm", "--network", f"container:{name}")
    cli(*join, "--sysctl", "net.ipv4.ip_unprivileged_port_start=81", "busybox", "true")
    assert cli("exec", name, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start").line == "81"
    cli("run", "-d", "--name", f"{name}-host", "--network", "host", "busybox", "sleep", "100")
    joined = cli("run", "--rm", "--network", f"container:{name}-host", "--sysctl", "net.ipv4.ip_forward=1", "busybox", "true", code=125)
    assert "not allowed in host network namespace" in joined.err
    assert "port exposing and the container type network mode" in cli(*join, "--expose", "80", "busybox", code=125).err


def test_devices_below_a_directory_keep_their_modes(cli: Cli, tmp_path: Path) -> None:
    os.mknod(tmp_path / "mine", stat.S_IFCHR | 0o604, os.makedev(1, 3))
    os.chmod(tmp_path / "mine", 0o604)
    os.chown(tmp_path / "mine", 5, 6)
    assert cli("run", "--rm", "--device", f"{tmp_path}:/dev/all", "busybox", "stat", "-c", "%a %u %g %t:%T", "/dev/all/mine").line == "604 5 6 1:3"


def test_unknown_names_are_told_whatever_else_fails_by_them(cli: Cli) -> None:
    for _ in range(5):  # the init may be gone before its veth is made
        assert "unable to find user nosuch" in cli("run", "--rm", "--user", "nosuch", "busybox", "id", code=125).err


def test_standard_streams_can_be_opened_by_name(cli: Cli) -> None:
    result = cli("run", "--rm", "-u", "33", "busybox", "sh", "-c", "echo a >/dev/stdout; echo b >/dev/stderr")
    assert (result.out, result.err) == ("a\n", "b\n")


def test_cidfile(cli: Cli, tmp_path: str) -> None:
    path = os.path.join(tmp_path, "cid")
    cli("run", "--rm", "--cidfile", path, "busybox", "true")
    with open(path) as written:
        assert len(written.read().strip()) == 64
    cli("run", "--rm", "--cidfile", path, "busybox", "true", code=125)


def test_client_killed_leaves_the_container_running(cli: Cli, name: str) -> None:
    process = cli.start("run", "--name", name, "busybox", "sh", "-c", "echo up; sleep 60")
    assert process.stdout and process.stdout.readline() == b"up\n"
    process.kill()
    process.communicate()
    assert cli("inspect", "-f", "{{.State.Running}}", name).line == "true"


def test_broken_pipe_of_the_client(cli: Cli) -> None:
    with cli.start("run", "--rm", "busybox", "yes", stdin=subprocess.DEVNULL) as process:
        assert process.stdout and process.stderr
        process.stdout.read(1000)
        process.stdout.close()
        process.stderr.read()
        assert process.wait(30) != 0
