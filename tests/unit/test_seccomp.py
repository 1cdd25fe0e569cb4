"""Profiles to BPF: a small BPF machine here runs the program, so that each rule is asked and not just counted."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from wherry.execdriver import seccomp
from wherry.linux import capability
from wherry.linux import seccomp as lib
from wherry.model.errors import InvalidArgument, Unimplemented

X86_64, X86 = 0xC000003E, 0x40000003
NEEDS = pytest.mark.skipif(lib.native_arch() != X86_64, reason="numbers are those of x86_64")
DEFAULT = capability.DEFAULT_CAPABILITIES
EPERM, ENOSYS, ALLOWED = lib.ERRNO | 1, lib.ERRNO | 38, lib.ALLOW


def run(program: bytes, number: int, args: tuple[int, ...] = (), arch: int = X86_64) -> int:
    """What the filter answers: classic BPF over struct seccomp_data; seccomp(2)."""
    data = struct.pack("=iIQ6Q", number, arch, 0, *args, *[0] * (6 - len(args)))
    code = list(struct.iter_unpack("=HBBI", program))
    acc, at = 0, 0
    while True:
        op, jt, jf, k = code[at]
        at += 1
        if op == 0x20:
            (acc,) = struct.unpack_from("=I", data, k)
        elif op == 0x06:
            return int(k)
        elif op == 0x54:
            acc &= k
        elif op == 0x05:
            at += k
        else:
            taken = {0x15: acc == k, 0x25: acc > k, 0x35: acc >= k, 0x45: bool(acc & k)}[op]
            at += jt if taken else jf


def number(name: str, arch: int = X86_64) -> int:
    found = lib.syscall_number(name, arch)
    assert found is not None, name
    return found


@pytest.fixture(scope="module")
def default() -> bytes:
    return seccomp.build(seccomp.default_profile(), DEFAULT)


@NEEDS
@pytest.mark.parametrize(
    "name", ["read", "write", "openat", "execve", "futex", "ptrace", "chroot", "epoll_wait", "setuid", "capset", "prctl", "clock_gettime"]
)
def test_everyday_calls_are_allowed(default: bytes, name: str) -> None:
    assert run(default, number(name)) == ALLOWED


@NEEDS
@pytest.mark.parametrize("name", [
    "mount", "umount2", "unshare", "setns", "bpf", "fsopen", "open_tree", "move_mount", "mount_setattr", "keyctl", "add_key", "request_key",
    "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "perf_event_open", "kexec_load", "init_module",
    "open_by_handle_at", "pivot_root", "reboot", "swapon", "iopl", "quotactl", "settimeofday", "mbind",
])  # fmt: skip
def test_the_kernels_dangerous_surface_is_refused(default: bytes, name: str) -> None:
    assert run(default, number(name)) == EPERM


@NEEDS
def test_clone3_is_enosys_and_clone_refuses_namespaces(default: bytes) -> None:
    assert run(default, number("clone3")) == ENOSYS
    assert run(default, number("clone"), (0x1200011,)) == ALLOWED
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert run(default, number("clone"), (flag | 17,)) == EPERM


@NEEDS
def test_a_call_younger_than_the_profile_is_enosys_on_every_architecture(default: bytes) -> None:
    assert run(default, 9999) == ENOSYS
    assert run(default, 9999, arch=X86) == ENOSYS
    assert run(default, number("read", X86), arch=X86) == ALLOWED
    assert run(default, number("unshare", X86), arch=X86) == EPERM
    assert run(default, number("read") | 0x40000000) == ALLOWED  # x32


@NEEDS
def test_socket_families_by_range_compared_whole(default: bytes) -> None:
    call = number("socket")
    allowed = {family for family in range(64) if run(default, call, (family, 1, 0)) == ALLOWED}
    assert allowed == set(range(46)) - {38, 40}
    # The kernel would take only the lower half of the register.
    assert run(default, call, (1 << 32 | 38, 1, 0)) == EPERM
    assert run(default, call, (1 << 32 | 40, 1, 0)) == EPERM


@NEEDS
def test_personality_values(default: bytes) -> None:
    assert [run(default, number("personality"), (value,)) for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 0x40000)] == [ALLOWED] * 5 + [EPERM]


_READ = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", %s}]}'


@NEEDS
@pytest.mark.parametrize(("cap", "names"), [
    ("SYS_ADMIN", ["mount", "umount2", "unshare", "setns", "bpf", "fsopen", "clone3", "sethostname"]), ("SYS_PTRACE", ["kcmp", "pidfd_getfd"]),
    ("SYS_MODULE", ["init_module"]), ("SYS_TIME", ["settimeofday"]), ("DAC_READ_SEARCH", ["open_by_handle_at"]), ("BPF", ["bpf"]),
    ("SYSLOG", ["syslog"]), ("SYS_BOOT", ["reboot"]), ("SYS_NICE", ["mbind"]), ("PERFMON", ["perf_event_open"]),
    ("SYS_RAWIO", ["iopl"]), ("SYS_PACCT", ["acct"]),
])  # fmt: skip
def test_a_capability_opens_its_calls(cap: str, names: list[str]) -> None:
    program = seccomp.build(seccomp.default_profile(), DEFAULT | capability.BITS[cap])
    assert [run(program, number(name)) for name in names] == [ALLOWED] * len(names)
    if cap == "SYS_ADMIN":
        assert run(program, number("clone"), (0x10000000,)) == ALLOWED


@NEEDS
def test_chroot_goes_with_its_capability() -> None:
    program = seccomp.build(seccomp.default_profile(), DEFAULT & ~capability.BITS["SYS_CHROOT"])
    assert run(program, number("chroot")) == EPERM


@NEEDS
def test_a_users_profile_with_actions_errnos_and_repeated_arguments() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"name": "mkdir", "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["kill", "nosuchcall"], "action": "SCMP_ACT_KILL_PROCESS", "args": [
                {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 15, "op": "SCMP_CMP_EQ"}]},
            {"names": ["getpid"], "action": "SCMP_ACT_ALLOW"},
        ],
    }  # fmt: skip
    program = seccomp.build(json.dumps(profile).encode(), DEFAULT)
    assert run(program, number("mkdir")) == lib.ERRNO | 28
    assert [run(program, number("kill"), (1, sig)) for sig in (9, 15, 1)] == [lib.KILL_PROCESS, lib.KILL_PROCESS, ALLOWED]
    assert run(program, 9999) == ALLOWED


@pytest.mark.parametrize("profile", [
    b"not json", b"[]", b"{}", b'{"defaultAction": "ALLOW"}', b'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {"a": 1}}',
    b'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_ERRNO"}]}',
    b'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_X"}]}',
    b'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "name": "write", "action": "SCMP_ACT_ERRNO"}]}',
    (_READ % '"args": [{"index": 6, "op": "SCMP_CMP_EQ"}]').encode(),
    (_READ % '"args": [{"index": 0, "op": "=="}]').encode(),
    (_READ % '"includes": {"caps": ["CAP_X"]}').encode(),
    (_READ % '"includes": {"minKernel": "x"}').encode(),
    b'{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86"], "syscalls": []}',
])  # fmt: skip
def test_malformed_profiles_are_refused(profile: bytes) -> None:
    with pytest.raises(InvalidArgument):
        seccomp.build(profile, DEFAULT)


def test_what_is_not_built_says_so() -> None:
    with pytest.raises(Unimplemented):
        seccomp.build(b'{"defaultAction": "SCMP_ACT_NOTIFY"}', DEFAULT)
    with pytest.raises(Unimplemented):
        seccomp.build(b'{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}', DEFAULT)


def test_the_cache_is_keyed_by_all_that_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = seccomp.ProfileCache(tmp_path / "kept").program(None, DEFAULT)
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.read_bytes() == first and kept.name == seccomp.cache_key(seccomp.default_profile(), DEFAULT)
    with monkeypatch.context() as patch:
        patch.setattr(seccomp, "build", lambda *_: pytest.fail("compiled although kept"))
        again = seccomp.ProfileCache(tmp_path / "kept")
        assert again.program(None, DEFAULT) == first and again.program(seccomp.default_profile().decode(), DEFAULT) == first
    keys = {seccomp.cache_key(seccomp.default_profile(), DEFAULT), seccomp.cache_key(seccomp.default_profile() + b" ", DEFAULT),
            seccomp.cache_key(seccomp.default_profile(), 0)}  # fmt: skip
    monkeypatch.setattr(lib, "version", lambda: "9.9.9")
    assert len(keys | {seccomp.cache_key(seccomp.default_profile(), DEFAULT)}) == 4
