"""The tar reader: agrees with `tarfile`, and its skeleton gives every byte back."""

import bz2
import gzip
import io
import lzma
import tarfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.image.compress import Readable, decompressed
from wherry.image.tarread import TarReader

KINDS = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
names = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=130)
entries = st.tuples(names, st.sampled_from(KINDS), st.binary(max_size=1100), st.integers(0, 2**33), st.integers(0, 2**21 - 1), names)


class Dribble:
    """A stream that gives one to 97 bytes at a time, as a socket may."""

    def __init__(self, data: bytes) -> None:
        self._file, self._turn = io.BytesIO(data), 0

    def read(self, size: int = -1, /) -> bytes:
        self._turn += 1
        return self._file.read(min(size, self._turn % 97 + 1) if size > 0 else size)


def write(found: list[tuple[str, bytes, bytes, int, int, str]], form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, kind, data, mtime, owner, link in found:
            info = tarfile.TarInfo(name)
            info.type, info.mtime, info.uid, info.gid, info.mode = kind, mtime, owner, owner, 0o4711
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = link
            if kind == tarfile.REGTYPE:
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@settings(max_examples=25, deadline=None)
@given(st.lists(entries, max_size=6), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_agrees_with_tarfile(found: list[tuple[str, bytes, bytes, int, int, str]], form: int) -> None:
    data = write(found, form)
    rebuilt = bytearray()
    seen = []
    reader = TarReader(Dribble(data), skeleton=rebuilt.extend, content_seen=rebuilt.extend)
    for entry in reader:
        content = b"".join(reader.content())
        seen.append((entry.name.rstrip("/"), entry.kind, content, entry.mtime_ns, entry.uid, entry.link, entry.mode))
    reader.drain()
    assert bytes(rebuilt) == data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        want = [
            (info.name, info.type.decode(), archive.extractfile(info).read() if info.isreg() else b"",  # type: ignore[union-attr]
             info.mtime * 10**9, info.uid, info.linkname, info.mode)
            for info in archive
        ]
    assert seen == want


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=1500), st.integers(0, 2000))
def test_damage_is_an_error_and_nothing_else(noise: bytes, at: int) -> None:
    data = bytearray(write([("a" * 120, tarfile.REGTYPE, b"x" * 600, 1, 2, "b")], tarfile.PAX_FORMAT))
    data[at : at + len(noise)] = noise
    reader = TarReader(io.BytesIO(bytes(data)))
    try:
        for _ in reader:
            for _ in reader.content():
                pass
    except ValueError:
        pass


def test_base_256_numbers_and_old_headers() -> None:
    info = tarfile.TarInfo("f")
    info.uid, info.mtime = 2**31, 2**34
    header = info.tobuf(tarfile.GNU_FORMAT)
    entry = next(iter(TarReader(io.BytesIO(header + bytes(1024)))))
    assert (entry.uid, entry.mtime_ns) == (2**31, 2**34 * 10**9)
    old = bytearray(tarfile.TarInfo("d/").tobuf(tarfile.USTAR_FORMAT))
    old[156] = 0
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old)
    assert next(iter(TarReader(io.BytesIO(bytes(old))))).kind == "5"


@pytest.mark.parametrize("fraction", ["1700000000.5", "1700000000.500000000123", "-1.25", "3"])
def test_times_of_pax(fraction: str) -> None:
    info = tarfile.TarInfo("f")
    info.pax_headers = {"mtime": fraction}
    entry = next(iter(TarReader(io.BytesIO(info.tobuf(tarfile.PAX_FORMAT)))))
    assert entry.mtime_ns == {"1": 17 * 10**17 + 5 * 10**8, "-": -1_250_000_000, "3": 3 * 10**9}[fraction[0]]


def two_members(data: bytes) -> bytes:
    return gzip.compress(data[:100]) + gzip.compress(data[100:])


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress, two_members])
def test_every_compression(pack: object) -> None:
    data = write([("file", tarfile.REGTYPE, bytes(range(256)) * 3000, 1, 2, "")], tarfile.PAX_FORMAT)
    packed = pack(data)  # type: ignore[operator]
    stream: Readable = decompressed(Dribble(packed))
    out = bytearray()
    while piece := stream.read(10_000):
        out += piece
    assert bytes(out) == data
