"""`--change` of import and commit: single Dockerfile instructions applied to a run configuration.

Docker allows CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR here (Dockerfile reference).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from typing import Any

from wherry.model.errors import InvalidArgument

Config = dict[str, Any]
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")


def apply(config: Config, lines: list[str]) -> Config:
    """`config` with the instructions applied, in order. InvalidArgument names the line."""
    done = dict(config)
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        word, _, rest = text.partition(" ")
        verb = _VERBS.get(word.upper())
        if verb is None:
            raise InvalidArgument(f"{word.upper()} is not a valid change command; valid are {', '.join(_VERBS)}")
        if not rest.strip():
            raise InvalidArgument(f"{word.upper()} requires an argument: {line!r}")
        verb(done, rest.strip())
    return done


def _command(key: str) -> Callable[[Config, str], None]:
    def act(config: Config, rest: str) -> None:
        listed = _json_list(rest)
        config[key] = listed if listed is not None else ["/bin/sh", "-c", rest]
    return act


def _entrypoint(config: Config, rest: str) -> None:
    _command("Entrypoint")(config, rest)
    config.setdefault("Cmd", None)


def _env(config: Config, rest: str) -> None:
    have = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
    have.update(_pairs("ENV", rest))
    config["Env"] = [f"{key}={value}" for key, value in have.items()]


def _label(config: Config, rest: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs("LABEL", rest))}


def _expose(config: Config, rest: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in rest.split():
        found = _PORT.fullmatch(word)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not found or not 0 < first <= last <= 65535:
            raise InvalidArgument(f"EXPOSE: bad port {word!r}")
        for port in range(first, last + 1):
            ports[f"{port}/{found[3] or 'tcp'}"] = {}
    config["ExposedPorts"] = ports


def _volume(config: Config, rest: str) -> None:
    names = _json_list(rest)
    volumes = dict(config.get("Volumes") or {})
    for name in names if names is not None else _words(rest):
        if not name:
            raise InvalidArgument("VOLUME specified can not be an empty string")
        volumes[name] = {}
    config["Volumes"] = volumes


def _workdir(config: Config, rest: str) -> None:
    config["WorkingDir"] = posixpath.normpath(posixpath.join("/", config.get("WorkingDir") or "", _unquote(rest)))


def _user(config: Config, rest: str) -> None:
    config["User"] = _unquote(rest)


def _stop_signal(config: Config, rest: str) -> None:
    config["StopSignal"] = _unquote(rest)


def _on_build(config: Config, rest: str) -> None:
    word = rest.split()[0].upper()
    if word in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidArgument(f"{word} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or ()), rest]


_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+")
_UNITS = {"ns": 1, "us": 1000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3600_000_000_000}
_HEALTH = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval", "retries": "Retries"}


def _health_check(config: Config, rest: str) -> None:
    """`NONE`, or options and `CMD` with a shell or exec form (Dockerfile reference, HEALTHCHECK). Durations in nanoseconds."""
    found: Config = {}
    while rest.startswith("--"):
        option, _, rest = rest.partition(" ")
        rest = rest.strip()
        name, _, value = option[2:].partition("=")
        if name not in _HEALTH:
            raise InvalidArgument(f"HEALTHCHECK: unknown flag: --{name}")
        found[_HEALTH[name]] = _retries(value) if name == "retries" else _duration(name, value)
    word, _, command = rest.partition(" ")
    listed = _json_list(command.strip())
    if word.upper() == "NONE" and not command and not found:
        found["Test"] = ["NONE"]
    elif word.upper() == "CMD" and command.strip():
        found["Test"] = ["CMD", *listed] if listed is not None else ["CMD-SHELL", command.strip()]
    else:
        raise InvalidArgument(f"HEALTHCHECK: NONE, or CMD with a command is needed, not {rest!r}")
    config["Healthcheck"] = found


def _duration(name: str, text: str) -> int:
    if not _DURATION.fullmatch(text):
        raise InvalidArgument(f"HEALTHCHECK: --{name}: not a duration: {text!r} (such as 30s)")
    total = sum(int(float(number) * _UNITS[unit]) for number, unit in re.findall(r"([\d.]+)([a-z]+)", text))
    if 0 < total < 1_000_000:
        raise InvalidArgument(f"HEALTHCHECK: --{name} cannot be less than 1ms")
    return total


def _retries(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidArgument(f"HEALTHCHECK: --retries: not a whole number: {text!r}")
    return int(text)


_VERBS: dict[str, Callable[[Config, str], None]] = {
    "CMD": _command("Cmd"), "ENTRYPOINT": _entrypoint, "ENV": _env, "EXPOSE": _expose, "HEALTHCHECK": _health_check, "LABEL": _label,
    "ONBUILD": _on_build, "STOPSIGNAL": _stop_signal, "USER": _user, "VOLUME": _volume, "WORKDIR": _workdir,
}


def _json_list(rest: str) -> list[str] | None:
    """The exec form `["a", "b"]`; None for the shell form."""
    if not rest.startswith("["):
        return None
    try:
        value = json.loads(rest)
    except ValueError:
        return None
    return value if isinstance(value, list) and all(isinstance(one, str) for one in value) else None


def _pairs(verb: str, rest: str) -> list[tuple[str, str]]:
    """`K=V K2="V 2"`, or the old form `K V` where the first word has no `=`."""
    words = _words(rest)
    if "=" not in words[0]:
        key, _, value = rest.partition(" ")
        if not value.strip():
            raise InvalidArgument(f"{verb} must have two arguments")
        return [(key, value.strip())]
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InvalidArgument(f"Syntax error - can't find = in {word!r}. Must be of the form: name=value")
        pairs.append((key, value))
    return pairs


def _words(text: str) -> list[str]:
    """Words with quotes and backslashes taken off, as the Dockerfile parser does."""
    words, word, quote, started = [], "", "", False
    chars = iter(text)
    for char in chars:
        if char == "\\" and quote != "'":
            word += next(chars, "")
            started = True
        elif quote:
            if char == quote:
                quote = ""
            else:
                word += char
        elif char in "'\"":
            quote, started = char, True
        elif char.isspace():
            if started:
                words.append(word)
            word, started = "", False
        else:
            word += char
            started = True
    if quote:
        raise InvalidArgument(f"unexpected end of statement while looking for matching {quote} in {text!r}")
    return [*words, word] if started else words


def _unquote(text: str) -> str:
    return " ".join(_words(text))
