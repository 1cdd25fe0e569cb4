"""The lines of JSON with which the daemon tells of long work (`load`, `import`)."""

import os

from wherry.cli.context import write_all
from wherry.cli.errors import CliError
from wherry.cli.human import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

BAR = 50  # columns of the bar inside its brackets
WIDE = 110  # a terminal of more columns has room for the bar


def follow(messages: "Iterable[dict[str, Any]]") -> None:
    """Print the messages as they come; CliError for the one that tells of a failure. The progress of a part is shown on a terminal only,
    each part on a line of its own that is written again and again."""
    terminal = os.isatty(1)
    wide = terminal and os.get_terminal_size(1).columns > WIDE
    parts: dict[str, int] = {}
    for message in messages:
        if "error" in message or "errorDetail" in message:
            raise CliError(str((message.get("errorDetail") or {}).get("message") or message.get("error")))
        part, detail = str(message.get("id") or ""), message.get("progressDetail") or {}
        text = str(message.get("stream") or message.get("status") or "")
        if "stream" in message:
            _write(text)
        elif not terminal:
            if not detail:
                _write(f"{part}: {text}\n" if part else f"{text}\n")
        elif part:
            _write(_rewritten(parts, part, f"{part}: {text} {how_far(detail, wide)}".rstrip()))
        else:
            _write(f"{text}\n")


def how_far(detail: "dict[str, Any]", wide: bool) -> str:
    """`[====>    ] 32.77kB/3.011MB`, the bar on a wide terminal only; without a known total only how much is done."""
    done, total = detail.get("current") or 0, detail.get("total") or 0
    if total <= 0 or done > total:
        return f"{size(done):>8}" if done else ""
    filled = done * BAR // total
    bar = f"[{'=' * filled}>{' ' * (BAR - filled)}] " if wide else ""
    return f"{bar}{size(done):>8}/{size(total)}"


def _rewritten(parts: "dict[str, int]", part: str, line: str) -> str:
    """The line of a part, in its place on the terminal (console_codes(4): cursor up, erase line, cursor down)."""
    if part not in parts:
        parts[part] = len(parts)
        return line + "\n"
    up = len(parts) - parts[part]
    return f"\x1b[{up}A\x1b[2K\r{line}\r\x1b[{up}B"


def _write(text: str) -> None:
    write_all(1, text.encode("utf-8", "surrogateescape"))
