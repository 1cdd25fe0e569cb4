"""eBPF, as far as a cgroup's device program needs it: a few instructions, load, attach, replace. bpf(2), include/uapi/linux/bpf.h."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from typing import NamedTuple

from wherry.linux.libc import X86_64, check, syscall_nogil

SYS_BPF = 321 if X86_64 else 280

CMD_PROG_LOAD, CMD_PROG_ATTACH, CMD_PROG_GET_FD_BY_ID, CMD_PROG_QUERY = 5, 8, 13, 16
PROG_TYPE_CGROUP_DEVICE = 15
ATTACH_CGROUP_DEVICE = 6
F_ALLOW_MULTI, F_REPLACE = 2, 4

DEVCG_BLOCK, DEVCG_CHAR = 1, 2
DEVCG_MKNOD, DEVCG_READ, DEVCG_WRITE = 1, 2, 4
ACCESS_BITS = {"m": DEVCG_MKNOD, "r": DEVCG_READ, "w": DEVCG_WRITE}

_MAX_PROGRAMS = 64
"""The kernel's BPF_CGROUP_MAX_PROGS: more can not be attached to one cgroup."""


class DeviceRule(NamedTuple):
    """An exception to the default: `kind` DEVCG_BLOCK or DEVCG_CHAR, numbers (-1: any), `access` a mask of DEVCG_*."""

    kind: int
    major: int
    minor: int
    access: int


def insn(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """One instruction (struct bpf_insn), for a little-endian machine."""
    return struct.pack("<BBhi", code, src << 4 | dst, off, imm)


LDX_W, MOV_K, MOV_X, AND32_K, RSH32_K, JNE_K, JSET_K, JA, EXIT = 0x61, 0xB7, 0xBF, 0x54, 0x74, 0x55, 0x45, 0x05, 0x95
R0, CTX, KIND, ACCESS, MAJOR, MINOR = range(6)


def device_program(default_allow: bool, exceptions: Iterable[DeviceRule]) -> bytes:
    """The program that says 1 (allowed) or 0 (EPERM) for one access.

    Its context is struct bpf_cgroup_dev_ctx { u32 access_type = access << 16 | kind; u32 major; u32 minor; }. Like the v1 controller: where the
    default is "deny", an exception must cover every bit that is asked for; where it is "allow", one common bit is enough to refuse."""
    program = [
        insn(LDX_W, KIND, CTX, 0),
        insn(MOV_X, ACCESS, KIND),
        insn(AND32_K, KIND, imm=0xFFFF),
        insn(RSH32_K, ACCESS, imm=16),
        insn(LDX_W, MAJOR, CTX, 4),
        insn(LDX_W, MINOR, CTX, 8),
    ]
    for rule in exceptions:
        program += _exception(rule, default_allow)
    return b"".join([*program, insn(MOV_K, R0, imm=int(default_allow)), insn(EXIT)])


def _exception(rule: DeviceRule, default_allow: bool) -> list[bytes]:
    """Tests that jump behind the block when the exception does not match, then its verdict."""
    tests: list[tuple[int, int, int]] = [(JNE_K, KIND, rule.kind)]
    if rule.major >= 0:
        tests.append((JNE_K, MAJOR, rule.major))
    if rule.minor >= 0:
        tests.append((JNE_K, MINOR, rule.minor))
    verdict = [insn(MOV_K, R0, imm=int(not default_allow)), insn(EXIT)]
    if default_allow:
        access = [insn(JSET_K, ACCESS, off=1, imm=rule.access), insn(JA, off=len(verdict))]
    else:
        uncovered = 7 & ~rule.access
        access = [insn(JSET_K, ACCESS, off=len(verdict), imm=uncovered)] if uncovered else []
    rest = len(access) + len(verdict)
    compare = [insn(code, register, off=len(tests) - 1 - i + rest, imm=value) for i, (code, register, value) in enumerate(tests)]
    return [*compare, *access, *verdict]


def _bpf(command: int, attributes: ctypes.Array[ctypes.c_char], what: str) -> int:
    return check(syscall_nogil(SYS_BPF, ctypes.c_int(command), attributes, ctypes.c_uint(len(attributes))), f"bpf {what}")


def _attributes(layout: str, *values: int) -> ctypes.Array[ctypes.c_char]:
    """A union bpf_attr with these leading members; the rest is zero."""
    raw = struct.pack(layout, *values)
    return ctypes.create_string_buffer(raw.ljust(128, b"\0"), 128)


def load_device_program(program: bytes) -> int:
    """A descriptor of the verified program. The verifier's words are in the error when it refuses."""
    code, license_ = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"Apache-2.0")
    head = (PROG_TYPE_CGROUP_DEVICE, len(program) // 8, ctypes.addressof(code), ctypes.addressof(license_))
    try:
        return _bpf(CMD_PROG_LOAD, _attributes("<IIQQ", *head), "load device program")
    except OSError as err:
        log = ctypes.create_string_buffer(1 << 16)
        try:
            return _bpf(CMD_PROG_LOAD, _attributes("<IIQQIIQ", *head, 1, len(log), ctypes.addressof(log)), "load device program")
        except OSError:
            said = log.value.decode(errors="replace").strip().splitlines()
            raise OSError(err.errno, f"{err.strerror} ({'; '.join(said[-3:])})" if said else err.strerror) from None


def attach_device(cgroup_fd: int, program_fd: int, replace_fd: int = -1) -> None:
    """Attach to a cgroup directory, beside what others attached (all must allow), or in place of the program `replace_fd` (Linux 5.6)."""
    flags, old = (F_ALLOW_MULTI, 0) if replace_fd < 0 else (F_ALLOW_MULTI | F_REPLACE, replace_fd)
    _bpf(CMD_PROG_ATTACH, _attributes("<IIIII", cgroup_fd, program_fd, ATTACH_CGROUP_DEVICE, flags, old), "attach device program")


def attached_devices(cgroup_fd: int) -> list[int]:
    """Descriptors of the device programs attached to this very cgroup; the caller closes them."""
    ids = (ctypes.c_uint32 * _MAX_PROGRAMS)()
    attributes = _attributes("<IIIIQI", cgroup_fd, ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), _MAX_PROGRAMS)
    _bpf(CMD_PROG_QUERY, attributes, "query device programs")
    (count,) = struct.unpack_from("<I", attributes.raw, 24)
    return [_bpf(CMD_PROG_GET_FD_BY_ID, _attributes("<I", ids[i]), "open device program") for i in range(count)]
