"""What `run`, `start -a`, `attach` and `exec` share: the conversation with an attached program, and its exit code."""

from wherry.cli.errors import ApiError, CliError, Exit
from wherry.cli.http1 import ProtocolError
from wherry.cli.signals import ENDING, HUP, NAMES, WINCH, Signals, forward
from wherry.cli.streams import Pump
from wherry.cli.terminal import DetachWatch, RawMode, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.client import Pending, Stream
    from wherry.cli.context import Cli
    from wherry.cli.http1 import Query


def attach_query(stdin: bool, stdout: bool, stderr: bool, keys: str) -> "Query":
    return {"stream": True, "stdin": stdin, "stdout": stdout, "stderr": stderr, "detachKeys": keys}


def detach_keys(cli: "Cli", given: str) -> str:
    """--detach-keys, else the client's configuration, else empty: the daemon's default, which is also ours."""
    keys = given or str(cli.config.get("detachKeys") or "")
    if keys:
        DetachWatch(keys)  # a bad list is refused before anything is made
    return keys


def resize(cli: "Cli", target: str) -> None:
    """Tell the program's terminal the size of the user's. `target`: `/containers/ID` or `/exec/ID`."""
    rows, columns = size()
    if not rows and not columns:
        return
    try:
        cli.client.call("POST", f"{target}/resize", {"h": rows, "w": columns})
    except (ApiError, ProtocolError):  # it has ended meanwhile, or the daemon is being restarted: the copying goes on
        pass


def caught(tty: bool, proxy: bool) -> "tuple[int, ...]":
    """The signals to catch: all that are passed on; with a terminal also those that must restore it, and the change of its size."""
    if proxy:
        return tuple(NAMES)
    return (*ENDING, WINCH) if tty else ()


class Conversation:
    """An attached program. Make it before the start, so that no signal is lost; `run` copies until the daemon ends the stream."""

    def __init__(self, cli: "Cli", target: str, stream: "Stream", tty: bool, stdin: bool, keys: str, proxy: bool) -> None:
        self._cli = cli
        self._target = target
        self._tty = tty
        self._proxy = proxy
        self._raw = tty and stdin
        self._pump = Pump(stream, tty, stdin, DetachWatch(keys) if tty and stdin else None)
        self._signals = Signals(caught(tty, proxy))

    def __enter__(self) -> "Conversation":
        self._signals.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._signals.__exit__()
        self._pump.stream.close()

    def run(self, waiting: "Pending | None" = None) -> bool:
        """True if the user detached. `waiting`: see Pump.run."""
        if not self._raw:
            return self._run(waiting)
        with RawMode():
            return self._run(waiting)

    def _run(self, waiting: "Pending | None") -> bool:
        if self._tty:
            resize(self._cli, self._target)
        return self._pump.run(self._signals, self._on_signal, waiting)

    def _on_signal(self, number: int) -> None:
        if number == WINCH and self._tty:
            resize(self._cli, self._target)
        elif self._proxy:
            forward(self._cli.client, self._target.removeprefix("/containers/"), number)
            if self._tty and number == HUP:
                raise Exit(128 + number)  # the terminal is gone: there is nobody left to show anything to
        elif number in ENDING:
            raise Exit(128 + number)


def exit_code(cli: "Cli", waiting: "Pending", container: str) -> int:
    """The code of the wait. If the daemon went away meanwhile, ask the next one."""
    try:
        result = waiting.result()
    except ProtocolError:
        result = _ask_again(cli, container)
    error = result.get("Error")
    if error and error.get("Message"):
        cli.err(f"Error waiting for container: {error['Message']}")
        return 125
    return int(result["StatusCode"])


def _ask_again(cli: "Cli", container: str) -> "dict[str, object]":
    cli.client.close()
    try:
        state = cli.client.call("GET", f"/containers/{container}/json")["State"]
        if state["Running"]:
            answer: dict[str, object] = cli.client.call("POST", f"/containers/{container}/wait")
            return answer
        return {"StatusCode": state["ExitCode"]}
    except (CliError, ProtocolError) as error:
        text = error.message if isinstance(error, CliError) else str(error)
        raise CliError(f"the daemon went away before it told the exit code: {text}", 125) from None
