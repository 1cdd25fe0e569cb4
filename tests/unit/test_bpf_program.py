"""The device program, run by a tiny interpreter of the instructions it uses: what it says about each access."""

import struct

import pytest

from wherry.linux import bpf

READ, WRITE, MKNOD = bpf.DEVCG_READ, bpf.DEVCG_WRITE, bpf.DEVCG_MKNOD


def run(program: bytes, kind: int, access: int, major: int, minor: int) -> int:
    context = struct.pack("<III", access << 16 | kind, major, minor)
    registers, at = [0] * 11, 0
    while True:
        code, both, off, imm = struct.unpack_from("<BBhi", program, at * 8)
        dst, src = both & 15, both >> 4
        at += 1
        match code:
            case bpf.LDX_W:
                (registers[dst],) = struct.unpack_from("<I", context, off)
            case bpf.MOV_K:
                registers[dst] = imm
            case bpf.MOV_X:
                registers[dst] = registers[src]
            case bpf.AND32_K:
                registers[dst] &= imm
            case bpf.RSH32_K:
                registers[dst] >>= imm
            case bpf.JNE_K:
                at += off if registers[dst] != imm else 0
            case bpf.JSET_K:
                at += off if registers[dst] & imm else 0
            case bpf.JA:
                at += off
            case bpf.EXIT:
                return registers[0]
            case _:
                raise AssertionError(hex(code))


def test_default_deny_needs_one_exception_that_covers_all() -> None:
    program = bpf.device_program(False, [
        bpf.DeviceRule(bpf.DEVCG_CHAR, -1, -1, MKNOD),
        bpf.DeviceRule(bpf.DEVCG_CHAR, 1, 3, READ | WRITE | MKNOD),
        bpf.DeviceRule(bpf.DEVCG_CHAR, 136, -1, READ | WRITE),
        bpf.DeviceRule(bpf.DEVCG_BLOCK, 8, 0, READ),
    ])  # fmt: skip
    assert run(program, bpf.DEVCG_CHAR, READ | WRITE, 1, 3) == 1
    assert run(program, bpf.DEVCG_CHAR, READ, 1, 5) == 0
    assert run(program, bpf.DEVCG_CHAR, MKNOD, 1, 1) == 1
    assert run(program, bpf.DEVCG_BLOCK, MKNOD, 1, 1) == 0
    assert run(program, bpf.DEVCG_CHAR, READ, 136, 77) == 1
    assert run(program, bpf.DEVCG_CHAR, READ | MKNOD, 136, 77) == 0
    assert run(program, bpf.DEVCG_BLOCK, READ, 8, 0) == 1
    assert run(program, bpf.DEVCG_BLOCK, READ | WRITE, 8, 0) == 0
    assert run(program, bpf.DEVCG_CHAR, READ, 8, 0) == 0


def test_default_allow_refuses_any_common_bit() -> None:
    program = bpf.device_program(True, [bpf.DeviceRule(bpf.DEVCG_BLOCK, 8, -1, WRITE)])
    assert run(program, bpf.DEVCG_BLOCK, READ, 8, 1) == 1
    assert run(program, bpf.DEVCG_BLOCK, READ | WRITE, 8, 1) == 0
    assert run(program, bpf.DEVCG_BLOCK, WRITE, 9, 1) == 1
    assert run(program, bpf.DEVCG_CHAR, WRITE, 8, 1) == 1


@pytest.mark.parametrize("allow", [False, True])
def test_without_exceptions_the_default_stands(allow: bool) -> None:
    assert run(bpf.device_program(allow, []), bpf.DEVCG_CHAR, READ, 1, 3) == allow
