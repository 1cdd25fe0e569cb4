"""libseccomp: rules in, a BPF program out. Loading a program is `session.load_seccomp`. seccomp_init(3), seccomp_rule_add(3).

Only wherryd loads the library; the init gets the finished program.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from functools import cache
from types import TracebackType
from typing import NamedTuple

from wherry.model.errors import Unavailable

KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, TRACE, LOG, ALLOW = 0x80000000, 0, 0x30000, 0x50000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
OPERATORS = {"SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7}
ARCH_X86_64, ARCH_X32 = 0xC000003E, 0x4000003E
_UNKNOWN_SYSCALL = -1  # __NR_SCMP_ERROR
_ATTR_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE: 2 is a binary tree instead of a list


class Comparison(NamedTuple):
    """One condition on `argument`: `operator` of OPERATORS, with MASKED_EQ `(argument & value) == second`."""

    argument: int
    operator: int
    value: int
    second: int = 0


class _ArgCmp(ctypes.Structure):
    """struct scmp_arg_cmp, seccomp_rule_add(3)."""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class _Version(ctypes.Structure):
    """struct scmp_version, seccomp_version(3)."""

    _fields_ = [("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint)]


@cache
def _library() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise Unavailable(f"libseccomp is needed for seccomp profiles (Debian: libseccomp2): {error}") from None
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = (ctypes.c_uint32,)
    lib.seccomp_release.argtypes = (ctypes.c_void_p,)
    lib.seccomp_release.restype = None
    lib.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    lib.seccomp_arch_native.restype = ctypes.c_uint32
    lib.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    lib.seccomp_arch_resolve_name.argtypes = (ctypes.c_char_p,)
    lib.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    lib.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    lib.seccomp_syscall_resolve_name_arch.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    lib.seccomp_rule_add_array.argtypes = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
    lib.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    lib.seccomp_version.restype = ctypes.POINTER(_Version)
    return lib


def _check(result: int, call: str, what: object) -> None:
    # libseccomp returns negative errno values.
    if result < 0:
        raise OSError(-result, f"{call}: {os.strerror(-result)}", str(what))


def version() -> str:
    """The library's version, as in `2.5.4`."""
    found = _library().seccomp_version().contents
    return f"{found.major}.{found.minor}.{found.micro}"


def native_arch() -> int:
    """The token (AUDIT_ARCH_*) of this machine."""
    return int(_library().seccomp_arch_native())


def arch_token(name: str) -> int | None:
    """The token of `x86_64`, `x86`, `x32`, `aarch64`, `arm` ...; None for a name that the library does not know."""
    return int(_library().seccomp_arch_resolve_name(name.encode())) or None


def syscall_number(name: str, arch: int) -> int | None:
    """The number of a system call on one architecture; None where it has none."""
    number = int(_library().seccomp_syscall_resolve_name_arch(arch, name.encode()))
    return number if number >= 0 else None


class Filter:
    """A filter under construction, for the native architecture; a context manager."""

    def __init__(self, default_action: int) -> None:
        self._lib = _library()
        self._context = self._lib.seccomp_init(default_action)
        if not self._context:
            raise OSError(errno.EINVAL, "seccomp_init: invalid default action", f"0x{default_action:x}")
        self._lib.seccomp_attr_set(self._context, _ATTR_OPTIMIZE, 2)
        self.default_action = default_action
        self.architectures = [native_arch()]

    def __enter__(self) -> Filter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._lib.seccomp_release(self._context)

    def add_arch(self, token: int) -> None:
        """Also filter this architecture. Before the rules."""
        done = self._lib.seccomp_arch_add(self._context, token)
        if done != -errno.EEXIST:
            _check(done, "seccomp_arch_add", f"0x{token:x}")
            self.architectures.append(token)

    def add_rule(self, action: int, name: str, conditions: Sequence[Comparison] = ()) -> bool:
        """`action` for the system call `name` where all conditions hold (each on another argument). False where neither this machine nor
        the library knows the name."""
        number = self._lib.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_SYSCALL:
            return False
        array = (_ArgCmp * len(conditions))(*(_ArgCmp(*one) for one in conditions))
        _check(self._lib.seccomp_rule_add_array(self._context, action, number, len(conditions), array), "seccomp_rule_add", name)
        return True

    def export(self) -> bytes:
        """The BPF program: an array of struct sock_filter."""
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            _check(self._lib.seccomp_export_bpf(self._context, fd), "seccomp_export_bpf", "")
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)


_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, k
_LOAD, _JUMP_EQ, _JUMP_GT, _JUMP_GE, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
_NR, _ARCH = 0, 4  # offsets in struct seccomp_data
_X32_BIT = 0x40000000


def unknown_is_enosys(program: bytes, newest: dict[int, int]) -> bytes:
    """`program` with a preface: numbers above `newest[architecture]` give ENOSYS.

    A system call younger than the profile must look like one that the kernel does not have, so that a C library falls back to the older
    one; EPERM would be taken for the answer."""
    preface = b""
    for arch, number in newest.items():
        if arch == ARCH_X32:
            continue  # shares its token with x86_64; its numbers have their own bit
        block = [(_LOAD, 0, 0, _NR)]
        if arch == ARCH_X86_64:
            block.append((_JUMP_GE, 2, 0, _X32_BIT))
        block += [(_JUMP_GT, 0, 1, number), (_RETURN, 0, 0, ERRNO | errno.ENOSYS)]
        block = [(_LOAD, 0, 0, _ARCH), (_JUMP_EQ, 0, len(block), arch), *block]
        preface += b"".join(_INSTRUCTION.pack(*one) for one in block)
    return preface + program
