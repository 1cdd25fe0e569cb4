"""The two clients, `wherry` and the stock `docker`, run as their users run them: as processes, with pipes or on a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from harness.waiting import SLOWNESS


class Result:
    def __init__(self, argv: list[str], code: int, out: bytes, err: bytes) -> None:
        self.argv, self.code, self.raw_out, self.raw_err = argv, code, out, err

    @property
    def out(self) -> str:
        return self.raw_out.decode(errors="replace")

    @property
    def err(self) -> str:
        return self.raw_err.decode(errors="replace")

    @property
    def line(self) -> str:
        """The output without the newline at its end."""
        return self.out.rstrip("\n")

    def __repr__(self) -> str:
        return f"{' '.join(self.argv)}\n  code {self.code}\n  out {self.out[-3000:]!r}\n  err {self.err[-3000:]!r}"


class Cli:
    def __init__(self, name: str, program: str, host: str, config_dir: str) -> None:
        self.name, self._program = name, program
        hidden = ("DOCKER_", "WHERRY_")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        self.env |= {"DOCKER_HOST": host, "DOCKER_CONFIG": config_dir, "TERM": "xterm"}

    def argv(self, *args: str) -> list[str]:
        return [self._program, *args]

    def __call__(
        self, *args: str, code: int | None = 0, stdin: bytes | str = b"", timeout: float = 60.0, env: dict[str, str] | None = None
    ) -> Result:
        """Runs the verb to its end; `code` is the expected exit code (None: any)."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        process = self.start(*args, env=env)
        timeout *= SLOWNESS
        try:
            out, err = process.communicate(data, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"no end within {timeout} s: {Result(process.args, -1, out, err)!r}")  # type: ignore[arg-type]
        result = Result(list(process.args), process.returncode, out, err)  # type: ignore[arg-type]
        assert code is None or result.code == code, f"expected code {code}: {result!r}"
        return result

    def start(self, *args: str, stdin: int = subprocess.PIPE, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Starts the verb and leaves it running, with pipes."""
        argv, whole = self.argv(*args), {**self.env, **(env or {})}
        return subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=whole)

    def terminal(self, *args: str, rows: int = 24, columns: int = 80) -> "Terminal":
        return Terminal(self.argv(*args), self.env, rows, columns)

    def __repr__(self) -> str:
        return self.name


class Terminal:
    """A client on a terminal of its own, driven like by a person: type, wait for text, resize, hang up."""

    def __init__(self, argv: list[str], env: dict[str, str], rows: int, columns: int) -> None:
        self.argv, self.seen, self._code = argv, b"", None
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                os.execvpe(argv[0], argv, env)
            finally:
                os._exit(127)
        self.resize(rows, columns)

    _code: int | None

    def type(self, text: str | bytes) -> None:
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self, seconds: float) -> bool:
        """Takes in what comes within `seconds`; False at the end of the terminal."""
        if not select.select([self.master], [], [], max(seconds, 0))[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: the last process that had the terminal is gone
            return False
        self.seen += data
        return bool(data)

    def expect(self, pattern: str, seconds: float = 15.0) -> re.Match[str]:
        """Waits until `pattern` (a regular expression) is in what came since the last match, and eats up to its end."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.seen.decode(errors="replace")
            if match := re.search(pattern, text):
                self.seen = text[match.end() :].encode()
                return match
            if time.monotonic() > deadline or not self._read(deadline - time.monotonic()):
                assert (match := re.search(pattern, self.seen.decode(errors="replace"))), f"no {pattern!r} from {self.argv}: {self.seen!r}"
                self.seen = self.seen.decode(errors="replace")[match.end() :].encode()
                return match

    def wait(self, seconds: float = 15.0) -> int:
        """The exit code of the client (128+N when a signal ended it); its last output is kept in `seen`."""
        deadline = time.monotonic() + seconds
        while self._code is None:
            more = self._read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG if more else 0)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
                if self._code < 0:
                    self._code = 128 - self._code
                while select.select([self.master], [], [], 0)[0] and self._read(0):
                    pass
            assert self._code is not None or time.monotonic() < deadline, f"{self.argv} does not end: {self.seen!r}"
        return self._code

    def close(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
