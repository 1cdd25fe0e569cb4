"""`wherry wait`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path, each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags

COMMAND = Command(
    "CONTAINER [CONTAINER...]",
    "Wait until containers end and print their exit codes",
    least=1,
    aliases=("container wait", "wait"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    def wait(name: str) -> None:
        result = cli.client.call("POST", f"{container_path(name)}/wait")
        cli.out(str(result["StatusCode"]))

    return each(cli, args, wait, show=False)
