"""`wherry top`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags

COMMAND = Command(
    "CONTAINER [ps OPTIONS]", "Show the processes of a container", least=1, aliases=("container top", "top"), interspersed=False
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    result = cli.client.call("GET", f"{container_path(args[0])}/top", {"ps_args": " ".join(args[1:])})
    rows = [result["Titles"], *result["Processes"]]
    widths = [max(20, *(len(row[column]) + 3 for row in rows)) for column in range(len(rows[0]))]
    for row in rows:
        cli.out("".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)) + row[-1])
    return 0
