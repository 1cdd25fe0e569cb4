"""Restart policies, stop signals and timeouts, and what survives a restart of the daemon."""

import json
import os
import select
import time

import pytest

from harness.cli import Cli
from harness.engine import Engine
from harness.waiting import eventually, until_ended


def state(cli: Cli, name: str) -> dict[str, object]:
    shown = json.loads(cli("inspect", name).out)[0]
    return {**shown["State"], "RestartCount": shown["RestartCount"]}


def test_on_failure_counts_and_gives_up(cli: Cli, name: str) -> None:
    cli("run", "-d", "--restart", "on-failure:2", "--name", name, "busybox", "sh", "-c", "echo try; exit 3")
    eventually(lambda: state(cli, name)["Status"] == "exited" and state(cli, name)["RestartCount"] == 2, 20)
    assert cli("logs", name).out == "try\n" * 3
    assert state(cli, name)["ExitCode"] == 3


def test_on_failure_leaves_success_alone(cli: Cli, name: str) -> None:
    cli("run", "-d", "--restart", "on-failure", "--name", name, "busybox", "true")
    cli("wait", name)
    assert state(cli, name)["RestartCount"] == 0 and state(cli, name)["Status"] == "exited"


def test_always_until_stopped(cli: Cli, name: str) -> None:
    cli("run", "-d", "--restart", "always", "--name", name, "busybox", "sh", "-c", "sleep 0.1")
    eventually(lambda: int(str(state(cli, name)["RestartCount"])) >= 2, 20)
    cli("stop", name)
    assert state(cli, name)["Status"] == "exited"
    count = state(cli, name)["RestartCount"]
    time.sleep(1.0)  # nothing happens: there is no event to wait for
    assert state(cli, name)["Status"] == "exited" and state(cli, name)["RestartCount"] == count


def test_restart_with_rm_is_refused(cli: Cli) -> None:
    assert cli("run", "--rm", "--restart", "always", "busybox", "true", code=125).err


def test_init_passes_signals_on(cli: Cli, name: str) -> None:
    cli("run", "-d", "--init", "--name", name, "busybox", "sh", "-c", "trap 'echo got; exit 5' TERM; echo up; while :; do sleep 0.05; done")
    eventually(lambda: cli("logs", name).out == "up\n")
    cli("stop", name)
    assert cli("logs", name).out == "up\ngot\n" and state(cli, name)["ExitCode"] == 5


def test_stop_signal_and_timeout(cli: Cli, name: str) -> None:
    script = "trap 'exit 9' USR1; trap '' TERM; echo up; while :; do sleep 0.05; done"
    cli("run", "-d", "--stop-signal", "USR1", "--name", name, "busybox", "sh", "-c", script)
    eventually(lambda: cli("logs", name).out == "up\n")
    cli("stop", name)
    assert state(cli, name)["ExitCode"] == 9
    cli("start", name)
    eventually(lambda: cli("logs", name).out == "up\nup\n")
    began = time.monotonic()
    cli("stop", "-s", "TERM", "-t", "1", name)
    assert 0.9 < time.monotonic() - began < 5
    assert state(cli, name)["ExitCode"] == 137


@pytest.mark.own_daemon
class TestDaemonRestart:
    def test_running_containers_stay_and_are_found_again(self, cli: Cli, name: str, engine: Engine) -> None:
        cli("run", "-d", "--name", name, "busybox", "sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.05; done")
        eventually(lambda: "3\n" in cli("logs", name).out)
        pid = state(cli, name)["Pid"]
        engine.kill()
        engine.start()
        assert state(cli, name)["Pid"] == pid and state(cli, name)["Running"] is True
        seen = len(cli("logs", name).out.split())
        eventually(lambda: len(cli("logs", name).out.split()) > seen + 3)
        lines = cli("logs", name).out.split()
        assert lines == [str(n) for n in range(1, len(lines) + 1)]
        cli("exec", name, "true")
        cli("stop", "-t", "1", name)
        assert state(cli, name)["ExitCode"] == 137

    def test_exit_while_the_daemon_is_down_is_not_lost(self, cli: Cli, name: str, engine: Engine) -> None:
        cli("run", "-d", "--name", name, "busybox", "sh", "-c", "echo up; sleep 1; echo last words; exit 17")
        pid = int(str(state(cli, name)["Pid"]))
        engine.kill()
        until_ended(pid)  # nobody is there to be told
        engine.start()
        eventually(lambda: state(cli, name)["Status"] == "exited")
        assert state(cli, name)["ExitCode"] == 17
        assert cli("logs", name).out == "up\nlast words\n"

    def test_rm_is_kept_over_a_restart(self, cli: Cli, name: str, engine: Engine) -> None:
        cli("run", "-d", "--rm", "--name", name, "busybox", "sleep", "1")
        pid = int(str(state(cli, name)["Pid"]))
        engine.kill()
        until_ended(pid)
        engine.start()
        eventually(lambda: cli("ps", "-aq", "--filter", f"name={name}").out == "")

    def test_restart_policy_is_kept(self, cli: Cli, name: str, engine: Engine) -> None:
        cli("run", "-d", "--restart", "always", "--name", name, "busybox", "sleep", "600")
        cli("run", "-d", "--restart", "unless-stopped", "--name", f"{name}-stopped", "busybox", "sleep", "600")
        cli("stop", "-t", "0", f"{name}-stopped")
        engine.restart()
        assert state(cli, name)["Running"] is True
        assert state(cli, f"{name}-stopped")["Running"] is False
        cli("kill", name)
        eventually(lambda: state(cli, name)["Running"] is False)

    def test_policies_are_applied_to_what_ended_meanwhile(self, cli: Cli, name: str, engine: Engine) -> None:
        """Each program lives on in its second run; who is started again is what the policy says about the end of the first."""
        script = "test -e /second && exec sleep 600; touch /second; while ! test -e /go; do sleep 0.05; done; exit "
        cases = {"always": 0, "unless-stopped": 0, "on-failure": 3, "on-failure:1": 0, "no": 3}
        names = {policy: f"{name}-{number}" for number, policy in enumerate(cases)}
        pids = []
        for policy, code in cases.items():
            cli("run", "-d", "--restart", policy, "--name", names[policy], "busybox", "sh", "-c", f"{script}{code}")
            eventually(lambda one=names[policy]: cli("exec", one, "test", "-e", "/second", code=None).code == 0)
            pids.append(os.pidfd_open(int(str(state(cli, names[policy])["Pid"]))))
        for one in names.values():
            cli("exec", one, "sh", "-c", "(sleep 1; touch /go) >/dev/null 2>&1 &")
        engine.kill()
        for pidfd in pids:
            assert select.select([pidfd], [], [], 20)[0]
            os.close(pidfd)
        engine.start()
        for policy in ("always", "unless-stopped", "on-failure"):
            eventually(lambda one=names[policy]: state(cli, one)["Status"] == "running", 20, what=policy)
        for policy in ("on-failure:1", "no"):
            assert (state(cli, names[policy])["Status"], state(cli, names[policy])["ExitCode"]) == ("exited", cases[policy])

    def test_attached_client_and_terminal_survive(self, cli: Cli, name: str, engine: Engine) -> None:
        with cli.terminal("run", "-it", "--name", name, "busybox", "sh") as terminal:
            terminal.expect(r"/ # ")
            engine.restart()
            terminal.type("echo still here\n")
            terminal.expect(r"still here\r\nstill here|echo still here\r\nstill here")

    def test_published_port_survives(self, cli: Cli, name: str, engine: Engine, free_port: int) -> None:
        import urllib.request

        def status() -> int:
            with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/", timeout=5) as response:
                return int(response.status)

        cli("run", "-d", "-p", f"{free_port}:80", "--name", name, "nginx")
        eventually(lambda: status() == 200)
        engine.kill()
        assert status() == 200, "the port answers while the daemon is down"
        engine.start()
        assert status() == 200
