"""`import`: the tar of a root file system becomes an image of one layer."""

from __future__ import annotations

import json
import platform as machine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

from wherry.image import changes as dockerfile
from wherry.image.archive import MACHINES
from wherry.image.config import Image
from wherry.image.reference import Reference, parse
from wherry.image.spool import Spool
from wherry.image.worker import Worker
from wherry.model.errors import InvalidArgument

if TYPE_CHECKING:
    from wherry.image.store import ImageStore, Progress


def import_rootfs(
    store: ImageStore, src: BinaryIO, repo: str, tag: str, message: str, changes: list[str], platform: str, progress: Progress
) -> Image:
    """See `ImageStore.import_rootfs`. Everything that can be wrong in the request is checked before the tar is read.

    The last `status` of `progress` is the image's ID."""
    name = _name(repo, tag)
    system, architecture, variant = _platform(platform)
    config = dockerfile.apply({}, changes)
    with Spool(store.archive_dir()) as spool, Worker() as worker:
        tar = spool.read_file(src)
        layer = store.layers.add(worker, tar.file, None, "", None)
    with store.layers.pinned([layer.chain_id]):
        created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        document = {
            "architecture": architecture, **({"variant": variant} if variant else {}), "os": system, "created": created, "config": config,
            "history": [{"created": created, "comment": message or "Imported from -"}],
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        }
        image = store.add_image(json.dumps(document).encode())
        if name is not None:
            store.tags.set(name, image.id)
    progress({"status": image.id})
    return image


def _name(repo: str, tag: str) -> Reference | None:
    if not repo:
        return None
    name = parse(f"{repo}:{tag}" if tag else repo)
    if name.digest:
        raise InvalidArgument("cannot import digest reference")
    return name.with_default_tag()


def _platform(text: str) -> tuple[str, str, str]:
    """`os[/architecture[/variant]]`; empty: this host's."""
    here = MACHINES.get(machine.machine(), machine.machine())
    if not text:
        return "linux", here, ""
    parts = text.split("/")
    if len(parts) > 3 or not all(parts):
        raise InvalidArgument(f"{text!r} is an invalid platform: it must be os[/architecture[/variant]]")
    if parts[0] != "linux":
        raise InvalidArgument(f"image operating system {parts[0]!r} cannot be used on this platform: linux")
    return parts[0], parts[1] if len(parts) > 1 else here, parts[2] if len(parts) > 2 else ""
