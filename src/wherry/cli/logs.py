"""`wherry logs`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path
from wherry.cli.streams import Output
from wherry.cli.timestamps import to_unix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags
    from wherry.cli.http1 import Query

COMMAND = Command(
    "CONTAINER",
    "Show what a container has written",
    (
        ("details", "", "bool", "", "Show the attributes of --log-opt with each line"),
        ("follow", "f", "bool", "", "Go on with what is written from now on"),
        ("since", "", "string", "", 'Only lines after this time, as "2013-01-02T13:23:37Z", or this long ago, as "42m"'),
        ("tail", "n", "string", "all", "How many lines from the end to show"),
        ("timestamps", "t", "bool", "", "Show the time of each line"),
        ("until", "", "string", "", 'Only lines before this time, as "2013-01-02T13:23:37Z", or this long ago, as "42m"'),
    ),
    least=1,
    most=1,
    aliases=("container logs", "logs"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    details = cli.client.call("GET", f"{container_path(args[0])}/json")
    query: Query = {"stdout": True, "stderr": True, "tail": flags.text("tail")}
    for name in ("follow", "timestamps", "details"):
        query[name] = flags.on(name)
    for name in ("since", "until"):
        if flags.text(name):
            query[name] = to_unix(flags.text(name), name)
    _, pieces = cli.client.stream("GET", f"/containers/{details['Id']}/logs", query)
    output = Output(bool(details["Config"]["Tty"]))
    for piece in pieces:
        output.write(piece)
    output.finish()
    return 0
