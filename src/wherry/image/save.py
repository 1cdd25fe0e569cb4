"""`save`: one archive that is a Docker archive (`manifest.json`, `repositories`) and an OCI image layout at once, as Docker 25 and later write it.

The archive is streamed: nothing is spooled, every layer's tar is rebuilt from disk while it is written.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from wherry.image.config import Image
from wherry.image.reference import Reference, parse
from wherry.model.errors import NotFound, WherryError

if TYPE_CHECKING:
    from wherry.image.store import ImageStore

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(slots=True)
class _Chosen:
    image: Image
    refs: list[Reference] = field(default_factory=list)


def save(store: ImageStore, refs: list[str], dst: BinaryIO) -> None:
    """See `ImageStore.save`. All references are resolved before the first byte is written."""
    chosen = _choose(store, refs)
    out = _Archive(dst)
    index: list[dict[str, Any]] = []
    manifests: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    for one in chosen:
        image = one.image
        with store.layers.pinned(image.chain_ids):
            for chain in image.chain_ids:
                layer = store.layers.get(chain)
                out.blob(layer.diff_id, layer.tar_size, store.layers.tar(layer))
            raw = (store.root / "images" / image.id.removeprefix("sha256:")).read_bytes()
        out.blob(image.id, len(raw), [raw])
        manifest = _manifest(store, image, len(raw))
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        out.blob(digest, len(manifest), [manifest])
        index += _descriptors(one, digest, len(manifest))
        manifests.append({"Config": _path(image.id), "RepoTags": [ref.familiar() for ref in one.refs] or None,
                          "Layers": [_path(diff_id) for diff_id in image.diff_ids]})
        for ref in one.refs:
            repositories.setdefault(ref.familiar_name, {})[ref.tag] = (image.diff_ids or (image.id,))[-1].removeprefix("sha256:")
    out.json("index.json", {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index})
    out.json("manifest.json", manifests)
    out.json("oci-layout", {"imageLayoutVersion": "1.0.0"})
    if repositories:
        out.json("repositories", repositories)
    out.close()


def _choose(store: ImageStore, refs: list[str]) -> list[_Chosen]:
    """Images with the names they were asked for by: a tag, all tags of a name, or none for an ID."""
    chosen: dict[str, _Chosen] = {}
    for text in refs:
        named = _names(store, text)
        if not named:
            image = store.get(text)
            chosen.setdefault(image.id, _Chosen(image))
        for ref, image in named:
            found = chosen.setdefault(image.id, _Chosen(image))
            if ref.tag and ref not in found.refs:
                found.refs.append(ref)
    if not chosen:
        raise NotFound("no image was named")
    return list(chosen.values())


def _names(store: ImageStore, text: str) -> list[tuple[Reference, Image]]:
    try:
        name = parse(text)
    except WherryError:
        return []
    if not name.tag and not name.digest:
        return [(ref, image) for image in store.list() for ref in store.tags.of(image.id) if ref.name == name.name and ref.tag]
    image = store.resolve(name)
    return [(name.tagged() if name.tag and not name.digest else name.canonical(), image)] if image is not None else []


def _manifest(store: ImageStore, image: Image, config_size: int) -> bytes:
    layers = [{"mediaType": _LAYER, "digest": diff_id, "size": store.layers.get(chain).tar_size}
              for diff_id, chain in zip(image.diff_ids, image.chain_ids, strict=True)]
    return json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, "config": {"mediaType": _CONFIG, "digest": image.id, "size": config_size},
                       "layers": layers}).encode()


def _descriptors(one: _Chosen, digest: str, size: int) -> list[dict[str, Any]]:
    base = {"mediaType": _MANIFEST, "digest": digest, "size": size}
    if not one.refs:
        return [base]
    return [{**base, "annotations": {"io.containerd.image.name": str(ref), "org.opencontainers.image.ref.name": ref.tag}} for ref in one.refs]


def _path(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


class _Archive:
    """A tar that is written to a stream, each blob once."""

    def __init__(self, dst: BinaryIO) -> None:
        self._dst = dst
        self._written: set[str] = set()
        for name in ("blobs", "blobs/sha256"):
            header = tarfile.TarInfo(name)
            header.type, header.mode = tarfile.DIRTYPE, 0o755
            self._header(header)

    def blob(self, digest: str, size: int, data: Iterable[bytes]) -> None:
        if digest in self._written:
            return
        self._written.add(digest)
        self._member(_path(digest), size, data)

    def json(self, name: str, value: Any) -> None:
        data = json.dumps(value).encode()
        self._member(name, len(data), [data])

    def close(self) -> None:
        self._dst.write(bytes(2 * tarfile.BLOCKSIZE))

    def _member(self, name: str, size: int, data: Iterable[bytes]) -> None:
        header = tarfile.TarInfo(name)
        header.size, header.mode = size, 0o644
        self._header(header)
        for chunk in data:
            self._dst.write(chunk)
        self._dst.write(bytes(-size % tarfile.BLOCKSIZE))

    def _header(self, header: tarfile.TarInfo) -> None:
        self._dst.write(header.tobuf(tarfile.GNU_FORMAT))
