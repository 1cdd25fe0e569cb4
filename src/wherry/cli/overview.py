"""The help of `wherry` itself and of its groups: which verbs there are."""

from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.cli.flags import Flag

COMMON = ("run", "exec", "ps", "images", "version", "info")
GROUP_SUMMARY = {
    "container": "Work with containers",
    "image": "Work with images",
    "system": "Work with the daemon",
    "volume": "Work with volumes",
}
_LATER_NAMES = ("list", "remove", "ps")  # second names inside a group


def _summary(where: str) -> str:
    from wherry.cli.main import load

    try:
        return load(where, where)[0].short
    except CliError:
        return "(not built yet)"


def _table(rows: "Iterable[tuple[str, str]]") -> str:
    pairs = sorted(rows)
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"  {name:<{width}}   {summary}" for name, summary in pairs)


def text(group: str, verbs: "dict[str, str]", groups: "dict[str, dict[str, str]]", flags: "tuple[Flag, ...]") -> str:
    from wherry.cli.usage import flag_table, width

    if group:
        rows = [(name, _summary(where)) for name, where in verbs.items() if name not in _LATER_NAMES]
        return (
            f"Usage:  wherry {group} COMMAND\n\n{GROUP_SUMMARY[group]}\n\nCommands:\n{_table(rows)}\n\n"
            f"Run 'wherry {group} COMMAND --help' for more information on a command.\n"
        )
    common = [(name, _summary(verbs[name])) for name in COMMON]
    others = [(name, _summary(where)) for name, where in verbs.items() if name not in COMMON]
    return (
        "Usage:  wherry [OPTIONS] COMMAND\n\nA container engine for Linux\n\n"
        f"Common Commands:\n{_table(common)}\n\nManagement Commands:\n{_table((name, GROUP_SUMMARY[name]) for name in groups)}\n\n"
        f"Commands:\n{_table(others)}\n\nGlobal Options:\n{flag_table(list(flags), width() - 1)}\n\n"
        "Run 'wherry COMMAND --help' for more information on a command.\n"
    )
