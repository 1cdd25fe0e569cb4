"""The image store: names, images, layers; what the daemon calls. Each verb is in a file of its own."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from wherry.graphdriver import Driver
from wherry.image import delete, importer, inspect, listing, load, save
from wherry.image.config import Image, chain_ids, image_id, parse_config
from wherry.image.layers import LayerStore
from wherry.image.reference import Reference, is_digest, parse
from wherry.image.spool import PREFIX
from wherry.image.tags import TagStore
from wherry.model.errors import InvalidArgument, NotFound, Unavailable, WherryError
from wherry.model.filters import Filters
from wherry.model.ids import short
from wherry.store import atomic

log = logging.getLogger("wherry.image")
_HEX = re.compile(r"[a-f0-9]{1,64}")
Texts = list[str]  # named here, because the class has a method `list`
Images = list[Image]
Rows = list[dict[str, Any]]
Records = list[dict[str, str]]
Users = delete.Users
Progress = Callable[[dict[str, Any]], None]


class ImageStore:
    """All images of one data root. Methods may be called from any thread."""

    def __init__(self, root: Path, driver: Driver) -> None:
        self.root = root
        self.driver = driver
        self.lock = threading.RLock()
        self.layers = LayerStore(root / "layers", driver)
        self.tags = _open_tags(root / "repositories.json")
        self._images: dict[str, Image] = {}
        (root / "images").mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in (root / "images").iterdir():
            if re.fullmatch(r"[a-f0-9]{64}", file.name):
                self._read(file)
        for warning in self.layers.warnings:
            log.warning("%s", warning)

    # Finding

    def get(self, ref: str) -> Image:
        """The image of `name[:tag][@digest]`, of an ID, or of a unique prefix of one (C1).

        NotFound("No such image: X"), InvalidArgument for a bad reference or a prefix of several images."""
        if ref.startswith("sha256:"):
            return self._by_id(ref.removeprefix("sha256:"), ref)
        if re.fullmatch(r"[a-f0-9]{64}", ref):
            return self._by_id(ref, ref)
        try:
            name = parse(ref)
        except InvalidArgument:
            if _HEX.fullmatch(ref):
                return self._by_id(ref, ref)
            raise
        if (found := self._by_name(name)) is not None:
            return found
        if _HEX.fullmatch(ref):
            return self._by_id(ref, name.with_default_tag().familiar())
        raise NotFound(f"No such image: {name.with_default_tag().familiar()}")

    def resolve(self, name: Reference) -> Image | None:
        """The image of a name, None if there is none."""
        return self._by_name(name)

    def find(self, image_id: str) -> Image | None:
        """The image of a full ID."""
        return self._images.get(image_id)

    def list(self) -> Images:
        """All images, in no order."""
        with self.lock:
            return list(self._images.values())

    def tags_of(self, image_id: str) -> Texts:
        """Familiar `name:tag` of an image, sorted."""
        return [ref.familiar() for ref in self.tags.of(image_id) if ref.tag]

    def digests_of(self, image_id: str) -> Texts:
        """Familiar `name@digest` of an image, sorted."""
        return [ref.familiar() for ref in self.tags.of(image_id) if ref.digest]

    def pinned(self, image: Image) -> AbstractContextManager[None]:
        """While this is entered the image's layers stay: hold it from looking the image up until the read-write layer exists."""
        return self.layers.pinned(image.chain_ids)

    # Changing

    def load(self, src: BinaryIO, progress: Progress) -> Texts:
        """Takes a Docker or OCI archive in; `progress` gets Docker's JSON lines. Returns the IDs of the images."""
        with self._room("load"):
            return load.load(self, src, progress)

    def import_rootfs(self, src: BinaryIO, repo: str, tag: str, message: str, changes: Texts, platform: str, progress: Progress) -> Image:
        """Makes an image of one layer from the tar of a root file system; see `importer`."""
        with self._room("import"):
            return importer.import_rootfs(self, src, repo, tag, message, changes, platform, progress)

    def save(self, refs: Texts, dst: BinaryIO) -> None:
        """Writes an archive that is a Docker archive and an OCI layout at once."""
        save.save(self, refs, dst)

    def tag(self, ref: str, repo: str, tag: str) -> None:
        """Gives an image another name; an existing name is moved."""
        image = self.get(ref)
        target = parse(f"{repo}:{tag}" if tag else repo)
        if target.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        if target.familiar_name == "sha256":
            raise InvalidArgument("refusing to create an ambiguous tag using digest algorithm as name")
        self.tags.set(target.with_default_tag(), image.id)

    def delete(self, ref: str, *, force: bool, prune: bool, users: Users) -> Records:
        """DELETE /images: Docker's rules, its list of Untagged and Deleted."""
        records = delete.delete(self, ref, force=force, prune=prune, users=users)
        self.driver.sweep()
        return records

    def prune(self, filters: Filters, users: Users) -> dict[str, Any]:
        """POST /images/prune."""
        report = delete.prune(self, filters, users)
        self.driver.sweep()
        return report

    # Looking

    def inspect(self, ref: str) -> dict[str, Any]:
        """GET /images/{name}/json."""
        return inspect.inspect(self, self.get(ref))

    def history(self, ref: str) -> Rows:
        """GET /images/{name}/history."""
        return inspect.history(self, self.get(ref))

    def summaries(self, filters: Filters, *, all_: bool = False, shared_size: bool = False) -> Rows:
        """GET /images/json."""
        return listing.summaries(self, filters, all_=all_, shared_size=shared_size)

    # The graph

    def add_image(self, raw: bytes) -> Image:
        """Records an image whose layers are there; durable when this returns. Known ones are returned."""
        config, diff_ids = parse_config(raw)
        identifier = image_id(raw)
        with self.lock:
            if (known := self._images.get(identifier)) is not None:
                return known
            image = self._build(identifier, config, diff_ids)
            self.layers.promote(image.chain_ids)
            atomic.write(self.root / "images" / identifier.removeprefix("sha256:"), raw)
            self._images[identifier] = image
            return image

    def forget_image(self, image: Image) -> Texts:
        """Removes an image's record, and each of its layers that nothing else uses; returns the chain IDs that went."""
        with self.lock:
            self.tags.forget(image.id)
            if self._images.pop(image.id, None) is not None:
                (self.root / "images" / image.id.removeprefix("sha256:")).unlink(missing_ok=True)
            return self.release_layers(list(image.chain_ids))

    def release_layers(self, candidates: Texts | None = None) -> Texts:
        """Removes layers that no image, no container and no load uses. Call it after removing the last container of a deleted image;
        the driver's `sweep` then frees the space."""
        with self.lock, self.layers.lock:
            used = {chain for image in self._images.values() for chain in image.chain_ids}
            contained = self.layers.in_use_by_containers()
            gone: Texts = []
            wanted = candidates if candidates is not None else [layer.chain_id for layer in self.layers.all()]
            keep: set[str] = set()
            for layer in self.layers.all():
                if layer.chain_id in used or layer.driver_layer in contained or self.layers.is_pinned(layer.chain_id):
                    keep |= self._with_ancestors(layer.chain_id)
            for chain in sorted(set(wanted) - keep, key=self._height, reverse=True):
                if self.layers.find(chain) is not None:
                    self.layers.remove(chain)
                    gone.append(chain)
            return gone

    def collect_garbage(self) -> None:
        """At daemon start: removes what a killed load, import or delete left behind."""
        scratch = self.root / "tmp"
        if scratch.is_dir():
            for one in scratch.iterdir():
                if one.name.startswith(PREFIX):
                    shutil.rmtree(one, ignore_errors=True)
        for one in (self.root / "images").glob("*.tmp"):
            one.unlink(missing_ok=True)
        if not self.layers.warnings and len(self._images) == self._files():
            self.release_layers()
        self.layers.collect()

    def archive_dir(self) -> Path:
        """Where archives are spooled: on the data root, because they can be large."""
        return self.root / "tmp"

    @contextmanager
    def _room(self, verb: str) -> Iterator[None]:
        """Says what to do about a full disk; what was half done is gone already."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Unavailable(f"image {verb}: no space left on {self.root}: make room (image prune, container prune), then try again") from error

    def _files(self) -> int:
        return sum(1 for one in os.listdir(self.root / "images") if re.fullmatch(r"[a-f0-9]{64}", one))

    def _with_ancestors(self, chain_id: str) -> set[str]:
        found = set()
        while chain_id and (layer := self.layers.find(chain_id)) is not None:
            found.add(chain_id)
            chain_id = layer.parent
        return found

    def _height(self, chain_id: str) -> int:
        return len(self._with_ancestors(chain_id))

    def _by_id(self, prefix: str, shown: str) -> Image:
        if (exact := self._images.get(f"sha256:{prefix}")) is not None:
            return exact
        if not _HEX.fullmatch(prefix):
            raise NotFound(f"No such image: {shown}")
        found = [image for image in self.list() if image.id.startswith(f"sha256:{prefix}")]
        if not found:
            raise NotFound(f"No such image: {shown}")
        if len(found) > 1:
            raise InvalidArgument(f"Multiple IDs found with provided prefix: {prefix} ({', '.join(sorted(short(one.id) for one in found)[:5])})")
        return found[0]

    def _by_name(self, name: Reference) -> Image | None:
        identifier = self.tags.get(name)
        if identifier is None and is_digest(name.digest) and any(ref.name == name.name for ref in self.tags.of(name.digest)):
            identifier = name.digest  # name@ID of an image that bears the name
        return self._images.get(identifier) if identifier else None

    def _read(self, file: Path) -> None:
        try:
            raw = file.read_bytes()
            if image_id(raw) != f"sha256:{file.name}":
                raise InvalidArgument(f"it hashes to {image_id(raw)}")
            config, diff_ids = parse_config(raw)
            self._images[f"sha256:{file.name}"] = self._build(f"sha256:{file.name}", config, diff_ids)
        except (OSError, WherryError) as error:
            log.warning("image %s cannot be read and is left aside: %s", file, error)

    def _build(self, identifier: str, config: dict[str, Any], diff_ids: tuple[str, ...]) -> Image:
        chains = chain_ids(diff_ids)
        layers = [self.layers.get(chain) for chain in chains]
        return Image(identifier, config, diff_ids, chains, tuple(one.driver_layer for one in layers), sum(one.size for one in layers))


def _open_tags(path: Path) -> TagStore:
    """A broken file is set aside, so that the daemon starts; its images stay, without names."""
    try:
        return TagStore(path)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, InvalidArgument) as error:
        aside = path.with_name(f"{path.name}.broken")
        log.error("%s cannot be read (%s): it is kept as %s, the images have lost their names", path, error, aside)
        os.replace(path, aside)
        return TagStore(path)
