"""The init in real namespaces: what the program sees when it runs."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.execdriver import seccomp
from wherry.init import container_main, exec_main
from wherry.init.defaults import default_mounts
from wherry.init.syncpipe import Ready, SyncPipe
from wherry.linux import capability
from wherry.linux import mount as mounts
from wherry.linux import process as proc
from wherry.model.command import Capabilities, Device, Mount, Namespaces, Network, Rlimit, to_json

sys.path.insert(0, str(Path(__file__).parents[1]))
from inithelp import ISOLATED, Result, busybox_rootfs, plain_command, run_init, tree

DEFAULT = capability.DEFAULT_CAPABILITIES


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busybox_rootfs(tmp_path_factory.mktemp("init") / "rootfs")


def shell(rootfs: Path, script: str, **changes: object) -> Result:
    return run_init(plain_command(["sh", "-c", script], **changes), [tree(rootfs)])


def fields(text: str) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def mount_table(text: str) -> dict[str, tuple[str, str, str]]:
    """mountinfo by mount point: (mount options, type, super options)."""
    table = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        parts, tail = left.split(), right.split()
        table[parts[4]] = (parts[5], tail[0], tail[2])
    return table


def test_runs_a_program_and_reports_its_exit_code(rootfs: Path) -> None:
    result = shell(rootfs, "echo hi; echo oops >&2; exit 7")
    assert (result.code, result.out, result.err, result.failed) == (7, "hi\n", "oops\n", None)
    assert result.ready is not None


def test_every_step_has_its_name_in_the_trace(rootfs: Path) -> None:
    ready = shell(rootfs, "true").ready
    assert ready is not None
    names = [span.name for span in ready.spans]
    wanted = [
        "init: private propagation", "init: attach root", "init: mount /proc", "init: mount /dev", "init: masked paths",
        "init: read-only paths", "init: pivot_root", "init: hostname", "init: session", "init: look up user", "init: network",
        "init: sysctls", "init: wait for Go", "init: rlimits", "init: umask and signals", "init: bounding set", "init: user",
        "init: working directory", "init: seccomp", "init: capabilities",
    ]  # fmt: skip
    assert [name for name in names if name in wanted] == wanted
    assert all(span.process == "init" and span.end_ns >= span.start_ns for span in ready.spans)


def test_mounts_are_the_documented_ones_and_nothing_of_the_host(rootfs: Path) -> None:
    table = mount_table(shell(rootfs, "cat /proc/self/mountinfo").out)
    assert table["/proc"][:2] == ("rw,nosuid,nodev,noexec,relatime", "proc")
    assert table["/sys"][:2] == ("ro,nosuid,nodev,noexec,relatime", "sysfs")
    assert table["/dev"][:2] == ("rw,nosuid", "tmpfs")
    assert table["/dev"][2].removesuffix(",inode64") == "rw,size=65536k,mode=755"  # some kernels name their default
    assert table["/dev/pts"] == ("rw,nosuid,noexec,relatime", "devpts", "rw,gid=5,mode=620,ptmxmode=666")
    assert table["/dev/shm"][:2] == ("rw,nosuid,nodev,noexec,relatime", "tmpfs")
    assert table["/dev/shm"][2].removesuffix(",inode64") == "rw,size=65536k"
    assert table["/dev/mqueue"][1] == "mqueue"
    assert table["/proc/sys"][0].startswith("ro,")
    ours = {"/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"}
    assert all(point in ours or point.startswith(("/proc/", "/sys/")) for point in table)


def test_dev_has_the_standard_nodes_and_links(rootfs: Path) -> None:
    out = shell(rootfs, "cd /dev; for n in null zero full random urandom tty pts/ptmx; do stat -c '%n %t:%T %a %u' $n; done; "
                        "for l in ptmx fd stdin stdout stderr core; do echo $l $(readlink $l); done; "
                        "test -e console || echo no console").out  # fmt: skip
    assert out.splitlines() == [
        "null 1:3 666 0", "zero 1:5 666 0", "full 1:7 666 0", "random 1:8 666 0", "urandom 1:9 666 0", "tty 5:0 666 0", "pts/ptmx 5:2 666 0",
        "ptmx pts/ptmx", "fd /proc/self/fd", "stdin /proc/self/fd/0", "stdout /proc/self/fd/1", "stderr /proc/self/fd/2", "core /proc/kcore",
        "no console",
    ]  # fmt: skip


def test_masked_paths_read_empty_and_read_only_paths_refuse(rootfs: Path) -> None:
    result = shell(rootfs, "cat /proc/interrupts | wc -c; ls -A /sys/firmware | wc -l; touch /sys/firmware/x; echo 1 > /proc/sys/kernel/hostname; "
                           "echo 1 > /proc/sys/vm/swappiness")  # fmt: skip
    assert result.out.split() == ["0", "0"]
    assert result.err.count("Read-only file system") == 3


def test_only_stdio_is_open_and_signals_are_fresh(rootfs: Path) -> None:
    out = shell(rootfs, "ls /proc/$$/fd; grep Sig[BI] /proc/self/status; umask; pwd").out
    assert out.split() == ["0", "1", "2", "SigBlk:", "0" * 16, "SigIgn:", "0" * 16, "0022", "/"]


def test_default_capabilities_of_root(rootfs: Path) -> None:
    status = fields(shell(rootfs, "grep Cap /proc/self/status").out)
    ours = DEFAULT & capability.bounding()
    assert {name: int(value, 16) for name, value in status.items()} == {"CapInh": 0, "CapPrm": ours, "CapEff": ours, "CapBnd": ours, "CapAmb": 0}


def test_another_user_has_no_capabilities_but_keeps_the_bounding_set(rootfs: Path) -> None:
    status = fields(shell(rootfs, "grep -E 'Cap|Uid|Gid|Groups' /proc/self/status; echo HOME:$HOME", user="web").out)
    assert [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0, 0, 0, 0]
    assert int(status["CapBnd"], 16) == DEFAULT
    assert (status["Uid"].split(), status["Gid"].split(), status["HOME"]) == (["1000"] * 4, ["1001"] * 4, "/home/web")
    assert sorted(status["Groups"].split()) == ["1001", "44"]


def test_group_add_by_name_and_number(rootfs: Path) -> None:
    assert shell(rootfs, "id -G", user="1000:5", group_add=["audio", "77"]).out.split() == ["5", "29", "77"]


def test_no_capability_at_all(rootfs: Path) -> None:
    status = fields(shell(rootfs, "grep Cap /proc/self/status", capabilities=Capabilities()).out)
    assert all(int(value, 16) == 0 for value in status.values())


@pytest.mark.parametrize("user", ["", "web"])
@pytest.mark.parametrize("nnp", [False, True])
def test_seccomp_is_in_force_with_and_without_no_new_privileges(rootfs: Path, user: str, nnp: bool) -> None:
    program = seccomp.build(seccomp.default_profile(), DEFAULT).hex()
    result = shell(rootfs, "grep -E 'Seccomp:|NoNew' /proc/self/status; unshare -U true; mount -t tmpfs x /tmp; echo still here",
                   seccomp=program, no_new_privileges=nnp, user=user)  # fmt: skip
    assert result.out.split("\n")[:2] == [f"NoNewPrivs:\t{int(nnp)}", "Seccomp:\t2"], result
    assert result.err.count("Operation not permitted") + result.err.count("permission denied") == 2
    assert result.out.endswith("still here\n")


def test_sys_admin_opens_mount_with_the_profile_made_for_it(rootfs: Path) -> None:
    caps = DEFAULT | capability.mask(["SYS_ADMIN"])
    program = seccomp.build(seccomp.default_profile(), caps).hex()
    result = shell(rootfs, "mount -t tmpfs x /tmp && echo mounted", seccomp=program, capabilities=Capabilities(caps, caps, caps))
    assert result.out == "mounted\n", result


def test_hostname_domainname_and_sysctls(rootfs: Path) -> None:
    result = shell(rootfs, "hostname; cd /proc/sys; cat kernel/domainname net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range "
                           "net/core/somaxconn kernel/msgmax",
                   domainname="example.org", sysctls={"net.core.somaxconn": "77", "kernel.msgmax": "9999"})  # fmt: skip
    assert result.out.split() == ["box", "example.org", "0", "0", "2147483647", "77", "9999"]


@pytest.mark.parametrize(
    "name", ["kernel.core_pattern", "vm.swappiness", "net..core", "net/../kernel.core_pattern", "kernel.hostname", "net.a\0b", ""]
)
def test_sysctls_of_the_host_are_refused(rootfs: Path, name: str) -> None:
    result = shell(rootfs, "true", sysctls={name: "1"})
    assert result.failed is not None and result.failed.step == "init: sysctls", result
    assert result.ready is None


def test_loopback_is_up(rootfs: Path) -> None:
    assert "inet 127.0.0.1/8" in shell(rootfs, "ip addr show lo").out


def test_cpu_of_rlimit_and_one_above_the_hosts_hard_limit(rootfs: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert shell(rootfs, "ulimit -n", rlimits=[Rlimit(resource.RLIMIT_NOFILE, "nofile", 512, 1000)]).out == "512\n"
    above = hard + 1
    if capability.bounding() & capability.BITS["SYS_RESOURCE"]:
        assert shell(rootfs, "ulimit -Hn", rlimits=[Rlimit(resource.RLIMIT_NOFILE, "nofile", above, above)]).out == f"{above}\n"
        return
    asked = shell(rootfs, "true", rlimits=[Rlimit(resource.RLIMIT_NOFILE, "nofile", above, above)])
    assert asked.failed is not None and (asked.failed.step, asked.failed.errno) == ("init: rlimits", 1)
    assert f"nofile={above}:{above}" in asked.failed.message and "CAP_SYS_RESOURCE" in asked.failed.message
    default = shell(rootfs, "ulimit -Hn", rlimits=[Rlimit(resource.RLIMIT_NOFILE, "nofile", above, above, asked=False)])
    assert default.out == f"{hard}\n"


def test_a_refused_negative_oom_score_is_tolerated_and_a_positive_one_is_set(rootfs: Path) -> None:
    assert shell(rootfs, "cat /proc/self/oom_score_adj", oom_score_adj=321).out == "321\n"
    assert shell(rootfs, "true", oom_score_adj=-500).code == 0


def test_working_directory_is_made_and_entered(rootfs: Path) -> None:
    assert shell(rootfs, "pwd; stat -c %u:%g:%a .", cwd="/srv/deep/dir").out.split() == ["/srv/deep/dir", "0:0:755"]
    failed = shell(rootfs, "true", cwd="/etc/passwd").failed
    assert failed is not None and failed.step == "init: make working directory"
    closed = busybox_closed(rootfs)
    assert shell(rootfs, "pwd", cwd=closed, user="web").out == f"{closed}\n"


def busybox_closed(rootfs: Path) -> str:
    (rootfs / "closed").mkdir(mode=0o700, exist_ok=True)
    return "/closed"


def test_bind_mounts_tmpfs_and_missing_targets(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").write_text("from the host\n")
    ro = mounts.MOUNT_ATTR_RDONLY
    script = "cat /data/deep/file /etc/one; touch /data/deep/new; stat -c %a /tmp /run/x; touch /ro/y; cat /proc/self/mountinfo"
    command = plain_command(["sh", "-c", script])
    command = command._replace(mounts=[
        *command.mounts,
        Mount("bind", "/data/deep", 1), Mount("bind", "/etc/one", 2, is_dir=False), Mount("bind", "/ro", 3, attributes=ro, recursive=True),
        Mount("tmpfs", "/tmp", options={"size": "1m"}), Mount("tmpfs", "/run/x", options={"size": "64k", "mode": "700"}, attributes=ro | 2),
    ])  # fmt: skip
    result = run_init(command, [tree(rootfs), tree(tmp_path / "d"), tree(tmp_path / "d/file"), tree(tmp_path / "d")])
    lines = result.out.splitlines()
    assert lines[:4] == ["from the host", "from the host", "1777", "700"]
    assert (tmp_path / "d/new").exists() and not (tmp_path / "d/y").exists()
    assert "Read-only" in result.err
    table = mount_table("\n".join(lines[4:]))
    assert table["/run/x"][0].startswith("ro,nosuid") and table["/ro"][0].startswith("ro")


def test_a_directory_over_a_file_is_refused_in_dockers_words(rootfs: Path, tmp_path: Path) -> None:
    command = plain_command(["true"])
    command = command._replace(mounts=[*command.mounts, Mount("bind", "/etc/passwd", 1)])
    failed = run_init(command, [tree(rootfs), tree(tmp_path)]).failed
    assert failed is not None and (failed.step, failed.path) == ("init: mount /etc/passwd", "/etc/passwd")
    assert "Are you trying to mount a directory onto a file".lower() in failed.message.lower()


def test_volume_propagation(rootfs: Path, tmp_path: Path) -> None:
    command = plain_command(["grep", " /vol ", "/proc/self/mountinfo"])
    command = command._replace(mounts=[*command.mounts, Mount("bind", "/vol", 1, propagation=mounts.MS_SHARED | mounts.MS_REC)])
    assert " shared:" in run_init(command, [tree(rootfs), tree(tmp_path)]).out


def test_devices(rootfs: Path) -> None:
    devices = [Device("/dev/net/tun", "c", 10, 200, 0o600, 7, 8), Device("/dev/null", "c", 1, 3), Device("/opt/zero", "c", 1, 5, 0o640)]
    result = shell(rootfs, "stat -c '%t:%T %a %u:%g' /dev/net/tun /dev/null /opt/zero", devices=devices)
    assert result.out.splitlines() == ["a:c8 600 7:8", "1:3 666 0:0", "1:5 640 0:0"], result
    failed = shell(rootfs, "true", devices=[Device("/etc/passwd", "c", 1, 3)]).failed
    assert failed is not None and failed.path == "/etc/passwd"


def test_read_only_root_leaves_dev_and_volumes_writable(rootfs: Path) -> None:
    result = shell(rootfs, "touch /x; touch /dev/shm/y /dev/z && echo fine", readonly_rootfs=True)
    assert result.out == "fine\n" and "Read-only file system" in result.err


def test_cgroup_v1_view(rootfs: Path, tmp_path: Path) -> None:
    for name in ("cpu,cpuacct", "pids"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tasks").write_text(name)
    command = plain_command(["sh", "-c", "cd /sys/fs/cgroup; ls; cat cpu/tasks pids/tasks; touch a; touch pids/b"], cgroup_version=1,
                            cgroup_mounts=[("cpu,cpuacct", 1), ("pids", 2)],
                            cgroup_links=[("cpu", "cpu,cpuacct"), ("cpuacct", "cpu,cpuacct")])  # fmt: skip
    result = run_init(command, [tree(rootfs), tree(tmp_path / "cpu,cpuacct"), tree(tmp_path / "pids")])
    assert result.out == "cpu\ncpu,cpuacct\ncpuacct\npids\ncpu,cpuacctpids"
    assert result.err.count("Read-only file system") == 2


def test_terminal(rootfs: Path) -> None:
    script = "tty; stty size; stat -c %t:%T /dev/console /dev/pts/0; stat -c %u /dev/pts/0; read x; echo got $x; sleep 9 & jobs; kill %1"
    command = plain_command(["sh", "-c", script], tty=True, console_size=[33, 111], user="web")
    result = run_init(command, [tree(rootfs)], typed=b"words\n")
    lines = result.console.replace("\r", "").splitlines()
    assert lines[:1] == ["words"] or "words" in lines  # echoed
    shown = [line for line in lines if line != "words"]
    assert shown[:6] == ["/dev/pts/0", "33 111", "88:0", "88:0", "1000", "got words"], result
    assert "Running" in shown[6]


def test_stdio_pipes_belong_to_the_user_and_can_be_opened(rootfs: Path) -> None:
    result = shell(rootfs, "echo one > /dev/stdout; echo two > /dev/stderr; cat /dev/stdin", user="web")
    assert (result.out, result.err, result.code) == ("one\n", "two\n", 0)


@pytest.mark.parametrize(("argv", "code", "number", "text"), [
    (["nothere"], 127, 2, 'exec: "nothere": executable file not found in $PATH'),
    ([""], 127, 2, 'exec: "": executable file not found in $PATH'),
    (["/no/such"], 127, 2, 'exec: "/no/such": stat /no/such: no such file or directory'),
    (["/etc/passwd"], 126, 13, 'exec: "/etc/passwd": permission denied'),
    (["/etc"], 126, 21, 'exec: "/etc": is a directory: permission denied'),
    (["/bin/noformat"], 126, 8, "exec /bin/noformat: exec format error"),
    (["/bin/nointerp"], 127, 2, "exec /bin/nointerp: no such file or directory"),
    (["nointerp"], 127, 2, "exec /bin/nointerp: no such file or directory"),
])  # fmt: skip
def test_a_program_that_cannot_run(rootfs: Path, argv: list[str], code: int, number: int, text: str) -> None:
    for name, content in (("noformat", "\1\2\3"), ("nointerp", "#!/missing\n")):
        (rootfs / "bin" / name).write_text(content)
        (rootfs / "bin" / name).chmod(0o755)
    result = run_init(plain_command(argv), [tree(rootfs)])
    assert result.failed is not None
    assert (result.code, result.failed.step, result.failed.errno, result.failed.message) == (code, "init: exec", number, text)


def test_unknown_user_is_refused_in_dockers_words(rootfs: Path) -> None:
    result = shell(rootfs, "true", user="nobodyhere")
    assert result.failed is not None and result.ready is None
    assert result.failed.message == "unable to find user nobodyhere: no matching entries in passwd file"


def test_environment(rootfs: Path) -> None:
    result = run_init(plain_command(["env"], env=["PATH=/bin", "A=1", "A=2", "BARE", "=x"]), [tree(rootfs)])
    assert sorted(result.out.split()) == ["A=2", "HOME=/root", "PATH=/bin"]


def test_init_flag_puts_a_reaper_before_the_program(rootfs: Path) -> None:
    tini = Path("/usr/bin/tini-static")
    assert tini.exists(), "Debian's package tini"
    command = plain_command(["sh", "-c", "cat /proc/1/comm; echo $$"], init=True)
    command = command._replace(mounts=[*command.mounts, Mount("bind", "/sbin/docker-init", 1, is_dir=False, attributes=mounts.MOUNT_ATTR_RDONLY)])
    out = run_init(command, [tree(rootfs), tree(tini)]).out.split()
    assert out[0] == "docker-init" and out[1] != "1"


def test_a_monitor_that_goes_away_before_go_ends_the_init(rootfs: Path) -> None:
    monitor, theirs = SyncPipe.pair()
    fds = [tree(rootfs)]
    pid, pidfd = proc.clone3(proc.CLONE_NEWNS | proc.CLONE_NEWPID | proc.CLONE_NEWNET | proc.CLONE_NEWUTS | proc.CLONE_NEWIPC)
    if pid == 0:
        monitor.close()
        container_main(plain_command(["true"]), fds, theirs)
    theirs.close()
    monitor.send_network(Network())
    monitor.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    os.close(pidfd)
    os.close(fds[0])


@pytest.fixture
def running(rootfs: Path) -> Iterator[int]:
    """A pidfd of the init of a container that runs."""
    monitor, theirs = SyncPipe.pair()
    fds = [tree(rootfs)]
    pid, pidfd = proc.clone3(ISOLATED)
    if pid == 0:
        monitor.close()
        container_main(plain_command(["sleep", "60"]), fds, theirs)
    theirs.close()
    monitor.send_network(Network())
    monitor.send_go()
    while message := monitor.receive():
        assert isinstance(message, Ready), message
    yield pidfd
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitpid(pid, 0)
    monitor.close()
    os.close(pidfd)
    os.close(fds[0])


def in_container(pidfd: int, argv: list[str], typed: bytes = b"", **process: object) -> Result:
    """An exec as its monitor does it: the PID namespace is joined by the parent of the clone, here a fork of its own."""
    command = plain_command(argv, **process)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            proc.setns(pidfd, proc.CLONE_NEWPID)
            result = run_init(command, [os.dup(pidfd)], main=exec_main, flags=0, typed=typed)
            os.write(write, pickle.dumps(result))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    result = pickle.loads(data)
    assert isinstance(result, Result)
    return result


def test_exec_enters_all_namespaces_and_is_finalized(running: int) -> None:
    script = "cat /proc/1/comm; hostname; id -u; pwd; grep -E 'CapEff|CapInh' /proc/self/status; ls /proc/$$/fd; true"
    result = in_container(running, ["sh", "-c", script], user="web", cwd="/tmp")
    assert result.out.split() == ["sleep", "box", "1000", "/tmp", "CapInh:", "0" * 16, "CapEff:", "0" * 16, "0", "1", "2"], result


def test_exec_with_a_terminal_of_the_container(running: int) -> None:
    result = in_container(running, ["sh", "-c", "tty; stty size; read x; echo got $x"], typed=b"hello\n", tty=True, console_size=[12, 34])
    lines = [line for line in result.console.replace("\r", "").splitlines() if line != "hello"]
    assert lines == ["/dev/pts/0", "12 34", "got hello"], result


def test_exec_failures_are_told(running: int) -> None:
    missing = in_container(running, ["nothere"])
    assert missing.failed is not None and (missing.code, missing.failed.errno) == (127, 2)
    nowhere = in_container(running, ["true"], cwd="/no/such/dir")
    assert nowhere.failed is not None and nowhere.ready is None
    assert nowhere.failed.message == 'chdir to cwd ("/no/such/dir") set in config.json failed: no such file or directory'


def test_the_init_runs_alone_as_a_module(rootfs: Path, tmp_path: Path) -> None:
    """`python -m wherry.init`, with the namespaces made by its caller."""
    (tmp_path / "container.json").write_bytes(to_json(plain_command(["false"])))
    monitor, theirs = SyncPipe.pair()
    root = tree(rootfs)
    read, write = os.pipe()
    pid, pidfd = proc.clone3(ISOLATED)
    if pid == 0:
        os.dup2(write, 1)
        for fd in (theirs.fileno(), root):
            os.set_inheritable(fd, True)
        os.execve(sys.executable, [sys.executable, "-m", "wherry.init", "-driver", "native", "-pipe", str(theirs.fileno()), "-root", str(tmp_path),
                                   "-fds", str(root), "--", "sh", "-c", "echo alone $$"],
                  {**os.environ, "WHERRY_AUDIT": "1"})  # fmt: skip
    theirs.close()
    os.close(write)
    monitor.send_network(Network())
    monitor.send_go()
    messages = []
    while message := monitor.receive():
        messages.append(message)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"alone 1\n"
    assert [type(message) for message in messages] == [Ready]
    assert os.waitpid(pid, 0)[1] == 0
    monitor.close()
    os.close(root)
    os.close(pidfd)


def test_namespaces_of_others_are_joined_and_the_hosts_are_left_alone(rootfs: Path, running: int) -> None:
    pid = int(next(line.split()[1] for line in Path(f"/proc/self/fdinfo/{running}").read_text().splitlines() if line.startswith("Pid:")))
    fds = [tree(rootfs), os.open(f"/proc/{pid}/ns/net", os.O_RDONLY), os.open(f"/proc/{pid}/ns/ipc", os.O_RDONLY)]
    wanted = {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in ("net", "ipc")} | {"uts": os.readlink("/proc/self/ns/uts")}
    command = plain_command(["sh", "-c", "for n in net ipc uts; do echo $n $(readlink /proc/self/ns/$n); done; hostname"],
                            namespaces=Namespaces(net="fd:1", ipc="fd:2", uts="host"), hostname="ignored")  # fmt: skip
    result = run_init(command, fds, flags=proc.CLONE_NEWNS | proc.CLONE_NEWPID)
    lines = result.out.split()
    assert dict(zip(lines[:6:2], lines[1:6:2], strict=True)) == wanted, result
    assert lines[6] == os.uname().nodename


def test_host_pid_namespace_and_a_private_cgroup_namespace(rootfs: Path) -> None:
    command = plain_command(["sh", "-c", "echo $$; readlink /proc/self/ns/cgroup; cat /proc/self/oom_score_adj"], oom_score_adj=9, cgroup_version=2,
                            namespaces=Namespaces(pid="host", cgroup="new"))  # fmt: skip
    command = command._replace(mounts=[m for m in command.mounts if m.kind != "cgroup"])
    pid, namespace, score = run_init(command, [tree(rootfs)], flags=ISOLATED & ~proc.CLONE_NEWPID).out.split()
    assert int(pid) > 1 and namespace != os.readlink("/proc/self/ns/cgroup") and score == "9"


def test_cgroup_v2_view(rootfs: Path) -> None:
    command = plain_command(["sh", "-c", "cd /sys/fs/cgroup; test -e cgroup.procs && echo tree; echo 0 > cgroup.procs; cat /proc/self/cgroup"],
                            cgroup_version=2, namespaces=Namespaces(cgroup="new"))  # fmt: skip
    result = run_init(command, [tree(rootfs)])
    assert result.out.startswith("tree\n") and "0::/\n" in result.out and "Read-only file system" in result.err, result


def test_privileged_container(rootfs: Path) -> None:
    script = "grep CapEff /proc/self/status; touch /sys/x; echo 1 > /proc/sys/kernel/msgmax && echo wrote; mount -t tmpfs x /tmp && echo ok"
    command = plain_command(["sh", "-c", script],
                            capabilities=Capabilities(capability.ALL, capability.ALL, capability.ALL), masked_paths=[], readonly_paths=[],
                            mounts=default_mounts(privileged=True), privileged=True)  # fmt: skip
    result = run_init(command, [tree(rootfs)])
    assert result.out.split() == ["CapEff:", f"{capability.bounding():016x}", "wrote", "ok"], result
    assert "Read-only" not in result.err


def test_dangling_links_in_targets_are_followed_inside_the_root(tmp_path: Path) -> None:
    rootfs = busybox_rootfs(tmp_path / "rootfs")
    (tmp_path / "v").mkdir()
    (tmp_path / "v/mark").write_text("m\n")
    for link, to in (("data", "/not/there"), ("second", "data/more"), ("up", "../../elsewhere/x"), ("round", "round")):
        (rootfs / link).symlink_to(to)
    plain = plain_command(["sh", "-c", "cat /not/there/mark /not/there/more/sub/mark /elsewhere/x; pwd"], cwd="/second/work")
    volumes = [Mount("bind", "/data", 1), Mount("bind", "/second/sub", 2), Mount("bind", "/up", 3, is_dir=False)]
    sources = [tree(rootfs), tree(tmp_path / "v"), tree(tmp_path / "v"), tree(tmp_path / "v/mark")]
    result = run_init(plain._replace(mounts=[*plain.mounts, *volumes]), sources)
    assert result.out == "m\nm\nm\n/not/there/more/work\n", result
    failed = run_init(plain._replace(mounts=[*plain.mounts, Mount("bind", "/round", 1)]), [tree(rootfs), tree(tmp_path / "v")]).failed
    assert failed is not None and (failed.errno, failed.path) == (40, "/round")
