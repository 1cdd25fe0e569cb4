"""The question before `prune`, and what it tells afterwards."""

import os

from wherry.cli import human
from wherry.cli.context import Cli, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flag

PRUNE_FILTER: "Flag" = ("filter", "", "list", "", "Remove only what matches KEY=VALUE")
FORCE: "Flag" = ("force", "f", "bool", "", "Do not ask")


def agreed(warning: str) -> bool:
    """Ask on the terminal; only `y` is a yes."""
    write_all(1, f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ".encode())
    answer = b""
    while not answer.endswith(b"\n"):
        piece = os.read(0, 256)
        if not piece:
            break
        answer += piece
    return answer.strip().lower() == b"y"


def tell(cli: Cli, title: str, gone: "list[str]", space: int) -> None:
    if gone:
        cli.out(f"Deleted {title}:\n" + "\n".join(gone) + "\n")
    cli.out(f"Total reclaimed space: {human.size(space)}")
