"""`wherry history`."""

from wherry.cli import human, listing
from wherry.cli.command import Command
from wherry.cli.context import Cli
from wherry.cli.load import platform
from wherry.cli.rmi import image_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Flags

COMMAND = Command(
    "IMAGE",
    "Show how an image came about",
    (
        listing.FORMAT,
        ("human", "H", "bool", "true", "Sizes and times for people"),
        ("no-trunc", "", "bool", "", "Do not cut long texts"),
        ("platform", "", "string", "", 'Show this platform, as "linux/amd64"'),
        ("quiet", "q", "bool", "", "Only IDs"),
    ),
    least=1,
    most=1,
    aliases=("image history", "history"),
)
COLUMNS = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")
HEADERS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


class Layer(listing.Row):
    """One step of the history."""

    go_type = "*image.historyContext"
    FIELDS = ("Comment", "CreatedAt", "CreatedBy", "CreatedSince", "ID", "Size")

    def __init__(self, data: "dict[str, Any]", full: bool, people: bool) -> None:
        self._data = data
        self._full = full
        self._people = people

    def ID(self) -> str:
        return str(self._data["Id"]) if self._full else human.short_id(self._data["Id"])

    def CreatedAt(self) -> str:
        return human.rfc3339(self._data["Created"])

    def CreatedSince(self) -> str:
        if not self._people:
            return self.CreatedAt()
        return human.ago(self._data["Created"]) if self._data["Created"] > 0 else "N/A"

    def CreatedBy(self) -> str:
        text = str(self._data["CreatedBy"]).replace("\t", " ")
        return text if self._full else human.ellipsis(text, 45)

    def Size(self) -> str:
        return human.size(self._data["Size"], 3) if self._people else str(self._data["Size"])

    def Comment(self) -> str:
        return str(self._data["Comment"])


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    people, quiet, chosen = flags.on("human"), flags.on("quiet"), flags.text("format")
    steps = cli.client.call("GET", f"{image_path(args[0])}/history", {"platform": platform(flags.text("platform"))})
    rows = [Layer(step, flags.on("no-trunc"), people) for step in steps]
    if quiet and chosen in ("", "table"):
        listing.lines([row.ID() for row in rows])
    else:
        headers = HEADERS if people else {**HEADERS, "CreatedSince": "CREATED AT"}
        listing.show(rows, chosen, COLUMNS, headers)
    return 0
