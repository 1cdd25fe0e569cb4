"""wherryd's end of the port proxy: hands over bound sockets, and notices when the proxy is gone."""

from __future__ import annotations

import errno
import json
import logging
import select
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from wherry.model.errors import Internal, Unavailable, WherryError
from wherry.network.proxy import PACKET, PORTS_PER_PACKET, Port, gone

log = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0
TRIES = 4  # the connection ends with the proxy; the next may still get into the queue of one that dies; then nobody listens, and one is started
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to hand over the ports after a loss


class ProxyClient:
    """Requests to the proxy behind the control socket `path`, from any thread.

    `start` makes a proxy that listens there (it asks the launcher) and is called when nobody does. `lost` is called, in a thread of this
    object, when a proxy that was connected is gone: the owner then hands over all ports again. close() ends that thread."""

    def __init__(self, path: str, start: Callable[[], None]) -> None:
        self._path, self._start = path, start
        self.lost: Callable[[], None] = lambda: None
        self._lock = threading.RLock()
        self._connection: socket.socket | None = None
        self._stop, self._stopped = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._watcher: threading.Thread | None = None
        self._closed = False

    def add(self, ports: Sequence[tuple[Port, socket.socket]]) -> None:
        """The proxy serves these ports; the caller closes its own copies of the sockets afterwards."""
        for at in range(0, len(ports), PORTS_PER_PACKET):
            part = ports[at : at + PORTS_PER_PACKET]
            for container in dict.fromkeys(port.container for port, _ in part):
                mine = [(list(port[1:]), sock.fileno()) for port, sock in part if port.container == container]
                request = {"op": "add", "container": container, "ports": [port for port, _ in mine]}
                self._ask(request, [fd for _, fd in mine])

    def remove(self, container: str) -> None:
        """The proxy closes the container's ports and their connections."""
        self._ask({"op": "remove", "container": container})

    def held(self) -> list[Port]:
        """What the proxy serves now."""
        return [Port(*values) for part in self._ask({"op": "list"}) for values in part["ports"]]

    def running(self) -> bool:
        """Whether a proxy listens; none is started."""
        try:
            self._dial().close()
        except OSError as error:
            if gone(error):
                return False
            raise
        return True

    def exit(self) -> None:
        """End the proxy, if there is one: all ports are closed. The next add() starts another."""
        with self._lock:
            if self.running():
                self._ask({"op": "exit"})
                self._hang_up()

    def close(self) -> None:
        """Let go of the proxy, which carries on while it holds ports and ends where it holds none; end the watching thread."""
        with self._lock:
            if self._watcher is not None and not self._closed:
                try:
                    if not self.held():
                        self.exit()
                except WherryError as error:
                    log.warning("the port proxy is left as it is: %s", error)
            self._closed = True
            self._hang_up()
            watcher = self._watcher
        self._stop.close()
        if watcher is not None:
            watcher.join()
        self._stopped.close()

    # The connection

    def _ask(self, request: dict[str, Any], fds: Sequence[int] = ()) -> list[dict[str, Any]]:
        """The answers to a request; tried again on a new connection when the proxy went away meanwhile (requests may be repeated)."""
        with self._lock:
            if self._closed:
                raise Unavailable("the client of the port proxy is closed")
            for left in reversed(range(TRIES)):
                try:
                    answers = self._exchange(self._connect(), request, fds)
                    break
                except OSError as error:
                    self._hang_up()
                    if not left or not gone(error):
                        raise Unavailable(f"the port proxy does not answer at {self._path}: {error}") from error
        if "error" in answers[0]:
            raise Internal(f"port proxy: {answers[0]['error']}")
        return answers

    @staticmethod
    def _exchange(connection: socket.socket, request: dict[str, Any], fds: Sequence[int]) -> list[dict[str, Any]]:
        socket.send_fds(connection, [json.dumps(request).encode()], list(fds))
        answers = []
        while True:
            data = connection.recv(PACKET)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "the port proxy ended")
            answers.append(json.loads(data))
            if not answers[-1].get("more"):
                return answers

    def _connect(self) -> socket.socket:
        if self._connection is None:
            try:
                self._connection = self._dial()
            except OSError as error:
                if not gone(error):
                    raise
                self._start()
                self._connection = self._dial()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="proxy watch", daemon=True)
                self._watcher.start()
        return self._connection

    def _dial(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return connection

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _watch(self) -> None:
        """As long as there is a proxy: wait for its end, then let the owner see to it, until that succeeds. close() ends the wait."""
        pause = FIRST_PAUSE
        while True:
            try:
                if not self._wait_end():
                    break
                self.lost()
                with self._lock:
                    if not self.running():  # told to end, and not needed: _connect() starts a new watch with a new proxy
                        self._watcher = None
                        return
                pause = FIRST_PAUSE
            except (OSError, WherryError) as error:
                log.error("published ports may not be reachable from this host itself (tried again in %.0f s): %s", pause, error)
                if self._closes_within(pause):
                    break
                pause = min(2 * pause, LONGEST_PAUSE)
        with self._lock:
            self._watcher = None

    def _closes_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._stopped, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _wait_end(self) -> bool:
        """Holds a connection on which nothing is ever said: its end is the proxy's end (True). False: close() was called."""
        try:
            with self._dial() as connection:
                poll = select.poll()
                for sock in (connection, self._stopped):
                    poll.register(sock, select.POLLIN)
                return all(fd != self._stopped.fileno() for fd, _ in poll.poll())
        except OSError as error:
            if not gone(error):
                raise
            return True
