"""One permanent hostile test for each failure of other engines that the init must not repeat, named by its CVE (security.md tells the stories)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.execdriver import seccomp
from wherry.init import audit, procfs
from wherry.linux import capability
from wherry.linux import mount as mounts
from wherry.linux.libc import X86_64, syscall
from wherry.model.command import Capabilities, Command, Device, Mount

sys.path.insert(0, str(Path(__file__).parents[1]))
from inithelp import Result, busybox_rootfs, plain_command, run_init, tree

SYS_RENAMEAT2, RENAME_EXCHANGE, AT_FDCWD = 316 if X86_64 else 276, 2, ctypes.c_int(-100)
DEFAULT = capability.DEFAULT_CAPABILITIES


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    return busybox_rootfs(tmp_path / "rootfs")


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that must stay as it is."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "secret").write_text("secret\n")
    yield directory
    assert sorted(p.name for p in directory.iterdir()) == ["secret"]
    assert (directory / "secret").read_text() == "secret\n"


def shell(rootfs: Path, script: str, **changes: object) -> Result:
    return run_init(plain_command(["sh", "-c", script], **changes), [tree(rootfs)])


def with_mounts(argv: list[str], *extra: Mount, **changes: object) -> Command:
    command = plain_command(argv, **changes)
    return command._replace(mounts=[*command.mounts, *extra])


# Mount targets


@pytest.mark.parametrize("target", ["/proc", "/proc/self", "/proc/sys", "/proc/1/attr", "/proc/../proc"])
def test_cve_2019_16884_no_volume_over_proc(rootfs: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "v").mkdir()
    result = run_init(with_mounts(["true"], Mount("bind", target, 1)), [tree(rootfs), tree(tmp_path / "v")])
    assert result.failed is not None and "inside /proc" in result.failed.message, result
    file = tmp_path / "file"
    file.write_text("fake\n")
    allowed = run_init(with_mounts(["cat", "/proc/meminfo"], Mount("bind", "/proc/meminfo", 1, is_dir=False)), [tree(rootfs), tree(file)])
    assert allowed.out == "fake\n"
    other = run_init(with_mounts(["true"], Mount("bind", "/proc/cmdline", 1, is_dir=False)), [tree(rootfs), tree(file)])
    assert other.failed is not None


def test_cve_2019_16884_a_link_to_proc_is_no_way_around(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (rootfs / "innocent").symlink_to("/proc/sys")
    result = run_init(with_mounts(["true"], Mount("bind", "/innocent", 1)), [tree(rootfs), tree(tmp_path / "v")])
    assert result.failed is not None and "inside /proc" in result.failed.message


@pytest.mark.parametrize("link", ["absolute", "relative", "chain"])
def test_cve_2021_30465_and_2019_18837_links_in_mount_targets_stay_inside(rootfs: Path, tmp_path: Path, outside: Path, link: str) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v/mark").write_text("volume\n")
    to = {"absolute": str(outside), "relative": "../" * 20 + str(outside)[1:], "chain": "/second"}[link]
    (rootfs / "data").symlink_to(to)
    (rootfs / "second").symlink_to(str(outside))
    inside = rootfs / str(outside)[1:]
    inside.mkdir(parents=True)
    result = run_init(with_mounts(["cat", "/data/mark"], Mount("bind", "/data", 1)), [tree(rootfs), tree(tmp_path / "v")])
    assert (result.out, result.failed) == ("volume\n", None)


def test_cve_2024_45310_missing_targets_are_never_made_through_a_dangling_link(rootfs: Path, tmp_path: Path, outside: Path) -> None:
    (rootfs / "data").symlink_to(outside / "made")
    for is_dir in (True, False):
        source = tmp_path / f"v{is_dir}"
        source.mkdir() if is_dir else source.write_text("x")
        run_init(with_mounts(["true"], Mount("bind", "/data/below", 1, is_dir=is_dir)), [tree(rootfs), tree(source)])
        run_init(with_mounts(["true"], Mount("bind", "/data", 1, is_dir=is_dir)), [tree(rootfs), tree(source)])
    assert not (outside / "made").exists()


def test_cve_2021_30465_a_race_on_the_target_never_leaves_the_root(rootfs: Path, tmp_path: Path, outside: Path) -> None:
    """Another container that shares a volume swaps the target between a directory and a link to the host while we mount onto it."""
    shared, volume = tmp_path / "shared", tmp_path / "v"
    (shared / "t").mkdir(parents=True)
    volume.mkdir()
    os.symlink(outside, shared / "link")
    attacker = os.fork()
    if attacker == 0:
        one, other = os.fsencode(shared / "t"), os.fsencode(shared / "link")
        while True:
            syscall(SYS_RENAMEAT2, AT_FDCWD, one, AT_FDCWD, other, ctypes.c_uint(RENAME_EXCHANGE))
    outcomes = set()
    try:
        for _ in range(60):
            command = with_mounts(["true"], Mount("bind", "/s", 1), Mount("bind", "/s/t/new/deep", 2), cwd="/s/t/work")
            result = run_init(command, [tree(rootfs), tree(shared), tree(volume)])
            outcomes.add(result.code)
    finally:
        os.kill(attacker, signal.SIGKILL)
        os.waitpid(attacker, 0)
    assert outcomes <= {0, 1}  # mounted inside, or refused


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("kind", ["link", "dangling", "file"])
def test_cve_2023_28642_2019_19921_2023_27561_2026_41579_kernel_dirs_that_are_links(rootfs: Path, outside: Path, name: str, kind: str) -> None:
    if kind == "file":
        (rootfs / name).write_text("")
    else:
        (rootfs / name).symlink_to("/tmp" if kind == "link" else outside / "nothing")
    result = shell(rootfs, "true")
    assert result.failed is not None and result.ready is None
    assert result.failed.message == f"the image's /{name} is not a directory: a container cannot be started on it"


# Working directory and descriptors


def test_cve_2024_21626_no_working_directory_through_a_descriptor(rootfs: Path) -> None:
    (rootfs / "byname").symlink_to("/proc/self/fd/8")
    for cwd in [*(f"/proc/self/fd/{n}" for n in range(3, 12)), "/proc/1/fd/7", "/proc/self/cwd", "/proc/1/root", "/byname", "/proc/self/fd/9/../.."]:
        result = shell(rootfs, "cat /etc/passwd", cwd=cwd)
        assert result.failed is not None and result.out == "", (cwd, result)


def test_cve_2024_21626_no_descriptor_is_left(rootfs: Path) -> None:
    extra = os.open("/", os.O_RDONLY)
    os.set_inheritable(extra, True)
    try:
        assert shell(rootfs, "ls /proc/$$/fd; true").out.split() == ["0", "1", "2"]
    finally:
        os.close(extra)


@pytest.mark.parametrize("cwd", ["/work", "/work/deep"])
def test_cve_2026_55686_workdir_link_makes_nothing_on_the_host(rootfs: Path, outside: Path, cwd: str) -> None:
    (rootfs / "work").symlink_to(outside / "made")
    shell(rootfs, "true", cwd=cwd)
    assert not (outside / "made").exists()


# Devices and masks


def test_cve_2025_31133_masks_are_not_taken_from_the_image(rootfs: Path) -> None:
    (rootfs / "dev").mkdir()
    (rootfs / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    result = shell(rootfs, "stat -c %t:%T /proc/interrupts /dev/null; cat /proc/interrupts")
    assert result.out == "1:3\n1:3\n", result


def test_cve_2025_31133_also_not_from_a_volume_on_dev(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    command = plain_command(["sh", "-c", "stat -c %t:%T /proc/interrupts"])
    command = command._replace(mounts=[*(m for m in command.mounts if not m.target.startswith("/dev")), Mount("bind", "/dev", 1)])
    assert run_init(command, [tree(rootfs), tree(tmp_path / "dev")]).out == "1:3\n"


def test_the_hosts_null_device_cannot_be_changed_through_a_mask(rootfs: Path) -> None:
    before = os.stat("/dev/null")
    result = shell(rootfs, "busybox chmod 600 /proc/interrupts; busybox chown 7 /proc/interrupts; echo x > /proc/interrupts && echo written")
    after = os.stat("/dev/null")
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    assert result.err.count("Read-only file system") == 2 and result.out == "written\n"


def test_cve_2025_52565_and_2026_88264_console(rootfs: Path, outside: Path) -> None:
    (rootfs / "dev").mkdir()
    (rootfs / "dev/console").symlink_to(outside / "made")
    (rootfs / "dev/pts").symlink_to("/proc/sys/kernel")
    command = plain_command(["sh", "-c", "stat -c %t:%T /dev/console; tty"], tty=True)
    assert run_init(command, [tree(rootfs)]).console.replace("\r", "") == "88:0\n/dev/pts/0\n"


def test_cve_2025_52565_a_fake_multiplexer_gives_no_terminal(rootfs: Path, tmp_path: Path) -> None:
    fake = tmp_path / "dev"
    (fake / "pts").mkdir(parents=True)
    command = plain_command(["true"], tty=True)
    command = command._replace(mounts=[*(m for m in command.mounts if not m.target.startswith("/dev")), Mount("bind", "/dev", 1)])
    for kind in ("link", "file", "wrong device", "ptmx outside a devpts"):
        (fake / "pts/ptmx").unlink(missing_ok=True)
        if kind == "link":
            (fake / "pts/ptmx").symlink_to("/proc/1/fd/3")
        elif kind == "file":
            (fake / "pts/ptmx").write_text("")
        else:
            os.mknod(fake / "pts/ptmx", 0o20666, os.makedev(1, 3) if kind == "wrong device" else os.makedev(5, 2))
        result = run_init(command, [tree(rootfs), tree(fake)])
        assert result.failed is not None and result.failed.step == "init: console", (kind, result)


def test_cve_2026_88265_only_pipes_change_their_owner(rootfs: Path) -> None:
    before = os.stat("/dev/null")

    def null_stdin() -> None:
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)

    result = run_init(plain_command(["stat", "-L", "-c", "%u", "/dev/stdin", "/dev/stdout"], user="web"), [tree(rootfs)], before=null_stdin)
    assert result.out.split() == ["0", "1000"]
    assert os.stat("/dev/null").st_uid == before.st_uid


def test_a_device_node_is_not_put_where_a_link_leads(rootfs: Path, outside: Path) -> None:
    (rootfs / "opt").symlink_to(outside)
    (rootfs / "zero").symlink_to(outside / "made")
    for path in ("/opt/zero", "/zero"):
        result = shell(rootfs, "true", devices=[Device(path, "c", 1, 5)])
        assert result.failed is not None or path == "/opt/zero"


# Procfs


def test_cve_2025_52881_sysctls_are_written_only_to_a_procfs(tmp_path: Path) -> None:
    (tmp_path / "sys/net/core").mkdir(parents=True)
    (tmp_path / "sys/net/core/somaxconn").write_text("")
    fd = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(OSError, match="not a file of procfs"):
            procfs.write(fd, "sys/net/core/somaxconn", "1")
        (tmp_path / "link").symlink_to("/proc/self/oom_score_adj")
        with pytest.raises(OSError, match="Too many levels"):
            procfs.write(fd, "link", "1")
    finally:
        os.close(fd)
    assert (tmp_path / "sys/net/core/somaxconn").read_text() == ""


def test_cve_2022_0811_one_sysctl_is_one_value(rootfs: Path) -> None:
    assert shell(rootfs, "true", sysctls={"net.core.somaxconn": "1+kernel.core_pattern=|/evil"}).failed is not None
    assert "/evil" not in Path("/proc/sys/kernel/core_pattern").read_text()


# Credentials


def test_cve_2022_29162_2022_24769_2022_27649_2022_27650_inheritable_capabilities(rootfs: Path) -> None:
    def inherit() -> None:
        effective, permitted, _ = capability.get()
        capability.set_all(effective, permitted, permitted)
        capability.raise_ambient(DEFAULT)

    for user in ("", "web"):
        result = run_init(plain_command(["grep", "-E", "CapInh|CapAmb", "/proc/self/status"], user=user), [tree(rootfs)], before=inherit)
        assert [line.split()[1] for line in result.out.splitlines()] == ["0" * 16] * 2


@pytest.mark.parametrize("user", ["2147483648:0", "4294967295", "4294967296", "4294967296:4294967296", "0:4294967295", "18446744073709551616"])
def test_cve_2024_40635_ids_never_wrap(rootfs: Path, user: str) -> None:
    result = shell(rootfs, "id -u", user=user)
    if user == "2147483648:0":
        assert result.out == "2147483648\n"
    else:
        assert result.failed is not None and result.out == "" and "range" in result.failed.message


def test_cve_2022_36109_2023_25173_2022_2989_supplementary_groups(rootfs: Path) -> None:
    os.setgroups([0, 4, 27])
    try:
        assert sorted(shell(rootfs, "id -G", user="web").out.split()) == ["1001", "44"]
        assert shell(rootfs, "id -G", user="7:8").out.split() == ["8"]
    finally:
        os.setgroups([0])


def test_cve_2026_47262_the_group_file_is_read_up_to_a_bound(rootfs: Path) -> None:
    with open(rootfs / "etc/group", "r+b") as file:
        file.truncate(1 << 40)
    result = shell(rootfs, "true", user="web")
    assert result.failed is not None and "larger than" in result.failed.message


def test_cve_2024_9676_passwd_as_a_link_reads_nothing_of_the_host(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("evil:x:66:66::/:\n")
    (rootfs / "etc/passwd").unlink()
    for target in (str(tmp_path / "passwd"), "../" * 20 + str(tmp_path / "passwd"), "/proc/self/fd/3", "/dev/zero"):
        (rootfs / "etc/passwd").symlink_to(target)
        result = shell(rootfs, "true", user="evil")
        assert result.failed is not None and result.ready is None, target
        (rootfs / "etc/passwd").unlink()


def test_cve_2026_57231_environment_entries_without_a_value_copy_nothing(rootfs: Path) -> None:
    result = run_init(plain_command(["env"], env=["PATH=/bin", "WHERRY_TEST_SECRET", "*"]), [tree(rootfs)], env={"WHERRY_TEST_SECRET": "s3cret"})
    assert sorted(result.out.split()) == ["HOME=/root", "PATH=/bin"]


# Kernel surface


@pytest.fixture(scope="module")
def program() -> str:
    return seccomp.build(seccomp.default_profile(), DEFAULT).hex()


def test_cve_2022_0185_no_new_user_namespace_by_default(rootfs: Path, program: str) -> None:
    assert "Operation not permitted" in shell(rootfs, "unshare -U true", seccomp=program, user="web").err


def test_cve_2022_0492_and_2023_25809_cgroups_are_read_only_and_cannot_be_mounted(rootfs: Path, tmp_path: Path, program: str) -> None:
    group = tmp_path / "g"
    group.mkdir()
    (group / "release_agent").write_text("")
    script = "echo /x > /sys/fs/cgroup/pids/release_agent; mount -o remount,rw /sys/fs/cgroup/pids; mount -t cgroup x /tmp"
    command = plain_command(["sh", "-c", script], cgroup_version=1, cgroup_mounts=[("pids", 1)], seccomp=program)
    result = run_init(command, [tree(rootfs), tree(group)])
    assert result.err.count("\n") == 3 and (group / "release_agent").read_text() == "", result


def test_read_only_mounts_cannot_be_made_writable_again(rootfs: Path, program: str) -> None:
    result = shell(rootfs, "mount -o remount,rw /proc/sys; umount /proc/interrupts; mount -o remount,rw /", seccomp=program, readonly_rootfs=True)
    assert result.err.count("\n") == 3 and result.code != 0


# R5: nothing of ours runs inside


@pytest.mark.parametrize(("act", "code"), [("import", audit.EXIT_CODE), ("open", audit.EXIT_CODE), ("dlopen", audit.EXIT_CODE), ("nothing", 0)])
def test_cve_2019_14271_the_audit_hook_bites(act: str, code: int) -> None:
    """All tests of the init run under this hook; here it is shown to work."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
        audit.install()
        audit.entered()
        if act == "import":
            import this  # noqa: F401
        elif act == "open":
            open("/etc/passwd").close()
        elif act == "dlopen":
            import ctypes

            ctypes.CDLL("libnss_files.so.2")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code


def test_the_host_sees_no_mount_of_a_container(rootfs: Path, tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    (tmp_path / "v").mkdir()
    command = with_mounts(["true"], Mount("bind", "/v", 1, propagation=mounts.MS_SLAVE | mounts.MS_REC), capabilities=Capabilities())
    assert run_init(command, [tree(rootfs), tree(tmp_path / "v")]).code == 0
    assert Path("/proc/self/mountinfo").read_text() == before
