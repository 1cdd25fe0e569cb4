"""What the init of a container and of an exec share: joining namespaces, telling the monitor how it ended, becoming the program."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import NoReturn

from wherry.init import program
from wherry.init.syncpipe import SyncPipe
from wherry.linux.process import CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, setns
from wherry.model.command import Namespaces
from wherry.model.errors import WherryError
from wherry.model.steps import Span, Trace, current_trace, last_step, use_trace

_FLAGS = (("uts", CLONE_NEWUTS), ("ipc", CLONE_NEWIPC), ("net", CLONE_NEWNET), ("cgroup", CLONE_NEWCGROUP))


def join(namespaces: Namespaces, fds: list[int]) -> None:
    """Joins each namespace that is `fd:N`. The PID namespace was joined by the monitor, before the clone; the mount namespace is always new."""
    for field, flag in _FLAGS:
        kind, _, index = str(getattr(namespaces, field)).partition(":")
        if kind == "fd":
            setns(fds[int(index)], flag)


def join_all(pidfd: int) -> None:
    """Joins every namespace of a running process at once, but for its PID namespace; setns(2)."""
    setns(pidfd, CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWNS)


def run(pipe: SyncPipe, work: Callable[[], None]) -> NoReturn:
    """Runs `work`, which ends in execve; any error of it is told to the monitor as `Failed`."""
    gc.disable()  # a collection would only copy pages that execve throws away
    if current_trace() is None:
        use_trace(Trace("init"))
    code = 1
    try:
        work()
    except EOFError:
        # The monitor is gone: nobody is left to tell, and the kernel takes the namespaces with us.
        pass
    except BaseException as error:
        code = getattr(error, "exit_code", 1)
        _tell(pipe, error)
    os._exit(code)


def _tell(pipe: SyncPipe, error: BaseException) -> None:
    number = error.errno or 0 if isinstance(error, OSError) else 0
    path = os.fsdecode(error.filename) if isinstance(error, OSError) and isinstance(error.filename, str | bytes) else ""
    if isinstance(error, program.ExecError | WherryError):
        message = error.message
    elif isinstance(error, OSError):
        message = (error.strerror or os.strerror(number)) + (f": {path}" if path and path not in (error.strerror or "") else "")
    else:
        message = f"{type(error).__name__}: {error}"
    try:
        pipe.send_failed(str(getattr(error, "step", None) or last_step()), number, path, message, _spans())
    except OSError:
        # The monitor is gone.
        pass


def _spans() -> list[Span]:
    trace = current_trace()
    return trace.spans if trace is not None else []


def ready_and_execute(pipe: SyncPipe, argv: list[str], env: dict[str, str]) -> None:
    """`Ready`, then the program. A program that cannot be run gives `Failed` at the step `init: exec` after the `Ready`."""
    pipe.send_ready(_spans())
    program.execute(argv, env)
