"""The native driver: from a Command to a running init (Act 3, the exec driver's side), and the same for an exec.

Runs in the monitor, which is single-threaded. Nothing here starts a program or imports.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import socket
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

from wherry.cgroups import Cgroups, Group, Resources, enter
from wherry.init.container import container_main
from wherry.init.exec import exec_main
from wherry.init.syncpipe import Console, Failed, Ready, SyncPipe
from wherry.linux import process, rtnetlink
from wherry.linux.tty import peer
from wherry.model.command import Command
from wherry.model.steps import Span, Trace, current_trace, set_process, step, use_trace

PIPE_SIZE = 1 << 20


class Stdio(NamedTuple):
    """The program's ends (0, 1, 2) and ours. With a terminal ours come later, as its master."""

    theirs: tuple[int, int, int]
    stdin: int = -1
    stdout: int = -1
    stderr: int = -1

    def close_theirs(self) -> None:
        for fd in set(self.theirs):
            os.close(fd)


class Started(NamedTuple):
    """A program that runs. With a terminal we hold its slave as well, until the program has ended: while nobody has a slave open, reading the
    master fails (pty(7)), though a program may close its last one and open /dev/console again."""

    pid: int
    pidfd: int
    ticks: int
    master: int
    slave: int
    group: Group | None
    spans: list[Span]


class StartError(Exception):
    """A start that failed and is undone."""

    def __init__(self, step_name: str, number: int, path: str, message: str, spans: list[Span]) -> None:
        super().__init__(message)
        self.step, self.errno, self.path, self.message, self.spans = step_name, number, path, message, spans


def make_stdio(null_fd: int, *, tty: bool, open_stdin: bool) -> Stdio:
    """Pipes, or /dev/null until the init has made its terminal. A socket would break programs that open /dev/stdout."""
    if tty:
        null = os.dup(null_fd)
        return Stdio((null, null, null))
    out_read, out_write = _pipe()
    err_read, err_write = _pipe()
    if not open_stdin:
        return Stdio((os.dup(null_fd), out_write, err_write), -1, out_read, err_read)
    in_read, in_write = os.pipe2(os.O_CLOEXEC)
    return Stdio((in_read, out_write, err_write), in_write, out_read, err_read)


def _pipe() -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(ends[1], 1031, PIPE_SIZE)  # F_SETPIPE_SZ, fcntl(2): fewer, larger reads
    except PermissionError:
        pass  # over /proc/sys/fs/pipe-user-pages-soft without CAP_SYS_RESOURCE: the default size works too
    return ends


def rehearse() -> None:
    """The parts of a start that leave no trace (monitor.rehearse)."""
    one, other = SyncPipe.pair()
    one.close()
    other.close()
    process.start_time(os.getpid())


def keep_only(fds: Iterable[int]) -> None:
    """Closes every descriptor but these and 0, 1, 2: the init must hold no end whose closing somebody waits for."""
    first = 3
    for fd in sorted(set(fds)):
        if fd >= first:
            process.close_range(first, fd - 1)
            first = fd + 1
    process.close_range(first)


def start_container(command: Command, fds: list[int], stdio: Stdio, trees: Cgroups, exec_dir: int, gone: Any) -> Started:
    """Clones the init, gives it its cgroups and network, commits, lets it go, and waits until the user's program runs.

    `gone()` says whether wherryd has left: asked right before the commit. StartError when it failed, with everything undone."""
    trace = current_trace() or Trace("monitor")
    with step("monitor: create cgroups"):
        group = trees.create(command.cgroup_path, Resources.from_json(command.resources)) if command.cgroup_path else None
        if group is not None:
            view = group.mount_fds()
            mounts = [(name, len(fds) + i) for i, (name, _) in enumerate(view.mounts)]
            fds = [*fds, *(fd for _, fd in view.mounts)]
            command = command._replace(cgroup_mounts=mounts, cgroup_links=list(view.links), cgroup_version=2 if view.cgroup2 else 1)
    attempt = _Attempt(stdio, group, exec_dir, trace)
    host = None
    try:
        if command.network.name:
            host = rtnetlink.Rtnetlink()
            fds = [*fds, host.sock.fileno()]
            command = command._replace(network=command.network._replace(host=len(fds) - 1))
        attempt.clone(command, fds, group, _namespace_flags(command), container_main)
        if host is not None:
            with step("monitor: network"):
                _make_veth(host, command, attempt.pid)
        attempt.pipe.send_network(command.network)
        return attempt.commit(gone)
    except (OSError, EOFError) as error:
        raise attempt.failed(attempt.reason(error)) from None
    finally:
        if host is not None:
            host.close()
        for _, index in command.cgroup_mounts:
            os.close(fds[index])


def start_exec(command: Command, fds: list[int], stdio: Stdio, trees: Cgroups, exec_dir: int, gone: Any) -> Started:
    """As start_container for a program in a running container; `fds[0]` is the pidfd of the container's init."""
    trace = current_trace() or Trace("monitor")
    group = trees.open(command.cgroup_path) if command.cgroup_path else None
    attempt = _Attempt(stdio, None, exec_dir, trace)
    try:
        with step("monitor: join PID namespace"):
            if command.namespaces.pid != "host":
                process.setns(fds[0], process.CLONE_NEWPID)
        attempt.clone(command, fds, group, 0, exec_main)
        return attempt.commit(gone)
    except (OSError, EOFError) as error:
        raise attempt.failed(error) from None


class _Attempt:
    """One start under way, and how it is undone."""

    def __init__(self, stdio: Stdio, group: Group | None, exec_dir: int, trace: Trace) -> None:
        self.stdio, self.group, self.exec_dir, self.trace = stdio, group, exec_dir, trace
        self.pid = self.pidfd = -1
        self.master = self.slave = -1
        with step("monitor: sync pipe"):
            self.pipe, self._theirs = SyncPipe.pair()

    def clone(self, command: Command, fds: list[int], group: Group | None, flags: int, main: Any) -> None:
        """Clones the init; it is in its cgroups before it does anything: by the clone itself (v2), or as its first act (v1, ADR 0030)."""
        clone_fd = group.clone_fd() if group is not None else None
        enter_fds = group.enter_fds() if group is not None and clone_fd is None else ()
        try:
            with step("monitor: clone"):
                self.pid, self.pidfd = process.clone3(flags, -1 if clone_fd is None else clone_fd)
                if self.pid == 0:
                    _child(main, command, fds, self._theirs, self.stdio, enter_fds)
        finally:
            for fd in (*enter_fds, *(() if clone_fd is None else (clone_fd,))):
                os.close(fd)
        self._theirs.close()
        self.stdio.close_theirs()

    def commit(self, gone: Any) -> Started:
        """The point of no return (docs/adr/0001-start.md): the run is recorded, the init let go, and followed until the program runs."""
        with step("monitor: commit state.json"):
            ticks = process.start_time(self.pid)
            if gone():
                raise ConnectionAbortedError(errno.ECONNABORTED, "wherryd went away before the commit")
            reserve(self.exec_dir, "exit.json")
            write_json(self.exec_dir, "state.json", state_record(self.pid, ticks))
        self.pipe.send_go()
        return self._wait_exec(ticks)

    def _wait_exec(self, ticks: int) -> Started:
        """Until the end of file after Ready."""
        ready: Ready | None = None
        while True:
            message = self.pipe.receive()
            if isinstance(message, Console):
                self.master = message.master
                self.slave = peer(self.master)
            elif isinstance(message, Ready):
                ready = message
            elif isinstance(message, Failed):
                raise self.failed(message)
            elif ready is None:
                raise EOFError("the init ended before it was ready")
            else:
                self.pipe.close()
                spans = [*self.trace.spans, *ready.spans]
                return Started(self.pid, self.pidfd, ticks, self.master, self.slave, self.group, spans)

    def reason(self, error: OSError | EOFError) -> BaseException | Failed:
        """Why it failed: where the init has ended already (a veth finds no namespace then), what the init said is the cause."""
        ending = isinstance(error, ProcessLookupError)  # its namespaces go a moment before its pidfd tells
        if self.pidfd < 0 or not select.select([self.pidfd], [], [], 5 if ending else 0)[0]:
            return error
        while (message := self.pipe.receive()) is not None:
            if isinstance(message, Failed):
                return message
            if isinstance(message, Console):
                os.close(message.master)
        return error

    def failed(self, reason: BaseException | Failed) -> StartError:
        """Undoes the attempt: no process, no cgroup, no state.json."""
        if isinstance(reason, Failed):
            error = StartError(reason.step, reason.errno, reason.path, reason.message, [*self.trace.spans, *reason.spans])
        else:
            where = getattr(reason, "step", None) or "init"
            number = reason.errno or 0 if isinstance(reason, OSError) else 0
            path = str(reason.filename or "") if isinstance(reason, OSError) else ""
            error = StartError(where, number, path, self._text(where, reason), self.trace.spans)
        if self.pid > 0:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.pidfd)
        self.pipe.close()
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)
        unlink(self.exec_dir, "state.json")
        unlink(self.exec_dir, "exit.json.tmp")
        if self.group is not None:
            self.group.remove(timeout=2.0)
        return error

    def _text(self, where: str, reason: BaseException) -> str:
        if self.pid > 0 and isinstance(reason, EOFError):
            ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)
            how = f"signal {ended.si_status}" if ended is not None and ended.si_code != os.CLD_EXITED else "an exit"
            return f"the container's init was ended by {how} during its set-up"
        return f"{where}: {reason}"


def _child(main: Any, command: Command, fds: list[int], theirs: SyncPipe, stdio: Stdio, enter_fds: tuple[int, ...]) -> NoReturn:
    """In the new process: its cgroups, only its own descriptors, its streams on 0, 1, 2, and on into the init."""
    try:
        set_process("init")
        use_trace(Trace("init"))
        try:
            with step("init: enter cgroups"):
                enter(enter_fds)
        except OSError as error:
            theirs.send_failed("init: enter cgroups", error.errno or 0, "", f"cannot enter the container's cgroups: {error}", [])
            os._exit(70)
        for number, fd in enumerate(stdio.theirs):
            os.dup2(fd, number, inheritable=True)
        keep_only([*fds, theirs.fileno()])
        main(command, fds, theirs)
    finally:
        os._exit(70)


def _namespace_flags(command: Command) -> int:
    flags = process.CLONE_NEWNS
    names = command.namespaces
    for where, flag in ((names.uts, process.CLONE_NEWUTS), (names.ipc, process.CLONE_NEWIPC), (names.pid, process.CLONE_NEWPID),
                        (names.net, process.CLONE_NEWNET)):
        if where == "new":
            flags |= flag
    return flags


def _make_veth(host: rtnetlink.Rtnetlink, command: Command, pid: int) -> None:
    """One message: the host's end as a port of the bridge, the container's end made inside its namespace. The socket is the init's from
    `Network(state)` on."""
    net = command.network
    host.batch(rtnetlink.veth_add(net.veth, net.name, peer_pid=pid, peer_mac=net.mac, mtu=net.mtu, master=socket.if_nametoindex(net.bridge)))


# Small files in the exec directory, by descriptor.

def state_record(pid: int, ticks: int) -> dict[str, int | str]:
    """state.json: a PID alone could be somebody else's later; with its start time, which counts from the boot, and the boot it is not."""
    me = os.getpid()
    return {"version": 1, "boot": process.boot_id(), "pid": pid, "ticks": ticks, "monitor": me, "monitor_ticks": process.start_time(me)}


def write_json(dir_fd: int, name: str, record: dict[str, Any]) -> None:
    """Renames a complete file into place: whole after kill -9. The exec root is a tmpfs or is emptied at boot, so nothing is synced."""
    temporary = name + ".tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    try:
        os.ftruncate(fd, os.write(fd, json.dumps(record).encode()))  # in this order: space that was reserved is kept
    finally:
        os.close(fd)
    os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def reserve(dir_fd: int, name: str) -> None:
    """Takes the space of a small file that must be writable later, also when the file system is full by then."""
    fd = os.open(name + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    try:
        os.posix_fallocate(fd, 0, 4096)
    finally:
        os.close(fd)


def read_json(dir_fd: int, name: str) -> dict[str, Any] | None:
    """A small file's object; None where it is missing or broken."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    try:
        found = json.loads(os.read(fd, 1 << 20))
    except (ValueError, RecursionError):
        return None
    finally:
        os.close(fd)
    return found if isinstance(found, dict) else None


def read_state(dir_fd: int) -> dict[str, Any] | None:
    """state.json; None where it is missing or broken."""
    return _with_numbers(read_json(dir_fd, "state.json"), "pid", "ticks")


def read_exit(dir_fd: int) -> dict[str, Any] | None:
    """exit.json; None where it is missing or broken."""
    return _with_numbers(read_json(dir_fd, "exit.json"), "code", "at", "oom")


def _with_numbers(record: dict[str, Any] | None, *names: str) -> dict[str, Any] | None:
    return record if record is not None and all(isinstance(record.get(name), int) for name in names) else None


def unlink(dir_fd: int, name: str) -> None:
    """Removes a file that may be missing."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass

