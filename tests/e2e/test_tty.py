"""A real terminal, for `run -it`, `attach` and `exec -it`, with both clients."""

from harness.cli import Cli
from harness.waiting import eventually

SHELL = ("busybox", "sh")


def test_shell_on_a_terminal(cli: Cli, name: str) -> None:
    with cli.terminal("run", "-it", "--rm", "--name", name, *SHELL, rows=33, columns=101) as terminal:
        terminal.expect(r"/ # ")
        terminal.type("tty; stty size; echo $TERM\n")
        terminal.expect(r"/dev/(pts/0|console)\r\n33 101\r\nxterm\r\n")
        terminal.type("exit 7\n")
        assert terminal.wait() == 7


def test_resize(cli: Cli, name: str) -> None:
    script = "trap 'echo size is $(stty size)' WINCH; echo ready; while :; do sleep 0.1; done"
    with cli.terminal("run", "-it", "--rm", "--name", name, "busybox", "sh", "-c", script, rows=20, columns=50) as terminal:
        terminal.expect(r"ready")
        terminal.resize(44, 155)
        terminal.expect(r"size is 44 155")


def test_ctrl_c_reaches_the_foreground_program_only(cli: Cli, name: str) -> None:
    with cli.terminal("run", "-it", "--rm", "--name", name, *SHELL) as terminal:
        terminal.expect(r"/ # ")
        terminal.type("sleep 1000\n")
        eventually(lambda: "sleep 1000" in cli("top", name).out)
        terminal.type("\x03")
        terminal.expect(r"/ # ")
        terminal.type("echo status $?\n")
        terminal.expect(r"status 130\r\n")
        terminal.expect(r"/ # ")  # before its prompt the shell has not taken the terminal back: the key would be lost
        terminal.type("\x04")
        assert terminal.wait() == 0


def test_job_control(cli: Cli, name: str) -> None:
    with cli.terminal("run", "-it", "--rm", "--name", name, *SHELL) as terminal:
        terminal.expect(r"/ # ")
        terminal.type("sleep 1000\n")
        eventually(lambda: "sleep 1000" in cli("top", name).out)
        terminal.type("\x1a")
        terminal.expect(r"Stopped")
        terminal.type("jobs\n")
        terminal.expect(r"\[1\]\+\s+Stopped\s+sleep 1000")
        terminal.type("bg; jobs; kill %1; wait; exit\n")
        terminal.expect(r"Running\s+sleep 1000")
        terminal.wait()


def test_detach_and_attach_again(cli: Cli, name: str) -> None:
    with cli.terminal("run", "-it", "--name", name, *SHELL) as terminal:
        terminal.expect(r"/ # ")
        terminal.type("A=kept\n")
        terminal.expect(r"/ # ")
        terminal.type("\x10\x11")
        assert terminal.wait() == 0
    assert cli("inspect", "-f", "{{.State.Running}}", name).line == "true"
    with cli.terminal("attach", name) as terminal:
        terminal.type("\necho it is $A\n")
        terminal.expect(r"it is kept\r\n")
        terminal.type("\x10\x11")
        assert terminal.wait() == 1
    with cli.terminal("attach", "--detach-keys", "ctrl-x,y", name) as terminal:
        terminal.type("\necho again $A\n")
        terminal.expect(r"again kept\r\n")
        terminal.type("\x10\x11\x18y")
        assert terminal.wait() == 1
    with cli.terminal("attach", name) as terminal:
        terminal.type("\nexit 5\n")
        assert terminal.wait() == 5


def test_two_clients_on_one_terminal(cli: Cli, name: str) -> None:
    with cli.terminal("run", "-it", "--rm", "--name", name, *SHELL) as first:
        first.expect(r"/ # ")
        with cli.terminal("attach", name) as second:
            second.type("\n")
            second.expect(r"/ # ")
            first.type("echo to both\n")
            second.expect(r"to both\r\n.*to both\r\n|echo to both\r\nto both")
            second.type("echo back\n")
            first.expect(r"echo back\r\nback\r\n")
            first.type("exit\n")
            assert second.wait() == 0
        assert first.wait() == 0


def test_exec_on_a_terminal(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "sleep", "600")
    with cli.terminal("exec", "-it", name, "sh", rows=18, columns=72) as terminal:
        terminal.expect(r"/ # ")
        terminal.type("stty size\n")
        terminal.expect(r"18 72\r\n")
        terminal.resize(19, 73)
        eventually(lambda: (terminal.type("stty size\n"), terminal.expect(r"19 73\r\n", 1)), 10)
        terminal.type("exit 9\n")
        assert terminal.wait() == 9
    with cli.terminal("exec", "-it", name, "sh") as terminal:
        terminal.expect(r"/ # ")
        terminal.type("\x10\x11")
        assert terminal.wait() == 1


def test_tty_without_terminal_is_refused(cli: Cli) -> None:
    assert "TTY" in cli("run", "-it", "--rm", "busybox", "true", code=1).err


def test_tty_output_without_terminal_input(cli: Cli) -> None:
    assert cli("run", "-t", "--rm", "busybox", "echo", "hi").out == "hi\r\n"


def test_hangup_of_the_client_leaves_the_container(cli: Cli, name: str) -> None:
    terminal = cli.terminal("run", "-it", "--name", name, *SHELL)
    terminal.expect(r"/ # ")
    terminal.close()
    assert cli("inspect", "-f", "{{.State.Running}}", name).line == "true"
