"""`wherry start`, and `start -a`, which converses with the program as `run` does."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path, each
from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags

COMMAND = Command(
    "CONTAINER [CONTAINER...]",
    "Start stopped containers",
    (
        ("attach", "a", "bool", "", "Attach to the output and pass signals on"),
        ("checkpoint", "", "string", "", "Checkpoint to go on from"),
        ("checkpoint-dir", "", "string", "", "Directory of the checkpoints"),
        ("detach-keys", "", "string", "", "Keys that detach from the container"),
        ("interactive", "i", "bool", "", "Attach to the input"),
    ),
    least=1,
    aliases=("container start", "start"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    for name in ("checkpoint", "checkpoint-dir"):
        if flags.text(name):
            raise CliError(f"wherry: --{name} is not built yet", 125)
    if flags.on("attach") or flags.on("interactive"):
        if len(args) > 1:
            raise CliError("you cannot start and attach multiple containers at once")
        return _attached(cli, args[0], flags)
    failed: list[str] = []

    def start(name: str) -> None:
        try:
            cli.client.call("POST", f"{container_path(name)}/start")
        except CliError:
            failed.append(name)
            raise

    code = each(cli, args, start)
    if failed:
        cli.err("Error: failed to start containers: " + ", ".join(failed))
    return code


def _attached(cli: Cli, name: str, flags: "Flags") -> int:
    from wherry.cli.attached import Conversation, attach_query, detach_keys, exit_code

    client = cli.client
    keys = detach_keys(cli, flags.text("detach-keys"))
    details = client.call("GET", f"{container_path(name)}/json")
    container, config = details["Id"], details["Config"]
    path, tty = f"/containers/{container}", bool(config["Tty"])
    stdin = flags.on("interactive") and bool(config["OpenStdin"])
    connection = client.begin_hijack(f"{path}/attach", attach_query(stdin, True, True, keys))
    condition = "removed" if details["HostConfig"]["AutoRemove"] else "next-exit"
    waiting = client.begin("POST", f"{path}/wait", {"condition": condition})
    try:
        stream = client.hijacked(connection)
        waiting.head()
        with Conversation(cli, path, stream, tty, stdin, keys, proxy=not tty) as conversation:
            client.call("POST", f"{path}/start")
            detached = conversation.run()
        return 0 if detached else exit_code(cli, waiting, container)
    finally:
        waiting.close()
