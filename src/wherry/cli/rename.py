"""`wherry rename`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path
from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags

COMMAND = Command("CONTAINER NEW_NAME", "Give a container another name", least=2, most=2, aliases=("container rename", "rename"))


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    old, new = (text.strip() for text in args)
    if not old or not new:
        raise CliError("Error: Neither old nor new names may be empty")
    try:
        cli.client.call("POST", f"{container_path(old)}/rename", {"name": new})
    except CliError as error:
        error.hint = f"\nError: failed to rename container named {old}"
        raise
    return 0
