"""`wherry info`."""

from wherry.cli.command import Command
from wherry.cli.context import Cli, write_all
from wherry.cli.errors import CliError
from wherry.cli.human import binary_size
from wherry.cli.version import client_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Flags

COMMAND = Command(
    "",
    "Show the state of the daemon and its host",
    (("format", "f", "string", "", "'json', or a Go template"),),
    most=0,
    aliases=("system info", "info"),
)


def client_info(cli: Cli) -> "dict[str, Any]":
    version = {key: value for key, value in client_version(cli).items() if key != "ApiVersion"}
    return {"Debug": cli.debug, **version, "Plugins": [], "Warnings": None}


def main(cli: Cli, flags: "Flags", args: "list[str]") -> int:
    chosen = flags.text("format")
    if chosen:
        return _formatted(cli, chosen)
    client = client_info(cli)
    own = f"Client:\n Version:    {client['Version']}\n Context:    {client['Context']}\n Debug Mode: {_flag(client['Debug'])}\n\nServer:\n"
    write_all(1, own.encode())
    info = cli.client.call("GET", "/info")
    write_all(1, ("\n".join(server_lines(info)) + "\n\n").encode("utf-8", "surrogateescape"))
    for warning in info.get("Warnings") or ():
        cli.err(str(warning))
    return 0


def _formatted(cli: Cli, chosen: str) -> int:
    """A template that only wants to know of the client does not ask the daemon."""
    from wherry.cli.govalues import NilList
    from wherry.cli.template import Struct, Template, TemplateError

    class Info(Struct):
        """Docker's info and the client's in one; the first field that is not the client's fetches the daemon's part."""

        go_type = "system.dockerInfo"
        zeros = {"ServerErrors": NilList(), "ClientErrors": NilList()}
        fetched = False

        def fetch(self) -> None:
            self.fetched = True
            answer = cli.client.call("GET", "/info")
            own = dict(self)
            self.clear()
            self.update({key: NilList() if value is None else value for key, value in answer.items()}, **own)

        def lookup(self, name: str) -> "tuple[bool, Any]":
            if not self.fetched and name not in self.zeros:
                self.fetch()
            return name in self, self.get(name)

    info = Info(ClientInfo=client_info(cli))
    try:
        template = Template("{{json .}}" if chosen == "json" else chosen)
    except TemplateError as error:
        raise CliError(f"template parsing error: {error}", 64) from None
    try:
        if chosen == "json" or "{{json .}}" in chosen or "{{.}}" in chosen:
            info.fetch()
        line = template.render(info)
    except TemplateError as error:
        write_all(1, b"\n")
        raise CliError(str(error)) from None
    except CliError:
        write_all(1, b"\n")
        raise
    cli.out(line)
    return 0


def _flag(value: object) -> str:
    return "true" if value else "false"


def server_lines(info: "dict[str, Any]") -> "list[str]":
    """The daemon's part in docker's layout: a blank before each line, one more for what belongs to the line above. What the daemon has
    nothing to say of is left out."""
    lines = [f" Containers: {info['Containers']}"]
    lines += [f"  {name}: {info['Containers' + name]}" for name in ("Running", "Paused", "Stopped")]
    lines += [f" Images: {info['Images']}", f" Server Version: {info['ServerVersion']}", f" Storage Driver: {info['Driver']}"]
    lines += [f"  {name}: {value}" for name, value in info.get("DriverStatus") or ()]
    lines += [f" Logging Driver: {info['LoggingDriver']}", f" Cgroup Driver: {info['CgroupDriver']}"]
    lines += _given(info, ("Cgroup Version", "CgroupVersion"))
    lines += _plugins(info.get("Plugins") or {})
    if info.get("CDISpecDirs"):
        lines += [" CDI spec directories:", *(f"  {folder}" for folder in info["CDISpecDirs"])]
    lines.append(f" Swarm: {(info.get('Swarm') or {}).get('LocalNodeState') or 'inactive'}")
    lines += _runtimes(info)
    lines += _security(info.get("SecurityOptions") or ())
    lines += _given(info, ("Kernel Version", "KernelVersion"), ("Operating System", "OperatingSystem"))
    lines += _given(info, ("OSType", "OSType"), ("Architecture", "Architecture"))
    lines += [f" CPUs: {info['NCPU']}", f" Total Memory: {binary_size(info['MemTotal'])}"]
    lines += _given(info, ("Name", "Name"), ("ID", "ID"), ("Docker Root Dir", "DockerRootDir"))
    lines += _settings(info)
    return lines


def _given(info: "dict[str, Any]", *names: "tuple[str, str]") -> "list[str]":
    return [f" {label}: {info[key]}" for label, key in names if info.get(key)]


def _plugins(plugins: "dict[str, Any]") -> "list[str]":
    listed = [f"  {kind}: {' '.join(plugins[kind] or ())}" for kind in ("Volume", "Network") if kind in plugins]
    listed += [f"  Authorization: {' '.join(plugins['Authorization'])}"] if plugins.get("Authorization") else []
    return [" Plugins:", *listed, f"  Log: {' '.join(plugins.get('Log') or ())}"]


def _runtimes(info: "dict[str, Any]") -> "list[str]":
    lines = [f" Runtimes: {' '.join(sorted(info['Runtimes']))}"] if info.get("Runtimes") else []
    lines += _given(info, ("Default Runtime", "DefaultRuntime"), ("Init Binary", "InitBinary"))
    for name, key in (("containerd", "ContainerdCommit"), ("runc", "RuncCommit"), ("init", "InitCommit")):
        commit = (info.get(key) or {}).get("ID")
        if commit:
            lines.append(f" {name} version: {commit}")
    return lines


def _security(options: "Any") -> "list[str]":
    """`name=seccomp,profile=builtin` becomes the name, and under it its other values."""
    lines = [" Security Options:"] if options else []
    for option in options:
        values = dict(part.partition("=")[::2] for part in option.split(","))
        lines.append(f"  {values.pop('name', option)}")
        lines += [f"   {key.capitalize()}: {value}" for key, value in values.items()]
    return lines


def _settings(info: "dict[str, Any]") -> "list[str]":
    lines = [f" Debug Mode: {_flag(info.get('Debug'))}"]
    if info.get("Debug"):
        rows = (("File Descriptors", "NFd"), ("Goroutines", "NGoroutines"), ("System Time", "SystemTime"), ("EventsListeners", "NEventsListener"))
        lines += [f"  {label}: {info[key]}" for label, key in rows if key in info]
    lines += _given(info, ("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy"))
    if info.get("Labels"):
        lines += [" Labels:", *(f"  {label}" for label in info["Labels"])]
    lines.append(f" Experimental: {_flag(info.get('ExperimentalBuild'))}")
    registry = info.get("RegistryConfig") or {}
    insecure = [name for name, one in (registry.get("IndexConfigs") or {}).items() if not one.get("Secure", True)]
    insecure += registry.get("InsecureRegistryCIDRs") or []
    if insecure:
        lines += [" Insecure Registries:", *(f"  {one}" for one in insecure)]
    if registry.get("Mirrors"):
        lines += [" Registry Mirrors:", *(f"  {one}" for one in registry["Mirrors"])]
    lines.append(f" Live Restore Enabled: {_flag(info.get('LiveRestoreEnabled'))}")
    if info.get("ProductLicense"):
        lines.append(f" Product License: {info['ProductLicense']}")
    if info.get("DefaultAddressPools"):
        lines += [" Default Address Pools:", *(f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in info["DefaultAddressPools"])]
    firewall = info.get("FirewallBackend") or {}
    if firewall:
        lines += [f" Firewall Backend: {firewall['Driver']}", *(f"  {name}: {value}" for name, value in firewall.get("Info") or ())]
    return lines
