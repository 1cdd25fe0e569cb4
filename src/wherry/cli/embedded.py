"""The embedded default: when nobody listens on the default socket and we are root, the CLI starts wherryd and goes on.

Several CLIs may come here at once: the first takes the lock and starts the daemon, the others wait for the lock and find it running.
wherryd says that it is ready by a byte on the descriptor given with --ready-fd; if it ends before, the pipe's end of file tells.
"""

import fcntl
import os
import select
import sys

from wherry.cli.client import open_socket
from wherry.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

READY_SECONDS = 60


def start_daemon(host: str) -> "_socket.socket":
    """Start wherryd for this `unix://` host unless another CLI just did, and connect."""
    folder = os.path.dirname(host.removeprefix("unix://"))
    os.makedirs(folder, 0o700, exist_ok=True)
    lock = os.open(os.path.join(folder, "start.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return open_socket(host)
        except (FileNotFoundError, ConnectionRefusedError):
            pass
        log = os.path.join(folder, "wherryd.log")
        _launch(daemon_argv(), log)
        try:
            return open_socket(host)
        except OSError as error:
            raise CliError(f"started wherryd, but cannot connect to {host}: {error.strerror}{_tail(log)}") from None
    finally:
        os.close(lock)


def daemon_argv() -> "list[str]":
    """How wherryd is started: the script beside the running `wherry` or its interpreter, else the module."""
    for program in (sys.argv[0], sys.executable):
        candidate = os.path.join(os.path.dirname(os.path.abspath(program)), "wherryd")
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return [candidate]
    return [sys.executable, "-m", "wherry.wherryd"]


def _launch(argv: "list[str]", log: str) -> None:
    """Start argv detached and wait until it is ready; CliError with the end of its log if it is not."""
    ready, given = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            _become(argv, log, given)
        os.close(given)
        given = -1
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        if not poll.poll(READY_SECONDS * 1000):
            raise CliError(f"wherryd (process {pid}) was not ready within {READY_SECONDS} s; see {log}")
        if not os.read(ready, 1):
            raise CliError(f"wherryd ended before it was ready; see {log}{_tail(log)}")
    finally:
        os.close(ready)
        if given >= 0:
            os.close(given)


def _become(argv: "list[str]", log: str, ready: int) -> None:
    """In the child: a session of its own, output into the log, then wherryd. Never returns."""
    try:
        os.setsid()
        os.chdir("/")
        null = os.open("/dev/null", os.O_RDONLY)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.set_inheritable(ready, True)
        os.execv(argv[0], [*argv, "--ready-fd", str(ready)])
    except BaseException as error:  # nothing may run on in the copy of the CLI
        os.write(2, f"starting {argv[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _tail(path: str, size: int = 2000) -> str:
    """The last lines of the daemon's log, to be shown under an error."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()[-8:]
    except OSError:
        return ""
    return "\n" + "\n".join(lines) if lines else ""
