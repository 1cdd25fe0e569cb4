"""`wherry port`: where the ports of a container are on the host."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, container_path
from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flags

COMMAND = Command(
    "CONTAINER [PRIVATE_PORT[/PROTO]]",
    "Show where the ports of a container are published",
    least=1,
    most=2,
    aliases=("container port", "port"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    details = cli.client.call("GET", f"{container_path(args[0])}/json")
    ports = details["NetworkSettings"].get("Ports") or {}
    if len(args) == 1:
        for name in sorted(ports, key=_order):
            for place in ports[name] or ():
                cli.out(f"{name} -> {_address(place)}")
        return 0
    port, _, protocol = args[1].partition("/")
    if not port.isdigit():
        raise CliError(f'Error: invalid port ({args[1]}): strconv.ParseUint: parsing "{port}": invalid syntax')
    places = ports.get(f"{int(port)}/{protocol.lower() or 'tcp'}")
    if not places:
        raise CliError(f"Error: No public port '{args[1]}' published for {args[0]}")
    for place in places:
        cli.out(_address(place))
    return 0


def _order(name: str) -> "tuple[int, str]":
    port, _, protocol = name.partition("/")
    return int(port), protocol


def _address(place: "dict[str, str]") -> str:
    ip = place["HostIp"]
    return f"[{ip}]:{place['HostPort']}" if ":" in ip else f"{ip}:{place['HostPort']}"
