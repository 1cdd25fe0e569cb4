"""Identifiers and names: 64 hex digits, unique prefixes, the grammar of names."""

from __future__ import annotations

import re
import secrets
import threading
from bisect import bisect_left, insort

from wherry.model.errors import InvalidArgument, NotFound

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
HEX = re.compile(r"[0-9a-f]{1,64}\Z")
MAX_NAME = 255


def new_id() -> str:
    """A random identifier of 64 hex digits whose first twelve are not all decimal (such a short ID would be a number)."""
    while True:
        fresh = secrets.token_hex(32)
        if not fresh[:12].isdecimal():
            return fresh


def short(identifier: str) -> str:
    """The twelve digits that people see."""
    return identifier.removeprefix("sha256:")[:12]


def check_name(name: str, what: str = "container") -> str:
    """`name` without its leading slash, or InvalidArgument; Docker's grammar of container and volume names."""
    bare = name.removeprefix("/")
    if len(bare) > MAX_NAME:
        raise InvalidArgument(f"Invalid {what} name: {len(bare)} characters, at most {MAX_NAME} are allowed")
    if not NAME.match(bare):
        raise InvalidArgument(f"Invalid {what} name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return bare


class TruncIndex:
    """The idIndex (C8): finds an identifier by a unique prefix."""

    def __init__(self) -> None:
        self._sorted: list[str] = []
        self._lock = threading.Lock()

    def add(self, identifier: str) -> None:
        with self._lock:
            insort(self._sorted, identifier)

    def remove(self, identifier: str) -> None:
        with self._lock:
            at = bisect_left(self._sorted, identifier)
            if at < len(self._sorted) and self._sorted[at] == identifier:
                del self._sorted[at]

    def get(self, prefix: str, what: str = "container") -> str:
        """The one identifier that starts with `prefix`; NotFound, or InvalidArgument naming the candidates."""
        if not HEX.match(prefix):
            raise NotFound(f"No such {what}: {prefix}")
        with self._lock:
            at = bisect_left(self._sorted, prefix)
            found = [i for i in self._sorted[at : at + 5] if i.startswith(prefix)]
        if not found:
            raise NotFound(f"No such {what}: {prefix}")
        if len(found) > 1:
            raise InvalidArgument(f"Multiple IDs found with provided prefix: {prefix} ({', '.join(short(i) for i in found)})")
        return found[0]
