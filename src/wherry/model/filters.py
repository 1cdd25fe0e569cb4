"""The `filters` parameter of lists, events and prunes: `{"key": {"value": true}}` or `{"key": ["value"]}`.

Values of one key are or-ed, except those of `label`, which are and-ed; keys are and-ed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from wherry.model.errors import InvalidArgument


class Filters:
    """What a client filters by; an empty one lets everything through."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Iterable[str]] | None = None) -> None:
        self._values: dict[str, tuple[str, ...]] = {key: tuple(items) for key, items in (values or {}).items()}

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __repr__(self) -> str:
        return f"Filters({self._values!r})"

    def keys(self) -> Iterable[str]:
        return self._values.keys()

    def with_more(self, more: Mapping[str, Iterable[str]]) -> Filters:
        """These filters and `more` values."""
        return Filters({key: (*self.get(key), *more.get(key, ())) for key in {*self._values, *more}})

    def get(self, key: str) -> tuple[str, ...]:
        """All values given for `key`; none when it is not filtered by."""
        return self._values.get(key, ())

    def one(self, key: str) -> str | None:
        """The only value of `key`, None without any. Raises InvalidArgument for several."""
        values = self.get(key)
        if len(values) > 1:
            raise InvalidArgument(f"invalid filter '{key}': it takes one value, {len(values)} were given")
        return values[0] if values else None

    def flag(self, key: str, default: bool) -> bool:
        """A boolean filter: `true` `1` `false` `0`; several that agree are one. Raises InvalidArgument."""
        if key not in self._values:
            return default
        found = {_FLAGS.get(value) for value in self.get(key)}
        if len(found) != 1 or None in found:
            raise InvalidArgument(f"invalid filter '{key}={' '.join(self.get(key))}': it takes true or false")
        return bool(found.pop())

    def labels_match(self, labels: Mapping[str, str]) -> bool:
        """True when `labels` has every `name` or `name=value` of `label`, and not all of those of `label!` (which prunes know), as in Docker."""
        unwanted = self.get("label!")
        if unwanted and all(has_label(labels, one) for one in unwanted):
            return False
        return all(has_label(labels, wanted) for wanted in self.get("label"))

    def check_keys(self, known: Iterable[str]) -> None:
        """Raise InvalidArgument for a key that is not among `known`."""
        unknown = sorted(set(self._values) - set(known))
        if unknown:
            raise InvalidArgument(f"invalid filter '{unknown[0]}'")


_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """True when `labels` has `wanted`, which is `name` or `name=value`."""
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)


def parse_filters(text: str) -> Filters:
    """Read the parameter's JSON; empty text means no filters. Raises InvalidArgument."""
    if not text:
        return Filters()
    try:
        decoded: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidArgument(f"invalid filters: not JSON: {error}") from None
    if decoded is None:
        return Filters()
    if not isinstance(decoded, dict):
        raise InvalidArgument("invalid filters: a JSON object is needed")
    return Filters({key: _values(key, value) for key, value in decoded.items()})


def _values(key: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, dict) and all(isinstance(on, bool) for on in value.values()):
        return list(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise InvalidArgument(f"invalid filter '{key}': a list of texts, or an object of text to true, is needed")
