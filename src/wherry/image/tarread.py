"""A strict, bounded, streaming tar reader that keeps every byte that is not file content.

Why not `tarfile`: an image layer must be written again byte for byte (its diff ID is the SHA-256 of the tar), so the reader hands all headers,
padding and trailing blocks to `skeleton`; and sizes, counts and name lengths of a foreign tar must be bounded (R7, R8).

Formats: POSIX ustar and pax (pax(1), "pax Interchange Format"), GNU long names and base-256 numbers (GNU tar manual, "Basic Tar Format").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from wherry.image.compress import Readable, readall

BLOCK = 512
CHUNK = 1 << 20
_MAX_TIME = (1 << 40) * 1_000_000_000  # nanoseconds; far more than any filesystem holds
XATTR_PREFIX = "SCHILY.xattr."


class TarError(ValueError):
    """The archive is malformed or goes over a bound; the text says where."""


@dataclass(frozen=True, slots=True)
class Limits:
    entries: int = 2_000_000  # per archive
    extra: int = 1 << 20  # bytes of one pax or GNU long-name record
    path: int = 4096  # bytes, PATH_MAX of Linux
    depth: int = 512  # components of a path
    payload: int = 1 << 42  # bytes of content of the whole archive


@dataclass(slots=True)
class TarEntry:
    """One member. `kind` is the ustar type flag: 0 file, 1 hard link, 2 symlink, 3 char, 4 block, 5 dir, 6 fifo."""

    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: str
    major: int
    minor: int
    xattrs: dict[str, bytes] = field(default_factory=dict)


class TarReader:
    """Iterate to get entries; `content()` yields the current entry's bytes (skipped where not asked for)."""

    def __init__(self, src: Readable, limits: Limits | None = None, skeleton: Callable[[bytes], None] | None = None,
                 content_seen: Callable[[bytes], None] | None = None) -> None:
        self._src = src
        self._limits = limits or Limits()
        self._skeleton = skeleton or (lambda _: None)
        self._content_seen = content_seen
        self._left = 0
        self._padding = 0
        self._count = 0
        self._total = 0

    def __iter__(self) -> Iterator[TarEntry]:
        pax_global: dict[str, bytes] = {}
        while True:
            entry = self._next(pax_global)
            if entry is None:
                return
            yield entry
            self._finish_content()

    def content(self) -> Iterator[bytes]:
        """The rest of the current entry's content, in chunks of at most 1 MiB."""
        while self._left:
            data = self._src.read(min(CHUNK, self._left))
            if not data:
                raise TarError("the archive ends in the middle of a file")
            self._left -= len(data)
            if self._content_seen:
                self._content_seen(data)
            yield data

    def drain(self) -> None:
        """Take what follows the end-of-archive blocks, for it is part of the digest."""
        while data := self._src.read(CHUNK):
            self._skeleton(data)

    def _finish_content(self) -> None:
        for _ in self.content():
            pass
        if self._padding:
            self._take(self._padding)
            self._padding = 0

    def _take(self, size: int) -> bytes:
        data = readall(self._src, size)
        if len(data) != size:
            raise TarError("the archive ends in the middle of a header")
        self._skeleton(data)
        return data

    def _next(self, pax_global: dict[str, bytes]) -> TarEntry | None:
        pax: dict[str, bytes] = {}
        long_name = long_link = None
        while True:
            block = readall(self._src, BLOCK)
            self._skeleton(block)
            if not block or block == bytes(BLOCK):  # some writers leave the end blocks out
                return None
            entry = _parse_header(block)
            self._count += 1
            if self._count > self._limits.entries:
                raise TarError(f"more than {self._limits.entries} entries")
            match entry.kind:
                case "x":
                    pax = _parse_pax(self._extra(entry))
                case "g":
                    pax_global.update(_parse_pax(self._extra(entry)))
                case "L":
                    long_name = _text(self._extra(entry))
                case "K":
                    long_link = _text(self._extra(entry))
                case "\0" | "0" | "1" | "2" | "3" | "4" | "5" | "6":
                    entry.name = entry.name if long_name is None else long_name
                    entry.link = entry.link if long_link is None else long_link
                    _apply_pax(entry, {**pax_global, **pax})
                    self._begin(entry)
                    return entry
                case "S":
                    raise TarError(f"{entry.name}: sparse files in GNU format are not supported; write the archive without --sparse")
                case kind:
                    raise TarError(f"{entry.name}: unknown entry type {kind!r}")

    def _begin(self, entry: TarEntry) -> None:
        limits = self._limits
        if len(entry.name.encode("utf-8", "surrogateescape")) > limits.path or len(entry.link.encode("utf-8", "surrogateescape")) > limits.path:
            raise TarError(f"a name is longer than {limits.path} bytes: {entry.name[:64]!r}...")
        if entry.name.count("/") > limits.depth:
            raise TarError(f"{entry.name[:64]!r}...: deeper than {limits.depth} directories")
        if "\0" in entry.name or "\0" in entry.link:
            raise TarError(f"{entry.name!r}: a name holds a zero byte")
        if entry.kind == "\0":  # before POSIX a directory was a file whose (whole, so only now known) name ends in a slash
            entry.kind = "5" if entry.name.endswith("/") else "0"
            if entry.kind == "5" and entry.size:
                raise TarError(f"{entry.name}: a directory with content")
        if entry.kind != "0":
            entry.size = 0  # POSIX: a size there names no content; Go's writer and GNU tar store 0
        if abs(entry.mtime_ns) > _MAX_TIME:
            entry.mtime_ns = 0  # as Docker does with a time that no filesystem can hold
        self._total += entry.size
        if entry.size < 0 or self._total > limits.payload:
            raise TarError(f"{entry.name}: size {entry.size} goes over the bound of {limits.payload} bytes")
        self._left = entry.size
        self._padding = -entry.size % BLOCK

    def _extra(self, entry: TarEntry) -> bytes:
        if not 0 <= entry.size <= self._limits.extra:
            raise TarError(f"a header record of {entry.size} bytes is over the bound of {self._limits.extra}")
        return self._take(entry.size + -entry.size % BLOCK)[: entry.size]


def _parse_header(block: bytes) -> TarEntry:
    if len(block) != BLOCK:
        raise TarError("the archive ends in the middle of a header")
    want = _number(block[148:156])
    have = sum(block) - sum(block[148:156]) + 8 * 0x20
    if want != have:
        raise TarError("a header has a wrong checksum (is this a tar archive?)")
    name = _text(block[:100])
    kind = chr(block[156])
    if kind == "7":  # contiguous file: a plain one
        kind = "0"
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = f"{prefix}/{name}"
    ustar = block[257:262] == b"ustar"
    return TarEntry(
        name=name, kind=kind, mode=_number(block[100:108]) & 0o7777, uid=_number(block[108:116]), gid=_number(block[116:124]),
        size=_number(block[124:136]), mtime_ns=_number(block[136:148]) * 1_000_000_000, link=_text(block[157:257]),
        major=_number(block[329:337]) if ustar else 0, minor=_number(block[337:345]) if ustar else 0,
    )


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _number(raw: bytes) -> int:
    if raw[0] & 0x80:  # GNU base-256, two's complement
        value = int.from_bytes(raw, "big")
        bits = len(raw) * 8
        return value - (1 << bits) if raw[0] == 0xFF else value & ~(1 << (bits - 1))
    text = raw.split(b"\0", 1)[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise TarError(f"a header holds {text!r} where a number belongs") from None


def _parse_pax(data: bytes) -> dict[str, bytes]:
    """Records `LENGTH KEY=VALUE\\n`; LENGTH counts the whole record."""
    records: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > 0 else b""
        if not digits.isdigit():
            raise TarError("a pax record has no length")
        end = at + int(digits)
        if end > len(data) or end <= space or data[end - 1 : end] != b"\n":
            raise TarError("a pax record has a wrong length")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise TarError("a pax record has no key")
        records[key.decode("utf-8", "surrogateescape")] = value
        at = end
    return records


def _apply_pax(entry: TarEntry, records: dict[str, bytes]) -> None:
    for key, value in records.items():
        text = value.decode("utf-8", "surrogateescape")
        if not value and not key.startswith(XATTR_PREFIX):
            continue  # an empty value takes the record back
        match key:
            case "path":
                entry.name = text
            case "linkpath":
                entry.link = text
            case "size":
                entry.size = _decimal(text)
            case "uid":
                entry.uid = _decimal(text)
            case "gid":
                entry.gid = _decimal(text)
            case "mtime":
                entry.mtime_ns = _nanoseconds(text)
            case _ if key.startswith("GNU.sparse."):
                raise TarError(f"{entry.name}: sparse files are not supported; write the archive without --sparse")
            case _ if key.startswith(XATTR_PREFIX):
                entry.xattrs[key.removeprefix(XATTR_PREFIX)] = value


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise TarError(f"a pax record holds {text[:32]!r} where a number belongs")
    return int(text)


def _nanoseconds(text: str) -> int:
    whole, _, fraction = text.partition(".")
    sign = -1 if whole.startswith("-") else 1
    digits = whole.lstrip("-") or "0"
    return sign * (_decimal(digits) * 1_000_000_000 + int((fraction + "0" * 9)[:9] if fraction.isdigit() else "0"))
