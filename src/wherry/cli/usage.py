"""The text of --help, in docker's layout: usage, what the verb does, aliases, then a table of flags wrapped at the terminal's width."""

import os

from wherry.cli.command import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Flag

_ZERO = ("", "false", "0", "0s", "[]")
_SHOW_ZERO = {"duration": "0s", "uint16": "0"}
_KIND = {"bool": "", "swap": "bytes", "trace": "[=file]"}


def width() -> int:
    """Columns of the terminal on stdout; 80 without one."""
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def wrap(text: str, indent: int, columns: int) -> str:
    """Break text at blanks into lines of at most `columns` that start at `indent` (the first one is already there)."""
    room = max(columns - indent, 24)
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > room:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return ("\n" + " " * indent).join([*lines, line])


def flag_table(flags: "list[Flag]", columns: int) -> str:
    rows = []
    for name, short, kind, default, text in sorted(flags):
        if not text:
            continue
        head = (f"  -{short}, --{name}" if short else f"      --{name}") + (" " if _KIND.get(kind, kind) and kind != "trace" else "")
        shown = default if default not in _ZERO else _SHOW_ZERO.get(kind, "")
        if shown:
            text += f' (default "{shown}")' if kind in ("string", "list") else f" (default {shown})"
        rows.append((head + _KIND.get(kind, kind), text))
    indent = max((len(head) for head, _ in rows), default=0) + 3
    return "\n".join(f"{head:<{indent}}{wrap(text, indent, columns)}" for head, text in rows)


def help_text(command: Command, path: str) -> str:
    """`path` is how the verb was called: `stop` or `container stop`."""
    parts = [f"Usage:  {usage_line(command, path)}", command.short]
    if command.aliases:
        parts.append("Aliases:\n  " + ", ".join(f"wherry {name}" for name in command.aliases))
    table = flag_table(list(command.flags), width() - 1)
    if table:
        parts.append("Options:\n" + table)
    return "\n\n".join(parts) + "\n"


def usage_line(command: Command, path: str) -> str:
    options = " [OPTIONS]" if command.flags else ""
    return f"wherry {path}{options}{' ' if command.use else ''}{command.use}"
