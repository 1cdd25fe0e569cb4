"""`wherry exec`: a further program in a running container."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path
from wherry.cli.errors import CliError
from wherry.cli.http1 import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Flags

COMMAND = Command(
    "CONTAINER COMMAND [ARG...]",
    "Run a further command in a running container",
    (
        ("detach", "d", "bool", "", "Leave the command running in the background"),
        ("detach-keys", "", "string", "", "Keys that detach from the command"),
        ("env", "e", "list", "", "Environment variable, as NAME=value or NAME"),
        ("env-file", "", "list", "", "File of environment variables, one a line"),
        ("interactive", "i", "bool", "", "Keep standard input open"),
        ("privileged", "", "bool", "", "Give the command all rights on the host"),
        ("tty", "t", "bool", "", "Give the command a terminal"),
        ("user", "u", "string", "", "User, as name or UID, and group if wanted: user[:group]"),
        ("workdir", "w", "string", "", "Working directory in the container"),
    ),
    least=2,
    aliases=("container exec", "exec"),
    interspersed=False,
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    detach, tty, stdin = flags.on("detach"), flags.on("tty"), flags.on("interactive") and not flags.on("detach")
    keys = flags.text("detach-keys") or str(cli.config.get("detachKeys") or "")
    body: dict[str, Any] = {
        "User": flags.text("user"),
        "Privileged": flags.on("privileged"),
        "Tty": tty,
        "AttachStdin": stdin,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "DetachKeys": keys,
        "Env": [],
        "WorkingDir": flags.text("workdir"),
        "Cmd": args[1:],
    }
    if flags.given("env") or flags.given("env-file"):
        from wherry.cli.options.process import environment

        body["Env"] = environment(flags, {})
    if tty and not detach:
        from wherry.cli.terminal import check_tty, size

        check_tty(stdin, tty)
        rows, columns = size()
        if rows or columns:
            body["ConsoleSize"] = [rows, columns]
    created = cli.client.call("POST", f"{container_path(args[0])}/exec", body=body)["Id"]
    if detach:
        cli.client.call("POST", f"/exec/{created}/start", body={"Detach": True, "Tty": tty})
        return 0
    return _attached(cli, created, body, keys)


def _attached(cli: Cli, created: str, body: "dict[str, Any]", keys: str) -> int:
    from wherry.cli.attached import Conversation

    start = {"Detach": False, "Tty": body["Tty"]}
    if "ConsoleSize" in body:
        start["ConsoleSize"] = body["ConsoleSize"]
    path = f"/exec/{created}"
    stream = cli.client.hijack(f"{path}/start", body=start)
    with Conversation(cli, path, stream, body["Tty"], body["AttachStdin"], keys, proxy=False) as conversation:
        detached = conversation.run()
    if detached:
        raise CliError("exec attach failed: read escape sequence")
    try:
        return int(cli.client.call("GET", f"{path}/json")["ExitCode"])
    except ProtocolError:
        return 255  # the daemon went away, and with it the code
