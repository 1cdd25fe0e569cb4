"""`wherry load`."""

import os

from wherry.cli.command import Command
from wherry.cli.context import Cli
from wherry.cli.errors import CliError
from wherry.cli.progress import follow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.cli.flags import Flags
    from wherry.cli.http1 import Query

COMMAND = Command(
    "",
    "Load images from an archive",
    (
        ("input", "i", "string", "", "Read the archive from this file instead of stdin"),
        ("platform", "", "string", "", 'Load only this platform, as "linux/amd64"'),
        ("quiet", "q", "bool", "", "Do not show the progress"),
    ),
    most=0,
    aliases=("image load", "load"),
)
PIECE = 1 << 20


def pieces(fd: int) -> "Iterator[bytes]":
    while piece := os.read(fd, PIECE):
        yield piece


def open_input(path: str) -> int:
    """The descriptor of a file to send, or CliError in docker's words."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or '').lower()}") from None


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    path = flags.text("input")
    if not path and os.isatty(0):
        raise CliError("requested load from stdin, but stdin is empty")
    source = open_input(path) if path else 0
    quiet = flags.on("quiet") or not os.isatty(1)
    query: Query = {"quiet": "1" if quiet else "0", "platform": platform(flags.text("platform"))}
    follow(cli.client.lines("POST", "/images/load", query, pieces(source)))
    return 0


def platform(text: str) -> str:
    """The `platform` of a request: JSON, from `os[/architecture[/variant]]`."""
    if not text:
        return ""
    from wherry.cli.jsonlite import dumps

    return dumps(dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False)))
