"""What a program finds inside: which system calls are refused, its capabilities, signals, descriptors, environment. Recorded from Docker 28.5."""

import json
from typing import Any

import pytest

from harness.cli import Cli

#: Numbers of x86-64. With nonsense for arguments a call that passes the filter fails otherwise than with EPERM.
LET_THROUGH = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "adjtimex": 159, "name_to_handle_at": 303, "memfd_create": 319,
    "pidfd_open": 434, "pidfd_send_signal": 424, "close_range": 436, "openat2": 437, "faccessat2": 439, "epoll_pwait2": 441,
    "landlock_create_ruleset": 444, "futex_waitv": 449, "cachestat": 451, "fchmodat2": 452, "seccomp": 317, "membarrier": 324, "rseq": 334,
    "copy_file_range": 326, "statx": 332, "pkey_alloc": 330, "vmsplice": 278, "remap_file_pages": 216, "modify_ldt": 154, "semget": 64,
    "mq_open": 240, "sched_setattr": 314, "inotify_init1": 294, "signalfd4": 289, "process_mrelease": 448, "preadv2": 327,
}  # fmt: skip
REFUSED = {
    "_sysctl": 156, "acct": 163, "add_key": 248, "bpf": 321, "clock_settime": 227, "delete_module": 176, "fanotify_init": 300,
    "finit_module": 313, "fsconfig": 431, "fsmount": 432, "fsopen": 430, "fspick": 433, "get_mempolicy": 239, "init_module": 175,
    "io_uring_enter": 426, "io_uring_register": 427, "io_uring_setup": 425, "ioperm": 173, "iopl": 172, "kcmp": 312, "kexec_file_load": 320,
    "kexec_load": 246, "keyctl": 250, "lookup_dcookie": 212, "mbind": 237, "migrate_pages": 256, "mount": 165, "mount_setattr": 442,
    "move_mount": 429, "move_pages": 279, "nfsservctl": 180, "open_by_handle_at": 304, "open_tree": 428, "perf_event_open": 298,
    "personality": 135, "pidfd_getfd": 438, "pivot_root": 155, "process_madvise": 440, "quotactl": 179, "request_key": 249,
    "set_mempolicy": 238, "set_mempolicy_home_node": 450, "setdomainname": 171, "sethostname": 170, "setns": 308, "settimeofday": 164,
    "swapoff": 168, "swapon": 167, "sysfs": 139, "syslog": 103, "umount2": 166, "unshare": 272, "uselib": 134, "userfaultfd": 323, "ustat": 136,
}  # fmt: skip
OF_SYS_ADMIN = {
    "bpf", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount", "mount_setattr", "move_mount", "open_tree",
    "perf_event_open", "quotactl", "setdomainname", "sethostname", "setns", "umount2", "unshare",
}  # fmt: skip
OF_OTHERS = {
    "SYS_PACCT": {"acct"}, "BPF": {"bpf"}, "PERFMON": {"perf_event_open"}, "SYS_TIME": {"clock_settime", "settimeofday"},
    "SYS_MODULE": {"delete_module", "finit_module", "init_module"}, "SYS_RAWIO": {"ioperm", "iopl"}, "SYSLOG": {"syslog"},
    "SYS_NICE": {"get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"}, "DAC_READ_SEARCH": {"open_by_handle_at"},
    "SYS_PTRACE": {"kcmp", "pidfd_getfd", "process_madvise"},
}  # fmt: skip
#: AF_VSOCK as in Docker; AF_ALG is ours: its part of the kernel has written to read-only files (CVE-2026-31431).
FAMILIES = [38, 40]

PROBE = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def refused(number, *args):
    pid = os.fork()
    if pid == 0:
        os._exit(libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, args)) == -1 and ctypes.get_errno() == 1)
    return os.waitpid(pid, 0)[1] == 256
calls = json.loads(sys.argv[1])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
keys = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Umask", "SigBlk", "SigIgn", "Uid", "Gid", "Groups")
print(json.dumps({
    "refused": [name for name, number in calls.items() if refused(number, *[-1] * 6)],
    "families": [family for family in range(46) if refused(41, family, 3 if family in (16, 17) else 2, 0)],
    "status": [" ".join(status[key].split()) for key in keys], "fds": sorted(os.listdir("/proc/self/fd")),
    "env": sorted(k for k in os.environ if k != "LC_CTYPE"), "home": os.environ["HOME"], "dumpable": libc.prctl(3, 0, 0, 0, 0),
}))
"""


def probe(one: Cli, *args: str, verb: tuple[str, ...] = ("run", "--rm")) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(one(*verb, *args, "python3", "-c", PROBE, json.dumps(REFUSED | LET_THROUGH)).out)
    assert (found["fds"], found["env"], found["dumpable"]) == (["0", "1", "2", "3"], ["HOME", "HOSTNAME", "PATH"], 1)
    return found


CAPS = "00000000a80425fb"
NONE = "0000000000000000"


@pytest.mark.parametrize(("args", "permitted", "bounding", "no_new", "ids"), [
    ((), CAPS, CAPS, "0", ("0 0 0 0", "0 0 0 0", "0")),
    (("-u", "1000:1000"), NONE, CAPS, "0", ("1000 1000 1000 1000", "1000 1000 1000 1000", "1000")),
    (("--security-opt", "no-new-privileges"), CAPS, CAPS, "1", ("0 0 0 0", "0 0 0 0", "0")),
    (("--cap-drop", "ALL"), NONE, NONE, "0", ("0 0 0 0", "0 0 0 0", "0")),
])  # fmt: skip
def test_run(one: Cli, args: tuple[str, ...], permitted: str, bounding: str, no_new: str, ids: tuple[str, str, str]) -> None:
    found = probe(one, *args, "debian")
    assert set(found["refused"]) == set(REFUSED)
    assert found["status"] == [NONE, permitted, permitted, bounding, NONE, no_new, "2", "0022", NONE, "0000000001001000", *ids]
    without_caps = {17, 44} if permitted == NONE else set()  # raw packets, AF_XDP: the kernel's own refusal
    assert set(found["families"]) == {*FAMILIES, *without_caps}
    assert found["home"] == ("/" if "-u" in args else "/root")


def test_capabilities_open_their_calls(one: Cli) -> None:
    assert set(probe(one, "--cap-add", "SYS_ADMIN", "debian")["refused"]) == set(REFUSED) - OF_SYS_ADMIN
    added = [word for name in OF_OTHERS for word in ("--cap-add", name)]
    assert set(probe(one, *added, "debian")["refused"]) == set(REFUSED) - set().union(*OF_OTHERS.values())


def test_exec(one: Cli, name: str) -> None:
    one("run", "-d", "--name", name, "debian", "sleep", "600")
    found = probe(one, name, verb=("exec",))
    assert set(found["refused"]) == set(REFUSED) and found["status"][1:4] == [CAPS] * 3 and found["status"][5:8] == ["0", "2", "0022"]
    found = probe(one, "-u", "1000", name, verb=("exec",))
    assert set(found["refused"]) == set(REFUSED) and found["status"][1:4] == [NONE, NONE, CAPS]
    assert set(probe(one, "--privileged", name, verb=("exec",))["refused"]) == set(REFUSED)


def test_cgroups_and_sysctls_are_read_only(one: Cli) -> None:
    script = "for d in /sys/fs/cgroup /sys/fs/cgroup/memory /sys/fs/cgroup/pids; do mkdir $d/x && echo made $d; done; echo 1 >/proc/sys/kernel/panic"
    result = one("run", "--rm", "busybox", "sh", "-c", script, code=1)
    assert result.out == "" and result.err.count("Read-only file system") >= 3
