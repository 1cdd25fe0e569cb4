"""Writer of the `json-file` log: one JSON record a line, as `docker logs` and every log shipper read it (docs/on-disk.md, "The log").

It lives in the monitor: one thread, raw chunks as they come from the pipes. Law of this file: every complete line of a chunk has gone
through write(2) when `write` returns; only an unfinished last line (under 16 KiB) waits in memory. A log that cannot be written never
stops or slows the program: what does not fit is counted and dropped, and writing goes on as soon as it works again.
"""

from __future__ import annotations

import codecs
import os
import time
from collections.abc import Callable, Mapping
from typing import Literal

Stream = Literal["stdout", "stderr"]

MAX_RECORD = 16384  # bytes of program output in one record, as in Docker; a longer line becomes several, all but the last without "\n"

_PREFIX = b'{"log":"'
_SPECIAL = {b: b"\\u%04x" % b for b in (*range(0x20), *b"<>&") if b != 0x0A} | {0x0D: b"\\r", 0x22: b'\\"', 0x5C: b"\\\\"}
_PLAIN = bytes(b for b in range(256) if b not in _SPECIAL)
_LINE_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))


def _one_mark_per_byte(error: UnicodeError) -> tuple[str, int]:
    """Go's rule, not Python's: each byte that is not valid UTF-8 becomes a replacement character of its own."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\\ufffd" * (error.end - error.start), error.end


codecs.register_error("wherry.fffd", _one_mark_per_byte)


def escape(raw: bytes) -> bytes:
    """The inside of a JSON string, escaped as Go's encoder does (HTML characters too); newlines are left as they are."""
    special = raw.translate(None, _PLAIN)
    if special:
        found = set(special)
        if 0x5C in found:  # before all others, whose escapes contain it
            raw = raw.replace(b"\\", _SPECIAL[0x5C])
            found.remove(0x5C)
        for byte in found:
            raw = raw.replace(bytes((byte,)), _SPECIAL[byte])
    if raw.isascii():
        return raw
    for character, escaped in _LINE_SEPARATORS:
        raw = raw.replace(character, escaped)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "wherry.fffd").encode("utf-8")
    return raw


def _boundary(data: bytes, cut: int) -> int:
    """The last place at or before `cut` that does not split a UTF-8 character."""
    for back in range(1, 4):
        byte = data[cut - back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return cut - back if length > back else cut
        if byte < 0x80:
            break
    return cut


def _attributes(attrs: Mapping[str, str]) -> bytes:
    pairs = b",".join(b'"%s":"%s"' % (_text(key), _text(attrs[key])) for key in sorted(attrs))
    return b'"attrs":{%s},' % pairs if pairs else b""


def _text(value: str) -> bytes:
    return escape(value.encode("utf-8", "surrogateescape")).replace(b"\n", b"\\n")


class JsonLog:
    """The log file `name` in the directory `dir_fd` (not taken over; must stay open), rotated to `name.1`, `name.2` ...

    max_size: bytes after which a new file begins (None: never; a file exceeds it by less than one record).
    max_file: how many files are kept, the current one included.
    attrs: what the log options `labels`, `env`, `tag` chose; repeated in each record as Docker does.
    on_failure: called once when writing begins to fail; on_resume: once when it works again, with the bytes of records dropped meanwhile.
    Opening the log never raises for a file system that is full or broken either: that is reported through `on_failure`.
    """

    def __init__(
        self,
        dir_fd: int,
        name: str,
        max_size: int | None = None,
        max_file: int = 1,
        attrs: Mapping[str, str] | None = None,
        on_failure: Callable[[OSError], None] | None = None,
        on_resume: Callable[[int], None] | None = None,
    ) -> None:
        if max_file < 1 or (max_size is not None and max_size < 1):
            raise ValueError(f"log {name}: max_size and max_file must be positive")
        self._dir_fd, self._name, self._max_size, self._max_file = dir_fd, name, max_size, max_file
        self._on_failure, self._on_resume = on_failure, on_resume
        self._attrs = _attributes(attrs or {})
        self._held = {"stdout": b"", "stderr": b""}
        self._fd, self._size = -1, 0
        self._failing, self.dropped = False, 0
        self._second, self._stamp = -1, b""
        try:
            self._open()
        except OSError as error:
            self._fail(error, 0)

    def write(self, stream: Stream, data: bytes | memoryview, now_ns: int) -> None:
        """Log what was read from a stream at `now_ns` (nanoseconds since the epoch)."""
        held = self._held[stream]
        if held:
            data = held + data
        elif not isinstance(data, bytes):
            data = bytes(data)
        records, self._held[stream] = self._records(stream, data, now_ns)
        if records:
            self._append(records)

    def close(self, now_ns: int | None = None) -> None:
        """End of output: write the unfinished lines (without "\\n", as Docker) and close the file."""
        now_ns = time.time_ns() if now_ns is None else now_ns
        for stream, held in self._held.items():
            if held:
                self._append(_PREFIX + escape(held) + self._suffix(stream, now_ns))
                self._held[stream] = b""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _suffix(self, stream: str, now_ns: int) -> bytes:
        second, rest = divmod(now_ns, 1_000_000_000)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return b'","stream":"%s",%s"time":"%s.%09dZ"}\n' % (stream.encode(), self._attrs, self._stamp, rest)

    def _records(self, stream: str, data: bytes, now_ns: int) -> tuple[bytes, bytes]:
        """Encoded records of all that is complete in `data`, and the rest. Runs of lines are encoded as one piece."""
        suffix = self._suffix(stream, now_ns)
        line_end = b"\\n" + suffix
        between = line_end + _PREFIX
        out: list[bytes] = []

        def run_of_lines(start: int, end: int) -> None:
            out.extend((_PREFIX, escape(data[start : end - 1]).replace(b"\n", between), line_end))

        begin = at = 0
        while len(data) - at >= MAX_RECORD:
            newline = data.rfind(b"\n", at, at + MAX_RECORD)
            if newline >= 0:
                at = newline + 1
                continue
            if at > begin:
                run_of_lines(begin, at)
            cut = _boundary(data, at + MAX_RECORD)
            out.extend((_PREFIX, escape(data[at:cut]), suffix))
            begin = at = cut
        end = data.rfind(b"\n", at) + 1 or at
        if end > begin:
            run_of_lines(begin, end)
        return b"".join(out), data[end:]

    def _append(self, records: bytes) -> None:
        """Write records, beginning new files at record boundaries as the size limit asks."""
        while records:
            try:
                if self._fd < 0:
                    self._open()
                if self._max_size is not None and self._size >= self._max_size:
                    self._rotate()
                part = records
                if self._max_size is not None and self._size + len(records) > self._max_size:
                    part = records[: records.index(b"\n", self._max_size - self._size - 1) + 1]
                records = records[self._write(part) :]
            except OSError as error:
                self._fail(error, len(records))
                return
        if self._failing:
            self._failing = False
            dropped, self.dropped = self.dropped, 0
            if self._on_resume:
                self._on_resume(dropped)

    def _write(self, part: bytes) -> int:
        """Append records; returns the bytes written, all or, on a full disk, up to a record boundary. Raises when not even one fits."""
        done = 0
        try:
            while done < len(part):
                done += os.write(self._fd, part[done:] if done else part)
        except OSError:
            whole = part.rfind(b"\n", 0, done) + 1
            if done != whole:
                os.ftruncate(self._fd, self._size + whole)
            if not whole:
                raise
            done = whole
        self._size += done
        return done

    def _fail(self, error: OSError, lost: int) -> None:
        self.dropped += lost
        if not self._failing:
            self._failing = True
            if self._on_failure:
                self._on_failure(error)

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self._name, flags, 0o640, dir_fd=self._dir_fd)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":  # a record torn by kill -9 or power loss: end it, readers pass it over
                size += os.write(fd, b"\n")
        except OSError:
            os.close(fd)
            raise
        self._fd, self._size = fd, size

    def _rotate(self) -> None:
        """name -> name.1 -> name.2 ...: oldest first, so that a kill in between leaves a gap and loses no file."""
        os.close(self._fd)
        self._fd = -1
        names = [self._name] + [f"{self._name}.{number}" for number in range(1, self._max_file)]
        if self._max_file == 1:
            os.unlink(self._name, dir_fd=self._dir_fd)
        free = next((i for i, name in enumerate(names) if i and not self._exists(name)), self._max_file - 1)
        for number in range(free, 0, -1):
            os.rename(names[number - 1], names[number], src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
        self._open()

    def _exists(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True
