"""`wherry run`: create, attach, wait, start, resize, in this order; then the conversation with the program until it ends."""

from wherry.cli.command import Command
from wherry.cli.create import as_own, make, prepare
from wherry.cli.errors import ApiError, CliError
from wherry.cli.options.table import RUN
from wherry.cli.spans import Spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.client import Pending
    from wherry.cli.context import Cli
    from wherry.cli.flags import Flags

COMMAND = Command(
    "IMAGE [COMMAND] [ARG...]",
    "Make a container from an image and run a command in it",
    RUN,
    least=1,
    aliases=("container run", "run"),
    interspersed=False,
)


def main(cli: "Cli", flags: "Flags", args: "list[str]") -> int:
    spans = Spans(flags.given("trace"))
    try:
        return Run(cli, flags, args, spans).run()
    except CliError as error:
        if isinstance(error, ApiError) and error.code == 1:
            error.code = 125
        raise as_own(error, cli.path) from None


class Run:
    """One run, with what its steps hand on to each other."""

    def __init__(self, cli: "Cli", flags: "Flags", args: "list[str]", spans: Spans) -> None:
        self.cli = cli
        self.flags = flags
        self.spans = spans
        self.detach = flags.on("detach")
        self.body: dict[str, Any] = prepare(cli, flags, args, self.detach)
        self.container = ""
        self.waiting: Pending | None = None
        self.headers = {"X-Wherry-Trace": "1"} if spans.wanted else {}

    def run(self) -> int:
        body, flags = self.body, self.flags
        wants = [bool(body.get(field)) for field in ("AttachStdin", "AttachStdout", "AttachStderr")]
        if not self.detach:
            from wherry.cli.terminal import check_tty

            check_tty(wants[0], bool(body.get("Tty")))
        keys = self._keys()
        self.spans.begin("connect")
        try:
            self.cli.client.prepare()
        except CliError as error:
            error.code = 125
            raise
        self.spans.begin("create", waits=True)
        try:
            self.container = make(self.cli, flags, body, self.headers)
        except CliError as error:
            error.code = 125
            raise
        if self.detach or not any(wants):
            self._start()
            self.cli.out(self.container)
            code = 0
        else:
            code = self._attached(wants, keys)
        self.spans.report(self.cli, self.container, flags.text("trace"))
        return code

    def _keys(self) -> str:
        if self.detach:
            return ""
        from wherry.cli.attached import detach_keys

        try:
            return detach_keys(self.cli, self.flags.text("detach-keys"))
        except CliError as error:
            error.code = 125
            raise

    def _attached(self, wants: "list[bool]", keys: str) -> int:
        """Attach and wait are asked for together, before the start, so that neither output nor the end of a short program is missed."""
        from wherry.cli.attached import Conversation, attach_query, exit_code

        client, path, tty = self.cli.client, f"/containers/{self.container}", bool(self.body.get("Tty"))
        self.spans.begin("attach", waits=True)
        connection = client.begin_hijack(f"{path}/attach", attach_query(wants[0], wants[1], wants[2], keys))
        condition = "removed" if self.flags.on("rm") else "next-exit"
        waiting = self.waiting = client.begin("POST", f"{path}/wait", {"condition": condition})
        try:
            stream = client.hijacked(connection)
            waiting.head()
            with Conversation(self.cli, path, stream, tty, wants[0], keys, self.flags.on("sig-proxy")) as conversation:
                self._start()
                self.spans.begin("program")
                detached = conversation.run(None if any(wants[1:]) else waiting)
            if detached:
                return 0
            return exit_code(self.cli, waiting, self.container)
        finally:
            waiting.close()

    def _start(self) -> None:
        self.spans.begin("start", waits=True)
        try:
            self.cli.client.call("POST", f"/containers/{self.container}/start", headers=self.headers)
        except ApiError as error:
            error.code = start_code(error.text)
            if self.waiting is not None and self.flags.on("rm"):
                self.waiting.result()  # until the daemon has removed it
            raise


def start_code(text: str) -> int:
    """127 if the program was not found, 126 if it cannot be executed, else 125; clients of docker tell by the same words."""
    text = text.lower()
    if "executable file not found" in text or "no such file or directory" in text or "system cannot find the file specified" in text:
        return 127
    if "permission denied" in text or "is a directory" in text:
        return 126
    return 125
