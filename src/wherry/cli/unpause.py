"""`wherry unpause`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path, each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags

COMMAND = Command("CONTAINER [CONTAINER...]", "Let frozen containers go on", least=1, aliases=("container unpause", "unpause"))


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    return each(cli, args, lambda name: cli.client.call("POST", f"{container_path(name)}/unpause"))
