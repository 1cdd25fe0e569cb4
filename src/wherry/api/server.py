"""The HTTP server: one thread that accepts and watches, one thread per connection; `stop` joins them all."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from wherry.api.channel import Channel, Headers
from wherry.api.connection import Connection
from wherry.api.router import Router
from wherry.model.cancel import Cancel

log = logging.getLogger(__name__)

#: How long accepting pauses when the process is out of descriptors, seconds.
_PAUSE = 0.1
#: How many clients that got no thread are kept until they have read why.
_REFUSED = 16


class Server:
    """Serves `router` over `daemon` on listening sockets, which it closes in the end. `common` are the headers of every answer."""

    def __init__(self, listeners: Iterable[socket.socket], router: Router, daemon: Any, common: Headers) -> None:
        self._listeners = {sock.fileno(): sock for sock in listeners}
        self._router = router
        self._daemon = daemon
        self._common = common
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._watched: dict[int, tuple[socket.socket, Cancel]] = {}
        self._refused: deque[socket.socket] = deque()
        self._stopping = False
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._loop_thread = threading.Thread(target=self._loop, name="api-accept")

    def start(self) -> None:
        for sock in self._listeners.values():
            sock.setblocking(False)
            self._epoll.register(sock, select.EPOLLIN)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._loop_thread.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """Accept no more, cancel what waits, close idle connections, join every thread.

        Requests at work may finish within `timeout` seconds; after that their sockets are shut down. False when a thread did not end.
        """
        with self._lock:
            self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._loop_thread.join()
        with self._lock:
            open_now = list(self._connections.items())
            waiting = [cancel for _, cancel in self._watched.values()]
        for cancel in waiting:
            cancel.set()
        for _, sock in open_now:
            _shutdown(sock, socket.SHUT_RD)
        ended = _join([thread for thread, _ in open_now], timeout)
        if not ended:
            with self._lock:
                left = list(self._connections.items())
            for _, sock in left:
                _shutdown(sock, socket.SHUT_RDWR)
            ended = _join([thread for thread, _ in left], 1.0)
        if ended:
            self._epoll.close()
            os.close(self._wake)
        return ended

    def watch(self, sock: socket.socket, cancel: Cancel) -> None:
        """Set `cancel` when the peer of `sock` closes or half-closes, or when the server stops."""
        with self._lock:
            stopping = self._stopping
            if not stopping:
                self._watched[sock.fileno()] = (sock, cancel)
                self._epoll.register(sock, select.EPOLLRDHUP | select.EPOLLONESHOT)
        if stopping:
            cancel.set()

    def unwatch(self, sock: socket.socket, cancel: Cancel) -> None:
        with self._lock:
            entry = self._watched.get(sock.fileno())
            if entry and entry[1] is cancel:
                del self._watched[sock.fileno()]
                self._epoll.unregister(sock)

    def _loop(self) -> None:
        """Owned by start and stop: accepts connections and tells watchers of clients that left."""
        paused = False
        while True:
            events = self._epoll.poll(_PAUSE if paused else -1)
            if self._stopping:
                break
            if paused:
                self._arm(select.EPOLLIN)
                paused = False
            for fd, _mask in events:
                if fd in self._listeners:
                    paused = not self._accept(self._listeners[fd]) or paused
                elif fd != self._wake:
                    self._left(fd)
            if paused:
                self._arm(0)
        self._forget_refused()
        for sock in self._listeners.values():
            self._epoll.unregister(sock)
            sock.close()

    def _arm(self, mask: int) -> None:
        for sock in self._listeners.values():
            self._epoll.modify(sock, mask)

    def _accept(self, listener: socket.socket) -> bool:
        """Accept one connection and start its thread; False when the process has no descriptor left for it."""
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return True
        except OSError as error:
            log.error("cannot accept a connection: %s", error)
            return error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
        sock.setblocking(True)
        thread = threading.Thread(target=self._serve, args=(sock,), name="api-connection")
        with self._lock:
            self._connections[thread] = sock
        try:
            thread.start()
        except RuntimeError as error:            # no more threads: the pids limit
            log.error("cannot serve a connection: %s", error)
            with self._lock:
                del self._connections[thread]
            self._refused.append(sock)
            _refuse(sock)
            if len(self._refused) > _REFUSED:
                self._refused.popleft().close()
        else:
            self._forget_refused()
        return True

    def _forget_refused(self) -> None:
        """Not closed at once: the client may be sending still, and would find a broken pipe in place of the answer."""
        while self._refused:
            self._refused.popleft().close()

    def _serve(self, sock: socket.socket) -> None:
        """One connection, in its own thread. Closing without shutdown leaves a hijacked stream to whoever got a copy of the socket."""
        try:
            Connection(Channel(sock, self._common), self._router, self._daemon, self.watch, self.unwatch).serve()
        except Exception:
            log.exception("a connection failed")
        finally:
            with self._lock:
                self._connections.pop(threading.current_thread(), None)
                sock.close()

    def _left(self, fd: int) -> None:
        """Descriptor numbers are reused, so the socket that is watched now is asked again before its Cancel is set."""
        with self._lock:
            entry = self._watched.get(fd)
            if entry is None:
                return
            poller = select.poll()
            poller.register(fd, select.POLLRDHUP)
            if not poller.poll(0):
                self._epoll.modify(fd, select.EPOLLRDHUP | select.EPOLLONESHOT)
                return
        entry[1].set()


def _refuse(sock: socket.socket) -> None:
    """Says why without a thread, as far as the socket takes it at once."""
    body = b'{"message":"no thread can be made for this request: the limit of processes (pids.max of wherryd\'s cgroup, ulimit -u) is reached"}\n'
    head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    try:
        sock.send(head + body, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        log.debug("%s", error)


def _shutdown(sock: socket.socket, how: int) -> None:
    try:
        sock.shutdown(how)
    except OSError:                              # closed by its thread, or by the client, in the meantime
        pass


def _join(threads: list[threading.Thread], timeout: float) -> bool:
    """Join all within `timeout` seconds; False when one still runs."""
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)
