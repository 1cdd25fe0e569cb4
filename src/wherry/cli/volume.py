"""`wherry volume create`, `ls`, `inspect`, `rm` and `prune`."""

from wherry.cli import listing
from wherry.cli.command import Command
from wherry.cli.confirm import FORCE, PRUNE_FILTER, agreed, tell
from wherry.cli.context import Cli, each
from wherry.cli.errors import CliError
from wherry.cli.http1 import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Flag, Flags

_CLUSTER: "tuple[tuple[str, str], ...]" = (
    *(("availability", "string"), ("group", "string"), ("limit-bytes", "bytes"), ("required-bytes", "bytes"), ("scope", "string")),
    *(("secret", "map"), ("sharing", "string"), ("topology-preferred", "list"), ("topology-required", "list"), ("type", "string")),
)
COMMAND_CREATE = Command(
    "[VOLUME]",
    "Make a volume",
    (
        ("driver", "d", "string", "local", "Name of the volume driver"),
        ("label", "", "list", "", "Label of the volume, as KEY=VALUE"),
        ("name", "", "string", "", ""),
        ("opt", "o", "map", "", "Option for the driver, as KEY=VALUE"),
        *((name, "", kind, "", "") for name, kind in _CLUSTER),
    ),
    most=1,
)
COMMAND_LS = Command(
    "",
    "List volumes",
    (
        ("cluster", "", "bool", "", ""),
        ("filter", "f", "list", "", 'Show only what matches, as "dangling=true"'),
        listing.FORMAT,
        ("quiet", "q", "bool", "", "Only names"),
    ),
    most=0,
    aliases=("volume ls", "volume list"),
)
INSPECT_FORMAT: "Flag" = ("format", "f", "string", "", "'json', or a Go template")
COMMAND_INSPECT = Command("VOLUME [VOLUME...]", "Show everything about volumes", (INSPECT_FORMAT,), least=1)
COMMAND_RM = Command(
    "VOLUME [VOLUME...]",
    "Remove volumes",
    (("force", "f", "bool", "", "A missing volume is no error"),),
    least=1,
    aliases=("volume rm", "volume remove"),
)
COMMAND_PRUNE = Command(
    "",
    "Remove volumes that no container uses",
    (("all", "a", "bool", "", "Also those that have a name, not only the anonymous ones"), PRUNE_FILTER, FORCE),
    most=0,
)
COLUMNS = ("Driver", "Name")
HEADERS = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Group": "GROUP",
    "Availability": "AVAILABILITY",
    "Status": "STATUS",
}


class Volume(listing.Row):
    """One volume of the list."""

    go_type = "*formatter.volumeContext"
    FIELDS = ("Availability", "Driver", "Group", "Labels", "Links", "Mountpoint", "Name", "Scope", "Size", "Status")

    def __init__(self, data: "dict[str, Any]") -> None:
        self._data = data

    def Name(self) -> str:
        return str(self._data["Name"])

    def Driver(self) -> str:
        return str(self._data["Driver"])

    def Scope(self) -> str:
        return str(self._data["Scope"])

    def Mountpoint(self) -> str:
        return str(self._data["Mountpoint"])

    def Labels(self) -> str:
        return listing.labels(self._data.get("Labels"))

    def Label(self, name: str) -> str:
        return str((self._data.get("Labels") or {}).get(name, ""))

    def Links(self) -> str:
        usage = self._data.get("UsageData")
        return str(usage["RefCount"]) if usage else "N/A"

    def Size(self) -> str:
        from wherry.cli import human

        usage = self._data.get("UsageData")
        return human.size(usage["Size"]) if usage else "N/A"

    def Group(self) -> str:
        """A matter of volumes of a cluster, which a local volume never is; so are Availability and Status."""
        return "N/A"

    def Availability(self) -> str:
        return "N/A"

    def Status(self) -> str:
        return "N/A"


def pairs(given: "list[str]") -> "dict[str, str]":
    """`a=b` and `a` as a map."""
    return {key: value for key, _, value in (item.partition("=") for item in given)}


def main_create(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    for name, _ in _CLUSTER:
        if flags.given(name):
            raise CliError(f"wherry: volume create --{name}: volumes of a cluster are not built", 125)
    if args and flags.text("name"):
        raise CliError("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
    name = args[0] if args else flags.text("name")
    body = {"Name": name, "Driver": flags.text("driver"), "DriverOpts": pairs(flags.items("opt")), "Labels": pairs(flags.items("label"))}
    cli.out(str(cli.client.call("POST", "/volumes/create", body=body)["Name"]))
    return 0


def _order(name: str) -> "list[tuple[int, int, str]]":
    """Numbers inside names count as numbers: vol2 comes before vol10."""
    parts: list[tuple[int, int, str]] = []
    at = 0
    while at < len(name):
        end = at
        while end < len(name) and name[end].isdigit() == name[at].isdigit():
            end += 1
        piece = name[at:end]
        parts.append((0, int(piece), piece) if piece.isdecimal() else (1, 0, piece))
        at = end
    return parts


def main_ls(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    if flags.on("cluster"):
        raise CliError("wherry: volume ls --cluster: volumes of a cluster are not built", 125)
    quiet = flags.on("quiet")
    chosen = flags.text("format") or ("" if quiet else str(cli.config.get("volumesFormat") or ""))
    found = cli.client.call("GET", "/volumes", {"filters": listing.filters(flags.items("filter"))})["Volumes"] or []
    rows = [Volume(one) for one in sorted(found, key=lambda one: _order(one["Name"]))]
    if quiet and chosen in ("", "table"):
        listing.lines([row.Name() for row in rows])
    else:
        listing.show(rows, chosen, COLUMNS, HEADERS, "name: {{.Name}}\n" + ("" if quiet else "driver: {{.Driver}}\n"))
    return 0


def main_inspect(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    from wherry.cli.inspect import show

    return show(cli, args, flags.text("format"), lambda name: cli.client.call("GET", f"/volumes/{quote(name)}"))


def main_rm(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    return each(cli, args, lambda name: cli.client.call("DELETE", f"/volumes/{quote(name)}", {"force": flags.on("force")}))


def main_prune(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    everything = flags.on("all")
    chosen = listing.filters([*flags.items("filter"), *(["all=true"] if everything else [])], "--filter")
    which = "all local volumes" if everything else "anonymous local volumes"
    if not flags.on("force") and not agreed(f"This will remove {which} not used by at least one container."):
        return 0
    report = cli.client.call("POST", "/volumes/prune", {"filters": chosen})
    tell(cli, "Volumes", report["VolumesDeleted"] or [], report["SpaceReclaimed"])
    return 0
