"""A wherryd of the tests' own: roots in a temporary directory, its own bridge and socket, killed and started at will."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .api import Api
from .cli import Cli
from .waiting import eventually

BIN = Path(sys.executable).parent
TOP = Path(__file__).parents[2]


class Engine:
    """One daemon with its roots. `token` marks the environment of every process that it starts (forks keep it)."""

    def __init__(self, label: str, *flags: str) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix=f"wherry-{label}-", dir="/var/tmp"))
        self.data_root, self.exec_root = self.dir / "data", self.dir / "run"
        self.socket = str(self.dir / "api.sock")
        self.host = f"unix://{self.socket}"
        self.log = self.dir / "wherryd.log"
        self.token = self.dir.name
        self.bridge = f"we{os.getpid() % 100000}{label[:4]}"[:15]
        self.flags = flags
        self.prefix: tuple[str, ...] = ()  # a program that becomes the daemon, to start it in other surroundings
        self.api = Api(self.socket)
        self._process: subprocess.Popen[bytes] | None = None
        self._ids: set[str] = set()
        (self.dir / "docker-config").mkdir()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the daemon does not run"
        return self._process.pid

    def cli(self, name: str) -> Cli:
        program = shutil.which("docker") if name == "docker" else str(BIN / "wherry")
        assert program, "no docker client on the PATH; run `make dev`"
        return Cli(name, program, self.host, str(self.dir / "docker-config"))

    def start(self, failpoint: str | None = None, wait: bool = True) -> None:
        """Starts the daemon; with `failpoint` it is armed with WHERRY_FAILPOINT."""
        argv = [*self.prefix, str(BIN / "wherryd"), "--data-root", str(self.data_root), "--exec-root", str(self.exec_root), "-H", self.host,
                "-p", str(self.dir / "wherryd.pid"), "-b", self.bridge, *self.flags]  # fmt: skip
        env = {**os.environ, "WHERRY_TEST_TOKEN": self.token, "PYTHONFAULTHANDLER": "1", "WHERRY_AUDIT": "1"}
        env.pop("WHERRY_FAILPOINT", None)
        if failpoint:
            env["WHERRY_FAILPOINT"] = failpoint
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        def answers() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"wherryd ended with {self._process.returncode}:\n{self.log_tail()}")
            return self.api("GET", "/_ping", timeout=5).status == 200

        eventually(answers, 20, every=0.02, what=f"wherryd answers; its log: {self.log_tail()}")

    def log_tail(self, size: int = 4000) -> str:
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    def signal(self, number: int) -> int:
        """Sends a signal and waits for the daemon's end; returns its exit code (negative: by a signal)."""
        assert self._process is not None
        self._process.send_signal(number)
        return self.wait_end()

    def wait_end(self, seconds: float = 30.0) -> int:
        assert self._process is not None
        code = self._process.wait(seconds)
        self._process = None
        return code

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def restart(self) -> None:
        if self.running:
            self.signal(signal.SIGTERM)
        self.start()

    def ids_seen(self) -> set[str]:
        """Every container that this engine ever had, as far as a running daemon tells."""
        if self.running:
            events = self.api("GET", f"/events?since=0&until={int(time.time()) + 1}").body.decode().splitlines()
            self._ids |= {event["Actor"]["ID"] for event in map(json.loads, events) if event["Type"] == "container"}
        return self._ids

    def load(self, *names: str) -> None:
        for name in names:
            with open(image_path(name), "rb") as archive, self.api.connection(300) as connection:
                connection.request("POST", "/images/load?quiet=1", archive, {"Content-Type": "application/x-tar"}, encode_chunked=True)
                response = connection.getresponse()
                body = response.read()
                assert response.status == 200 and b'"error"' not in body, f"load {name}: {response.status} {body!r}"

    def remove_all(self) -> None:
        """Removes every container and volume."""
        for container in self.api.ok("GET", "/containers/json?all=1"):
            self.api("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        left = self.api.ok("GET", "/containers/json?all=1")
        assert not left, f"could not remove {left}"
        for volume in self.api.ok("GET", "/volumes")["Volumes"] or []:
            self.api("DELETE", f"/volumes/{volume['Name']}?force=1")

    def processes(self) -> list[int]:
        """Every process of this daemon: those whose environment has its token, and all their descendants."""
        parents: dict[int, int] = {}
        ours: set[int] = set()
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            with contextlib.suppress(OSError):
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
                if f"WHERRY_TEST_TOKEN={self.token}\0".encode() in Path(f"/proc/{entry}/environ").read_bytes():
                    ours.add(int(entry))
        found = set(ours)
        for pid in parents:
            chain, at = [pid], pid
            while (at := parents.get(at, 0)) > 1 and at not in found:
                chain.append(at)
            if at in found:
                found.update(chain)
        return sorted(found - {os.getpid()})

    def close(self) -> None:
        """Ends everything that this engine started and removes all of its traces."""
        try:
            if self.running:
                with contextlib.suppress(Exception):
                    self.remove_all()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.signal(signal.SIGTERM)
        finally:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            eventually(lambda: not self.processes(), 10, what="all processes of the engine are gone")
            subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
            for table in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout.splitlines():
                if table.endswith(f"_{self.bridge}"):
                    subprocess.run(["nft", "delete", *table.split()], capture_output=True)
            for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
                if line.split()[4].startswith(str(self.dir)):
                    subprocess.run(["umount", "-l", line.split()[4]], capture_output=True)
            shutil.rmtree(self.dir, ignore_errors=True)


def image_path(name: str) -> str:
    tool = subprocess.run([sys.executable, str(TOP / "tools/images"), "--path", name], capture_output=True, text=True)
    assert tool.returncode == 0, tool.stderr
    return tool.stdout.strip()


@contextlib.contextmanager
def engine(label: str, *flags: str, images: tuple[str, ...] = ("busybox",)) -> Iterator[Engine]:
    """A daemon for one test or module, with images loaded."""
    made = Engine(label, *flags)
    try:
        made.start()
        made.load(*images)
        yield made
    except Exception:
        print(f"wherryd {'runs' if made.running else 'is dead'}; its log:\n{made.log_tail(20_000)}", file=sys.stderr)
        raise
    finally:
        made.close()
