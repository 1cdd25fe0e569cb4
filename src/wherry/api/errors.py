"""The one table from kinds of errors to HTTP statuses, and the body of an error."""

from __future__ import annotations

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


def status_of(error: BaseException) -> int:
    """The HTTP status for `error`; 500 for what has no kind.

    A failed start is the client's mistake (400) where the container's program cannot be run (exit codes 126 and 127).
    """
    if isinstance(error, errors.StartFailed):
        return 400 if error.exit_code in (126, 127) else 500
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
    if not isinstance(error, errors.WherryError):
        log.error("internal error: %s", error, exc_info=error)
    return Answer(status, error_body(error), (("Content-Type", "application/json"),))


def error_body(error: BaseException) -> bytes:
    return msgspec.json.encode({"message": message_of(error)}) + b"\n"


def message_of(error: BaseException) -> str:
    return str(error) or type(error).__name__
