"""`wherry import`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli
from wherry.cli.errors import CliError
from wherry.cli.load import open_input, pieces
from wherry.cli.progress import follow
from wherry.cli.reference import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags
    from wherry.cli.http1 import Query

COMMAND = Command(
    "file|URL|- [REPOSITORY[:TAG]]",
    "Make an image of the files of an archive",
    (
        ("change", "c", "list", "", "Instruction of a Dockerfile to apply to the image"),
        ("message", "m", "string", "", "Message for the history of the image"),
        ("platform", "", "string", "", 'Platform of the image, as "linux/amd64"'),
    ),
    least=1,
    aliases=("image import", "import"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    source, name = args[0], args[1] if len(args) > 1 else ""
    if source.startswith(("http://", "https://")):
        raise CliError("wherry: import from a URL is not built yet: download it and give the file", 125)
    repository, tag = split(name) if name else ("", "")
    query: Query = {"fromSrc": "-", "repo": repository, "tag": tag, "message": flags.text("message"), "changes": flags.items("change")}
    query["platform"] = flags.text("platform").lower()
    fd = 0 if source == "-" else open_input(source)
    follow(cli.client.lines("POST", "/images/create", query, pieces(fd)))
    return 0
