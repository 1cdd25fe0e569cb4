"""`load`: an archive becomes images. Layers first, then the image, then its names: a crash leaves rubbish, never a lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from wherry.image.archive import Planned, read_plan
from wherry.image.config import Image, chain_ids
from wherry.image.layers import Layer
from wherry.image.reference import Reference
from wherry.image.spool import Member, Spool
from wherry.model.ids import short

if TYPE_CHECKING:
    from wherry.image.store import ImageStore, Progress


def load(store: ImageStore, src: BinaryIO, progress: Progress) -> list[str]:
    """See `ImageStore.load`. The images that came before a bad one stay."""
    with Spool(store.archive_dir()) as spool:
        spool.read_archive(src)
        return [_load_one(store, plan, progress).id for plan in read_plan(spool)]


def _load_one(store: ImageStore, plan: Planned, progress: Progress) -> Image:
    chains = chain_ids(plan.diff_ids)
    with store.layers.pinned(chains):
        below: Layer | None = None
        for chain, diff_id, member in zip(chains, plan.diff_ids, plan.layers, strict=True):
            below = store.layers.find(chain) or _layer(store, member, below, chain, diff_id, progress)
        image = store.add_image(plan.raw)
        for ref in plan.refs:
            _name(store, ref, image, progress)
    if not plan.refs:
        progress({"stream": f"Loaded image ID: {image.id}\n"})
    return image


def _layer(store: ImageStore, member: Member, below: Layer | None, chain: str, diff_id: str, progress: Progress) -> Layer:
    shown = {"status": "Loading layer", "id": short(diff_id)}
    progress({**shown, "progressDetail": {"current": 0, "total": member.size}})
    layer = store.layers.add(member.file, below, chain, diff_id)
    progress({**shown, "progressDetail": {"current": member.size, "total": member.size}})
    return layer


def _name(store: ImageStore, ref: Reference, image: Image, progress: Progress) -> None:
    before = store.tags.set(ref, image.id)
    if ref.digest:
        return
    if before is not None:
        progress({"stream": f"The image {ref.familiar()} already exists, renaming the old one with ID {before} to empty string\n"})
    progress({"stream": f"Loaded image: {ref.familiar()}\n"})
