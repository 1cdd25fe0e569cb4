"""`load`: an archive becomes images. Layers first, then the image, then its names: a crash leaves rubbish, never a lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from wherry.image.archive import Planned, read_plan
from wherry.image.config import Image, chain_ids
from wherry.image.layers import Layer
from wherry.image.reference import Reference
from wherry.image.spool import Spool
from wherry.image.worker import Worker
from wherry.model.ids import short

if TYPE_CHECKING:
    from wherry.image.store import ImageStore, Progress


def load(store: ImageStore, src: BinaryIO, progress: Progress) -> list[str]:
    """See `ImageStore.load`. The images that came before a bad one stay."""
    with Spool(store.archive_dir()) as spool, Worker() as worker:
        spool.read_archive(src)
        return [_load_one(store, worker, plan, progress).id for plan in read_plan(spool)]


def _load_one(store: ImageStore, worker: Worker, plan: Planned, progress: Progress) -> Image:
    chains = chain_ids(plan.diff_ids)
    try:
        with store.layers.pinned(chains):
            below: Layer | None = None
            for chain, diff_id, member in zip(chains, plan.diff_ids, plan.layers, strict=True):
                known = store.layers.find(chain)
                if known is None:
                    _tell(progress, diff_id, 0, member.size)
                    known = store.layers.add(worker, member.file, below, chain, diff_id)
                    _tell(progress, diff_id, member.size, member.size)
                below = known
            image = store.add_image(plan.raw)
            for ref in plan.refs:
                _name(store, ref, image, progress)
    except BaseException:
        store.release_layers(list(chains))
        raise
    if not plan.refs:
        progress({"stream": f"Loaded image ID: {image.id}\n"})
    return image


def _tell(progress: Progress, diff_id: str, current: int, total: int) -> None:
    progress({"status": "Loading layer", "id": short(diff_id), "progressDetail": {"current": current, "total": total}})


def _name(store: ImageStore, ref: Reference, image: Image, progress: Progress) -> None:
    before = store.tags.set(ref, image.id)
    if ref.digest:
        return
    if before is not None:
        progress({"stream": f"The image {ref.familiar()} already exists, renaming the old one with ID {before} to empty string\n"})
    progress({"stream": f"Loaded image: {ref.familiar()}\n"})
