"""`wherry events`."""

from wherry.cli import jsonlite, listing
from wherry.cli.command import Command
from wherry.cli.context import Cli, write_all
from wherry.cli.errors import CliError
from wherry.cli.timestamps import to_unix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wherry.cli.flags import Flags
    from wherry.cli.http1 import Query

COMMAND = Command(
    "",
    "Show what happens in the daemon, as it happens",
    (
        listing.FILTER,
        ("format", "", "string", "", "'json', or a Go template"),
        ("since", "", "string", "", "Begin with what happened at this time, or this long ago"),
        ("until", "", "string", "", "End at this time, or this long ago"),
    ),
    most=0,
    aliases=("system events", "events"),
)


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    show = _shower(flags.text("format"))
    query: Query = {"filters": listing.filters(flags.items("filter"))}
    for name in ("since", "until"):
        if flags.text(name):
            query[name] = _moment(flags.text(name), name)
    for event in cli.client.lines("GET", "/events", query):
        actor = event.get("Actor") or {}
        actor["Attributes"] = dict(sorted((actor.get("Attributes") or {}).items()))  # Go prints maps in this order
        write_all(1, (show(event) + "\n").encode("utf-8", "surrogateescape"))
    return 0


def _moment(text: str, name: str) -> str:
    try:
        return to_unix(text, name)
    except CliError as error:  # docker names the flag for logs only
        raise CliError(error.message.removeprefix(f'invalid value for "{name}": ')) from None


def _shower(chosen: str) -> "Callable[[dict[str, Any]], str]":
    """The function that makes a line of an event."""
    if not chosen:
        return text
    if chosen == "json":
        return jsonlite.dumps
    from wherry.cli.template import Struct, Template, TemplateError

    class Message(Struct):
        go_type = "*events.Message"

    class Actor(Struct):
        go_type = "events.Actor"

    def message(event: "dict[str, Any]") -> Message:
        actor = event.get("Actor") or {}
        return Message(
            Status=event.get("status", ""),
            ID=event.get("id", ""),
            From=event.get("from", ""),
            Type=event.get("Type", ""),
            Action=event.get("Action", ""),
            Actor=Actor(ID=actor.get("ID", ""), Attributes=actor.get("Attributes") or {}),
            Scope=event.get("scope", ""),
            Time=event.get("time", 0),
            TimeNano=event.get("timeNano", 0),
        )

    def render(event: "dict[str, Any]") -> str:
        if "json" in chosen:  # Go marshals the message under the names that it came with
            return template.render(_Both(event, message(event)))
        return template.render(message(event))

    class _Both(Message):
        def __init__(self, event: "dict[str, Any]", fields: Message) -> None:
            super().__init__(event)
            self.zeros = dict(fields)

    try:
        template = Template(chosen)
        render({})
    except TemplateError as error:
        raise CliError(f"Error parsing format: {error}", 64) from None
    return render


def text(event: "dict[str, Any]") -> str:
    """`2026-11-24T11:17:22.441359875Z container start ID (image=busybox, name=c1)`."""
    actor = event.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    nano = event.get("timeNano") or event.get("time", 0) * 10**9
    listed = ", ".join(f"{key}={attributes[key]}" for key in sorted(attributes))
    return f"{_time(nano)} {event['Type']} {event['Action']} {actor.get('ID', '')}" + (f" ({listed})" if attributes else "")


def _time(nano: int) -> str:
    from wherry.cli.human import rfc3339

    whole = rfc3339(nano // 10**9)
    return f"{whole[:19]}.{nano % 10**9:09d}{whole[19:]}"
