"""The C library, errno and raw system calls. Every wrapper of this room raises OSError with the call and its object."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any, NoReturn

libc = ctypes.CDLL(None, use_errno=True)
# Holds the GIL during the call: for calls that are quick, or that must not let another thread run (clone3).
pylibc = ctypes.PyDLL(None, use_errno=True)

_syscall = pylibc.syscall
_syscall.restype = ctypes.c_long
_syscall_nogil = libc.syscall
_syscall_nogil.restype = ctypes.c_long

MACHINE = platform.machine() if not hasattr(os, "uname") else os.uname().machine
X86_64 = MACHINE == "x86_64"


def raise_errno(call: str, what: object = "") -> NoReturn:
    """OSError of the current errno, naming the call and what it was called on."""
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}", str(what)) if what != "" else OSError(number, f"{call}: {os.strerror(number)}")


def check(result: int, call: str, what: object = "") -> int:
    """`result`, or OSError where it is negative."""
    if result < 0:
        raise_errno(call, what)
    return result


def syscall(number: int, *args: Any) -> int:
    """A raw system call, syscall(2), with the GIL held: -1 and errno as in C. Pass pointers as ctypes objects or bytes."""
    return int(_syscall(ctypes.c_long(number), *args))


def syscall_nogil(number: int, *args: Any) -> int:
    """A raw system call with the GIL released: for calls that may wait in the kernel."""
    return int(_syscall_nogil(ctypes.c_long(number), *args))
