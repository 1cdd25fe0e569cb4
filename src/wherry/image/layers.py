"""Layer records by chain ID: `layers/{hex of chain ID}/{layer.json,content.zst}`, format version 1.

A record names the graph driver's layer that holds the files. The files come first, then a sync, then the record (rename of `.new-...`): after
a kill -9 or a power loss a record without its files cannot be; files without a record are rubbish, which `collect` removes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wherry.graphdriver import Driver, initlayer
from wherry.image import rebuild
from wherry.image.worker import Worker
from wherry.linux.sync import syncfs
from wherry.model.errors import InvalidArgument, NotFound, Unavailable
from wherry.store import atomic

log = logging.getLogger("wherry.image")
VERSION = 1
PREFIX = "img-"  # of the graph driver's layers that belong to images
_NEW = ".new-"


@dataclass(frozen=True, slots=True)
class Layer:
    chain_id: str
    diff_id: str
    parent: str  # chain ID, empty for the lowest
    driver_layer: str
    size: int
    whole: bool  # content.zst is the whole tar, not its skeleton
    tar_size: int  # bytes of the uncompressed tar


class LayerStore:
    """The layers of all images. Methods may be called from any thread; `lock` also guards who uses which layer."""

    def __init__(self, root: Path, driver: Driver) -> None:
        self._root = root
        self._driver = driver
        self.lock = threading.RLock()
        self._layers: dict[str, Layer] = {}
        self._drafts: dict[str, Path] = {}
        self._making: set[str] = set()
        self._pins: Counter[str] = Counter()
        self.warnings: list[str] = []
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in root.iterdir():
            if directory.name.startswith("."):
                continue
            try:
                layer = _read(directory)
            except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
                self.warnings.append(f"layer record {directory} cannot be read and is left aside: {error}")
                continue
            self._layers[layer.chain_id] = layer

    def get(self, chain_id: str) -> Layer:
        try:
            return self._layers[chain_id]
        except KeyError:
            raise NotFound(f"No such layer: {chain_id}") from None

    def find(self, chain_id: str) -> Layer | None:
        return self._layers.get(chain_id)

    def all(self) -> list[Layer]:
        with self.lock:
            return list(self._layers.values())

    def add(self, worker: Worker, tar: Path, parent: Layer | None, chain_id: str, diff_id: str | None) -> Layer:
        """Unpacks `tar` over `parent`. The layer can be used, but is durable only after `promote`.

        With `diff_id` the tar must hash to it; with None (an import) it decides both IDs.
        When another thread was faster with the same layer, that one's is returned."""
        name = PREFIX + os.urandom(16).hex()
        draft = self._root / (_NEW + name)
        with self.lock:
            self._making.add(name)
        try:
            draft.mkdir(mode=0o700)
            self._driver.create(name, parent.driver_layer if parent else None)
            with self._view(parent) as below:
                done = worker.unpack(tar, self._driver.diff_dir(name), draft / "content.zst", self._driver.whiteouts, below)
            if diff_id is not None and done.diff_id != diff_id:
                raise InvalidArgument(f"layer does not match its diff ID: the config says {diff_id}, the tar is {done.diff_id}")
            layer = Layer(chain_id or done.diff_id, done.diff_id, parent.chain_id if parent else "", name, done.size, done.whole,
                          done.tar_size)
            return self._register(layer, draft)
        except BaseException:
            self._driver.remove(name)
            shutil.rmtree(draft, ignore_errors=True)
            raise
        finally:
            with self.lock:
                self._making.discard(name)

    @contextmanager
    def _view(self, layer: Layer | None) -> Iterator[int | None]:
        """The merged files of a layer, where the driver keeps whiteouts."""
        if layer is None or self._driver.whiteouts == "applied":
            yield None
            return
        fd = self._driver.open_mount(layer.driver_layer, readonly=True)
        try:
            yield fd
        finally:
            os.close(fd)

    def _register(self, layer: Layer, draft: Path) -> Layer:
        record = {"version": VERSION, "chain_id": layer.chain_id, "diff_id": layer.diff_id, "parent": layer.parent,
                  "driver_layer": layer.driver_layer, "size": layer.size, "whole": layer.whole, "tar_size": layer.tar_size}
        (draft / "layer.json").write_text(json.dumps(record))
        with self.lock:
            if (known := self._layers.get(layer.chain_id)) is not None:
                self._driver.remove(layer.driver_layer, later=True)
                shutil.rmtree(draft)
                return known
            self._layers[layer.chain_id] = layer
            self._drafts[layer.chain_id] = draft
            return layer

    def promote(self, chain_ids: Iterable[str]) -> None:
        """Makes layers durable, before something durable names them: one sync for all, then the records get their names."""
        with self.lock:
            wanted = [chain for chain in chain_ids if chain in self._drafts]
            if not wanted:
                return
            fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                syncfs(fd)
            finally:
                os.close(fd)
            for chain in wanted:
                self._set_aside(self._final(chain))
                os.rename(self._drafts[chain], self._final(chain))
                del self._drafts[chain]
            atomic.sync_dir(self._root)

    def _set_aside(self, broken: Path) -> None:
        """A record that could not be read gives its name to the layer that is loaded anew. It stays: it may be all that knows a driver layer."""
        if broken.exists():
            os.rename(broken, broken.with_name(f"broken-{broken.name}-{os.urandom(4).hex()}"))

    def _final(self, chain_id: str) -> Path:
        return self._root / chain_id.removeprefix("sha256:")

    def _place(self, chain_id: str) -> Path:
        return self._drafts.get(chain_id) or self._final(chain_id)

    @contextmanager
    def pinned(self, chain_ids: Iterable[str]) -> Iterator[None]:
        """While this is entered, none of the layers goes away."""
        held = list(chain_ids)
        with self.lock:
            self._pins.update(held)
        try:
            yield
        finally:
            with self.lock:
                self._pins.subtract(held)
                self._pins = +self._pins

    def is_pinned(self, chain_id: str) -> bool:
        return chain_id in self._pins

    def remove(self, chain_id: str) -> None:
        """Forgets a layer that no image uses: the record goes first, then the init layer over it, then the files."""
        with self.lock:
            layer = self._layers.pop(chain_id)
            gone = self._root / f"{_NEW}gone-{os.urandom(8).hex()}"
            os.rename(self._place(chain_id), gone)
            self._drafts.pop(chain_id, None)
            self._driver.remove(initlayer.init_layer_id(layer.driver_layer), later=True)
            self._driver.remove(layer.driver_layer, later=True)
        shutil.rmtree(gone)

    def in_use_by_containers(self) -> set[str]:
        """Driver layers that some other layer, beyond images and init layers, stands on."""
        parents: set[str] = set()
        for name in self._driver.layers():
            above = self._driver.parent(name)
            if above is not None and not name.startswith(PREFIX) and not name.endswith(initlayer.SUFFIX):
                parents.add(above)
                parents.add(above.removesuffix(initlayer.SUFFIX))
        return parents

    def tar(self, layer: Layer) -> Iterator[bytes]:
        """The layer's tar, uncompressed, byte for byte as it came in."""
        stored = self._place(layer.chain_id) / "content.zst"
        return rebuild.rebuild(stored, self._driver.diff_dir(layer.driver_layer), layer.diff_id, whole=layer.whole)

    def collect(self) -> None:
        """Removes what a killed load left: drafts, and driver layers without a record."""
        with self.lock:
            making = self._making | {layer.driver_layer for layer in self._layers.values()}
            if self.warnings:
                return  # a record that cannot be read may name any driver layer
            recorded = {layer.driver_layer for layer in self._layers.values()}
            for name in self._driver.layers():
                base = name.removesuffix(initlayer.SUFFIX)
                orphan = base.startswith(PREFIX) and base not in recorded and base not in making
                if orphan or (name.startswith(initlayer.DRAFT) and not initlayer.busy()):
                    self._driver.remove(name, later=True)
            drafts = [one for one in self._root.iterdir() if one.name.startswith(_NEW) and one.name.removeprefix(_NEW) not in making]
        for one in drafts:
            shutil.rmtree(one, ignore_errors=True)
        try:
            self._driver.sweep()
        except OSError as error:  # it costs space, and comes again at the next start
            log.warning("removed layers could not be deleted: %s", error)


def _read(directory: Path) -> Layer:
    record = json.loads((directory / "layer.json").read_bytes())
    if record["version"] > VERSION:
        raise Unavailable(f"{directory}: format version {record['version']}, this engine knows {VERSION}: it was written by a newer one")
    return Layer(record["chain_id"], record["diff_id"], record["parent"], record["driver_layer"], record["size"], record["whole"],
                 record["tar_size"])
