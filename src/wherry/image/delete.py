"""Removing names, images and layers, by Docker's rules (Engine API 1.51, ImageDelete and ImagePrune).

By name: the name goes, and with the last name the image. By ID: all names and the image, if they are of one repository. A running container's
image is never deleted; a stopped one's with force. The files of an image that a container still stands on stay until the container goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from wherry.image.config import Image
from wherry.image.listing import seconds
from wherry.image.reference import Reference, parse
from wherry.model.errors import Conflict
from wherry.model.filters import Filters
from wherry.model.ids import short
from wherry.model.times import SECOND, parse_moment

if TYPE_CHECKING:
    from wherry.image.store import ImageStore


class User(NamedTuple):
    """A container, as far as images are concerned."""

    container_id: str
    image_id: str
    running: bool  # or paused, or restarting


Users = Callable[[], list[User]]
Records = list[dict[str, str]]


def delete(store: ImageStore, ref: str, *, force: bool, prune: bool, users: Users) -> Records:
    """See `ImageStore.delete`. `prune` is for untagged parents, which loaded and imported images do not have."""
    with store.lock:
        image = store.get(ref)
        names = store.tags.of(image.id)
        if _by_id(image, ref):
            return _delete_by_id(store, image, names, force, users)
        return _delete_by_name(store, image, _named(ref, names), names, force, users)


def _by_id(image: Image, ref: str) -> bool:
    bare = ref.removeprefix("sha256:")
    return re.fullmatch(r"[a-f0-9]+", bare) is not None and image.id.removeprefix("sha256:").startswith(bare)


def _named(ref: str, names: list[Reference]) -> Reference:
    name = parse(ref)
    key = name.canonical() if name.digest else name.with_default_tag()
    return key if key in names else next((one for one in names if one.name == name.name), key)


def _delete_by_name(store: ImageStore, image: Image, name: Reference, names: list[Reference], force: bool, users: Users) -> Records:
    using = [user for user in users() if user.image_id == image.id]
    if _single(names) and using and not force:
        raise Conflict(
            f'conflict: unable to remove repository reference "{name.familiar()}" (must force) - container {short(using[0].container_id)} '
            f"is using its referenced image {short(image.id)}"
        )
    going = [name]
    left = [one for one in names if one != name]
    if name.tag and not any(one.tag for one in left if one.name == name.name):
        going += [one for one in left if one.name == name.name]  # only digests of that repository are left: they go with the last tag
    records = _untag(store, going)
    left = [one for one in left if one not in going]
    if left or any(user.running for user in using):
        return records  # the image has other names, or it is needed: it stays, without a name
    return records + _remove(store, image)


def _delete_by_id(store: ImageStore, image: Image, names: list[Reference], force: bool, users: Users) -> Records:
    using = [user for user in users() if user.image_id == image.id]
    for user in using:
        if user.running:
            raise _conflict(image, "cannot be forced", f"image is being used by running container {short(user.container_id)}")
    if not force and not _single(names) and names:
        raise _conflict(image, "must be forced", "image is referenced in multiple repositories")
    if not force and using:
        raise _conflict(image, "must be forced", f"image is being used by stopped container {short(using[0].container_id)}")
    return _untag(store, names) + _remove(store, image)


def _conflict(image: Image, force: str, why: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {short(image.id)} ({force}) - {why}")


def _single(names: list[Reference]) -> bool:
    """All names are of one repository, with at most one tag."""
    return len({one.name for one in names}) <= 1 and sum(1 for one in names if one.tag) <= 1


def _untag(store: ImageStore, names: list[Reference]) -> Records:
    if names:
        store.tags.remove(names)
    return [{"Untagged": name.familiar()} for name in names]


def _remove(store: ImageStore, image: Image) -> Records:
    return [{"Deleted": image.id}] + [{"Deleted": chain} for chain in store.forget_image(image)]


def prune(store: ImageStore, filters: Filters, users: Users) -> dict[str, Any]:
    """See `ImageStore.prune`: unnamed images, or with `dangling=false` all that no container uses."""
    filters.check_keys(("dangling", "until", "label", "label!"))
    dangling_only = filters.flag("dangling", True)
    until = min((parse_moment(text, "until") / SECOND for text in filters.get("until")), default=None)
    records: Records = []
    with store.lock:
        in_use = {user.image_id for user in users()}
        before = {layer.chain_id: layer.size for layer in store.layers.all()}
        for image in sorted(store.list(), key=lambda one: one.id):
            names = store.tags.of(image.id)
            if image.id in in_use or (dangling_only and names):
                continue
            if until is not None and seconds(image.created) > until:
                continue
            if not filters.labels_match(image.labels):
                continue
            records += _untag(store, names) + _remove(store, image)
        left = {layer.chain_id for layer in store.layers.all()}
    return {"ImagesDeleted": records, "SpaceReclaimed": sum(size for chain, size in before.items() if chain not in left)}
