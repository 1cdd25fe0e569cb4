"""Pseudo terminals by descriptor; ioctl_tty(2), pty(7)."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

TIOCGPTPEER, TIOCSPTLCK = 0x5441, 0x40045431


def peer(master: int) -> int:
    """The slave of a pty master, opened without any path (R3); Linux 4.13. Unlocks it first."""
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    return fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """TIOCSWINSZ; the foreground process group gets SIGWINCH."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def make_controlling(fd: int) -> None:
    """Makes a terminal the controlling one of this session leader; TIOCSCTTY."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
