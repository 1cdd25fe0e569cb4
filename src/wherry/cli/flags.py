"""A small parser for flags in the manner of pflag, which docker uses: `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`,
bundles of booleans such as `-itd`, `--` as the end. A boolean takes a value only with `=`.

A verb's flags are plain tuples, so that a table of a hundred costs nothing to load: (name, short, kind, default, help).
Flags whose help is empty are hidden: they work, but --help does not show them.
"""

from wherry.cli import units
from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Flag = tuple[str, str, str, str, str]
    Value = bool | int | str | list[str]

HELP: "Flag" = ("help", "", "bool", "", "Print usage")

# How the text of one value becomes a value; a kind that is not here stays text. `list` and `map` collect.
_CONVERT: "dict[str, Callable[[str], Value]]" = {
    "bool": units.boolean,
    "int": units.integer,
    "uint": lambda text: units.integer(text, 0, (1 << 64) - 1),
    "uint16": lambda text: units.integer(text, 0, 65535),
    "bytes": units.size,
    "swap": units.swap,
    "duration": units.duration,
    "decimal": units.nano_cpus,
}
_COLLECT = ("list", "map", "ulimit", "mount", "network", "gpu-request")


# Second names of flags: both fill the same value.
SAME_AS = {"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option"}


class FlagError(CliError):
    """A flag that does not exist or a value it does not take: exit code 125 for every verb."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 125)


class Flags:
    """The values of one command line. A flag not given has its default; `given` tells the two apart."""

    def __init__(self, table: "Iterable[Flag]") -> None:
        self.table = {flag[0]: flag for flag in table}
        self.shorts = {flag[1]: flag for flag in self.table.values() if flag[1]}
        self.values: dict[str, Value] = {}

    def given(self, name: str) -> bool:
        return name in self.values

    def on(self, name: str) -> bool:
        return bool(self.values.get(name, self.table[name][3] == "true"))

    def number(self, name: str) -> int:
        value = self.values.get(name)
        return value if isinstance(value, int) else int(self.table[name][3].rstrip("s") or "0")

    def text(self, name: str) -> str:
        value = self.values.get(name, self.table[name][3])
        return value if isinstance(value, str) else ""

    def items(self, name: str) -> "list[str]":
        value = self.values.get(name)
        return value if isinstance(value, list) else []

    def set(self, flag: "Flag", text: str) -> None:
        name, kind = SAME_AS.get(flag[0], flag[0]), flag[2]
        try:
            if kind in _COLLECT:
                self.values[name] = [*self.items(name), text]
            else:
                convert = _CONVERT.get(kind)
                self.values[name] = convert(text) if convert else text
        except ValueError as error:
            raise FlagError(f'invalid argument "{text}" for "{label(flag)}" flag: {error}') from None


def label(flag: "Flag") -> str:
    return f"-{flag[1]}, --{flag[0]}" if flag[1] else f"--{flag[0]}"


def parse(flags: Flags, argv: "list[str]", interspersed: bool) -> "list[str]":
    """Read argv into flags; return the arguments. With interspersed false the first argument ends the flags (`run`, `create`, `exec`)."""
    arguments: list[str] = []
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if word == "--":
            return arguments + argv[index:]
        if len(word) < 2 or word[0] != "-":
            arguments.append(word)
            if not interspersed:
                return arguments + argv[index:]
        elif word[1] == "-":
            index = _long(flags, word, argv, index)
        else:
            index = _shorts(flags, word, argv, index)
    return arguments


def _long(flags: Flags, word: str, argv: "list[str]", index: int) -> int:
    name, equals, value = word[2:].partition("=")
    if not name or name[0] == "-":
        raise FlagError(f"bad flag syntax: {word}")
    flag = flags.table.get(name)
    if flag is None:
        raise FlagError(f"unknown flag: --{name}")
    if equals:
        flags.set(flag, value)
    elif flag[2] in ("bool", "trace"):
        flags.set(flag, "true" if flag[2] == "bool" else "")
    elif index < len(argv):
        flags.set(flag, argv[index])
        index += 1
    else:
        raise FlagError(f"flag needs an argument: --{name}")
    return index


def _shorts(flags: Flags, word: str, argv: "list[str]", index: int) -> int:
    rest = word[1:]
    while rest:
        flag = flags.shorts.get(rest[0])
        if flag is None:
            raise FlagError(f"unknown shorthand flag: '{rest[0]}' in -{rest}")
        letter, rest = rest[0], rest[1:]
        if len(rest) > 1 and rest[0] == "=":
            flags.set(flag, rest[1:])
            return index
        if flag[2] == "bool":
            flags.set(flag, "true")
            continue
        if rest:
            flags.set(flag, rest)
            return index
        if index == len(argv):
            raise FlagError(f"flag needs an argument: '{letter}' in -{letter}")
        flags.set(flag, argv[index])
        return index + 1
    return index
