"""Signals as bytes on a descriptor that the copying loop polls (signal.set_wakeup_fd), and their passing on to the container."""

import os

from wherry.cli.errors import CliError
from wherry.cli.http1 import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import FrameType
    from typing import Any

    from wherry.cli.client import Client
else:
    import _signal

# Never passed on: they cannot be caught, are about this process itself, or are the kernel's word on a fault in it.
_OWN = (
    *("SIGKILL", "SIGSTOP", "SIGCHLD", "SIGCLD", "SIGPIPE", "SIGURG", "SIGTTIN", "SIGTTOU"),
    *("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS", "SIGRTMIN", "SIGRTMAX"),
)
NAMES: "dict[int, str]" = {
    int(getattr(_signal, name)): name for name in dir(_signal) if name.startswith("SIG") and "_" not in name and name not in _OWN
}
HUP = int(_signal.SIGHUP)
WINCH = int(_signal.SIGWINCH)
ENDING = tuple(int(number) for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM))


def _ignore(number: int, frame: "FrameType | None") -> None:
    """The byte on the descriptor says it all; without a handler in Python none would be written."""


class Signals:
    """Catch these signals until the end of the `with`."""

    def __init__(self, numbers: "tuple[int, ...]") -> None:
        self._numbers = numbers
        self._saved: list[tuple[int, Any]] = []

    def __enter__(self) -> "Signals":
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_wakeup = _signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in self._numbers:
            self._saved.append((number, _signal.signal(number, _ignore)))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._saved:
            _signal.signal(number, handler if handler is not None else _signal.SIG_DFL)
        _signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        return self._read

    def take(self) -> "list[int]":
        """The signals that came since the last call, in order."""
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []


def forward(client: "Client", container: str, number: int) -> None:
    """Pass a signal on. A container that has just ended needs none."""
    try:
        client.call("POST", f"/containers/{container}/kill", {"signal": NAMES[number]})
    except (CliError, ProtocolError):
        pass
