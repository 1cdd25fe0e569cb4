"""Builds image archives and hostile layer tars, in memory, for the tests of the image room."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from wherry.graphdriver import open_driver
from wherry.image.store import ImageStore

Entry = dict[str, Any]
FORMAT = tarfile.PAX_FORMAT


def file(name: str, data: bytes = b"", **more: Any) -> Entry:
    return {"name": name, "data": data, **more}


def directory(name: str, **more: Any) -> Entry:
    return {"name": name, "type": tarfile.DIRTYPE, "mode": 0o755, **more}


def symlink(name: str, target: str) -> Entry:
    return {"name": name, "type": tarfile.SYMTYPE, "linkname": target}


def hardlink(name: str, target: str) -> Entry:
    return {"name": name, "type": tarfile.LNKTYPE, "linkname": target}


def layer(*entries: Entry) -> bytes:
    """A layer tar; names and links are taken as they are, however evil."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=FORMAT) as archive:
        for entry in entries:
            entry = dict(entry)
            data = entry.pop("data", b"")
            info = tarfile.TarInfo(entry.pop("name"))
            info.size = len(data)
            info.mode = 0o644
            info.mtime = 1_700_000_000
            for key, value in entry.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config(layers: list[bytes], **more: Any) -> bytes:
    document = {"architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05.123456789Z", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
                "history": [{"created_by": f"step {number}"} for number in range(len(layers))],
                "rootfs": {"type": "layers", "diff_ids": [sha256(one) for one in layers]}, **more}
    return json.dumps(document).encode()


def docker_archive(layers: list[bytes], *tags: str, raw: bytes | None = None) -> io.BytesIO:
    raw = config(layers) if raw is None else raw
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": sha256(raw)[7:] + ".json", "RepoTags": list(tags), "Layers": names}]
    members = [file(name, data) for name, data in zip(names, layers, strict=True)]
    return io.BytesIO(layer(*members, file(manifest[0]["Config"], raw), file("manifest.json", json.dumps(manifest).encode())))


def oci_archive(layers: list[bytes], name: str = "", *, blobs: list[bytes] | None = None, raw: bytes | None = None) -> io.BytesIO:
    """`blobs`: the layers as they are stored (compressed), where that differs."""
    raw = config(layers) if raw is None else raw
    stored = blobs or layers
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(raw), "size": len(raw)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": sha256(one), "size": len(one)} for one in stored],
    }).encode()
    descriptor: dict[str, Any] = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha256(manifest), "size": len(manifest)}
    if name:
        descriptor["annotations"] = {"io.containerd.image.name": name}
    return oci_layout([*stored, raw, manifest], [descriptor])


def oci_layout(blobs: list[bytes], descriptors: list[dict[str, Any]]) -> io.BytesIO:
    members = [file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')]
    members += [file("blobs/sha256/" + sha256(one)[7:], one) for one in dict.fromkeys(blobs)]
    members.append(file("index.json", json.dumps({"schemaVersion": 2, "manifests": descriptors}).encode()))
    return io.BytesIO(layer(*members))


def open_store(root: Path, driver: str | None = None) -> ImageStore:
    return ImageStore(root, open_driver(driver, root))


def silent(_: dict[str, Any]) -> None:
    """A progress callback for tests that do not look at it."""
