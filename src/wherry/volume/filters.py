"""The filters of `volume ls` and `volume prune`: values of one key are or-ed, labels and different keys and-ed, as in Docker."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from wherry.model.errors import InvalidArgument

Filters = Mapping[str, Sequence[str]]

_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


def check(filters: Filters, known: Collection[str]) -> None:
    """InvalidArgument for the first filter that is not known."""
    for key in filters:
        if key not in known:
            raise InvalidArgument(f"invalid filter '{key}'")


def flag(filters: Filters, key: str) -> bool | None:
    """The truth value of a filter, None where it is not given."""
    values = filters.get(key) or ()
    if not values:
        return None
    if len(set(values)) == 1 and values[0] in _TRUE + _FALSE:
        return values[0] in _TRUE
    raise InvalidArgument(f"invalid filter '{key}=[{' '.join(values)}]'")


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether `k` or `k=v` is among the labels."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def labels_match(filters: Filters, labels: Mapping[str, str]) -> bool:
    """All of `label`, none of `label!`."""
    return all(has_label(labels, w) for w in filters.get("label", ())) and not any(has_label(labels, w) for w in filters.get("label!", ()))


def name_matches(filters: Filters, name: str) -> bool:
    """One of `name`, each an unanchored regular expression; what is none matches nothing, as in Docker."""
    patterns = filters.get("name", ())
    return not patterns or any(_search(pattern, name) for pattern in patterns)


def _search(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return False
