"""`wherry stop`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path, each
from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flag, Flags
    from wherry.cli.http1 import Query

STOP_FLAGS: "tuple[Flag, ...]" = (
    ("signal", "s", "string", "", "Signal to send to the container"),
    ("time", "", "int", "0", ""),
    ("timeout", "t", "int", "0", "Seconds to wait before the container is killed"),
)


def stop_query(cli: Cli, flags: "Flags") -> "Query":
    """The query of stop and restart; without -t the container's own timeout holds."""
    if flags.given("time") and flags.given("timeout"):
        raise CliError("conflicting options: cannot specify both --timeout and --time")
    if flags.given("time"):
        cli.err("Flag --time has been deprecated, use --timeout instead")
    query: Query = {"signal": flags.text("signal")}
    for name in ("time", "timeout"):
        if flags.given(name):
            query["t"] = flags.number(name)
    return query


COMMAND = Command(
    "CONTAINER [CONTAINER...]",
    "Stop running containers: a signal, then after a while SIGKILL",
    STOP_FLAGS,
    least=1,
    aliases=("container stop", "stop"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    query = stop_query(cli, flags)
    return each(cli, args, lambda name: cli.client.call("POST", f"{container_path(name)}/stop", query))
