"""Runs the init for tests: a busybox rootfs, a clone3 child, and what came over the sync pipe."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from wherry.init import audit
from wherry.init.container import container_main
from wherry.init.defaults import READONLY_PATHS, default_mounts, masked_paths
from wherry.init.exec import exec_main
from wherry.init.syncpipe import Failed, Ready, SyncPipe
from wherry.linux import capability
from wherry.linux import mount as mounts
from wherry.linux import process as proc
from wherry.model.command import Capabilities, Command, Network, Process

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ISOLATED = proc.CLONE_NEWNS | proc.CLONE_NEWUTS | proc.CLONE_NEWIPC | proc.CLONE_NEWPID | proc.CLONE_NEWNET


class Result(NamedTuple):
    code: int
    out: str
    err: str
    failed: Failed | None
    ready: Ready | None
    console: str


def busybox_rootfs(where: Path) -> Path:
    """A small image: busybox and its links, passwd, group."""
    for name in ("bin", "etc", "tmp", "root", "home"):
        (where / name).mkdir(parents=True)
    (where / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", where / "bin/busybox")
    for applet in ("sh", "cat", "ls", "id", "true", "mount", "unshare", "stat", "hostname", "sleep", "readlink", "tty", "stty", "wc", "head",
                   "chroot", "touch", "mkdir", "env", "echo", "grep", "umount", "ip", "pwd", "printf", "awk", "test", "mknod", "dd"):  # fmt: skip
        (where / "bin" / applet).symlink_to("busybox")
    (where / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:Web:/home/web:/bin/sh\n")
    (where / "etc/group").write_text("root:x:0:\nwheel:x:10:root\nweb:x:1001:\nvideo:x:44:web,other\naudio:x:29:\n")
    return where


def plain_command(argv: list[str], **changes: object) -> Command:
    """A Command as the daemon makes it for a container that asks for nothing. Fields of Process may be given too."""
    caps = capability.DEFAULT_CAPABILITIES
    fields = {name: changes.pop(name) for name in list(changes) if name in Process._fields}
    process = Process(argv=argv, env=[PATH, "HOSTNAME=box"], capabilities=Capabilities(caps, caps, caps))._replace(**fields)  # type: ignore[arg-type]
    command = Command("c" * 64, process, hostname="box", mounts=default_mounts(), masked_paths=masked_paths(2), readonly_paths=list(READONLY_PATHS))
    return command._replace(**changes)  # type: ignore[arg-type]


def tree(path: Path | str) -> int:
    """A detached mount of a directory or file."""
    return mounts.open_tree(str(path), recursive=True)


def run_init(command: Command, fds: list[int], *, stdin: bytes = b"", main: Callable[..., object] = container_main, flags: int = ISOLATED,
             typed: bytes = b"", env: dict[str, str] | None = None, before: Callable[[], None] | None = None) -> Result:  # fmt: skip
    """Clones a child, lets it become the program, and collects everything."""
    monitor, theirs = SyncPipe.pair()
    pipes = [os.pipe() for _ in range(3)]
    pid, pidfd = proc.clone3(flags)
    if pid == 0:
        try:
            monitor.close()
            if not command.process.tty:
                os.dup2(pipes[0][0], 0), os.dup2(pipes[1][1], 1), os.dup2(pipes[2][1], 2)
            os.environ.update(env or {})
            audit.install()  # R5 holds in every test
            if before:
                before()
            main(command, fds, theirs)
        finally:
            os._exit(98)
    os.close(pidfd)
    theirs.close()
    for end in (pipes[0][0], pipes[1][1], pipes[2][1]):
        os.close(end)
    os.write(pipes[0][1], stdin)
    os.close(pipes[0][1])
    try:
        return _collect(monitor, pid, pipes, typed, network=main is container_main)
    finally:
        monitor.close()
        os.close(pipes[1][0])
        os.close(pipes[2][0])
        for fd in fds:
            os.close(fd)


def _collect(monitor: SyncPipe, pid: int, pipes: list[tuple[int, int]], typed: bytes, *, network: bool) -> Result:
    signal.alarm(20)
    failed, ready, master = None, None, -1
    try:
        if network:
            monitor.send_network(Network())
        monitor.send_go()
    except BrokenPipeError:
        pass
    while message := monitor.receive():
        if isinstance(message, Failed):
            failed = message
        elif isinstance(message, Ready):
            ready = message
        else:
            master = message.master
    out, err, shown = b"", b"", b""
    if master >= 0:
        os.write(master, typed) if typed else None
        shown = _drain(master)
        os.close(master)
    out, err = _drain(pipes[1][0]), _drain(pipes[2][0])
    _, status = os.waitpid(pid, 0)
    signal.alarm(0)
    return Result(os.waitstatus_to_exitcode(status), out.decode(errors="replace"), err.decode(errors="replace"), failed, ready,
                  shown.decode(errors="replace"))  # fmt: skip


def _drain(fd: int) -> bytes:
    data = b""
    try:
        while chunk := os.read(fd, 65536):
            data += chunk
    except OSError as error:
        if error.errno != 5:  # EIO: the last holder of the slave is gone
            raise
    return data


__all__ = ["ISOLATED", "PATH", "Result", "busybox_rootfs", "exec_main", "plain_command", "run_init", "tree"]
