"""`wherry rm`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path, each
from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags
    from wherry.cli.http1 import Query

COMMAND = Command(
    "CONTAINER [CONTAINER...]",
    "Remove containers",
    (
        ("force", "f", "bool", "", "Kill a running container first; a missing one is no error"),
        ("link", "l", "bool", "", "Remove this link, not the container"),
        ("volumes", "v", "bool", "", "Remove the anonymous volumes of the container too"),
    ),
    least=1,
    aliases=("container rm", "container remove", "rm"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    query: Query = {"v": flags.on("volumes"), "link": flags.on("link"), "force": flags.on("force")}

    def remove(name: str) -> None:
        path = name.strip("/")
        if not path:
            raise CliError("container name cannot be empty")
        cli.client.call("DELETE", container_path(path), query)

    return each(cli, args, remove, missing_is_fine=flags.on("force"))
