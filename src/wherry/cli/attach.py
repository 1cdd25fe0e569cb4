"""`wherry attach`."""

from wherry.cli.attached import Conversation, attach_query, detach_keys, exit_code
from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path
from wherry.cli.errors import CliError
from wherry.cli.terminal import check_tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Flags

COMMAND = Command(
    "CONTAINER",
    "Connect your terminal to a running container",
    (
        ("detach-keys", "", "string", "", "Keys that detach from the container"),
        ("no-stdin", "", "bool", "", "Do not attach to the input"),
        ("sig-proxy", "", "bool", "true", "Pass signals on to the program"),
    ),
    least=1,
    most=1,
    aliases=("container attach", "attach"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    client = cli.client
    keys = detach_keys(cli, flags.text("detach-keys"))
    details = client.call("GET", f"{container_path(args[0])}/json")
    refuse_unless_running(details["State"])
    container, tty = details["Id"], bool(details["Config"]["Tty"])
    stdin = bool(details["Config"]["OpenStdin"]) and not flags.on("no-stdin")
    check_tty(stdin, tty)
    path = f"/containers/{container}"
    waiting = client.begin("POST", f"{path}/wait")
    try:
        waiting.head()
        stream = client.hijack(f"{path}/attach", attach_query(stdin, True, True, keys))
        with Conversation(cli, path, stream, tty, stdin, keys, flags.on("sig-proxy") and not tty) as conversation:
            detached = conversation.run()
        if detached:
            raise CliError("read escape sequence")
        return exit_code(cli, waiting, container)
    finally:
        waiting.close()


def refuse_unless_running(state: "dict[str, Any]") -> None:
    if not state["Running"]:
        raise CliError("You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise CliError("You cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise CliError("You cannot attach to a restarting container, wait until it is running")
