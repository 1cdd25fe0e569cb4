"""Finalize the namespace: from a Python process with all capabilities to what the user's program expects. The order is the point.

capabilities(7), credentials(7), "Transformation of capabilities during execve()", signal(7), seccomp(2).
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat

from wherry.init.user import User
from wherry.linux import capability
from wherry.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from wherry.linux.process import PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, close_range_cloexec, prctl
from wherry.linux.session import load_seccomp, reset_signals
from wherry.model.command import Process, Rlimit
from wherry.model.steps import step


def finalize(process: Process, user: User, root: int) -> None:
    """Everything between `Go` and `Ready`."""
    with step("init: rlimits"):
        for limit in process.rlimits:
            set_rlimit(limit)
    with step("init: umask and signals"):
        os.umask(process.umask)
        # A fresh program would inherit the signals that Python ignores (SIGPIPE, SIGXFSZ), and what is blocked.
        reset_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with step("init: stdio owner"):
        own_stdio(user.uid)
    bits = process.capabilities
    with step("init: bounding set"):
        capability.drop_bounding(bits.bounding)
        capability.clear_ambient()
    with step("init: user"):
        # Without KEEPCAPS, leaving uid 0 empties the permitted set, and neither the filter nor the final sets could be set any more.
        prctl(PR_SET_KEEPCAPS, 1)
        set_ids(user)
        _, permitted, _ = capability.get()
        capability.set_all(permitted, permitted, 0)
    with step("init: working directory"):
        enter_cwd(root, process.cwd)
    # Inheritable and ambient stay empty (R6). A user other than root gets nothing, as execve would leave it.
    final = (bits.effective & permitted, bits.permitted & permitted) if user.uid == 0 else (0, 0)
    program = bytes.fromhex(process.seccomp)
    if process.no_new_privileges:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        with step("init: capabilities"):
            capability.set_all(*final, 0)
        with step("init: seccomp"):
            close_and_check()
            if program:
                load_seccomp(program)
    else:
        # Loading a filter without no_new_privs needs CAP_SYS_ADMIN, which the final sets seldom have.
        with step("init: seccomp"):
            close_and_check()
            if program:
                load_seccomp(program)
        with step("init: capabilities"):
            capability.set_all(*final, 0)


def set_rlimit(limit: Rlimit) -> None:
    """setrlimit(2). A hard limit above ours needs CAP_SYS_RESOURCE: refused, it is an error where the user asked for it, else it is cut."""
    soft, hard = limit.soft, limit.hard
    try:
        resource.setrlimit(limit.resource, (soft, hard))
    except (ValueError, PermissionError):
        # ValueError is Python's word for EINVAL and EPERM.
        _, ours = resource.getrlimit(limit.resource)
        if limit.asked:
            shown = "unlimited" if ours == resource.RLIM_INFINITY else str(ours)
            text = f"cannot set ulimit {limit.name}={soft}:{hard}: the host's hard limit is {shown}, and raising it needs CAP_SYS_RESOURCE"
            raise OSError(errno.EPERM, text) from None
        resource.setrlimit(limit.resource, (ours if soft == resource.RLIM_INFINITY or 0 <= ours < soft else soft, ours))


def own_stdio(uid: int) -> None:
    """Gives the pipes and the terminal that are stdin, stdout and stderr to the user, so that /dev/stdout can be opened. Nothing else is
    touched: /dev/null and files belong to somebody."""
    for fd in (0, 1, 2):
        try:
            found = os.fstat(fd)
            if found.st_uid != uid and (stat.S_ISFIFO(found.st_mode) or os.isatty(fd)):
                os.fchown(fd, uid, -1)
        except OSError as error:
            # Closed, or on a read-only file system.
            if error.errno not in (errno.EBADF, errno.EROFS, errno.EINVAL, errno.EPERM):
                raise


def set_ids(user: User) -> None:
    """Groups, then gid, then uid: each needs what the next one gives up."""
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def enter_cwd(root: int, cwd: str) -> None:
    """The working directory, without magic links: one through /proc/self/fd would lead to the host (R4)."""
    try:
        fd = openat2(root, cwd, os.O_PATH | os.O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        os.fchdir(fd)
        os.close(fd)
    except OSError as error:
        text = os.strerror(error.errno or 0).lower()
        raise OSError(error.errno, f'chdir to cwd ("{cwd}") set in config.json failed: {text}', cwd) from None


def close_and_check() -> None:
    """Every descriptor but 0, 1 and 2 goes at execve, and the working directory lies inside the root (R4)."""
    close_range_cloexec(3)
    if not os.getcwd().startswith("/"):
        raise OSError(errno.EPERM, "the working directory is outside of the container's root")
