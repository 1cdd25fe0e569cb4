"""`wherry images`."""

from wherry.cli import human, listing
from wherry.cli.command import Command
from wherry.cli.context import Cli
from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from wherry.cli.flags import Flags

COMMAND = Command(
    "[REPOSITORY[:TAG]]",
    "List images",
    (
        ("all", "a", "bool", "", "Show intermediate images too"),
        ("digests", "", "bool", "", "Show digests"),
        listing.FILTER,
        listing.FORMAT,
        ("no-trunc", "", "bool", "", "Do not cut long texts"),
        ("quiet", "q", "bool", "", "Only IDs"),
        ("tree", "", "bool", "", ""),
    ),
    most=1,
    aliases=("image ls", "image list", "images"),
)
NONE = "<none>"
COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
HEADERS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}


class Image(listing.Row):
    """One name of an image."""

    go_type = "*formatter.imageContext"
    FIELDS = (
        *("Containers", "CreatedAt", "CreatedSince", "Digest", "ID", "Repository", "SharedSize", "Size", "Tag", "UniqueSize"),
        "VirtualSize",
    )

    def __init__(self, data: "dict[str, Any]", name: "tuple[str, str, str]", full: bool) -> None:
        self._data = data
        self._name = name
        self._full = full

    def ID(self) -> str:
        return str(self._data["Id"]) if self._full else human.short_id(self._data["Id"])

    def Repository(self) -> str:
        return self._name[0]

    def Tag(self) -> str:
        return self._name[1]

    def Digest(self) -> str:
        return self._name[2]

    def CreatedSince(self) -> str:
        return human.ago(self._data["Created"])

    def CreatedAt(self) -> str:
        return human.go_time(self._data["Created"])

    def Size(self) -> str:
        return human.size(self._data["Size"], 3)

    def VirtualSize(self) -> str:
        return human.size(self._data["Size"])

    def Containers(self) -> str:
        count = self._data.get("Containers", -1)
        return str(count) if count >= 0 else "N/A"

    def SharedSize(self) -> str:
        shared = self._data.get("SharedSize", -1)
        return human.size(shared) if shared >= 0 else "N/A"

    def UniqueSize(self) -> str:
        shared = self._data.get("SharedSize", -1)
        return human.size(self._data["Size"] - shared) if shared >= 0 else "N/A"


def split(name: str) -> "tuple[str, str]":
    """Repository and tag of `repository:tag`, or repository and digest of `repository@digest`, the repository as people write it."""
    repository, at, tail = name.partition("@")
    if not at:
        repository, _, tail = name.rpartition(":")
    return repository.removeprefix("docker.io/library/").removeprefix("docker.io/"), tail


def names(image: "dict[str, Any]", digests: bool, alone: bool) -> "Iterator[tuple[str, str, str]]":
    """Repository, tag and digest of the lines of one image: one for each tag, with `digests` one for each digest of a tag; a repository
    without tags has one too (with `alone` one that shows each of its digests), and an image without a name has one line of its own."""
    tags = [split(name) for name in image.get("RepoTags") or () if name != "<none>:<none>"]
    known: dict[str, list[str]] = {}
    for name in image.get("RepoDigests") or ():
        if name != "<none>@<none>":
            repository, digest = split(name)
            known.setdefault(repository, []).append(digest)
    if not tags and not known:
        yield NONE, NONE, NONE
    for repository, tag in tags:
        for digest in (known.get(repository) if digests else None) or (NONE,):
            yield repository, tag, digest
    tagged = {repository for repository, _ in tags}
    for repository, values in known.items():
        if repository not in tagged:
            for digest in values if alone else ("",):
                yield repository, NONE, digest


def raw(digests: bool) -> str:
    return (
        "repository: {{.Repository}}\ntag: {{.Tag}}\n" + ("digest: {{.Digest}}\n" if digests else "") + "image_id: {{.ID}}\n"
        "created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
    )


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    if flags.on("tree"):
        raise CliError("wherry: images --tree is not built yet", 125)
    given, quiet, digests = flags.items("filter"), flags.on("quiet"), flags.on("digests")
    chosen = flags.text("format") or ("" if quiet else str(cli.config.get("imagesFormat") or ""))
    if args:
        given = [*given, f"reference={args[0]}"]
    found = cli.client.call("GET", "/images/json", {"all": flags.on("all"), "filters": listing.filters(given)})
    with_digest = digests or "{{.Digest}}" in chosen
    rows = [Image(image, name, flags.on("no-trunc")) for image in found for name in names(image, with_digest, digests)]
    if quiet and chosen in ("", "table"):
        listing.lines([row.ID() for row in rows])
    else:
        columns = (*COLUMNS[:2], "Digest", *COLUMNS[2:]) if digests else COLUMNS
        listing.show(rows, chosen, columns, HEADERS, "image_id: {{.ID}}\n" if quiet else raw(digests))
    return 0
