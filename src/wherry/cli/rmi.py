"""`wherry rmi`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, each
from wherry.cli.errors import CliError
from wherry.cli.http1 import quote
from wherry.cli.load import platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags
    from wherry.cli.http1 import Query

COMMAND = Command(
    "IMAGE [IMAGE...]",
    "Remove images, or names of images",
    (
        ("force", "f", "bool", "", "Also if stopped containers use it; a missing image is no error"),
        ("no-prune", "", "bool", "", "Keep parents that have no name"),
        ("platform", "", "list", "", 'Remove only this platform, as "linux/amd64"'),
    ),
    least=1,
    aliases=("image rm", "image remove", "rmi"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    platforms = [platform(text) for text in flags.items("platform")]
    query: Query = {"force": flags.on("force"), "noprune": flags.on("no-prune"), "platforms": platforms}

    def remove(name: str) -> None:
        for one in cli.client.call("DELETE", image_path(name), query):
            cli.out(f"Deleted: {one['Deleted']}" if one.get("Deleted") else f"Untagged: {one['Untagged']}")

    return each(cli, args, remove, show=False, missing_is_fine=flags.on("force"))


def image_path(name: str) -> str:
    """`/images/NAME`, with the slashes of the name."""
    if not name.strip("/") or any(part in ("", ".", "..") for part in name.split("/")):
        raise CliError("invalid reference format")
    return "/images/" + quote(name, b"/:@")
