"""The frames in which the output of a container without a terminal is sent: sans-IO.

A frame is an 8 byte header and its payload. Header: the stream's number, three zeros, the payload's length as 32 bit big endian
(Engine API, "Stream format" of attach).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from wherry.model.errors import InvalidArgument

STDIN, STDOUT, STDERR, SYSTEM = range(4)

#: Largest payload this decoder takes, bytes.
MAX_FRAME = 64 * 1024 * 1024

_HEADER = struct.Struct(">BxxxI")


class Frame(NamedTuple):
    stream: int
    payload: bytes


def encode(stream: int, payload: bytes) -> bytes:
    """`payload` as one frame of `stream`."""
    return _HEADER.pack(stream, len(payload)) + payload


class Decoder:
    """Fed with bytes as they come, gives the frames that are complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises InvalidArgument for what is no frame; the decoder is of no use after it."""
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self._buffer, start)
            if stream > SYSTEM or any(self._buffer[start + 1:start + 4]):
                raise InvalidArgument(f"not a stream frame: {bytes(self._buffer[start:start + _HEADER.size])!r}")
            if length > MAX_FRAME:
                raise InvalidArgument(f"a stream frame of {length} bytes; at most {MAX_FRAME} are taken")
            end = start + _HEADER.size + length
            if len(self._buffer) < end:
                break
            frames.append(Frame(stream, bytes(self._buffer[start + _HEADER.size:end])))
            start = end
        del self._buffer[:start]
        return frames

    @property
    def rest(self) -> int:
        """How many bytes of an incomplete frame are held: not 0 at the end of a stream means that it was cut off."""
        return len(self._buffer)
