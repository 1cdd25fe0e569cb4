"""Seccomp profiles in Docker's JSON format, compiled once to BPF and kept by the hash of all that decides the result.

The default profile is `default_profile.json`, an allow list of ours. Format: Docker's documentation of seccomp profiles, and the OCI
runtime specification, config-linux.md, "Seccomp".
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from wherry.linux import capability
from wherry.linux import seccomp as lib
from wherry.model.errors import InvalidArgument, Unimplemented

_FORMAT = b"wherry-seccomp-2"  # of the cache: changes when the same inputs compile to another program
_EPERM = 1
_KEPT = 64  # programs in memory, about 10 KiB each
_ACTIONS = {
    "SCMP_ACT_KILL": lib.KILL_THREAD, "SCMP_ACT_KILL_THREAD": lib.KILL_THREAD, "SCMP_ACT_KILL_PROCESS": lib.KILL_PROCESS,
    "SCMP_ACT_TRAP": lib.TRAP, "SCMP_ACT_ERRNO": lib.ERRNO, "SCMP_ACT_TRACE": lib.TRACE, "SCMP_ACT_LOG": lib.LOG, "SCMP_ACT_ALLOW": lib.ALLOW,
}  # fmt: skip
_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "x86", "riscv64": "riscv64", "s390x": "s390x", "ppc64le": "ppc64le"}
_UNDERSTOOD_FLAGS = frozenset({"SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"})  # the first is always set, the second moot


class _Rule(NamedTuple):
    """One rule ready for libseccomp: an action, names, and groups of conditions of which any may hold."""

    action: int
    names: list[str]
    conditions: list[list[lib.Comparison]]


@cache
def default_profile() -> bytes:
    """The text of the default profile."""
    return files("wherry.execdriver").joinpath("default_profile.json").read_bytes()


class ProfileCache:
    """Compiled profiles, in memory and below a directory, under the hash of profile, capabilities, machine, kernel release and library version.

    Safe for several threads and several daemons: all would write the same bytes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._kept: dict[tuple[bytes, int], bytes] = {}

    def program(self, profile: str | bytes | None, capabilities: int) -> bytes:
        """The BPF program of a profile (None: the default one) for a container with this bounding set.

        InvalidArgument for a profile that is malformed, Unimplemented for what cannot be done (SCMP_ACT_NOTIFY)."""
        raw = default_profile() if profile is None else profile.encode() if isinstance(profile, str) else profile
        found = self._kept.get((raw, capabilities))
        if found is None:
            found = self._load(raw, capabilities)
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[raw, capabilities] = found
        return found

    def _load(self, profile: bytes, capabilities: int) -> bytes:
        path = self._directory / cache_key(profile, capabilities)
        try:
            program = path.read_bytes()
            if program and len(program) % 8 == 0:
                return program
        except FileNotFoundError:
            pass
        program = build(profile, capabilities)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        temporary.write_bytes(program)
        temporary.replace(path)
        return program


def cache_key(profile: bytes, capabilities: int) -> str:
    """Hexadecimal SHA-256 over everything that the program depends on."""
    system = os.uname()
    parts = (_FORMAT, profile, f"{capabilities:x}".encode(), system.machine.encode(), system.release.encode(), lib.version().encode())
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def build(profile: bytes, capabilities: int) -> bytes:
    """Compiles without a cache."""
    document = _document(profile)
    default = _action(document.get("defaultAction"), document.get("defaultErrnoRet"), "defaultAction")
    machine = _GO_ARCH.get(os.uname().machine, os.uname().machine)
    rules = [rule for index, entry in enumerate(document.get("syscalls") or [])
             if (rule := _rule(entry, f"syscalls[{index}]", capabilities, machine)) is not None]  # fmt: skip
    with lib.Filter(default) as made:
        for token in _architectures(document):
            made.add_arch(token)
        for rule in rules:
            if rule.action == default:
                continue  # libseccomp refuses what changes nothing
            for name in rule.names:
                for conditions in rule.conditions:
                    made.add_rule(rule.action, name, conditions)
        program = made.export()
        denies = default & 0xFFFF0000 == lib.ERRNO
        newest = {arch: _newest(rules, arch) for arch in made.architectures} if denies else {}
    return lib.unknown_is_enosys(program, {arch: number for arch, number in newest.items() if number})


def _newest(rules: list[_Rule], arch: int) -> int:
    """The highest number that the profile speaks of: what is younger, its author did not know."""
    return max((lib.syscall_number(name, arch) or 0 for rule in rules for name in rule.names), default=0)


def _document(profile: bytes) -> dict[str, Any]:
    try:
        document = json.loads(profile)
    except ValueError as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("syscalls") or [], list):
        raise InvalidArgument("Decoding seccomp profile failed: not an object with a list of syscalls")
    if document.get("architectures") and document.get("archMap"):
        raise InvalidArgument("both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'")
    if document.get("listenerPath") or document.get("listenerMetadata"):
        raise Unimplemented("seccomp profile: listenerPath is not implemented")
    unknown = [flag for flag in document.get("flags") or [] if flag not in _UNDERSTOOD_FLAGS]
    if unknown:
        raise Unimplemented(f"seccomp profile: flags {', '.join(map(str, unknown))} are not implemented")
    return document


def _architectures(document: dict[str, Any]) -> list[int]:
    """The further architectures of the profile: of `archMap` the entry for this machine."""
    names = list(document.get("architectures") or [])
    for entry in document.get("archMap") or []:
        if isinstance(entry, dict) and _token(entry.get("architecture")) == lib.native_arch():
            names += entry.get("subArchitectures") or []
    return [token for name in names if (token := _token(name)) is not None]


def _token(name: object) -> int | None:
    if not isinstance(name, str) or not name.startswith("SCMP_ARCH_"):
        raise InvalidArgument(f"seccomp profile: unknown architecture {name!r}")
    return lib.arch_token(name.removeprefix("SCMP_ARCH_").lower())


def _action(name: object, errno_ret: object, where: str) -> int:
    if name == "SCMP_ACT_NOTIFY":
        raise Unimplemented(f"seccomp profile: {where}: SCMP_ACT_NOTIFY is not implemented")
    if not isinstance(name, str) or name not in _ACTIONS:
        raise InvalidArgument(f"seccomp profile: {where}: unknown action {name!r}")
    action = _ACTIONS[name]
    if action not in (lib.ERRNO, lib.TRACE):
        return action
    return action | _integer(_EPERM if errno_ret is None else errno_ret, f"{where}: errno", 0xFFFF)


def _integer(value: object, where: str, largest: int = (1 << 64) - 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
        raise InvalidArgument(f"seccomp profile: {where} must be a number from 0 to {largest}, not {value!r}")
    return value


def _rule(entry: Any, where: str, capabilities: int, machine: str) -> _Rule | None:
    """One entry of `syscalls`; None where its conditions leave it out for this container."""
    if not isinstance(entry, dict):
        raise InvalidArgument(f"seccomp profile: {where} is not an object")
    if entry.get("name") and entry.get("names"):
        raise InvalidArgument(f"seccomp profile: {where}: use either 'name' or 'names'")
    names = [entry["name"]] if entry.get("name") else entry.get("names") or []
    if not names or not all(isinstance(name, str) and name.isascii() and "\0" not in name for name in names):
        raise InvalidArgument(f"seccomp profile: {where}: 'names' must be a list of system calls")
    action = _action(entry.get("action"), entry.get("errnoRet"), where)
    conditions = _conditions(entry.get("args") or [], where)
    if not _applies(entry, where, capabilities, machine):
        return None
    return _Rule(action, names, conditions)


def _applies(entry: dict[str, Any], where: str, capabilities: int, machine: str) -> bool:
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if not isinstance(includes, dict) or not isinstance(excludes, dict):
        raise InvalidArgument(f"seccomp profile: {where}: 'includes' and 'excludes' must be objects")
    if includes.get("arches") and machine not in includes["arches"] or machine in (excludes.get("arches") or ()):
        return False
    wanted = [capability.parse(name) for name in includes.get("caps") or ()]
    unwanted = [capability.parse(name) for name in excludes.get("caps") or ()]
    if any(not capabilities & bit for bit in wanted) or any(capabilities & bit for bit in unwanted):
        return False
    release = _kernel(os.uname().release)
    if includes.get("minKernel") and release < _kernel(includes["minKernel"]):
        return False
    return not (excludes.get("minKernel") and release >= _kernel(excludes["minKernel"]))


def _kernel(text: object) -> tuple[int, int]:
    """(major, minor) of `6.1.0-13-amd64` or `4.8`."""
    parts = str(text).split(".")
    digits = ["".join(c for c in part[:4] if c.isdigit()) for part in parts[:2]]
    if len(digits) < 2 or not all(digits):
        raise InvalidArgument(f"seccomp profile: minKernel {text!r} is not a kernel version")
    return int(digits[0]), int(digits[1])


def _conditions(args: Any, where: str) -> list[list[lib.Comparison]]:
    """The conditions of a rule. All must hold; but where one argument occurs twice, each condition makes a rule of its own (as in Docker's
    runtime), because libseccomp cannot combine them."""
    found = []
    for number, arg in enumerate(args):
        here = f"{where}.args[{number}]"
        if not isinstance(arg, dict) or arg.get("op") not in lib.OPERATORS:
            raise InvalidArgument(f"seccomp profile: {here}: unknown operator")
        index, value = _integer(arg.get("index"), f"{here}: index", 5), _integer(arg.get("value", 0), f"{here}: value")
        found.append(lib.Comparison(index, lib.OPERATORS[arg["op"]], value, _integer(arg.get("valueTwo") or 0, f"{here}: valueTwo")))
    if len({one.argument for one in found}) < len(found):
        return [[one] for one in found]
    return [found]
