"""Who the program runs as: `--user` and `--group-add`, looked up in the image's own files.

No NSS (R5): /etc/passwd and /etc/group of the image are opened in its root (R1), read up to a bound (R7) and parsed here. Malformed
lines are skipped, as every reader of passwd(5) and group(5) does. IDs are 0 to 2^32-2; anything else is an error, never cut (R6).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from wherry.linux.path import IN_ROOT, openat2
from wherry.model.errors import InvalidArgument

MAX_ID = (1 << 32) - 2
MAX_FILE = 8 << 20
_MAX_GROUPS = 65536  # NGROUPS_MAX of the kernel


class User(NamedTuple):
    """Numbers and home directory. `groups` are the supplementary groups, the primary one among them."""

    uid: int
    gid: int
    groups: list[int]
    home: str


def lookup(root: int, spec: str, group_add: Sequence[str]) -> User:
    """`""`, `name`, `uid`, each with an optional `:group` or `:gid`, in the root `root`; as Docker resolves them.

    A name must be in the file, a number need not be. Without a group, a user found in passwd also gets the supplementary groups of the
    group file that name it. InvalidArgument for unknown names and for numbers out of range."""
    user_part, _, group_part = spec.partition(":")
    name, uid, gid, home = _find_user(root, user_part or "0")
    groups: list[int] = []
    if group_part:
        gid = _find_group(root, group_part)
    elif name:
        groups = [number for _, number, members in _groups(root) if name in members]
    added = [_find_group(root, one) for one in group_add]
    unique = list(dict.fromkeys([gid, *groups, *added]))
    if len(unique) > _MAX_GROUPS:
        raise InvalidArgument(f"user {spec!r} has {len(unique)} groups, the kernel allows {_MAX_GROUPS}")
    return User(uid, gid, unique, home or "/")


def _find_user(root: int, text: str) -> tuple[str, int, int, str]:
    """(name or "", uid, gid, home) of the first line that has this name or number."""
    number = _number(text)
    for fields in _lines(root, "etc/passwd", 7):
        uid, gid = _id(fields[2]), _id(fields[3])
        if uid is not None and gid is not None and (fields[0] == text or uid == number):
            return fields[0], uid, gid, fields[5]
    if number is None:
        raise InvalidArgument(f"unable to find user {text}: no matching entries in passwd file")
    return "", number, 0, ""


def _find_group(root: int, text: str) -> int:
    number = _number(text)
    for name, gid, _ in _groups(root):
        if name == text or (number is not None and gid == number):
            return gid
    if number is None:
        raise InvalidArgument(f"unable to find group {text}: no matching entries in group file")
    return number


def _groups(root: int) -> Iterator[tuple[str, int, list[str]]]:
    for fields in _lines(root, "etc/group", 4):
        gid = _id(fields[2])
        if gid is not None:
            yield fields[0], gid, fields[3].split(",")


def _lines(root: int, path: str, count: int) -> Iterator[list[str]]:
    """The fields of each line, padded to `count`; lines without a name, comments and entries of NIS (`+`, `-`) are none."""
    for line in _read(root, path).split("\n"):
        if line and line[0] not in "#+-:":
            fields = line.strip().split(":")
            yield fields + [""] * (count - len(fields))


def _read(root: int, path: str) -> str:
    """A file of the image as text, "" when there is none. InvalidArgument where it is no regular file or too large."""
    try:
        fd = openat2(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, IN_ROOT)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidArgument(f"the image's /{path} is not a regular file")
        raw = b""
        while chunk := os.read(fd, MAX_FILE + 1 - len(raw)):
            raw += chunk
            if len(raw) > MAX_FILE:
                raise InvalidArgument(f"the image's /{path} is larger than {MAX_FILE} bytes")
    finally:
        os.close(fd)
    return raw.decode("utf-8", "surrogateescape")


def _id(text: str) -> int | None:
    """The number in a field of a file; None when it is none or out of range."""
    if text.isascii() and text.isdecimal() and len(text) <= 10 and (number := int(text)) <= MAX_ID:
        return number
    return None


def _number(text: str) -> int | None:
    """The ID that a user wrote as a number; None when it is a name. Out of range is an error."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdecimal()):
        return None
    number = _id(digits)
    if number is None or text[0] == "-":
        raise InvalidArgument(f"uids and gids must be in range 0-{MAX_ID}")
    return number
