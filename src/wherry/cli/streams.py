"""The copying between the user's streams and an attached container: one loop over poll(2), no thread.

Frames without a terminal (Engine API, "Stream format"): byte 0 the stream (1 stdout, 2 stderr, 3 an error of the daemon), bytes 1 to 3 zero,
bytes 4 to 7 the length in big endian, then the payload.
"""

import os
import select

from wherry.cli.client import MSG_NOSIGNAL
from wherry.cli.context import write_all
from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from wherry.cli.client import Pending, Stream
    from wherry.cli.signals import Signals
    from wherry.cli.terminal import DetachWatch

BLOCK = 1 << 17
MSG_DONTWAIT = 0x40  # recv(2), send(2): Linux has this number on every architecture but those Wherry does not run on
SHUT_WR = 1


class Demux:
    """Cut framed bytes into (stream, payload); neighbours of the same stream are joined. Frames may be cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> "list[tuple[int, bytes]]":
        if self._rest:
            data = self._rest + data
        result: list[tuple[int, bytes]] = []
        parts: list[bytes] = []
        current, at, end = 0, 0, len(data)
        from_bytes = int.from_bytes
        while end - at >= 8:
            header = from_bytes(data[at : at + 8], "big")
            stream, stop = header >> 56, at + 8 + (header & 0xFFFFFFFF)
            if header >> 32 & 0xFFFFFF or stream > 3:
                raise CliError(f"unrecognized input header: {stream}")
            if stop > end:
                break
            if stream != current and parts:
                result.append((current, b"".join(parts)))
                parts = []
            current = stream
            parts.append(data[at + 8 : stop])
            at = stop
        if parts:
            result.append((current, b"".join(parts)))
        self._rest = data[at:]
        return result

    def finish(self) -> "list[tuple[int, bytes]]":
        """What had arrived of a frame that the end cut off: its bytes belong to the user all the same."""
        rest, self._rest = self._rest, b""
        return [(rest[0], rest[8:])] if len(rest) > 8 else []


class Output:
    """Write what the daemon sends: raw with a terminal, else frames to stdout and stderr."""

    def __init__(self, tty: bool) -> None:
        self._demux = None if tty else Demux()

    def write(self, data: bytes) -> None:
        if self._demux is None:
            write_all(1, data)
        else:
            self._emit(self._demux.feed(data))

    def finish(self) -> None:
        if self._demux is not None:
            self._emit(self._demux.finish())

    @staticmethod
    def _emit(pieces: "list[tuple[int, bytes]]") -> None:
        for stream, payload in pieces:
            if stream == 3:
                raise CliError("error from daemon in stream: " + payload.decode("utf-8", "replace"))
            write_all(2 if stream == 2 else 1, payload)


class Pump:
    """Copies stdin to the stream and the stream to stdout and stderr until the stream ends."""

    def __init__(self, stream: "Stream", tty: bool, stdin: bool, watch: "DetachWatch | None" = None) -> None:
        self.stream = stream
        self.sock: _socket.socket = stream.sock
        self._output = Output(tty)
        self._stdin = stdin
        self._watch = watch
        self._unsent = b""
        self._poll = select.poll()

    def run(
        self, signals: "Signals | None" = None, on_signal: "Callable[[int], None] | None" = None, waiting: "Pending | None" = None
    ) -> bool:
        """Copy until the daemon closes the stream. Returns True if the user detached.

        A signal that arrives meanwhile goes to on_signal. `waiting` (the answer of `wait`) ends the loop too, but only where the container
        sends no output that could tell of its end by itself (stdin alone is attached)."""
        if self.stream.early:
            self._output.write(self.stream.early)
        self._poll.register(self.sock, select.POLLIN)
        if signals is not None:
            self._poll.register(signals.fileno(), select.POLLIN)
        if waiting is not None:
            self._poll.register(waiting.fileno(), select.POLLIN)
        if self._stdin:
            self._watch_stdin(True)
        while True:
            for fd, events in self._poll.poll():
                if fd == self.sock.fileno():
                    if events & select.POLLOUT:
                        self._flush()
                    if events & ~select.POLLOUT and not self._receive():
                        self._output.finish()
                        return self._watch is not None and self._watch.typed
                elif fd == 0 and self._stdin:
                    self._read_stdin()
                elif signals is not None and fd == signals.fileno():
                    for number in signals.take():
                        if on_signal is not None:
                            on_signal(number)
                elif waiting is not None and fd == waiting.fileno():
                    return False

    def _receive(self) -> bool:
        try:
            data = self.sock.recv(BLOCK)
        except ConnectionResetError:
            return False
        if data:
            self._output.write(data)
        return bool(data)

    def _watch_stdin(self, on: bool) -> None:
        try:
            if on:
                self._poll.register(0, select.POLLIN)
            else:
                self._poll.unregister(0)
        except KeyError:
            pass

    def _read_stdin(self) -> None:
        try:
            data = os.read(0, BLOCK)
        except BlockingIOError:
            return
        except OSError:  # a stdin that was closed, or a terminal that went away, has ended
            data = b""
        if self._watch is not None:
            self._watch.feed(data)
        if not data:
            self._stdin = False
        self._unsent += data
        self._watch_stdin(False)  # until this block is on its way
        self._flush()

    def _flush(self) -> None:
        """Send what is unsent without blocking: output must go on while the program does not read. At the end of stdin, half-close."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent, MSG_DONTWAIT | MSG_NOSIGNAL) :]
        except BlockingIOError:
            self._poll.modify(self.sock, select.POLLIN | select.POLLOUT)
            return
        except OSError:  # nobody reads the input any more; the output is another matter
            self._unsent, self._stdin = b"", False
        self._poll.modify(self.sock, select.POLLIN)
        if self._stdin:
            self._watch_stdin(True)
            return
        try:
            self.sock.shutdown(SHUT_WR)
        except OSError:
            pass
