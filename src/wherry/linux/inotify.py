"""inotify(7): wakes a reader when something happens to the files of a directory."""

from __future__ import annotations

import ctypes
import os
import select
from types import TracebackType

from wherry.linux.libc import check, libc

IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
ANY_CHANGE = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE


class Inotify:
    """One inotify instance. OSError EMFILE: the user has `fs.inotify.max_user_instances` of them already."""

    def __init__(self) -> None:
        self.fd = check(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify_init1")

    def watch(self, path: str, mask: int = ANY_CHANGE) -> int:
        """Watches a directory; inotify_add_watch(2). Returns the watch descriptor."""
        return check(libc.inotify_add_watch(self.fd, os.fsencode(path), ctypes.c_uint32(mask)), "inotify_add_watch", path)

    def drain(self) -> int:
        """Forgets all events that have come; their size in bytes, 0 for none."""
        size = 0
        while True:
            try:
                size += len(os.read(self.fd, 65536))
            except BlockingIOError:
                return size

    def wait(self, *others: int, timeout: float | None = None) -> bool:
        """Blocks until an event has come or one of the other descriptors is readable or closed by its peer; False after `timeout` seconds.

        Events are forgotten: look at the files afterwards, not before."""
        poll = select.poll()
        for fd in (self.fd, *others):
            poll.register(fd, select.POLLIN | select.POLLRDHUP)
        ready = poll.poll(None if timeout is None else max(0, timeout * 1000))
        self.drain()
        return bool(ready)

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Inotify:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
