"""The one table from kinds of errors to HTTP statuses, and the body of an error."""

from __future__ import annotations

import errno
import logging

import msgspec

from wherry.api.messages import Answer
from wherry.model import errors
from wherry.model.version import TooOld

log = logging.getLogger(__name__)

#: The first class of an error's ancestry that stands here decides.
STATUS: dict[type[BaseException], int] = {
    errors.NotModified: 304,
    errors.InvalidArgument: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.Unimplemented: 501,
    errors.Unavailable: 503,
}


_FULL = {
    errno.ENOSPC: "make room on that file system, then try again",
    errno.EDQUOT: "raise the quota or make room, then try again",
    errno.EMFILE: "wherryd has too many open files: raise its limit (ulimit -n), or try again when less is going on",
    errno.ENFILE: "the host has too many open files: try again when less is going on",
    errno.EAGAIN: "the limit of processes is reached (pids.max of wherryd's cgroup, ulimit -u): raise it, or try again when less is running",
}


def status_of(error: BaseException) -> int:
    """The HTTP status for `error`; 500 for what has no kind.

    A failed start is the client's mistake (400) where the container's program cannot be run (exit codes 126 and 127).
    """
    if isinstance(error, errors.StartFailed):
        return 400 if error.exit_code in (126, 127) else 500
    if isinstance(error, OSError) and error.errno in _FULL:
        return 503
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500


def error_answer(error: BaseException) -> Answer:
    """The answer that tells the client about `error`; an error that is none of ours is also logged with its traceback."""
    status = status_of(error)
    if status == 304:
        return Answer(304)
    if isinstance(error, TooOld):
        return Answer(status, message_of(error).encode() + b"\n", (("Content-Type", "text/plain; charset=utf-8"),))
    if not isinstance(error, errors.WherryError) and not _out_of(error):
        log.error("internal error: %s", error, exc_info=error)
    return Answer(status, error_body(error), (("Content-Type", "application/json"),))


def _out_of(error: BaseException) -> str:
    """What to do where the host has no more of something; "" for any other error."""
    return _FULL.get(error.errno or 0, "") if isinstance(error, OSError) else ""


def error_body(error: BaseException) -> bytes:
    return msgspec.json.encode({"message": message_of(error)}) + b"\n"


def message_of(error: BaseException) -> str:
    """The text for the client: an error of the system call that failed names its step, and what to do."""
    if isinstance(error, OSError) and error.strerror:
        step = getattr(error, "step", None)
        where = f" (step '{step}')" if step else ""
        path = f": {error.filename}" if error.filename else ""
        advice = f": {_out_of(error)}" if _out_of(error) else ""
        return f"{error.strerror}{path} ({errors.errno_name(error.errno or 0)}){where}{advice}"
    return str(error) or type(error).__name__
