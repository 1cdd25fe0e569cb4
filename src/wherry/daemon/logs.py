"""Reading the json-file log (`logs`, and `attach?logs=1`): from the end over rotated files, and on as it grows."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote_plus

import msgspec

from wherry.linux.inotify import Inotify
from wherry.model.cancel import Cancel
from wherry.model.errors import Unavailable

BLOCK = 1 << 18  # bytes read at once; longer than any record, which is at most 6 * 16 KiB of text and its frame
_GARBAGE = 1 << 20  # a "line" longer than this is none of ours
_O_LOG = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_SNAPSHOT_TRIES = 50

Chunk = tuple[str, bytes]


class LogOptions(NamedTuple):
    """What to read. `since`, `until`: nanoseconds since the epoch, 0: no bound. `tail`: that many records at most, None: all."""

    follow: bool = False
    stdout: bool = True
    stderr: bool = True
    since: int = 0
    until: int = 0
    timestamps: bool = False
    tail: int | None = None
    details: bool = False


class _Record(msgspec.Struct):
    log: str = ""
    stream: str = ""
    time: str = ""
    attrs: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(_Record)


def logs(
    directory: Path,
    name: str,
    options: LogOptions,
    *,
    ended: Callable[[], bool] = lambda: True,
    ended_fd: int | None = None,
    cancel: Cancel | None = None,
) -> Iterator[Chunk]:
    """Pieces of the log `name` in `directory` as (stream, text), in order; many records may be joined into one piece.

    With `follow` it goes on until `ended()` is true, which means that no more will be written, and all is read. It is asked again when
    `ended_fd` becomes readable (and must be true then). A set `cancel` ends it at once. Without a log there is nothing to read, yet.
    A record that a crash tore is passed over."""
    with ExitStack() as stack:
        dir_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, dir_fd)
        watch = _watch(stack, dir_fd) if options.follow else None
        files = _Files(dir_fd, name)
        stack.callback(files.close)
        files.open_all(options.tail)
        out = _Formatter(options)
        if watch is None:
            yield from files.read(out)
            return
        woken = [fd for fd in (ended_fd, _cancel_fd(stack, cancel)) if fd is not None]
        while True:
            last = ended()
            yield from files.read(out)
            if last or out.past_end or (cancel is not None and cancel.is_set):
                return
            watch.wait(*woken, timeout=out.seconds_left())


def _watch(stack: ExitStack, dir_fd: int) -> Inotify:
    try:
        watch = stack.enter_context(Inotify())
        watch.watch(f"/proc/self/fd/{dir_fd}")
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENOSPC):
            raise Unavailable(f"logs: {error.strerror}: raise fs.inotify.max_user_instances or max_user_watches, or follow fewer logs") from error
        raise
    return watch


def _cancel_fd(stack: ExitStack, cancel: Cancel | None) -> int | None:
    if cancel is None:
        return None
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    stack.callback(os.close, fd)
    stack.enter_context(cancel.calling(lambda: os.eventfd_write(fd, 1)))
    return fd


class _File:
    """One log file, read up to `at`, which is always the beginning of a record."""

    def __init__(self, fd: int) -> None:
        info = os.fstat(fd)
        self.fd, self.id, self.at = fd, (info.st_dev, info.st_ino), 0

    def block(self) -> bytes:
        """The next whole records; nothing at the end (an unfinished record stays)."""
        size = BLOCK
        while True:
            data = os.pread(self.fd, size, self.at)
            end = data.rfind(b"\n") + 1
            if end or len(data) < size:
                break
            if size >= _GARBAGE:
                end = len(data)
                break
            size *= 2
        self.at += end
        return data if end == len(data) else data[:end]

    def seek_tail(self, records: int) -> int:
        """Puts `at` before the last records; how many of these are still missing."""
        start = os.fstat(self.fd).st_size
        data = b""
        while start > 0 and records >= 0:
            begin = max(0, start - BLOCK)
            data = os.pread(self.fd, start - begin, begin)
            place = len(data)
            while records >= 0:
                place = data.rfind(b"\n", 0, place)
                if place < 0:
                    break
                if records == 0:
                    self.at = begin + place + 1
                    return 0
                records -= 1
            start = begin
        self.at = 0
        return records


class _Files:
    """The files still to read, oldest first; the last one is, or was, the current one."""

    def __init__(self, dir_fd: int, name: str) -> None:
        self._dir_fd, self._name = dir_fd, name
        self._queue: list[_File] = []

    def close(self) -> None:
        for file in self._queue:
            os.close(file.fd)
        self._queue.clear()

    def open_all(self, tail: int | None) -> None:
        """Opens what is there, placed so that `tail` records follow."""
        self._queue = self._snapshot()
        if tail is None:
            return
        missing = max(tail, 0)
        for number in range(len(self._queue) - 1, -1, -1):
            missing = self._queue[number].seek_tail(missing)
            if missing <= 0:
                for file in self._queue[:number]:
                    os.close(file.fd)
                del self._queue[:number]
                return

    def read(self, out: _Formatter) -> Iterator[Chunk]:
        """All that is there now. Files that the writer has rotated away are read to their end, then their successors."""
        while not out.past_end:
            if not self._queue:
                self._queue = self._snapshot()
                if not self._queue:
                    return
            file = self._queue[0]
            # Looked at before reading: once the name has gone from it, nothing more is written to a file.
            rotated = len(self._queue) > 1 or self._current() != file.id
            while not out.past_end and (block := file.block()):
                yield from out(block)
            if not rotated:
                return
            if len(self._queue) == 1:
                self._queue += self._snapshot(file)
                if len(self._queue) == 1:
                    return  # between the writer's rename and its new file
            os.close(self._queue.pop(0).fd)

    def _current(self) -> tuple[int, int] | None:
        try:
            info = os.stat(self._name, dir_fd=self._dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return info.st_dev, info.st_ino

    def _snapshot(self, after: _File | None = None) -> list[_File]:
        """The files newer than `after`, none twice and none left out although the writer may rotate meanwhile."""
        for attempt in range(_SNAPSHOT_TRIES):
            files = self._open_once(after.id if after else None)
            newest = files[-1] if files else after
            if self._current() == (newest.id if newest else None) or attempt == _SNAPSHOT_TRIES - 1:
                break
            for file in files:
                os.close(file.fd)
        return files

    def _open_once(self, after: tuple[int, int] | None) -> list[_File]:
        """Newest first, so that what is rotated meanwhile is found again under its next name."""
        files: list[_File] = []
        for entry in self._names():
            try:
                file = _File(os.open(entry, _O_LOG, dir_fd=self._dir_fd))
            except FileNotFoundError:
                continue
            known = file.id in [one.id for one in files]
            if known or file.id == after:
                os.close(file.fd)
            if file.id == after:
                break
            if not known:
                files.insert(0, file)
        return files

    def _names(self) -> Iterator[str]:
        """Names from the newest file on. The older ones are listed only once the newest is open: a rotation after that is seen by _snapshot, one
        between listing and opening would leave files out unseen."""
        yield self._name
        oldest = max((int(entry[len(self._name) + 1 :]) for entry in os.listdir(self._dir_fd) if self._is_older(entry)), default=0)
        yield from (f"{self._name}.{number}" for number in range(1, oldest + 2))

    def _is_older(self, entry: str) -> bool:
        return entry.startswith(self._name + ".") and 0 < len(entry) - len(self._name) - 1 < 5 and entry[len(self._name) + 1 :].isdecimal()


class _Formatter:
    """Blocks of records into pieces of output. `past_end`: `until` was reached."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._since = _stamp(options.since) if options.since else ""
        self._until = _stamp(options.until) if options.until else ""
        self._plain = not (options.timestamps or options.details or self._since or self._until)
        self.past_end = False

    def seconds_left(self) -> float | None:
        """How long to wait for more: for ever, or until `until`."""
        if not self._options.until:
            return None
        left = (self._options.until - time.time_ns()) / 1e9
        if left < 0:
            self.past_end = True
        return left

    def __call__(self, block: bytes) -> list[Chunk]:
        if self._since and _full(_last_time(block)) < self._since:
            return []
        try:
            records = _decoder.decode_lines(block)
        except (msgspec.DecodeError, UnicodeDecodeError):
            records = _readable(block)
        if self._plain and self._options.stdout and b'"stream":"stderr"' not in block:  # quotes inside a text are escaped
            return [("stdout", "".join([record.log for record in records]).encode())] if records else []
        return self._pieces(records)

    def _pieces(self, records: list[_Record]) -> list[Chunk]:
        """Neighbours of one stream joined."""
        pieces: list[Chunk] = []
        texts: list[str] = []
        stream = ""
        for record in records:
            if not self._wanted(record):
                if self.past_end:
                    break
                continue
            if record.stream != stream:
                if texts:
                    pieces.append((stream, "".join(texts).encode()))
                texts, stream = [], record.stream
            texts.append(record.log if self._plain else self._prefix(record) + record.log)
        if texts:
            pieces.append((stream, "".join(texts).encode()))
        return pieces

    def _wanted(self, record: _Record) -> bool:
        if self._since or self._until:
            stamp = _full(record.time)
            if self._until and stamp > self._until:
                self.past_end = True
                return False
            if self._since and stamp < self._since:
                return False
        return self._options.stderr if record.stream == "stderr" else self._options.stdout

    def _prefix(self, record: _Record) -> str:
        prefix = f"{_full(record.time)} " if self._options.timestamps else ""
        if self._options.details:
            attrs = record.attrs or {}
            prefix += ",".join(f"{quote_plus(key)}={quote_plus(attrs[key])}" for key in sorted(attrs)) + " "
        return prefix


def _stamp(ns: int) -> str:
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


def _full(stamp: str) -> str:
    """A time with nine digits, as `-t` shows it; such times compare as text."""
    if len(stamp) == 30:
        return stamp
    seconds, _, rest = stamp.removesuffix("Z").partition(".")
    return f"{seconds}.{rest:0<9}Z"


def _last_time(block: bytes) -> str:
    begin = block.rfind(b'"time":"') + 8
    return block[begin : block.find(b'"', begin)].decode("ascii", "replace")


def _readable(block: bytes) -> list[_Record]:
    """The records of a block in which a crash, or somebody's editor, left lines that are none."""
    records = []
    for line in block.split(b"\n"):
        try:
            records.append(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return records
