"""Names of the host inside a UTS namespace, session keyrings, and the filter of system calls: what a thread sets about itself once."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct

from wherry.linux.libc import MACHINE, X86_64, check, pylibc, syscall

_RESETTABLE = tuple(int(number) for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP))
SYS_KEYCTL = 250 if MACHINE == "x86_64" else 219
SYS_SECCOMP = 317 if MACHINE == "x86_64" else 277
KEYCTL_JOIN_SESSION_KEYRING = 1
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4


def sethostname(name: str) -> None:
    """sethostname(2)."""
    raw = os.fsencode(name)
    check(pylibc.sethostname(raw, ctypes.c_size_t(len(raw))), "sethostname", name)


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    raw = os.fsencode(name)
    check(pylibc.setdomainname(raw, ctypes.c_size_t(len(raw))), "setdomainname", name)


def join_new_keyring() -> None:
    """A new, empty session keyring for this process, so that no key of the host's session is reachable from it; keyctl(2).

    A kernel without keyrings has none to hide; one whose quota is used up gives an error."""
    try:
        check(syscall(SYS_KEYCTL, ctypes.c_int(KEYCTL_JOIN_SESSION_KEYRING), None), "keyctl(KEYCTL_JOIN_SESSION_KEYRING)")
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise


# glibc keeps 32 and 33 for itself, and signal(3) refuses them; a parent may have left them ignored all the same.
_OF_GLIBC = (32, 33)
SYS_RT_SIGACTION = 13 if X86_64 else 134
_DEFAULT_ACTION = ctypes.create_string_buffer(32)  # struct kernel_sigaction of zeros: SIG_DFL, no flags, empty mask


def reset_signals() -> None:
    """Every signal gets its default disposition; signal(2). Behind Python's back, whose own table no longer counts: execve follows.

    `signal.signal` for each of them costs three times as much."""
    set_default = pylibc.signal
    for number in _RESETTABLE:
        set_default(number, None)
    for number in _OF_GLIBC:
        check(syscall(SYS_RT_SIGACTION, ctypes.c_int(number), _DEFAULT_ACTION, None, ctypes.c_size_t(8)), "rt_sigaction", number)


class _Program(ctypes.Structure):
    """struct sock_fprog, seccomp(2)."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def load_seccomp(program: bytes, flags: int = SECCOMP_FILTER_FLAG_SPEC_ALLOW) -> None:
    """Put this thread under a BPF program (an array of struct sock_filter); seccomp(2).

    Needs no_new_privs or CAP_SYS_ADMIN. From here on every system call goes through it. By default the processor's mitigation of
    speculative store bypass, which a filter would turn on and which costs every program dearly, is left as it is (Linux 4.17)."""
    size = struct.calcsize("HBBI")
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = _Program(len(program) // size, ctypes.addressof(buffer))
    done = syscall(SYS_SECCOMP, ctypes.c_uint(SECCOMP_SET_MODE_FILTER), ctypes.c_uint(flags), ctypes.byref(fprog))
    check(done, "seccomp")
