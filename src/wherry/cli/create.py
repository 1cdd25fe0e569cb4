"""`wherry create`, and the making of a container that `run` shares."""

import os

from wherry.cli.command import Command
from wherry.cli.errors import ApiError, CliError
from wherry.cli.options.body import create_body, refuse_unbuilt
from wherry.cli.options.process import bad, proxy_variables
from wherry.cli.options.table import CREATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Cli
    from wherry.cli.flags import Flags
    from wherry.cli.http1 import Query

COMMAND = Command(
    "IMAGE [COMMAND] [ARG...]",
    "Make a container without starting it",
    CREATE,
    least=1,
    aliases=("container create", "create"),
    interspersed=False,
)


def main(cli: "Cli", flags: "Flags", args: "list[str]") -> int:
    try:
        body = prepare(cli, flags, args, detach=False)
    except CliError as error:
        raise as_own(error, cli.path) from None
    cli.out(make(cli, flags, body))
    return 0


def as_own(error: CliError, path: str) -> CliError:
    """An error of 125 in the form of `run`: with the command's name before it and a pointer to the help behind."""
    if error.code >= 125 and not error.hint and not error.message.startswith("invalid argument"):
        error.message = "wherry: " + error.message
        error.hint = f"\n\nRun 'wherry {path} --help' for more information"
    return error


def prepare(cli: "Cli", flags: "Flags", args: "list[str]", detach: bool) -> "dict[str, Any]":
    """The body of the create request; whatever is wrong with the flags is found here, before the daemon is asked for anything."""
    if flags.text("pull") not in ("always", "missing", "never"):
        raise bad(f'invalid pull option: \'{flags.text("pull")}\': must be one of "always", "missing" or "never"')
    refuse_unbuilt(flags)
    console = (0, 0)
    if flags.on("tty"):
        from wherry.cli.terminal import size

        console = size()
    body = create_body(flags, args[0], args[1:], detach, console, proxy_variables(cli.config, cli.host))
    host = body["HostConfig"]
    for address in host.get("Dns", ()):
        if address.startswith("127.") or address == "::1":
            cli.err(f"WARNING: the DNS server {address} is a local one: the container may not reach it")
    if flags.given("kernel-memory"):
        cli.err("WARNING: --kernel-memory is dropped: kernels have no such limit any more")
    if host.get("OomKillDisable") and not host.get("Memory"):
        cli.err("WARNING: --oom-kill-disable without -m/--memory can hang the whole host when memory is short")
    return body


class IdFile:
    """--cidfile: must not exist; an empty one is deleted if no container came of it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> "IdFile":
        if self._path:
            try:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                raise CliError(f"container ID file found, make sure the other container isn't running or delete {self._path}") from None
            except OSError as error:
                raise CliError(f"failed to create the container ID file: open {self._path}: {error.strerror}") from None
        return self

    def write(self, container: str) -> None:
        if self._fd >= 0:
            os.write(self._fd, container.encode())

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            empty = os.fstat(self._fd).st_size == 0
            os.close(self._fd)
            if empty:
                os.unlink(self._path)


def make(cli: "Cli", flags: "Flags", body: "dict[str, Any]", headers: "dict[str, str] | None" = None) -> str:
    """Create the container and return its ID; the daemon's warnings go to stderr."""
    with IdFile(flags.text("cidfile")) as file:
        try:
            query: Query = {"name": flags.text("name"), "platform": flags.text("platform")}
            created = cli.client.call("POST", "/containers/create", query, body, headers)
        except ApiError as error:
            # The status alone does not tell a missing image from a missing container of --volumes-from; docker's clients go by this text too.
            if error.status == 404 and error.text.startswith("No such image") and flags.text("pull") != "never":
                image = body["Image"]
                raise CliError(
                    f"Unable to find image '{image}' locally, and wherry does not pull yet: bring it with 'wherry load'"
                ) from None
            raise
        file.write(created["Id"])
    for warning in created.get("Warnings") or ():
        cli.err(f"WARNING: {warning}")
    return str(created["Id"])
