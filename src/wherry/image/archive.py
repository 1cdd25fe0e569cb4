"""Reading the two kinds of image archive into one plan: what Docker saves (`manifest.json`) and OCI image layouts (`index.json`).

Docker Image Specification 1.2 ("Combined Image JSON + Filesystem Changeset Format"); OCI Image Specification 1.1, image-layout.md.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, field
from typing import Any

from wherry.image.config import MAX_LAYERS, image_id, parse_config, parse_json
from wherry.image.reference import Reference, is_digest, parse
from wherry.image.spool import Member, Spool
from wherry.model.errors import InvalidArgument

MAX_IMAGES = 1000
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_HEX64 = re.compile(r"(?:^|/)([a-f0-9]{64})(?:\.json)?$")
_NAME_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(slots=True)
class Planned:
    """One image to be loaded: its config as bytes (they decide its ID), its layers' files, lowest first, and its names."""

    raw: bytes
    config: dict[str, Any]
    diff_ids: tuple[str, ...]
    layers: list[Member]
    refs: list[Reference] = field(default_factory=list)

    @property
    def id(self) -> str:
        return image_id(self.raw)


def read_plan(spool: Spool) -> list[Planned]:
    """The images of an archive. InvalidArgument says what is wrong with it."""
    if spool.find("manifest.json") is not None:
        return _docker(spool)
    if spool.find("index.json") is not None:
        return _oci(spool)
    raise InvalidArgument("not an image archive: neither manifest.json nor index.json is in it (to load a root file system, use import)")


def _docker(spool: Spool) -> list[Planned]:
    manifest = parse_json(spool.json("manifest.json"), "manifest.json")
    _need(isinstance(manifest, list) and 0 < len(manifest) <= MAX_IMAGES, f"manifest.json must be a list of 1 to {MAX_IMAGES} images")
    plans = []
    for item in manifest:
        _need(isinstance(item, dict), "manifest.json: an image must be an object")
        name, layers, tags = item.get("Config"), item.get("Layers") or [], item.get("RepoTags") or []
        _need(isinstance(name, str), "manifest.json: Config must be text")
        _need(_texts(layers) and len(layers) <= MAX_LAYERS, f"manifest.json: Layers must be a list of at most {MAX_LAYERS} names")
        _need(_texts(tags) and len(tags) <= MAX_IMAGES, "manifest.json: RepoTags must be a list of names")
        raw = spool.json(name)
        _check_named_digest(name, image_id(raw))
        refs = [parse(tag) for tag in tags]
        _need(all(ref.tag and not ref.digest for ref in refs), "manifest.json: every RepoTag needs a tag")
        plans.append(_planned(raw, [spool.get(one) for one in layers], refs))
    return plans


def _check_named_digest(name: str, digest: str) -> None:
    """A file that is named by its digest must hash to it."""
    if (named := _HEX64.search(name)) and "sha256:" + named[1] != digest:
        raise InvalidArgument(f"image archive: {name} hashes to {digest}")


def _planned(raw: bytes, layers: list[Member], refs: list[Reference]) -> Planned:
    config, diff_ids = parse_config(raw)
    _need(len(layers) == len(diff_ids), f"the config has {len(diff_ids)} diff IDs, the manifest {len(layers)} layers")
    return Planned(raw, config, diff_ids, layers, refs)


def _oci(spool: Spool) -> list[Planned]:
    layout = parse_json(spool.json("oci-layout"), "oci-layout")
    _need(isinstance(layout, dict) and layout.get("imageLayoutVersion") == "1.0.0", "oci-layout: only imageLayoutVersion 1.0.0 is known")
    plans: list[Planned] = []
    for descriptor in _descriptors(parse_json(spool.json("index.json"), "index.json"), "index.json"):
        _oci_image(spool, descriptor, _oci_names(descriptor), plans, 0)
        _need(len(plans) <= MAX_IMAGES, f"index.json: more than {MAX_IMAGES} images")
    _need(bool(plans), f"index.json: no image for linux/{_here()}")
    return plans


def _oci_image(spool: Spool, descriptor: dict[str, Any], refs: list[Reference], plans: list[Planned], depth: int) -> None:
    _need(depth <= 3, "index.json: indexes are nested too deeply")
    media = descriptor.get("mediaType")
    blob = _blob(spool, descriptor)
    _need(blob.size <= 8 << 20, f"{descriptor['digest']}: a manifest of {blob.size} bytes is too large")
    raw = blob.file.read_bytes()
    document = parse_json(raw, str(descriptor["digest"]))
    _need(isinstance(document, dict), f"{descriptor['digest']}: not an object")
    _need(document.get("mediaType", media) == media, f"{descriptor['digest']}: its media type is not the one its descriptor says")
    if media in _INDEXES:
        _need("config" not in document and "layers" not in document, f"{descriptor['digest']}: index and manifest at once")
        for below in _descriptors(document, str(descriptor["digest"])):
            if _fits(below):
                _oci_image(spool, below, refs, plans, depth + 1)
        return
    _need(media in _MANIFESTS, f"index.json: unknown media type {media!r}")
    _need("manifests" not in document, f"{descriptor['digest']}: index and manifest at once")
    config = document.get("config")
    _need(isinstance(config, dict), f"{descriptor['digest']}: config is missing")
    config_blob = _blob(spool, config)
    _need(config_blob.size <= 8 << 20, "the image config is too large")
    layers = document.get("layers")
    _need(isinstance(layers, list) and len(layers) <= MAX_LAYERS and all(isinstance(one, dict) for one in layers),
          f"{descriptor['digest']}: layers must be a list of at most {MAX_LAYERS} descriptors")
    _need(not any(one.get("urls") for one in layers), "foreign layers (urls) are not fetched")
    digests = [Reference(ref.domain, ref.path, "", str(descriptor["digest"])) for ref in refs]
    plans.append(_planned(config_blob.file.read_bytes(), [_blob(spool, one) for one in layers], refs + digests))


def _blob(spool: Spool, descriptor: dict[str, Any]) -> Member:
    """The content of a descriptor, its digest's form checked first, then the digest, then the size."""
    digest, size = descriptor.get("digest"), descriptor.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise InvalidArgument(f"image archive: bad digest {str(digest)[:100]!r}")
    member = spool.get(f"blobs/sha256/{digest.removeprefix('sha256:')}")
    _need(member.digest == digest, f"blob {digest} hashes to {member.digest}")
    _need(type(size) is int and size == member.size, f"blob {digest} has {member.size} bytes, its descriptor says {size!r}")
    return member


def _descriptors(document: Any, where: str) -> list[dict[str, Any]]:
    found = document.get("manifests") if isinstance(document, dict) else None
    if not isinstance(found, list) or len(found) > MAX_IMAGES or not all(isinstance(one, dict) for one in found):
        raise InvalidArgument(f"image archive: {where}: manifests must be a list of at most {MAX_IMAGES} descriptors")
    return found


def _fits(descriptor: dict[str, Any]) -> bool:
    wanted = descriptor.get("platform")
    if not isinstance(wanted, dict):
        return True
    return wanted.get("os") == "linux" and wanted.get("architecture") == _here()


def _here() -> str:
    return MACHINES.get(platform.machine(), platform.machine())


def _oci_names(descriptor: dict[str, Any]) -> list[Reference]:
    """Names from the annotations: containerd's full name, or OCI's ref.name where that is a full name and not a bare tag."""
    notes = descriptor.get("annotations")
    if not isinstance(notes, dict):
        return []
    for key in _NAME_KEYS:
        text = notes.get(key)
        if isinstance(text, str) and (key == _NAME_KEYS[0] or ":" in text):
            return [parse(text).with_default_tag().tagged()]
    return []


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _need(good: bool, message: str) -> None:
    if not good:
        raise InvalidArgument(f"image archive: {message}")
