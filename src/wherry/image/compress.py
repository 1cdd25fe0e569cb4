"""Recognising and undoing the compressions an image archive may have: gzip (isal), zstd, bzip2, xz, or none.

Nothing outside this process is started (a helper looked up by name was moby's CVE-2026-41567).
"""

from __future__ import annotations

import bz2
import io
import lzma
from typing import BinaryIO, Protocol, cast

import zstandard
from isal import igzip

MAGICS: tuple[tuple[bytes, str], ...] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"))
_XZ_MEMORY = 256 << 20  # bytes the xz decoder may ask for


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Peekable:
    """A byte stream, seekable or not, whose first bytes were looked at."""

    def __init__(self, src: Readable) -> None:
        self._src = src
        self._head = b""

    def peek(self, size: int) -> bytes:
        while len(self._head) < size and (more := self._src.read(size - len(self._head))):
            self._head += more
        return self._head[:size]

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._src.read(size)
        if size < 0:
            out, self._head = self._head + self._src.read(), b""
            return out
        out, self._head = self._head[:size], self._head[size:]
        return out


class _Xz:
    """lzma.LZMAFile has no memory limit; this has."""

    def __init__(self, src: Readable) -> None:
        self._src = src
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)

    def read(self, size: int = -1, /) -> bytes:
        while not self._decoder.eof:
            data = b"" if not self._decoder.needs_input else self._src.read(1 << 16)
            if not data and self._decoder.needs_input:
                raise EOFError("the xz stream ends in the middle")
            if out := self._decoder.decompress(data, size):
                return out
        return b""


def detect(head: bytes) -> str:
    """Name of the compression whose magic `head` starts with, or `none`."""
    return next((name for magic, name in MAGICS if head.startswith(magic)), "none")


def decompressed(src: Readable) -> Readable:
    """`src` with its compression undone, read by read; errors of the decoders surface as OSError, EOFError, ValueError."""
    stream = Peekable(src)
    match detect(stream.peek(6)):
        case "gzip":
            return cast(Readable, igzip.IGzipFile(fileobj=_as_io(stream), mode="rb"))  # type: ignore[no-untyped-call]
        case "zstd":
            return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(_as_io(stream), read_across_frames=True)
        case "bzip2":
            return bz2.BZ2File(_as_io(stream))
        case "xz":
            return _Xz(stream)
        case _:
            return stream


class _RawIO(io.RawIOBase):
    def __init__(self, src: Readable) -> None:
        self._src = src

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        data = self._src.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _as_io(src: Readable) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_RawIO(src), 1 << 18))


DECODE_ERRORS = (OSError, EOFError, ValueError, lzma.LZMAError, zstandard.ZstdError)


def readall(src: Readable, size: int) -> bytes:
    """Exactly `size` bytes, or fewer at the end of the stream."""
    data = src.read(size)
    if len(data) == size or not data:
        return data
    parts, have = [data], len(data)
    while have < size and (data := src.read(size - have)):
        parts.append(data)
        have += len(data)
    return b"".join(parts)
