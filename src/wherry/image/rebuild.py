"""Writes a layer's tar again, byte for byte, from its skeleton and the files on disk (docs/adr/0011-layer-tars.md)."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import zstandard

from wherry.graphdriver import tree
from wherry.image.tarread import CHUNK
from wherry.linux.path import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from wherry.model.errors import Internal

_INSIDE = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS


def rebuild(stored: Path, diff_dir: Path, diff_id: str, *, whole: bool) -> Iterator[bytes]:
    """The bytes of the tar, in chunks. Internal, at the end, if they do not hash to `diff_id`: then the layer on disk was damaged."""
    digest = hashlib.sha256()
    for data in _whole(stored) if whole else _from_skeleton(stored, diff_dir):
        digest.update(data)
        yield data
    if "sha256:" + digest.hexdigest() != diff_id:
        raise Internal(f"the files in {diff_dir} no longer give the layer {diff_id}: load the image again")


def _whole(stored: Path) -> Iterator[bytes]:
    with open(stored, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        while data := stream.read(CHUNK):
            yield data


def _from_skeleton(stored: Path, diff_dir: Path) -> Iterator[bytes]:
    root = tree.open_dir(os.fspath(diff_dir))
    try:
        with open(stored, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            while (kind := stream.read(1)) == b"R" or kind == b"F":
                if kind == b"R":
                    yield _exactly(stream, struct.unpack("<I", _exactly(stream, 4))[0])
                    continue
                length, size = struct.unpack("<HQ", _exactly(stream, 10))
                yield from _content(root, _exactly(stream, length), size)
            if kind != b"E":
                raise Internal(f"{stored} is damaged")
    finally:
        os.close(root)


def _exactly(stream: zstandard.ZstdDecompressionReader, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise Internal("a layer's skeleton ends too early")
        data += more
    return data


def _content(root: int, path: bytes, size: int) -> Iterator[bytes]:
    fd = openat2(root, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, _INSIDE)
    try:
        have = os.fstat(fd)
        if not stat.S_ISREG(have.st_mode) or have.st_size != size:
            raise Internal(f"{os.fsdecode(path)} was changed since the layer was unpacked")
        while size and (data := os.read(fd, min(size, CHUNK))):
            size -= len(data)
            yield data
    finally:
        os.close(fd)
