"""`wherry inspect`, `container inspect` and `image inspect`; `volume inspect` shows by the same rules."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, write_all
from wherry.cli.errors import ApiError, CliError, ConnectError
from wherry.cli.http1 import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wherry.cli.flags import Flag, Flags

    Get = Callable[[str], Any]

_FORMAT: "Flag" = ("format", "f", "string", "", "'json', or a Go template")
_SIZE: "Flag" = ("size", "s", "bool", "", "Show the sizes of a container's files")
TYPES = ("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume")
COMMAND = Command(
    "NAME|ID [NAME|ID...]",
    "Show everything about objects",
    (_FORMAT, _SIZE, ("type", "", "string", "", "Only look for objects of this type")),
    least=1,
)
COMMAND_CONTAINER = Command("CONTAINER [CONTAINER...]", "Show everything about containers", (_FORMAT, _SIZE), least=1)
COMMAND_IMAGE = Command(
    "IMAGE [IMAGE...]", "Show everything about images", (_FORMAT, ("platform", "", "string", "", 'Show this platform, as "linux/amd64"')), least=1
)


def _container(cli: Cli, size: bool) -> "Get":
    def get(name: str) -> "Any":
        if not name.strip():
            raise CliError("invalid container name or ID: value is empty")
        return cli.client.call("GET", f"/containers/{quote(name)}/json", {"size": size})

    return get


def _image(cli: Cli, platform: str = "") -> "Get":
    from wherry.cli.rmi import image_path

    return lambda name: cli.client.call("GET", f"{image_path(name)}/json", {"platform": platform})


def _getters(cli: Cli, size: bool) -> "dict[str, Get]":
    """How each type of object is fetched, in the order in which they are tried."""
    return {
        "container": _container(cli, size),
        "image": _image(cli),
        "network": lambda name: cli.client.call("GET", f"/networks/{quote(name)}"),
        "volume": lambda name: cli.client.call("GET", f"/volumes/{quote(name)}"),
        "plugin": lambda name: cli.client.call("GET", f"/plugins/{quote(name)}/json"),
    }


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    kind, size = flags.text("type"), flags.on("size")
    getters = _getters(cli, size)
    if flags.given("type") and kind not in TYPES:
        listed = ", ".join(f'"{name}"' for name in TYPES)
        raise CliError(f'unknown type: "{kind}": must be one of {listed}')
    if kind:
        if kind not in getters:
            raise CliError(f"wherry: inspect --type {kind}: clusters are not built", 125)
        if size and kind != "container":
            cli.err(f"WARNING: --size ignored for {kind}s")
        return show(cli, args, flags.text("format"), getters[kind])

    def find(name: str) -> "Any":
        for get in getters.values():
            try:
                return get(name)
            except ApiError as error:
                if error.status not in (404, 501):
                    raise
        raise CliError(f"Error: No such object: {name}")

    return show(cli, args, flags.text("format"), find)


def main_container(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    return show(cli, args, flags.text("format"), _container(cli, flags.on("size")))


def main_image(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    from wherry.cli.load import platform

    return show(cli, args, flags.text("format"), _image(cli, platform(flags.text("platform"))))


def show(cli: Cli, names: "list[str]", chosen: str, get: "Get") -> int:
    """Fetch the objects and print them; those that cannot be fetched are told of on stderr, after the others, and make the code 1."""
    template = _template(chosen) if chosen and chosen != "json" else None
    found: list[Any] = []
    errors: list[str] = []
    for name in names:
        try:
            found.append(get(name))
        except ConnectError:
            raise
        except CliError as error:
            errors.append(error.message)
    if template is not None:
        errors += _rendered(template, found)
    else:
        from wherry.cli import jsonlite
        from wherry.cli.inspected import in_order

        found = [one if "GraphDriver" in one else in_order(one) for one in found]  # docker shows those that have one as they came
        text = jsonlite.dumps(found) if chosen == "json" else indented(found)
        write_all(1, (text + "\n").encode("utf-8", "surrogateescape"))
    if errors:
        cli.err("\n".join(errors))
    return 1 if errors else 0


def _template(chosen: str) -> "Any":
    from wherry.cli.template import Template, TemplateError

    try:
        return Template(chosen, strict=True)
    except TemplateError as error:
        raise CliError(f"template parsing error: {error}", 64) from None


def _rendered(template: "Any", found: "list[Any]") -> "list[str]":
    """Print a line for each object; the first one that the template fails on ends it."""
    from wherry.cli.inspected import typed
    from wherry.cli.template import TemplateError

    lines, errors = [], []
    for one in found:
        try:
            lines.append(template.render(typed(one)) + "\n")
        except TemplateError as error:
            errors.append(f"template parsing error: {error}")
            break
    write_all(1, ("".join(lines) or "\n").encode("utf-8", "surrogateescape"))
    return errors


def indented(value: "Any", before: str = "") -> str:
    """JSON with an indent of four blanks, as docker shows it."""
    from wherry.cli import jsonlite

    inner = before + "    "
    if isinstance(value, dict) and value:
        items = [f"{inner}{jsonlite.dumps(key)}: {indented(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{before}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + indented(item, inner) for item in value) + f"\n{before}]"
    return jsonlite.dumps(value)
