"""The command `wherry`: global options, the table of verbs, and how errors become text and exit codes.

Only the module of the verb that was asked for is imported; the interpreter's start is most of what a simple verb costs.
"""

import os
import sys
import time

from wherry.cli import context
from wherry.cli.context import Cli, write_all
from wherry.cli.errors import CliError, Exit
from wherry.cli.http1 import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable

    from wherry.cli.command import Command
    from wherry.cli.flags import Flag, Flags

    Main = Callable[[Cli, Flags, list[str]], int]
else:
    import _signal

VERSION = "0.1.0"

# Where a verb lives: a module of this package with COMMAND and main, or `module:name` for COMMAND_NAME and main_name in it.
CONTAINER = {
    "attach": "attach",
    "create": "create",
    "exec": "exec",
    "inspect": "inspect:container",
    "kill": "kill",
    "list": "ps",
    "logs": "logs",
    "ls": "ps",
    "pause": "pause",
    "port": "port",
    "prune": "prune:container",
    "ps": "ps",
    "remove": "rm",
    "rename": "rename",
    "restart": "restart",
    "rm": "rm",
    "run": "run",
    "start": "start",
    "stop": "stop",
    "top": "top",
    "unpause": "unpause",
    "wait": "wait",
}
IMAGE = {
    "history": "history",
    "import": "import_",
    "inspect": "inspect:image",
    "list": "images",
    "load": "load",
    "ls": "images",
    "prune": "prune:image",
    "remove": "rmi",
    "rm": "rmi",
    "save": "save",
    "tag": "tag",
}
VOLUME = {
    "create": "volume:create",
    "inspect": "volume:inspect",
    "list": "volume:ls",
    "ls": "volume:ls",
    "prune": "volume:prune",
    "remove": "volume:rm",
    "rm": "volume:rm",
}
SYSTEM = {"events": "events", "info": "info"}
GROUPS = {"container": CONTAINER, "image": IMAGE, "volume": VOLUME, "system": SYSTEM}
VERBS = {
    **{name: module for name, module in CONTAINER.items() if name not in ("inspect", "list", "ls", "prune", "remove")},
    **{name: module for name, module in IMAGE.items() if name not in ("inspect", "list", "ls", "prune", "remove", "rm")},
    "events": "events",
    "images": "images",
    "info": "info",
    "inspect": "inspect",
    "rmi": "rmi",
    "version": "version",
}
# Verbs and groups of docker that Wherry does not have yet: they are named, not guessed at.
UNBUILT = {
    "": "build builder buildx checkpoint commit compose config context cp diff export login logout manifest network node plugin pull push"
    " search secret service stack stats swarm trust update",
    "container": "commit cp diff export stats update",
    "image": "build pull push",
    "volume": "update",
    "system": "df dial-stdio prune",
}
GLOBAL_FLAGS: "tuple[Flag, ...]" = (
    ("config", "", "string", "", "Directory of the client's config.json (default ~/.docker)"),
    ("context", "c", "string", "", "Name of a docker context to take the daemon from"),
    ("debug", "D", "bool", "", "Show the whole traceback of an internal error"),
    ("help", "", "bool", "", "Print usage"),
    ("host", "H", "list", "", "Socket of the daemon to talk to"),
    ("log-level", "l", "string", "info", "How much to log: debug, info, warn, error or fatal"),
    ("tls", "", "bool", "", "Talk TLS to the daemon"),
    ("tlscacert", "", "string", "", "Trust daemons whose certificate this CA signed"),
    ("tlscert", "", "string", "", "Certificate of the client"),
    ("tlskey", "", "string", "", "Key of the client's certificate"),
    ("tlsverify", "", "bool", "", "Talk TLS and check the daemon's certificate"),
    ("version", "v", "bool", "", "Print the version and leave"),
)
UNBUILT_GLOBAL = ("context", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")


def main() -> None:
    """Entry point. Leaves by `os._exit`: tearing the interpreter down costs more than most verbs take."""
    context.started = (time.monotonic_ns(), time.process_time_ns())
    for number in (_signal.SIGINT, _signal.SIGTERM):
        if _signal.getsignal(number) is not _signal.SIG_IGN:
            _signal.signal(number, lambda caught, frame: os._exit(128 + caught))
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(argv: "list[str]") -> int:
    """Run one command line and return its exit code; whatever goes wrong is printed on stderr."""
    debug, cli = False, None
    try:
        cli, words = _global(argv)
        debug = cli.debug
        return _dispatch(cli, words)
    except Exit as leave:
        return leave.code
    except CliError as error:
        return _report(error.message + error.hint, error.code)
    except ProtocolError as error:
        if debug:
            raise
        return _report(f"error during connect: {error}", 1)
    except OSError as error:
        if debug:
            raise
        return _report(f"{error.filename + ': ' if isinstance(error.filename, str) else ''}{error.strerror or error}", 1)
    finally:
        if cli is not None:
            cli.close()


def _report(text: str, code: int) -> int:
    write_all(2, (text + "\n").encode("utf-8", "surrogateescape"))
    return code


def _global(argv: "list[str]") -> "tuple[Cli, list[str]]":
    """Read the options before the verb."""
    if argv and argv[0][:1] != "-":
        return Cli(), argv
    from wherry.cli.flags import FlagError, Flags, parse

    flags = Flags(GLOBAL_FLAGS)
    try:
        words = parse(flags, argv, interspersed=False)
    except FlagError as error:
        error.hint = "\n\nUsage:  wherry [OPTIONS] COMMAND [ARG...]\n\nRun 'wherry --help' for more information"
        raise
    for name in UNBUILT_GLOBAL:
        if flags.given(name):
            raise CliError(f"wherry: --{name} is not built yet", 125)
    if flags.text("log-level") not in LOG_LEVELS:
        raise CliError(f"Unable to parse logging level: {flags.text('log-level')}")
    if flags.on("version"):
        write_all(1, f"Wherry version {VERSION}\n".encode())
        raise Exit(0)
    debug = flags.on("debug") or flags.text("log-level") == "debug"
    cli = Cli(flags.items("host"), flags.text("config"), debug)
    return cli, (["help"] if flags.on("help") else words)


def _dispatch(cli: Cli, words: "list[str]") -> int:
    """Find the verb's module and hand the rest of the line to it."""
    if not words:
        return _help(cli, [], 2)
    if words[0] in ("help", "--help"):
        return _help(cli, words[1:])
    group, table, rest = "", VERBS, words
    if words[0] in GROUPS:
        group, table, rest = words[0], GROUPS[words[0]], words[1:]
        if not rest:
            return _help(cli, [group], 2)
        if rest[0] == "--help":
            return _help(cli, [group])
    verb = rest[0]
    path = f"{group} {verb}".strip()
    where = table.get(verb)
    if where is None:
        raise _unknown(group, verb, path)
    command, entry = load(where, path)
    return invoke(cli, command, entry, path, rest[1:])


def _unknown(group: str, verb: str, path: str) -> CliError:
    if verb in UNBUILT[group].split():
        return CliError(f"wherry: '{path}' is a verb of docker that is not built yet", 125)
    if verb.startswith("-"):
        return CliError(f"unknown flag: {verb}\n\nRun 'wherry {group} --help' for more information", 125)
    usage = f"\n\nUsage:  wherry {group}" if group else ""
    more = f"wherry {group} --help" if group else "wherry --help"
    return CliError(f"wherry: unknown command: wherry {path}{usage}\n\nRun '{more}' for more information")


def load(where: str, path: str) -> "tuple[Command, Main]":
    """The command and the function of an entry of the verb table."""
    module_name, _, part = where.partition(":")
    full = f"wherry.cli.{module_name}"
    try:
        module = __import__(full, fromlist=["COMMAND"])
    except ModuleNotFoundError as error:
        if error.name != full:
            raise
        raise CliError(f"wherry: '{path}' is not built yet", 125) from None
    suffix = f"_{part}" if part else ""
    return getattr(module, "COMMAND" + suffix.upper()), getattr(module, "main" + suffix)


def invoke(cli: Cli, command: "Command", entry: "Main", path: str, argv: "list[str]") -> int:
    """Parse the verb's flags, check the number of its arguments, run it."""
    from wherry.cli.flags import HELP, FlagError, Flags, parse

    cli.path = path
    flags = Flags((*command.flags, HELP))
    try:
        args = parse(flags, argv, command.interspersed)
        if flags.on("help"):
            from wherry.cli.usage import help_text

            write_all(1, help_text(command, path).encode())
            return 0
        wrong = command.wrong_count(len(args))
        if wrong:
            hint = _usage_hint(command, path)
            if "at least" in wrong:  # docker's own wording differs in this one case
                hint = hint.replace("\n\nRun ", "\n\nSee ")
            raise CliError(f"wherry: 'wherry {path}' {wrong}{hint}")
        return entry(cli, flags, args)
    except FlagError as error:  # also a value that the verb itself found to be bad
        error.hint = _usage_hint(command, path)
        raise


def _usage_hint(command: "Command", path: str) -> str:
    from wherry.cli.usage import usage_line

    return f"\n\nUsage:  {usage_line(command, path)}\n\nRun 'wherry {path} --help' for more information"


def _help(cli: Cli, words: "list[str]", fd: int = 1) -> int:
    """`wherry`, `wherry GROUP`, `wherry help VERB`."""
    if words and (words[0] not in GROUPS or len(words) > 1):
        if words[0] not in VERBS and words[0] not in GROUPS:
            raise CliError(f"unknown help topic: {' '.join(words)}")
        return _dispatch(cli, [*words, "--help"])
    from wherry.cli import overview

    group = words[0] if words else ""
    write_all(fd, overview.text(group, GROUPS[group] if group else VERBS, GROUPS, GLOBAL_FLAGS).encode())
    return 0
