"""`wherry tag`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli
from wherry.cli.errors import CliError
from wherry.cli.reference import split
from wherry.cli.rmi import image_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags

COMMAND = Command("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "Give an image one more name", least=2, most=2, aliases=("image tag", "tag"))


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    source, target = args
    try:
        repository, tag = split(target)
    except CliError as error:
        if "@" in target:
            raise
        raise CliError(f'Error parsing reference: "{target}" is not a valid repository/tag: {error.message}') from None
    cli.client.call("POST", f"{image_path(source)}/tag", {"repo": repository, "tag": tag})
    return 0
