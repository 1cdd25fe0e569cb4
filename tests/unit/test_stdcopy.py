from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.api import stdcopy
from wherry.model.errors import InvalidArgument


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=50))), st.integers(1, 30))
def test_frames_survive_any_cut(frames: list[tuple[int, bytes]], step: int) -> None:
    data = b"".join(stdcopy.encode(*frame) for frame in frames)
    decoder = stdcopy.Decoder()
    got = [tuple(frame) for at in range(0, len(data), step) for frame in decoder.feed(data[at:at + step])]
    assert got == frames and decoder.rest == 0


def test_header_bytes() -> None:
    assert stdcopy.encode(stdcopy.STDERR, b"abc") == b"\x02\0\0\0\0\0\0\x03abc"


@pytest.mark.parametrize("junk", [b"\x04\0\0\0\0\0\0\0", b"\x01\0\x01\0\0\0\0\0", b"\x01\0\0\0\xff\0\0\0"])
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(InvalidArgument):
        stdcopy.Decoder().feed(junk)


def test_a_cut_off_frame_is_seen() -> None:
    decoder = stdcopy.Decoder()
    assert decoder.feed(stdcopy.encode(1, b"abc")[:-1]) == [] and decoder.rest == 10
