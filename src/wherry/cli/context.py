"""What a verb gets to work with: the client of the chosen daemon, the configuration file, ways to print."""

import os

from wherry.cli import jsonlite
from wherry.cli.client import Client, no_daemon, open_socket
from wherry.cli.errors import ApiError, CliError, ConnectError
from wherry.cli.http1 import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

started = (0, 0)  # when main began: CLOCK_MONOTONIC, and the CPU time the interpreter had used until then; both in nanoseconds
DEFAULT_HOST = "unix:///run/wherry/wherry.sock"


def write_all(fd: int, data: bytes) -> None:
    """Write everything; a pipe that nobody reads ends the process by SIGPIPE, as any Unix command."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # somebody who shares the terminal made it non-blocking
            import select

            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


class Cli:
    """One run of the command."""

    def __init__(self, hosts: "list[str] | None" = None, config_dir: str = "", debug: bool = False) -> None:
        if hosts and len(hosts) > 1:
            raise CliError("Specify only one -H")
        self.host = (hosts or [""])[0] or os.environ.get("WHERRY_HOST", "") or os.environ.get("DOCKER_HOST", "") or DEFAULT_HOST
        self.debug = debug
        self.path = ""  # the verb as it was called
        self._config_dir = config_dir
        self._config: dict[str, Any] | None = None
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self.connect, self.config.get("HttpHeaders") or {})
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def connect(self) -> "_socket.socket":
        """A connection to the chosen daemon. On the default socket, as root, a daemon is started if none listens."""
        try:
            return open_socket(self.host)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if self.host != DEFAULT_HOST or os.geteuid() != 0:
                raise no_daemon(self.host, error) from None
        except OSError as error:
            raise no_daemon(self.host, error) from None
        from wherry.cli import embedded

        return embedded.start_daemon(self.host)

    @property
    def config(self) -> "dict[str, Any]":
        """config.json of the client (docker's, in its place): detachKeys, psFormat, HttpHeaders, proxies ... Empty without one."""
        if self._config is None:
            self._config = self._read_config()
        return self._config

    def _read_config(self) -> "dict[str, Any]":
        folder = self._config_dir or os.environ.get("DOCKER_CONFIG") or os.path.join(os.environ.get("HOME", "/root"), ".docker")
        path = os.path.join(folder, "config.json")
        try:
            with open(path, "rb", buffering=0) as file:
                value = jsonlite.loads(file.readall())
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return {}
        except ValueError as error:
            self.err(f"WARNING: Error loading config file: {path}: {error}")
            return {}
        return value if isinstance(value, dict) else {}

    def out(self, text: str) -> None:
        """A line on stdout."""
        write_all(1, (text + "\n").encode("utf-8", "surrogateescape"))

    def err(self, text: str) -> None:
        """A line on stderr."""
        write_all(2, (text + "\n").encode("utf-8", "surrogateescape"))


def container_path(name: str) -> str:
    """`/containers/NAME`, from which no name leads elsewhere."""
    if not name.strip():
        raise CliError("invalid container name or ID: value is empty")
    return "/containers/" + quote(name)


def each(cli: Cli, names: "list[str]", action: "Callable[[str], object]", show: bool = True, missing_is_fine: bool = False) -> int:
    """Do the same to several objects: the good ones are named on stdout, the errors go to stderr, and one error makes the code 1.
    With missing_is_fine (`rm -f`) an object that does not exist is told of, but is no failure."""
    code = 0
    for name in names:
        try:
            action(name)
        except ConnectError:
            raise
        except CliError as error:
            cli.err(error.message)
            if not (missing_is_fine and isinstance(error, ApiError) and error.status == 404):
                code = 1
        else:
            if show:
                cli.out(name)
    return code
