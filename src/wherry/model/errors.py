"""Errors are classes of what the client should do; only `api/errors.py` knows their HTTP statuses."""

from __future__ import annotations

import errno as _errno


class WherryError(Exception):
    """Base of every error that is meant for a user; its text says what failed and what to do."""

    @property
    def message(self) -> str:
        return str(self)


class NotModified(WherryError):
    """Nothing to do: the object is in the asked state already."""


class InvalidArgument(WherryError):
    """The request is wrong; sending it again cannot help."""


class Unauthorized(WherryError):
    """Credentials are missing or refused."""


class Forbidden(WherryError):
    """The engine refuses this by policy."""


class NotFound(WherryError):
    """No object of that name."""


class Conflict(WherryError):
    """The object is in a state, or a name is taken, that excludes the request."""


class TooLarge(WherryError):
    """The request's body is over its limit."""


class Unimplemented(WherryError):
    """Known, but not built yet."""


class Unavailable(WherryError):
    """Cannot be done now; later it may."""


class Internal(WherryError):
    """The engine or the host failed."""


class StartFailed(WherryError):
    """A container's start failed at a named step.

    `exit_code` is what the container's State shows: 126 or 127 where the user's program cannot be run (the
    client's mistake), 128 where the engine or the host failed."""

    def __init__(self, message: str, *, step: str = "", errno: int = 0, path: str = "", exit_code: int = 128) -> None:
        super().__init__(message)
        self.step, self.errno, self.path, self.exit_code = step, errno, path, exit_code


def errno_name(number: int) -> str:
    """`ENOENT` for 2; errno(3)."""
    return _errno.errorcode.get(number, f"errno {number}")
