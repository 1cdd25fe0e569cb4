"""The errors of the CLI. Each carries what is printed on stderr and the exit code (docker's table of exit codes)."""


class CliError(Exception):
    """An error of the CLI itself; `code` is the exit code."""

    def __init__(self, message: str, code: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint  # further lines after the message, for example the usage


class ApiError(CliError):
    """The daemon answered with an error status; `message` is its own text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__("Error response from daemon: " + message)
        self.status = status
        self.text = message


class ConnectError(CliError):
    """No daemon listens on the chosen socket."""


class Exit(Exception):
    """Leave with this code; everything that must be said has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
