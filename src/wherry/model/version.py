"""Versions of the Engine API: compared as numbers, part by part (1.9 < 1.24)."""

from __future__ import annotations

from typing import NamedTuple

from wherry.model.errors import InvalidArgument


class Version(NamedTuple):
    """A version of the API, such as 1.51."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


#: The oldest and the newest version that the daemon speaks.
OLDEST = Version(1, 24)
NEWEST = Version(1, 51)


class TooOld(InvalidArgument):
    """The client speaks only versions that this daemon has forgotten; such a client expects errors as plain text."""


def parse_version(text: str) -> Version:
    """`1.43` as a Version; parts after the second may only be zeros. Raises InvalidArgument."""
    parts = text.split(".")
    if not all(part.isascii() and part.isdigit() and len(part) <= 6 for part in parts):
        raise InvalidArgument(f"not an API version: {text!r}")
    numbers = [int(part) for part in parts] + [0]
    if any(numbers[2:]):
        raise InvalidArgument(f"not an API version: {text!r} (it has two parts, such as {NEWEST})")
    return Version(numbers[0], numbers[1])


def negotiate(text: str) -> Version:
    """The version a client asks for in its path; InvalidArgument names both versions when this daemon does not speak it."""
    version = parse_version(text)
    if version < OLDEST:
        raise TooOld(f"client version {version} is too old: the oldest API version this daemon speaks is {OLDEST}; use a newer client")
    if version > NEWEST:
        raise InvalidArgument(f"client version {version} is too new: the newest API version this daemon speaks is {NEWEST}")
    return version
