"""`wherry save`."""

import os

from wherry.cli.command import Command
from wherry.cli.context import Cli, write_all
from wherry.cli.errors import CliError
from wherry.cli.load import platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.cli.flags import Flags

COMMAND = Command(
    "IMAGE [IMAGE...]",
    "Write images into an archive",
    (
        ("output", "o", "string", "", "Write the archive into this file instead of stdout"),
        ("platform", "", "string", "", 'Save only this platform, as "linux/amd64"'),
    ),
    least=1,
    aliases=("image save", "save"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    path = flags.text("output")
    if not path and os.isatty(1):
        raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    if path:
        check(path)
    _, pieces = cli.client.stream("GET", "/images/get", {"names": args, "platform": platform(flags.text("platform"))})
    if path:
        into_file(path, pieces)
    else:
        for piece in pieces:
            write_all(1, piece)
    return 0


def check(path: str) -> None:
    """Refuse what cannot become the archive before the daemon makes one."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise CliError(f"failed to save image: invalid output path: stat {folder}: no such file or directory")
    if os.path.isdir(path):
        raise CliError("failed to save image: cannot write to a directory")
    if os.path.exists(path) and not os.path.isfile(path):
        raise CliError("failed to save image: cannot write to a character device file")


def into_file(path: str, pieces: "Iterable[bytes]") -> None:
    """Write beside the target and rename at the end: a target that exists is whole, whatever happens."""
    draft = f"{path}.tmp{os.getpid()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for piece in pieces:
            write_all(fd, piece)
        os.rename(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    finally:
        os.close(fd)
