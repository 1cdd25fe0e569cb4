"""execve of the user's program, found by trying (R5); and Docker's words when it cannot be."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

TINI = "/sbin/docker-init"


class ExecError(OSError):
    """The program cannot be run; `exit_code` is 127 where there is none, 126 where it is none. Its text is what Docker clients know."""

    def __init__(self, number: int, message: str, path: str, exit_code: int) -> None:
        super().__init__(number, message, path)
        self.message, self.exit_code = message, exit_code
        self.step = "init: exec"


def environment(entries: Sequence[str], home: str) -> dict[str, str]:
    """The environment as a mapping: the last of equal keys wins, entries without `=` are none (R7). HOME is set when missing."""
    env: dict[str, str] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if equals and key:
            env[key] = value
    env.setdefault("HOME", home)
    return env


def exit_code_of(number: int) -> int:
    """The exit code of a program that execve refused with this errno."""
    return 127 if number == errno.ENOENT else 126


def execute(argv: list[str], env: dict[str, str]) -> None:
    """Becomes the program; returns never. ExecError where it cannot be run.

    A name with a slash is a path. Any other is tried in each absolute entry of PATH; entries where it is missing or not executable are
    passed over."""
    name = argv[0] if argv else ""
    if "/" in name:
        _try(name, argv, env, name)
    for directory in env.get("PATH", "").split(":") if name else ():
        if not directory.startswith("/"):
            continue
        path = f"{directory.rstrip('/')}/{name}"
        try:
            os.execve(path, argv, env)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG):
                continue
            if error.errno == errno.ENOENT and not os.path.lexists(path):
                continue
            _refuse(error, path, name)
    raise ExecError(errno.ENOENT, f'exec: "{name}": executable file not found in $PATH', name, 127)


def _try(path: str, argv: list[str], env: dict[str, str], name: str) -> None:
    try:
        os.execve(path, argv, env)
    except OSError as error:
        _refuse(error, path, name)


def _refuse(error: OSError, path: str, name: str) -> None:
    number = error.errno or errno.EIO
    text = os.strerror(number).lower()
    if number == errno.EACCES and os.path.isdir(path):
        number, text = errno.EISDIR, "is a directory: permission denied"
    if number == errno.ENOENT and not os.path.lexists(path):
        raise ExecError(number, f'exec: "{name}": stat {path}: {text}', path, 127) from None
    if number in (errno.EACCES, errno.EISDIR):
        raise ExecError(number, f'exec: "{name}": {text}', path, 126) from None
    # There, but not for the kernel: no interpreter (ENOENT), no format (ENOEXEC), a wrong machine.
    raise ExecError(number, f"exec {path}: {text}", path, exit_code_of(number)) from None
