"""The engines that are compared: our own daemon (private roots), a Docker socket given by the user, and bare `runc run`."""

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
IMAGE = "wherry-bench/busybox:latest"  # a tag of its own: the images of the compared engine are left alone
PREFIX = "wherry-bench-"


class UnixConnection(http.client.HTTPConnection):
    """http.client over a unix socket; the same code talks to every engine."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=600)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """An engine behind a unix socket, with the client that its users type."""

    def __init__(self, name: str, path: str, program: str) -> None:
        self.name, self.path, self.program = name, path, program
        self._config = tempfile.mkdtemp(prefix="wherry-bench-")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "WHERRY_"))}
        self.env |= {"DOCKER_HOST": f"unix://{path}", "DOCKER_CONFIG": self._config}
        self._kept = UnixConnection(path)

    def request(self, method: str, path: str, body: object = None) -> bytes:
        """One request over the kept-alive connection; fails on any error status."""
        data = None if body is None else json.dumps(body).encode()
        self._kept.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        response = self._kept.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise RuntimeError(f"{self.name}: {method} {path}: {response.status} {answer!r}")
        return answer

    def fresh(self) -> UnixConnection:
        return UnixConnection(self.path)

    def cli(self, *args: str, stdout: int = subprocess.DEVNULL) -> None:
        """Runs the engine's client; fails unless it succeeds."""
        done = subprocess.run([self.program, *args], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, env=self.env)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(args)}: {done.returncode} {done.stderr.decode()}")

    def load(self, archive: bytes) -> None:
        connection = self.fresh()
        connection.request("POST", "/images/load?quiet=1", archive, {"Content-Type": "application/x-tar"})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status != 200 or b'"error"' in answer:
            raise RuntimeError(f"{self.name}: load: {response.status} {answer!r}")

    def create(self, name: str, command: list[str], network: str = "bridge", **host: object) -> str:
        body = {"Image": IMAGE, "Cmd": command, "HostConfig": {"NetworkMode": network, **host}}
        return str(json.loads(self.request("POST", f"/containers/create?name={PREFIX}{name}", body))["Id"])

    def remove_all(self) -> None:
        for container in json.loads(self.request("GET", "/containers/json?all=1")):
            if any(name.startswith(f"/{PREFIX}") for name in container["Names"]):
                self.request("DELETE", f"/containers/{container['Id']}?force=1&v=1")

    def version(self) -> str:
        return str(json.loads(self.request("GET", "/version"))["Version"])

    def pid(self) -> int:
        """The daemon's process: the one that listens on the socket (unix(7), SO_PEERCRED)."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.path)
            return int(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.remove_all()
        with contextlib.suppress(Exception):
            self.request("DELETE", f"/images/{IMAGE}?force=1")
        self._kept.close()
        shutil.rmtree(self._config, ignore_errors=True)


class Wherry(Engine):
    """A private daemon: own roots, socket and bridge."""

    def __init__(self) -> None:
        self._dir = Path(tempfile.mkdtemp(prefix="wherry-bench-", dir="/var/tmp"))
        self._bridge = f"wb{os.getpid()}"[:15]
        path = str(self._dir / "api.sock")
        argv = [str(BIN / "wherryd"), "--data-root", str(self._dir / "data"), "--exec-root", str(self._dir / "run"), "-H", f"unix://{path}",
                "-p", str(self._dir / "pid"), "-b", self._bridge]  # fmt: skip
        self._log = open(self._dir / "log", "wb")
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        super().__init__("wherry", path, str(BIN / "wherry"))
        deadline = time.monotonic() + 20
        while True:
            try:
                self.request("GET", "/_ping")
                break
            except OSError as error:
                self._kept.close()
                if time.monotonic() > deadline or self._process.poll() is not None:
                    sys.exit(f"bench: wherryd does not answer ({error}); its log:\n{(self._dir / 'log').read_text()}")
                time.sleep(0.02)

    def close(self) -> None:
        super().close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        self._log.close()
        subprocess.run(["ip", "link", "del", self._bridge], capture_output=True)
        for table in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout.splitlines():
            if table.endswith(f"_{self._bridge}"):
                subprocess.run(["nft", "delete", *table.split()], capture_output=True)
        shutil.rmtree(self._dir, ignore_errors=True)


class Runc:
    """`runc run` of the same root file system: no engine, no network but a namespace, no log."""

    name = "runc"

    def __init__(self, archive: Path) -> None:
        self._dir = Path(tempfile.mkdtemp(prefix="wherry-bench-runc-", dir="/var/tmp"))
        bundle, rootfs = self._dir / "bundle", self._dir / "bundle/rootfs"
        rootfs.mkdir(parents=True)
        with tarfile.open(archive) as outer:
            (entry,) = json.load(outer.extractfile("manifest.json"))  # type: ignore[arg-type]
            for layer in entry["Layers"]:
                with tarfile.open(fileobj=outer.extractfile(layer)) as inner:
                    inner.extractall(rootfs, filter="tar")
        subprocess.run(["runc", "spec", "-b", str(bundle)], check=True)
        spec = json.loads((bundle / "config.json").read_text())
        spec["process"] |= {"terminal": False, "args": ["true"]}
        spec["process"].pop("rlimits", None)
        (bundle / "config.json").write_text(json.dumps(spec))
        self._bundle, self._count = bundle, 0

    def run(self) -> None:
        self._count += 1
        argv = ["runc", "--root", str(self._dir / "state"), "run", "-b", str(self._bundle), f"{PREFIX}{os.getpid()}-{self._count}"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode:
            raise RuntimeError(f"runc run: {done.returncode} {done.stderr.decode()}")

    def version(self) -> str:
        return subprocess.run(["runc", "--version"], capture_output=True, text=True).stdout.split()[2]

    def close(self) -> None:
        shutil.rmtree(self._dir, ignore_errors=True)


def image_archive() -> Path:
    """The busybox archive that tools/images built."""
    tool = subprocess.run([sys.executable, str(TOP / "tools/images"), "busybox"], capture_output=True, text=True)
    if tool.returncode:
        sys.exit(tool.stderr)
    return Path(tool.stdout.split()[-1])


def retagged(archive: Path) -> bytes:
    """The archive's bytes under the tag IMAGE."""
    out = io.BytesIO()
    with tarfile.open(archive) as source, tarfile.open(fileobj=out, mode="w") as target:
        for member in source:
            data = source.extractfile(member)
            if member.name == "manifest.json" and data:
                manifest = json.load(data)
                manifest[0]["RepoTags"] = [IMAGE]
                raw = json.dumps(manifest).encode()
                member.size, data = len(raw), io.BytesIO(raw)
            target.addfile(member, data)
    return out.getvalue()
