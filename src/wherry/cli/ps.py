"""`wherry ps`."""

from wherry.cli import human, listing
from wherry.cli.command import Command
from wherry.cli.context import Cli
from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Flags
    from wherry.cli.http1 import Query

COMMAND = Command(
    "",
    "List containers",
    (
        ("all", "a", "bool", "", "Show all containers, not only the running ones"),
        listing.FILTER,
        listing.FORMAT,
        ("last", "n", "int", "-1", "Show the n newest containers, in whatever state"),
        ("latest", "l", "bool", "", "Show the newest container, in whatever state"),
        ("no-trunc", "", "bool", "", "Do not cut long texts"),
        ("quiet", "q", "bool", "", "Only IDs"),
        ("size", "s", "bool", "", "Show the sizes of the files"),
    ),
    most=0,
    aliases=("container ls", "container list", "container ps", "ps"),
)
COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
}
RAW = (
    "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{.State}}\nstatus: {{.Status}}\n"
    "names: {{.Names}}\nlabels:{{if .Labels}} {{.Labels}}{{end}}\nports:{{if .Ports}} {{.Ports}}{{end}}\n"
)


class Container(listing.Row):
    """One container of the list."""

    go_type = "*formatter.ContainerContext"
    FIELDS = (
        *("Command", "CreatedAt", "ID", "Image", "Labels", "LocalVolumes", "Mounts", "Names", "Networks", "Platform", "Ports", "RunningFor"),
        *("Size", "State", "Status"),
    )

    def __init__(self, data: "dict[str, Any]", full: bool = False) -> None:
        self._data = data
        self._full = full

    def ID(self) -> str:
        return str(self._data["Id"]) if self._full else human.short_id(self._data["Id"])

    def Names(self) -> str:
        names = [name.removeprefix("/") for name in self._data["Names"] or ()]
        if not self._full:  # names of links have a slash inside
            names = [name for name in names if "/" not in name][:1] or names
        return ",".join(names)

    def Image(self) -> str:
        image = str(self._data["Image"])
        if not image:
            return "<no image>"
        if self._full:
            return image
        if human.short_id(self._data.get("ImageID") or "") == human.short_id(image):
            return human.short_id(image)
        name, at, _ = image.partition("@")
        return name.removeprefix("docker.io/library/").removeprefix("docker.io/") if at or name.startswith("docker.io/") else image

    def Command(self) -> str:
        from wherry.cli.goquote import quote

        command = self._data["Command"]
        return quote(command if self._full else human.ellipsis(command, 20))

    def CreatedAt(self) -> str:
        return human.go_time(self._data["Created"])

    def RunningFor(self) -> str:
        return human.ago(self._data["Created"])

    def Ports(self) -> str:
        return ports_text(self._data.get("Ports") or [])

    def State(self) -> str:
        return str(self._data["State"])

    def Status(self) -> str:
        return str(self._data["Status"])

    def Size(self) -> str:
        own, whole = self._data.get("SizeRw") or 0, self._data.get("SizeRootFs") or 0
        return human.size(own, 3) + (f" (virtual {human.size(whole, 3)})" if whole else "")

    def Labels(self) -> str:
        return listing.labels(self._data.get("Labels"))

    def Label(self, name: str) -> str:
        return str((self._data.get("Labels") or {}).get(name, ""))

    def Mounts(self) -> str:
        names = [mount.get("Name") or mount.get("Source") or "" for mount in self._data.get("Mounts") or ()]
        return ",".join(names if self._full else [human.ellipsis(name, 15) for name in names])

    def LocalVolumes(self) -> str:
        return str(sum(mount.get("Driver") == "local" for mount in self._data.get("Mounts") or ()))

    def Networks(self) -> str:
        return ",".join((self._data.get("NetworkSettings") or {}).get("Networks") or {})

    def Platform(self) -> "Any":
        return (self._data.get("ImageManifestDescriptor") or {}).get("platform")


class _Probe(Container):
    """Renders like an empty container and remembers whether the sizes were asked for."""

    asked = False

    def __init__(self) -> None:
        super().__init__({"Id": "", "Names": [], "Image": "", "Command": "", "Created": 0, "State": "", "Status": ""})

    def Size(self) -> str:
        self.asked = True
        return ""


def ports_text(ports: "list[dict[str, Any]]") -> str:
    """`0.0.0.0:9000-9002->9000-9002/tcp, 80/tcp`: ports that follow one another are one range where host and container agree, or where
    nothing is published; others come last, each alone."""
    ranges: dict[tuple[str, str], list[int]] = {}
    done, single = [], []
    for port in sorted(ports, key=lambda one: (one["PrivatePort"], one.get("IP", ""), one.get("PublicPort", 0), one["Type"])):
        inner, ip = port["PrivatePort"], port.get("IP", "")
        if ip and port["PublicPort"] != inner:
            single.append(f"{_host(ip)}:{port['PublicPort']}->{inner}/{port['Type']}")
            continue
        key = (ip, port["Type"])
        if key in ranges and inner == ranges[key][1] + 1:
            ranges[key][1] = inner
            continue
        if key in ranges:
            done.append(_range(key, ranges[key]))
        ranges[key] = [inner, inner]
    return ", ".join([*done, *(_range(key, bounds) for key, bounds in ranges.items()), *single])


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


def _range(key: "tuple[str, str]", bounds: "list[int]") -> str:
    ip, protocol = key
    text = str(bounds[0]) if bounds[0] == bounds[1] else f"{bounds[0]}-{bounds[1]}"
    return f"{_host(ip)}:{text}->{text}/{protocol}" if ip else f"{text}/{protocol}"


def _asks_for_size(chosen: str) -> bool:
    """Whether a template uses .Size; a template that cannot be rendered is refused here, before the daemon is asked."""
    if chosen in ("", "table", "json", "raw"):
        return False
    from wherry.cli.template import Template, TemplateError

    probe = _Probe()
    message = listing.PARSE
    try:
        template = Template(chosen)
        message = listing.RUN
        template.render(probe)
    except TemplateError as error:
        raise CliError(f"{message}: {error}") from None
    return probe.asked


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    quiet, full, size = flags.on("quiet"), flags.on("no-trunc"), flags.on("size")
    chosen = flags.text("format")
    if quiet and chosen:
        cli.err("WARNING: Ignoring custom format, because both --format and --quiet are set.")
    elif not quiet:
        chosen = chosen or str(cli.config.get("psFormat") or "")
    limit = 1 if flags.on("latest") and not flags.given("last") else flags.number("last")
    query: Query = {"all": flags.on("all"), "filters": listing.filters(flags.items("filter"))}
    if limit > 0:
        query["limit"] = limit
    query["size"] = size or (not quiet and _asks_for_size(chosen))
    rows = [Container(one, full) for one in cli.client.call("GET", "/containers/json", query)]
    if quiet:
        listing.lines([row.ID() for row in rows])
    else:
        columns = (*COLUMNS, "Size") if size else COLUMNS
        listing.show(rows, chosen, columns, HEADERS, RAW + ("size: {{.Size}}\n" if size else ""), listing.RUN)
    return 0
