"""The query of a request: Docker's rules for booleans, numbers and lists in it."""

from __future__ import annotations

from urllib.parse import parse_qs

from wherry.model.errors import InvalidArgument
from wherry.model.filters import Filters, parse_filters

_FALSE = frozenset({"", "0", "no", "false", "none"})
_STRICT = {"1": True, "t": True, "T": True, "true": True, "True": True, "TRUE": True,
           "0": False, "f": False, "F": False, "false": False, "False": False, "FALSE": False}


class Query:
    """Parameters by name; each may be repeated. A key in the path's query is found after one in a form body."""

    __slots__ = ("_values",)

    def __init__(self, text: str) -> None:
        self._values: dict[str, list[str]] = {}
        if text:
            self.add(text)

    def add(self, text: str) -> None:
        """Add urlencoded parameters before those already there. Raises InvalidArgument."""
        try:
            parsed = parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=10_000)
        except ValueError as error:
            raise InvalidArgument(f"the query cannot be read: {error}") from None
        for name, values in parsed.items():
            self._values[name] = values + self._values.get(name, [])

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        values = self._values.get(name)
        return values[0] if values else default

    def texts(self, name: str) -> list[str]:
        return list(self._values.get(name, ()))

    def needed(self, name: str) -> str:
        """A parameter that must be there and not empty. Raises InvalidArgument."""
        value = self.text(name)
        if not value:
            raise InvalidArgument(f"the parameter {name!r} is missing")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Docker's loose boolean: only empty, 0, no, false and none are false; absent gives `default`."""
        values = self._values.get(name)
        return default if not values else values[0].strip().lower() not in _FALSE

    def strict_flag(self, name: str, default: bool = False) -> bool:
        """Go's strict boolean. Raises InvalidArgument."""
        value = self.text(name)
        if not value:
            return default
        if value not in _STRICT:
            raise InvalidArgument(f"the parameter {name!r} is not a boolean: {value!r}")
        return _STRICT[value]

    def integer(self, name: str, default: int | None = None) -> int | None:
        """A decimal number; absent or empty gives `default`. Raises InvalidArgument."""
        value = self.text(name)
        if not value:
            return default
        digits = value[1:] if value[0] in "+-" else value
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise InvalidArgument(f"the parameter {name!r} is not a number: {value!r}")
        return int(value)

    def size(self, name: str) -> int:
        """A terminal's height or width: an unsigned 32 bit number that must be there. Raises InvalidArgument."""
        value = self.text(name)
        if not (value.isascii() and value.isdigit() and len(value) <= 10 and int(value) < 1 << 32):
            raise InvalidArgument(f"the parameter {name!r} is not a terminal size: {value!r}")
        return int(value)

    def filters(self, known: frozenset[str] | None = None) -> Filters:
        """The `filters` parameter; a key outside `known` raises InvalidArgument (None: every key is let through)."""
        filters = parse_filters(self.text("filters"))
        if known is not None:
            filters.check_keys(known)
        return filters
