"""The init of an exec: a process that enters a running container and becomes a program there, finalized by the container's own code."""

from __future__ import annotations

import os
from typing import NoReturn

from wherry.init import audit, console, procfs, program, report, rootfs, user
from wherry.init.finalize import finalize
from wherry.init.syncpipe import SyncPipe
from wherry.linux.process import PR_SET_DUMPABLE, prctl
from wherry.linux.session import join_new_keyring
from wherry.model.command import Command
from wherry.model.steps import step


def exec_main(command: Command, fds: list[int], pipe: SyncPipe) -> NoReturn:
    """A program in a running container. Never returns.

    `command.process` is the exec's; `fds[0]` is the pidfd of the container's init. The caller joined the PID namespace before the clone,
    and moves this process into the container's cgroups before `Go`."""
    report.run(pipe, lambda: _become(command, fds, pipe))


def _become(command: Command, fds: list[int], pipe: SyncPipe) -> None:
    process = command.process
    with step("init: namespaces"):
        prctl(PR_SET_DUMPABLE, 0)
        os.umask(0)
        report.join_all(fds[0])
        audit.entered()
        root = rootfs.open_root()
        os.fchdir(root)
    with step("init: console"):
        slave = console.open_terminal(root, pipe, process.console_size) if process.tty else -1
    if process.oom_score_adj:
        with step("init: oom_score_adj"):
            procfs.set_oom_score_adj(procfs.open_private(), process.oom_score_adj)
    with step("init: session"):
        console.start_session(slave)
        join_new_keyring()
    with step("init: look up user"):
        who = user.lookup(root, process.user, process.group_add)
    with step("init: wait for Go"):
        pipe.wait_go()
    finalize(process, who, root)
    report.ready_and_execute(pipe, list(process.argv), program.environment(process.env, who.home))
