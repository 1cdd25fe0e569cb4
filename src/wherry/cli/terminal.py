"""The user's terminal: its size, raw mode, and the keys that detach."""

import os
import termios

from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_KEYS = "ctrl-p,ctrl-q"


def size() -> "tuple[int, int]":
    """Rows and columns of the terminal on stdout; (0, 0) without one."""
    try:
        got = os.get_terminal_size(1)
    except OSError:
        return 0, 0
    return got.lines, got.columns


def check_tty(attach_stdin: bool, tty: bool) -> None:
    """A container with a terminal cannot be fed from something that is none (termios(3): there would be no raw mode)."""
    if attach_stdin and tty and not os.isatty(0):
        raise CliError("the input device is not a TTY")


class RawMode:
    """Put the terminal on stdin into raw mode (termios(3), `cfmakeraw`), so that every key reaches the program; restore it at the end."""

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._saved: list[Any] | None = None

    def __enter__(self) -> "RawMode":
        if os.isatty(self._fd):
            saved = termios.tcgetattr(self._fd)
            iflag, oflag, cflag, lflag, ispeed, ospeed, chars = saved
            iflag &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP)
            iflag &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
            oflag &= ~termios.OPOST
            lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
            cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            chars = list(chars)
            chars[termios.VMIN], chars[termios.VTIME] = 1, 0
            termios.tcsetattr(self._fd, termios.TCSADRAIN, [iflag, oflag, cflag, lflag, ispeed, ospeed, chars])
            self._saved = saved
        return self

    def __exit__(self, *_: object) -> None:
        if self._saved is not None:
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)
            except termios.error:  # it was hung up
                pass
            self._saved = None


def key_bytes(text: str) -> bytes:
    """The bytes of a comma separated list of keys, each one character or `ctrl-` with a letter or one of `@[\\]^_`."""
    result = bytearray()
    for key in text.split(","):
        if len(key) == 1:
            result += key.encode()
        elif len(key) == 6 and key.startswith("ctrl-") and key[5] in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            result.append(ord(key[5].upper()) & 0x1F)
        else:
            raise CliError(f'invalid detach keys ({text}): unknown character: "{key}"')
    return bytes(result)


class DetachWatch:
    """Remembers whether the last keys typed were the detach keys. The daemon acts on them; the CLI must tell a detach from an end."""

    def __init__(self, keys: str) -> None:
        self.keys = key_bytes(keys or DEFAULT_KEYS)
        self._tail = b""

    def feed(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-len(self.keys) :]

    @property
    def typed(self) -> bool:
        return self._tail == self.keys
