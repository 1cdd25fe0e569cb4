"""wherryd's flags and its configuration file, with dockerd's names (docs.docker.com/reference/cli/dockerd).

A directive is given either as a flag or in the file, never both; an unknown one is refused by name, and so is one of dockerd's that is
not built yet: nothing is accepted and ignored."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec

from wherry import __version__
from wherry.daemon import rlimits
from wherry.model.errors import InvalidArgument, Unimplemented

CONFIG_FILE = Path("/etc/wherry/daemon.json")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")


@dataclass(frozen=True, slots=True)
class Options:
    """What the daemon was told. `default_ulimits`: name to (soft, hard), -1 is unlimited. `default_shm_size` in bytes, `shutdown_timeout` in seconds.

    `ready_fd`: a descriptor that gets one byte when the daemon serves (ours, not dockerd's)."""

    data_root: Path = Path("/var/lib/wherry")
    exec_root: Path = Path("/run/wherry")
    hosts: tuple[str, ...] = ("unix:///run/wherry/wherry.sock",)
    pidfile: Path = Path("/run/wherry/wherryd.pid")
    config_file: Path = CONFIG_FILE
    storage_driver: str = ""
    bridge: str = "wherry0"
    bip: str = ""
    ip_forward: bool = True
    iptables: bool = True
    icc: bool = True
    mtu: int = 0
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    init: bool = False
    init_path: str = "/usr/bin/tini-static"
    default_shm_size: int = 64 << 20
    default_ulimits: dict[str, tuple[int, int]] = field(default_factory=dict)
    log_level: str = "info"
    log_driver: str = "json-file"
    log_opts: dict[str, str] = field(default_factory=dict)
    live_restore: bool = True
    shutdown_timeout: int = 15
    ready_fd: int | None = None


class _Kind(NamedTuple):
    """How a value is read from a flag's text and from JSON; `many`: the flag may be repeated, its values are collected by `join`."""

    from_text: Callable[[str, str], Any]
    from_json: Callable[[str, Any], Any]
    many: bool = False
    hint: str = ""


class _Flag(NamedTuple):
    name: str
    option: str
    kind: _Kind
    help: str
    key: str = ""
    short: str = ""


def _wrong(name: str, value: object, wanted: str) -> NoReturn:
    raise InvalidArgument(f"invalid value {value!r} for {name}: {wanted} is needed")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        _wrong(name, value, "a text")
    return value


def _path(name: str, value: Any) -> Path:
    text = _text(name, value)
    if not text.startswith("/"):
        _wrong(name, value, "an absolute path")
    return Path(text)


def _boolean(name: str, value: str) -> bool:
    if value in ("true", "1", "t", "T", "TRUE", "True"):
        return True
    if value in ("false", "0", "f", "F", "FALSE", "False"):
        return False
    _wrong(name, value, "true or false")


def _json_boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        _wrong(name, value, "true or false")
    return value


def _integer(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        _wrong(name, value, "a whole number")


def _json_integer(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        _wrong(name, value, "a whole number")
    return value


def parse_bytes(name: str, value: str) -> int:
    """`64m`: a number with optional b, k, m, g (powers of 1024, any case)."""
    text = value.strip().lower().removesuffix("b")
    unit = {"k": 10, "m": 20, "g": 30, "t": 40}.get(text[-1:], 0)
    try:
        number = float(text[:-1] if unit else text)
    except ValueError:
        _wrong(name, value, "a size such as 64m")
    if not 0 <= number < 1 << 60:
        _wrong(name, value, "a size such as 64m")
    return int(number * (1 << unit))


def _json_bytes(name: str, value: Any) -> int:
    return parse_bytes(name, value) if isinstance(value, str) else _json_integer(name, value)


def _json_list(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        _wrong(name, value, "a list of texts")
    return tuple(value)


def _pair(name: str, value: str) -> dict[str, str]:
    key, equals, text = value.partition("=")
    if not equals or not key:
        _wrong(name, value, "key=value")
    return {key: text}


def _json_map(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        _wrong(name, value, "an object of texts")
    return value


def parse_ulimit(name: str, value: str) -> dict[str, tuple[int, int]]:
    """`name=soft[:hard]`; one number is both."""
    key, equals, limits = value.partition("=")
    soft, _, hard = limits.partition(":")
    if not equals:
        _wrong(name, value, "name=soft[:hard]")
    pair = _integer(name, soft), _integer(name, hard or soft)
    rlimits.rlimit(key, *pair, asked=True)
    return {key: pair}


def _json_ulimits(name: str, value: Any) -> dict[str, tuple[int, int]]:
    found = {}
    for key, one in (value if isinstance(value, dict) else _wrong(name, value, "an object of limits")).items():
        if not isinstance(one, dict) or not set(one) <= {"Name", "Soft", "Hard"}:
            _wrong(f"{name}.{key}", one, "an object of Name, Soft and Hard")
        soft = _json_integer(f"{name}.{key}.Soft", one.get("Soft", 0))
        pair = soft, _json_integer(f"{name}.{key}.Hard", one.get("Hard", 0))
        limit = _text(f"{name}.{key}.Name", one.get("Name", key))
        rlimits.rlimit(limit, *pair, asked=True)
        found[limit] = pair
    return found


_TEXT = _Kind(_text, _text, hint="string")
_PATH = _Kind(_path, _path, hint="path")
_BOOLEAN = _Kind(_boolean, _json_boolean)
_INTEGER = _Kind(_integer, _json_integer, hint="int")
_BYTES = _Kind(parse_bytes, _json_bytes, hint="bytes")
_LIST = _Kind(lambda name, value: (_text(name, value),), _json_list, True, "list")
_MAP = _Kind(_pair, _json_map, True, "map")
_ULIMITS = _Kind(parse_ulimit, _json_ulimits, True, "ulimit")

FLAGS = (
    _Flag("bip", "bip", _TEXT, "address and prefix length of the default bridge"),
    _Flag("bridge", "bridge", _TEXT, "name of the default bridge", short="b"),
    _Flag("config-file", "config_file", _PATH, f"configuration file (default {CONFIG_FILE}, if it exists)"),
    _Flag("data-root", "data_root", _PATH, "where images, containers and volumes are kept"),
    _Flag("debug", "debug", _BOOLEAN, "the same as --log-level=debug", short="D"),
    _Flag("default-shm-size", "default_shm_size", _BYTES, "size of /dev/shm of containers (default 64m)"),
    _Flag("default-ulimit", "default_ulimits", _ULIMITS, "limits of containers that ask for none: name=soft[:hard]", "default-ulimits"),
    _Flag("dns", "dns", _LIST, "name servers of containers"),
    _Flag("dns-opt", "dns_options", _LIST, "options of resolv.conf", "dns-opts"),
    _Flag("dns-search", "dns_search", _LIST, "search domains of containers"),
    _Flag("exec-root", "exec_root", _PATH, "where the state of what runs is kept"),
    _Flag("host", "hosts", _LIST, "socket to listen on: unix://PATH or fd://", "hosts", "H"),
    _Flag("icc", "icc", _BOOLEAN, "containers on the default bridge reach each other (default true)"),
    _Flag("init", "init", _BOOLEAN, "run an init in each container that does not say otherwise"),
    _Flag("init-path", "init_path", _TEXT, "the program of --init, linked statically"),
    _Flag("ip-forward", "ip_forward", _BOOLEAN, "switch IPv4 forwarding on (default true)"),
    _Flag("iptables", "iptables", _BOOLEAN, "make firewall rules (default true)"),
    _Flag("live-restore", "live_restore", _BOOLEAN, "containers run on while the daemon is down (default true)"),
    _Flag("log-driver", "log_driver", _TEXT, "log driver of containers (default json-file)"),
    _Flag("log-level", "log_level", _TEXT, f"{', '.join(LOG_LEVELS)} (default info)", short="l"),
    _Flag("log-opt", "log_opts", _MAP, "options of the log driver: key=value", "log-opts"),
    _Flag("mtu", "mtu", _INTEGER, "MTU of the default bridge"),
    _Flag("pidfile", "pidfile", _PATH, "where the daemon's process ID is written", short="p"),
    _Flag("ready-fd", "ready_fd", _INTEGER, "descriptor that gets a byte when the daemon serves"),
    _Flag("shutdown-timeout", "shutdown_timeout", _INTEGER, "seconds for containers to stop in, without live-restore (default 15)"),
    _Flag("storage-driver", "storage_driver", _TEXT, "graph driver: overlay or vfs (default: the best that works)", short="s"),
)
_ONLY_FLAGS = ("config-file", "ready-fd")
_LATER = frozenset((
    "add-runtime", "allow-direct-routing", "authorization-plugin", "bip6", "cdi-spec-dir", "cgroup-parent", "containerd", "containerd-namespace",
    "containerd-plugins-namespace", "cpu-rt-period", "cpu-rt-runtime", "cri-containerd", "default-address-pool", "default-cgroupns-mode",
    "default-gateway", "default-gateway-v6", "default-ipc-mode", "default-network-opt", "default-runtime", "exec-opt", "experimental",
    "feature", "fixed-cidr", "fixed-cidr-v6", "group", "host-gateway-ip", "http-proxy", "https-proxy", "insecure-registry", "ip",
    "ip-forward-no-drop", "ip-masq", "ip6tables", "ipv6", "label", "log-format", "max-concurrent-downloads", "max-concurrent-uploads",
    "max-download-attempts", "metrics-addr", "network-control-plane-mtu", "no-new-privileges", "no-proxy", "node-generic-resource", "raw-logs",
    "registry-mirror", "rootless", "seccomp-profile", "selinux-enabled", "storage-opt", "swarm-default-advertise-addr", "tls", "tlscacert",
    "tlscert", "tlskey", "tlsverify", "userland-proxy", "userland-proxy-path", "userns-remap",
    # keys of the file that are no flags, or are called otherwise there
    "authorization-plugins", "builder", "cdi-spec-dirs", "default-address-pools", "default-network-opts", "exec-opts", "features",
    "firewall-backend", "host-gateway-ips", "insecure-registries", "labels", "proxies", "registry-mirrors", "runtimes", "storage-opts",
    "node-generic-resources", "allow-nondistributable-artifacts", "min-api-version",
))  # fmt: skip
_SHORT_LATER = {"G": "group"}
_LOG_DRIVERS = ("local", "syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs")
_LOG_OPTS = ("max-size", "max-file")
_BY_NAME = {flag.name: flag for flag in FLAGS}
_BY_SHORT = {flag.short: flag for flag in FLAGS if flag.short}
_BY_KEY = {flag.key or flag.name: flag for flag in FLAGS if flag.name not in _ONLY_FLAGS}


def parse(argv: list[str]) -> Options:
    """The options of a command line and of its configuration file; InvalidArgument or Unimplemented. --help, --version, --validate exit."""
    given, validate = _flags(argv)
    path = given.get("config_file", CONFIG_FILE)
    filed = _file(path, must="config_file" in given)
    both = [key for key, flag in _BY_KEY.items() if flag.option in given and key in filed]
    if both:
        texts = [f"{key}: (from flag: {_shown(given[_BY_KEY[key].option])}, from file: {_shown(filed[key])})" for key in both]
        raise InvalidArgument(
            f"unable to configure the daemon with file {path}: the following directives are specified both as a flag and in the configuration "
            f"file: {', '.join(texts)}"
        )
    values = {**{_BY_KEY[key].option: value for key, value in filed.items()}, **given}
    options = _checked(values)
    if validate:
        print("configuration OK")
        sys.exit(0)
    return options


def _flags(argv: list[str]) -> tuple[dict[str, Any], bool]:
    """Values by option, and whether --validate was given. As dockerd reads them: --name=value, --name value, -xvalue; booleans only with `=`."""
    given: dict[str, Any] = {}
    validate = False
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word in ("--help", "-h"):
            print(usage())
            sys.exit(0)
        if word in ("--version", "-v"):
            print(f"wherryd version {__version__}")
            sys.exit(0)
        if word == "--validate":
            validate = True
            continue
        flag, text = _flag(word)
        if text is None and flag.kind is _BOOLEAN:
            text = "true"
        elif text is None:
            if not rest:
                raise InvalidArgument(f"flag needs an argument: {word}")
            text = rest.pop(0)
        value = flag.kind.from_text(f"--{flag.name}", text)
        given[flag.option] = _join(given[flag.option], value) if flag.kind.many and flag.option in given else value
    return given, validate


def _flag(word: str) -> tuple[_Flag, str | None]:
    if word.startswith("--") and len(word) > 2:
        name, equals, text = word[2:].partition("=")
        if name in _BY_NAME:
            return _BY_NAME[name], text if equals else None
        if name in _LATER:
            raise Unimplemented(f"the flag --{name} is known but not built yet")
        raise InvalidArgument(f"unknown flag: --{name}; see 'wherryd --help'")
    if word.startswith("-") and len(word) > 1:
        if word[1] in _BY_SHORT:
            return _BY_SHORT[word[1]], word[2:].removeprefix("=") or None
        if word[1] in _SHORT_LATER:
            raise Unimplemented(f"the flag -{word[1]}, --{_SHORT_LATER[word[1]]} is known but not built yet")
        raise InvalidArgument(f"unknown shorthand flag: {word[1]!r} in {word}; see 'wherryd --help'")
    raise InvalidArgument(f"wherryd accepts no arguments, but {word!r} was given; see 'wherryd --help'")


def _join(before: Any, value: Any) -> Any:
    return {**before, **value} if isinstance(before, dict) else before + value


def _file(path: Path, *, must: bool) -> dict[str, Any]:
    """Values by key of the file; a missing file is an error where it was asked for."""
    where = f"unable to configure the daemon with file {path}"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        if must:
            raise InvalidArgument(f"{where}: no such file") from None
        return {}
    except OSError as error:
        raise InvalidArgument(f"{where}: {error.strerror}") from error
    if not raw.strip():
        return {}
    try:
        decoded = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{where}: invalid JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise InvalidArgument(f"{where}: invalid JSON: an object is needed")
    unknown = [key for key in decoded if key not in _BY_KEY and key not in _LATER]
    if unknown:
        raise InvalidArgument(f"{where}: the following directives don't match any configuration option: {', '.join(unknown)}")
    later = [key for key in decoded if key not in _BY_KEY]
    if later:
        raise Unimplemented(f"{where}: the following directives are known but not built yet: {', '.join(later)}")
    try:
        return {key: _BY_KEY[key].kind.from_json(key, value) for key, value in decoded.items()}
    except InvalidArgument as error:
        raise InvalidArgument(f"{where}: {error}") from None


def _shown(value: Any) -> str:
    return f"[{' '.join(value)}]" if isinstance(value, tuple) else str(value)


def _checked(values: Mapping[str, Any]) -> Options:
    values = dict(values)
    if values.pop("debug", False):
        values["log_level"] = "debug"
    exec_root = values.get("exec_root", Options().exec_root)
    values.setdefault("hosts", (f"unix://{exec_root}/wherry.sock",))
    values.setdefault("pidfile", exec_root / "wherryd.pid")
    assert set(values) <= {one.name for one in fields(Options)}
    options = Options(**values)
    if options.log_level not in LOG_LEVELS:
        _wrong("log-level", options.log_level, f"one of {', '.join(LOG_LEVELS)}")
    if options.log_driver in _LOG_DRIVERS:
        raise Unimplemented(f"the log driver {options.log_driver!r} is not built yet; json-file is")
    if options.log_driver not in ("json-file", "none"):
        _wrong("log-driver", options.log_driver, "json-file or none")
    if options.log_driver == "json-file":
        check_log_opts(options.log_opts)
    elif options.log_opts:
        raise InvalidArgument("the log driver none has no options")
    if options.bridge == "none":
        raise Unimplemented("running without a default bridge (--bridge=none) is not built yet; containers can ask for --network none")
    if options.mtu and not 68 <= options.mtu <= 65535:
        _wrong("mtu", options.mtu, "a number from 68 to 65535")
    if options.shutdown_timeout < -1:
        _wrong("shutdown-timeout", options.shutdown_timeout, "a number of seconds, or -1 for no limit,")
    return options


def check_log_opts(options: Mapping[str, str]) -> None:
    """The options of the json-file driver: max-size (bytes, -1: none) and max-file (1 at least; without a size no second file is ever begun)."""
    for name in options:
        if name not in _LOG_OPTS:
            raise InvalidArgument(f"unknown log opt '{name}' for json-file log driver")
    size, count = options.get("max-size", "-1"), options.get("max-file", "1")
    if size != "-1" and parse_bytes("max-size", size) < 1:
        _wrong("max-size", size, "a positive size")
    if not count.isascii() or not count.isdigit() or int(count) < 1:
        _wrong("max-file", count, "a positive whole number")


def usage() -> str:
    """The text of --help."""
    lines = ["", "Usage:\twherryd [OPTIONS]", "", "The engine of wherry.", "", "Options:"]
    for flag in FLAGS:
        short = f"-{flag.short}, " if flag.short else "    "
        lines.append(f"  {short}--{f'{flag.name} {flag.kind.hint}'.strip():30} {flag.help}")
    lines.append("      --validate                       check the configuration and exit")
    lines.append("  -v, --version                        print the version and exit")
    return "\n".join(lines)
