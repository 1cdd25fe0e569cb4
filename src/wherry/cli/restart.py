"""`wherry restart`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path, each
from wherry.cli.stop import STOP_FLAGS, stop_query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags

COMMAND = Command(
    "CONTAINER [CONTAINER...]",
    "Stop containers and start them again",
    STOP_FLAGS,
    least=1,
    aliases=("container restart", "restart"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    query = stop_query(cli, flags)
    return each(cli, args, lambda name: cli.client.call("POST", f"{container_path(name)}/restart", query))
