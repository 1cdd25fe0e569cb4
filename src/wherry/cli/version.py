"""`wherry version`."""

import os
import sys

from wherry.cli.command import Command
from wherry.cli.context import Cli, write_all
from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Flags

COMMAND = Command(
    "",
    "Show the versions of the client and of the daemon",
    (("format", "f", "string", "", "'json', or a Go template"),),
    most=0,
)
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def python_version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def client_version(cli: Cli) -> "dict[str, Any]":
    """The client's part, with docker's names; what only Go programs have is empty."""
    from wherry.cli.client import API_VERSION
    from wherry.cli.main import VERSION

    machine = os.uname().machine
    return {
        "Version": VERSION,
        "ApiVersion": cli.client.version,
        "DefaultAPIVersion": API_VERSION,
        "GitCommit": "",
        "GoVersion": "",
        "PythonVersion": python_version(),
        "Os": "linux",
        "Arch": ARCHITECTURES.get(machine, machine),
        "BuildTime": "",
        "Context": "default",
    }


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    chosen = flags.text("format")
    template = _template(chosen) if chosen else None
    server, problem = None, None
    try:
        server = cli.client.call("GET", "/version")
    except CliError as error:
        problem = error
    client = client_version(cli)
    if template is None:
        write_all(1, (client_text(client) + (server_text(server) if server else "")).encode())
    else:
        write_all(1, _rendered(template, client, server).encode())
    if problem is not None:
        raise problem
    return 0


def _template(chosen: str) -> "Any":
    from wherry.cli.template import Template, TemplateError

    try:
        return Template("{{json .}}" if chosen == "json" else chosen, name="version")
    except TemplateError as error:
        raise CliError(f"template parsing error: {error}", 64) from None


def _rendered(template: "Any", client: "dict[str, Any]", server: "dict[str, Any] | None") -> str:
    from wherry.cli.template import Struct, TemplateError

    class VersionInfo(Struct):
        go_type = "system.versionInfo"

    class ClientVersion(Struct):
        go_type = "system.clientVersion"

    class ServerVersion(Struct):
        go_type = "*types.Version"
        zeros = {"Experimental": False, "BuildTime": "", "KernelVersion": "", "MinAPIVersion": ""}

    value = VersionInfo(Client=ClientVersion(client), Server=None if server is None else ServerVersion(server))
    try:
        return str(template.render(value)) + "\n"
    except TemplateError as error:
        if server is None:
            return "\n"
        write_all(1, b"\n")
        raise CliError(str(error)) from None


def client_text(client: "dict[str, Any]") -> str:
    rows = [
        ("Version", client["Version"]),
        ("API version", client["ApiVersion"]),
        ("Python version", client["PythonVersion"]),
        ("OS/Arch", f"{client['Os']}/{client['Arch']}"),
        ("Context", client["Context"]),
    ]
    if client["ApiVersion"] != client["DefaultAPIVersion"]:
        rows[1] = ("API version", f"{client['ApiVersion']} (downgraded from {client['DefaultAPIVersion']})")
    return "Client:\n" + "".join(f" {name + ':':<18} {value}\n" for name, value in rows)


def server_text(server: "dict[str, Any]") -> str:
    """The daemon's part: the engine, then its other components. Lines that have nothing to tell are left out."""
    name = (server.get("Platform") or {}).get("Name") or ""
    lines = [f"\nServer:{' ' + name if name else ''}"]
    for component in server.get("Components") or [{"Name": "Engine", "Version": server["Version"], "Details": server}]:
        details = component.get("Details") or {}
        lines.append(f" {component['Name']}:")
        if component["Name"] == "Engine":
            lines += _engine(component["Version"], details)
        else:
            lines += [_line("Version", component["Version"]), *(_line(key, value) for key, value in sorted(details.items()))]
    return "\n".join(lines) + "\n"


def _line(name: str, value: str) -> str:
    return f"  {name + ':':<17} {value}"


def _moment(text: str) -> str:
    """`2026-09-15T11:02:57.000000000+00:00` as `Tue Sep 15 11:02:57 2026`; another form of time stays as it is."""
    import time

    day, separator, clock = text.partition("T")
    try:
        year, month, date = map(int, day.split("-"))
    except ValueError:
        return text
    noon = time.localtime(time.mktime((year, month, date, 12, 0, 0, 0, 0, -1)))  # the day of the week does not depend on the zone
    return time.strftime(f"%a %b {date:2d} {clock[:8]} %Y", noon) if separator else text


def _engine(version: str, details: "dict[str, str]") -> "list[str]":
    rows = [("Version", version), ("API version", f"{details.get('ApiVersion', '')} (minimum version {details.get('MinAPIVersion', '')})")]
    optional = (("Go version", "GoVersion"), ("Python version", "PythonVersion"), ("Git commit", "GitCommit"), ("Built", "BuildTime"))
    rows += [(name, _moment(details[key]) if key == "BuildTime" else details[key]) for name, key in optional if details.get(key)]
    rows += [("OS/Arch", f"{details.get('Os', '')}/{details.get('Arch', '')}"), ("Experimental", str(details.get("Experimental", "false")).lower())]
    return [_line(name, value) for name, value in rows]
