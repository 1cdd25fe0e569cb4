"""`wherry kill`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path, each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags
    from wherry.cli.http1 import Query

COMMAND = Command(
    "CONTAINER [CONTAINER...]",
    "Send a signal to running containers, SIGKILL unless told otherwise",
    (("signal", "s", "string", "", "Signal to send"),),
    least=1,
    aliases=("container kill", "kill"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    query: Query = {"signal": flags.text("signal")}
    return each(cli, args, lambda name: cli.client.call("POST", f"{container_path(name)}/kill", query))
