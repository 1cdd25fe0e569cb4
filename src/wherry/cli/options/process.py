"""Flags of `run` about the process: attach, environment, labels, command, health."""

import os

from wherry.cli.errors import CliError
from wherry.cli.flags import FlagError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Flags


def bad(message: str) -> CliError:
    """A flag whose value, or whose company, is wrong: exit code 125."""
    return CliError(message, 125)


def invalid(label: str, text: str, why: str) -> FlagError:
    """A value that a flag does not take; `label` is the flag as messages show it."""
    return FlagError(f'invalid argument "{text}" for "{label}" flag: {why}')


def config(flags: "Flags", image: str, args: "list[str]", detach: bool, proxies: "dict[str, str]") -> "dict[str, Any]":
    """The fields of Config at the top of the create body. Fields that were not asked for are left out."""
    wanted = streams(flags, detach)
    body: dict[str, Any] = {
        "Image": image,
        "Cmd": args,
        "Hostname": flags.text("hostname"),
        "Domainname": flags.text("domainname"),
        "User": flags.text("user"),
        "WorkingDir": flags.text("workdir"),
        "Tty": flags.on("tty"),
        "OpenStdin": flags.on("interactive"),
        "AttachStdin": "stdin" in wanted,
        "AttachStdout": "stdout" in wanted,
        "AttachStderr": "stderr" in wanted,
        "StdinOnce": "stdin" in wanted and flags.on("interactive"),
        "Env": environment(flags, proxies),
        "Labels": labels(flags),
        "StopSignal": flags.text("stop-signal"),
        "Healthcheck": healthcheck(flags),
    }
    if flags.given("entrypoint"):
        body["Entrypoint"] = [flags.text("entrypoint")]
    if flags.given("stop-timeout"):
        body["StopTimeout"] = flags.number("stop-timeout")
    return body


def streams(flags: "Flags", detach: bool) -> "set[str]":
    """Which of stdin, stdout, stderr are attached."""
    if detach:
        if flags.items("attach"):
            raise CliError("conflicting options: cannot specify both --attach and --detach")
        return set()
    wanted = set()
    for name in flags.items("attach"):
        if name.lower() not in ("stdin", "stdout", "stderr"):
            raise invalid("-a, --attach", name, "valid streams are STDIN, STDOUT and STDERR")
        wanted.add(name.lower())
    if not wanted:
        wanted = {"stdout", "stderr"}
    if flags.on("interactive"):
        wanted.add("stdin")
    return wanted


def lines_of(path: str, what: str) -> "list[str]":
    """The lines of an --env-file or --label-file that say something: `#` begins a comment line, blanks at the start do not count."""
    try:
        with open(path, "rb") as file:
            data = file.read().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise bad(f"open {path}: {(error.strerror or str(error)).lower()}") from None
    result = []
    for number, raw in enumerate(data.split(b"\n"), 1):
        try:
            line = raw.removesuffix(b"\r").decode().lstrip()
        except UnicodeDecodeError:
            raise bad(f"{path}: line {number} is not UTF-8") from None
        if not line or line.startswith("#"):
            continue
        name = line.partition("=")[0]
        if not name:
            raise bad(f"invalid {what} file ({path}): no variable name on line '{line}'")
        if any(blank in name.rstrip("\n") for blank in " \t"):
            raise bad(f"invalid {what} file ({path}): variable '{name}' contains whitespaces")
        result.append(line)
    return result


def environment(flags: "Flags", proxies: "dict[str, str]") -> "list[str]":
    """--env-file, then -e. A bare name takes the client's value; from a file an unset one is left out, from -e it is sent bare, which
    removes the image's variable."""
    result = []
    for path in flags.items("env-file"):
        for line in lines_of(path, "env"):
            if "=" in line:
                result.append(line)
            elif line in os.environ:
                result.append(f"{line}={os.environ[line]}")
    for text in flags.items("env"):
        name, equals, _ = text.partition("=")
        if not name:
            raise invalid("-e, --env", text, f"invalid environment variable: {text}")
        result.append(text if equals or name not in os.environ else f"{name}={os.environ[name]}")
    named = {text.partition("=")[0] for text in result}
    return result + [f"{name}={value}" for name, value in proxies.items() if name not in named]


def proxy_variables(config_file: "dict[str, Any]", host: str) -> "dict[str, str]":
    """The variables that `proxies` of the client's config.json gives to new containers: those for this daemon, else the default ones."""
    all_proxies = config_file.get("proxies")
    if not isinstance(all_proxies, dict):
        return {}
    chosen = all_proxies.get(host) or all_proxies.get("default") or {}
    keys = {"httpProxy": "HTTP_PROXY", "httpsProxy": "HTTPS_PROXY", "noProxy": "NO_PROXY", "ftpProxy": "FTP_PROXY", "allProxy": "ALL_PROXY"}
    result = {}
    for key, name in keys.items():
        if chosen.get(key):
            result[name] = result[name.lower()] = str(chosen[key])
    return result


def pairs(texts: "list[str]") -> "dict[str, str]":
    """`k=v` texts as a map; a bare `k` has an empty value; the last one wins."""
    result = {}
    for text in texts:
        key, _, value = text.partition("=")
        result[key] = value
    return result


def labels(flags: "Flags") -> "dict[str, str]":
    texts = [line for path in flags.items("label-file") for line in lines_of(path, "label")]
    for text in flags.items("label"):
        if not text.partition("=")[0]:
            raise invalid("-l, --label", text, f"invalid label '{text}': empty name")
        texts.append(text)
    return pairs(texts)


def healthcheck(flags: "Flags") -> "dict[str, Any] | None":
    fields = {
        "health-interval": "Interval",
        "health-timeout": "Timeout",
        "health-start-period": "StartPeriod",
        "health-start-interval": "StartInterval",
        "health-retries": "Retries",
    }
    result: dict[str, Any] = {}
    command = flags.text("health-cmd")
    for flag, field in fields.items():
        value = flags.number(flag)
        if value < 0:
            raise bad(f"--{flag} cannot be negative")
        if value:
            result[field] = value
    if flags.on("no-healthcheck"):
        if command or result:
            raise bad("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if command:
        result["Test"] = ["CMD-SHELL", command]
    return result or None


def mac_address(flags: "Flags") -> str:
    """An address of 6 (or 8) bytes in hexadecimal, divided by colons or dashes, or in groups of four by dots."""
    text = flags.text("mac-address").strip()
    if not text:
        return ""
    for divider, digits in ((":", 2), ("-", 2), (".", 4)):
        parts = text.split(divider)
        if len(parts) * digits in (12, 16, 40) and all(len(part) == digits and not part.strip("0123456789abcdefABCDEF") for part in parts):
            return text
    raise bad(f"{text} is not a valid mac address")
