"""`images`: summaries and their filters (Engine API 1.51, ImageList)."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from wherry.image.config import Image
from wherry.image.reference import Reference
from wherry.model.errors import InvalidArgument
from wherry.model.filters import Filters
from wherry.model.times import SECOND, parse_date, parse_moment

if TYPE_CHECKING:
    from wherry.image.store import ImageStore

_FILTERS = ("before", "dangling", "label", "reference", "since", "until")
NEVER = -62135596800.0  # 0001-01-01T00:00:00Z, the zero time of Go


def summaries(store: ImageStore, filters: Filters, *, all_: bool = False, shared_size: bool = False) -> list[dict[str, Any]]:
    """See `ImageStore.summaries`: newest first. `all_` would add untagged parents, which loaded images do not have."""
    filters.check_keys(_FILTERS)
    shared = _shared(store) if shared_size else None
    found = [summary for image in store.list() if (summary := _summary(store, image, filters, shared)) is not None]
    return sorted(found, key=lambda one: (-int(one["Created"]), str(one["Id"])))


def _summary(store: ImageStore, image: Image, filters: Filters, shared: Counter[str] | None) -> dict[str, Any] | None:
    if not _dates_fit(store, image, filters) or not filters.labels_match(image.labels):
        return None
    refs = store.tags.of(image.id)
    if patterns := filters.get("reference"):
        refs = [ref for ref in refs if any(familiar_match(pattern, ref) for pattern in patterns)]
        if not refs:
            return None
    if "dangling" in filters and bool(refs) == filters.flag("dangling", True):
        return None
    return {
        "Id": image.id,
        "ParentId": image.parent,
        "RepoTags": [ref.familiar() for ref in refs if ref.tag],
        "RepoDigests": [ref.familiar() for ref in refs if ref.digest],
        "Created": int(seconds(image.created)),
        "Size": image.size,
        "SharedSize": -1 if shared is None else sum(store.layers.get(one).size for one in image.chain_ids if shared[one] > 1),
        "Labels": image.labels or None,
        "Containers": -1,
    }


def _dates_fit(store: ImageStore, image: Image, filters: Filters) -> bool:
    created = seconds(image.created)
    return (
        all(created < seconds(store.get(ref).created) for ref in filters.get("before"))
        and all(created > seconds(store.get(ref).created) for ref in filters.get("since"))
        and all(created < parse_moment(text, "until") / SECOND for text in filters.get("until"))
    )


def _shared(store: ImageStore) -> Counter[str]:
    return Counter(chain for image in store.list() for chain in image.chain_ids)


def familiar_match(pattern: str, ref: Reference) -> bool:
    """Docker's `reference` filter: a shell pattern, whose * stops at slashes, on `name:tag` or on `name`."""
    expression = _shell(pattern)
    return expression.fullmatch(ref.familiar()) is not None or expression.fullmatch(ref.familiar_name) is not None


def _shell(pattern: str) -> re.Pattern[str]:
    out, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[" and (end := pattern.find("]", at + 1)) > 0:
            out += "[" + pattern[at:end].replace("\\", "\\\\").replace("[", "\\[") + "]"
            at = end + 1
        else:
            out += re.escape(char)
    try:
        return re.compile(out)
    except re.error:
        raise InvalidArgument(f"invalid filter 'reference={pattern}'") from None


def seconds(text: str) -> float:
    """Unix time of an RFC 3339 text as image configs hold it (nanoseconds allowed); the year 1 where it is none, which clients show as N/A."""
    try:
        return parse_date(text) / SECOND
    except ValueError:
        return NEVER
