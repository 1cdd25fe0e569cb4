"""The routes over real stores and fake verbs: what a client sends reaches the verb, what comes back has Docker's form.

Nothing here starts a container; the end-to-end tests do.
"""

from __future__ import annotations

import io
import json
import shutil
import socket
import tarfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from wherry import cgroups
from wherry.api import stdcopy
from wherry.api.app import make_server
from wherry.api.listen import open_listeners
from wherry.daemon import attach, create, exec, kill, restart, start, stop, wait
from wherry.daemon.containers import Containers
from wherry.daemon.daemon import Daemon
from wherry.daemon.events import EventBus
from wherry.daemon.options import Options
from wherry.graphdriver import open_driver
from wherry.image.store import ImageStore
from wherry.model.config import Config, HostConfig, NetworkingConfig
from wherry.model.container import Container, Record, State
from wherry.model.errors import Conflict, NotModified, StartFailed
from wherry.model.ids import new_id
from wherry.model.steps import Span, step
from wherry.model.version import Version
from wherry.network.bridge import BridgeOptions
from wherry.store.db import Database
from wherry.volume.store import VolumeStore

SECOND = 1_000_000_000


class FakeDaemon(Daemon):
    """The stores of a Daemon without its processes."""

    def __init__(self, root: Path) -> None:
        self.options: Any = Options(data_root=root, log_driver="none", log_level="debug", live_restore=False, init_path="/opt/tini")
        self.db = Database(root / "wherry.db")
        self.events = EventBus()
        self.driver = open_driver("vfs", root)
        self.images = ImageStore(root, self.driver)
        self.containers = Containers(root / "containers", self.db)
        self.volumes = VolumeStore(root / "volumes", self.db)
        self.cgroups = cgroups.detect()
        self.bridge: Any = SimpleNamespace(address=IPv4Interface("172.30.0.1/16"), options=BridgeOptions(), mtu=1500, warnings=[],
                                           firewall_backend="nftables")
        self.execs = {}
        self.traces = OrderedDict()
        self.traces_lock = threading.Lock()

    def add(self, name: str, image: str, state: State | None = None, host: HostConfig | None = None, **config: Any) -> Container:
        record = Record(id=new_id(), created=time.time_ns(), image_ref=image, image_id=self.images.get(image).id, path="sh", args=["-c", "a b"],
                        config=Config(image=image, **config), networking=NetworkingConfig(), mounts=[], driver="vfs")
        container = Container(record, host or HostConfig(), name, state)
        self.driver.create(container.id, None)
        self.containers.write_objects(container)
        with self.db.transaction() as cursor:
            self.containers.add(container, cursor)
        self.containers.publish(container)
        return container

    def close(self) -> None:
        self.cgroups.close()
        self.db.close()


def rootfs() -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo("hello")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"world"))
    return raw.getvalue()


class Client:
    """HTTP over a unix socket, one connection for each request."""

    def __init__(self, path: str) -> None:
        self.path = path

    def connect(self, method: str, target: str, body: Any = b"", early: bytes = b"", **headers: str) -> tuple[socket.socket, Any]:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(self.path)
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        lines = [f"{method} {target} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + body + early)
        return sock, sock.makefile("rb")

    def raw(self, method: str, target: str, body: Any = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        sock, file = self.connect(method, target, body, **{"Connection": "close", **headers})
        with sock, file:
            status, got = head(file)
            data = file.read()
        if got.get("transfer-encoding") == "chunked":
            data = dechunk(data)
        return status, got, data

    def __call__(self, method: str, target: str, body: Any = b"", **headers: str) -> tuple[int, Any]:
        status, got, data = self.raw(method, target, body, **headers)
        return status, json.loads(data) if data and got.get("content-type") == "application/json" else data


def where(**filters: list[str]) -> str:
    """The `filters` parameter in its list form."""
    return "filters=" + quote(json.dumps({key.replace("_not", "!"): values for key, values in filters.items()}))


def head(file: Any) -> tuple[int, dict[str, str]]:
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers


def dechunk(data: bytes) -> bytes:
    parts = []
    while size := int(data.partition(b"\r\n")[0], 16):
        data = data.partition(b"\r\n")[2]
        parts.append(data[:size])
        data = data[size + 2:]
    return b"".join(parts)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with one image, made once."""
    root = tmp_path_factory.mktemp("template")
    daemon = FakeDaemon(root)
    daemon.images.import_rootfs(io.BytesIO(rootfs()), "base", "latest", "", ['CMD ["sh"]'], "", lambda line: None)
    daemon.close()
    return root


@pytest.fixture
def daemon(template: Path, tmp_path: Path) -> Iterator[FakeDaemon]:
    shutil.copytree(template, tmp_path / "root", symlinks=True)
    daemon = FakeDaemon(tmp_path / "root")
    yield daemon
    daemon.close()


@pytest.fixture
def client(daemon: FakeDaemon, tmp_path: Path) -> Iterator[Client]:
    path = str(tmp_path / "sock")
    server = make_server(daemon, open_listeners([f"unix://{path}"]))
    server.start()
    yield Client(path)
    assert server.stop(5)


# The engine


def test_ping(client: Client) -> None:
    status, headers, body = client.raw("GET", "/_ping")
    assert (status, body) == (200, b"OK") and headers["api-version"] == "1.51" and headers["ostype"] == "linux"
    assert headers["docker-experimental"] == "false" and headers["server"].startswith("Docker/") and headers["swarm"] == "inactive"
    status, headers, body = client.raw("HEAD", "/_ping")
    assert (status, body, headers["content-length"]) == (200, b"", "0") and headers["cache-control"] == "no-cache, no-store, must-revalidate"


VERSION = "Platform Components Version ApiVersion MinAPIVersion GitCommit GoVersion Os Arch KernelVersion BuildTime"
INFO = """ID Containers ContainersRunning ContainersPaused ContainersStopped Images Driver DriverStatus Plugins MemoryLimit SwapLimit CpuCfsPeriod
CpuCfsQuota CPUShares CPUSet PidsLimit IPv4Forwarding Debug NFd OomKillDisable NGoroutines SystemTime LoggingDriver CgroupDriver CgroupVersion
NEventsListener KernelVersion OperatingSystem OSVersion OSType Architecture IndexServerAddress RegistryConfig NCPU MemTotal GenericResources
DockerRootDir HttpProxy HttpsProxy NoProxy Name Labels ExperimentalBuild ServerVersion Runtimes DefaultRuntime Swarm LiveRestoreEnabled Isolation
InitBinary ContainerdCommit RuncCommit InitCommit SecurityOptions FirewallBackend CDISpecDirs Containerd Warnings"""


def test_version_and_info(client: Client, daemon: FakeDaemon) -> None:
    assert set(client("GET", "/version")[1]) == set(VERSION.split())
    assert "Components" not in client("GET", "/v1.34/version")[1]
    daemon.add("one", "base", State(status="running", started_at=1))
    daemon.add("two", "base")
    shown = client("GET", "/info")[1]
    assert set(shown) == set(INFO.split())
    assert (shown["Containers"], shown["ContainersRunning"], shown["ContainersStopped"], shown["Images"]) == (2, 1, 1, 1)
    assert (shown["LoggingDriver"], shown["Debug"], shown["LiveRestoreEnabled"], shown["InitBinary"]) == ("none", True, False, "/opt/tini")
    assert shown["ID"] == client("GET", "/info")[1]["ID"] and "FirewallBackend" not in client("GET", "/v1.48/info")[1]


def test_events_replay_filter_and_end(client: Client, daemon: FakeDaemon) -> None:
    begun = time.time()
    daemon.events.publish("container", "start", "abc", {"name": "web", "image": "base"})
    daemon.events.publish("volume", "create", "v")
    target = f"/events?since={begun - 1:.3f}&until={time.time():.9f}&filters=" + quote('{"type":{"container":true}}')
    status, headers, body = client.raw("GET", target)
    assert status == 200 and headers["content-type"] == "application/json"
    [event] = [json.loads(line) for line in body.splitlines()]
    assert (event["Action"], event["status"], event["from"]) == ("start", "start", "base")
    assert client("GET", "/events?since=5&until=4")[0] == 400 and client("GET", "/events?since=x")[0] == 400


def test_a_listener_that_leaves_is_forgotten(client: Client, daemon: FakeDaemon) -> None:
    sock, file = client.connect("GET", "/events")
    with sock, file:
        assert head(file)[0] == 200
        assert daemon.events.listeners == 1
    deadline = time.monotonic() + 5
    gone = threading.Event()
    while daemon.events.listeners and time.monotonic() < deadline:
        gone.wait(0.01)
    assert daemon.events.listeners == 0


@pytest.mark.parametrize(("method", "target", "status"), [
    ("POST", "/auth", 501), ("GET", "/system/df", 501), ("GET", "/swarm", 503), ("POST", "/services/create", 503), ("GET", "/secrets", 503),
    ("GET", "/nodes/x", 503), ("POST", "/plugins/pull", 501), ("GET", "/plugins/x/json", 404), ("POST", "/build", 501), ("POST", "/session", 501),
    ("GET", "/containers/x/archive", 501), ("PUT", "/containers/x/archive", 501), ("GET", "/containers/x/export", 501),
    ("GET", "/containers/x/stats", 501), ("POST", "/containers/x/update", 501), ("POST", "/commit", 501), ("GET", "/containers/x/changes", 501),
    ("DELETE", "/containers/x/checkpoints/y", 501), ("GET", "/containers/x/attach/ws", 501), ("GET", "/images/search", 501),
    ("POST", "/images/a/b/push", 501), ("POST", "/networks/create", 501), ("DELETE", "/networks/x", 501), ("POST", "/images/create?fromImage=x", 501),
    ("POST", "/images/create?fromSrc=http://x", 501), ("POST", "/images/create", 400), ("GET", "/containers/x/json", 404),
    ("DELETE", "/containers/x", 404), ("POST", "/containers/x/start", 404), ("POST", "/containers/x/wait", 404), ("GET", "/exec/x/json", 404),
    ("GET", "/images/x/json", 404), ("GET", "/volumes/x", 404), ("GET", "/networks/x", 404), ("PUT", "/volumes/x", 503), ("PUT", "/version", 404),
    ("GET", "/containers/x/logs?stdout=1", 404), ("GET", "/wherry/v1/traces/x", 404),
])
def test_endpoints_that_answer_with_an_error(client: Client, method: str, target: str, status: int) -> None:
    got, body = client(method, target)
    assert got == status and body["message"]


def test_plugins(client: Client) -> None:
    assert client("GET", "/plugins") == (200, [])


# Containers


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replaces verbs by recorders."""
    calls: dict[str, Any] = {}

    def recorder(name: str, result: Any = None) -> Any:
        def call(d: Any, *args: Any, **kwargs: Any) -> Any:
            calls[name] = (*args, *kwargs.values())
            if isinstance(result, Exception):
                raise result
            return result
        return call

    def set_verb(module: Any, name: str, result: Any = None) -> None:
        monkeypatch.setattr(module, name, recorder(name, result))

    calls["set"] = set_verb
    return calls


def test_create(client: Client, daemon: FakeDaemon, called: dict[str, Any]) -> None:
    made = daemon.add("made", "base")
    called["set"](create, "create", (made.id, ["mind"]))
    body = {"Image": "base", "cmd": ["echo", "hi"], "Env": None, "HostConfig": {"Memory": 7 << 20, "PidsLimit": 0, "MemorySwappiness": -1}}
    assert client("POST", "/v1.44/containers/create?name=web", body) == (201, {"Id": made.id, "Warnings": ["mind"]})
    name, config, host, networking = called["create"]
    assert (name, type(config), config.cmd, host.memory) == ("web", Config, ["echo", "hi"], 7 << 20) and networking == NetworkingConfig()


@pytest.mark.parametrize(("body", "status", "message"), [
    ({"Image": "base", "HostConfig": {"Links": ["a"]}}, 501, "HostConfig.Links"),
    ({"Image": "base", "MacAddress": "00:11:22:33:44:55"}, 501, "MacAddress"),
    ({"Image": "base", "HostConfig": {"Memory": "lots"}}, 400, "HostConfig.Memory"),
    ({"Image": "base", "Cmd": [1]}, 400, "Cmd[0]"),
    ({"Image": "nothere"}, 404, "No such image"),
    ({"Image": "base", "NetworkingConfig": {"EndpointsConfig": {"mine": {}}}}, 501, "EndpointsConfig.mine"),
])
def test_create_refused(client: Client, body: Any, status: int, message: str) -> None:
    got, answer = client("POST", "/containers/create", body)
    assert got == status and message in answer["message"]


def test_create_platform(client: Client, daemon: FakeDaemon, called: dict[str, Any]) -> None:
    called["set"](create, "create", (daemon.add("made", "base").id, []))
    assert client("POST", "/containers/create?platform=linux", {"Image": "base"})[0] == 201
    assert client("POST", "/containers/create?platform=linux/s390x", {"Image": "base"})[0] == 404
    assert client("POST", "/v1.40/containers/create?platform=linux/s390x", {"Image": "base"})[0] == 201
    assert client("POST", "/containers/create?platform=/", {"Image": "base"})[0] == 400
    assert client("POST", "/containers/create")[0] == 400


def test_start_and_its_trace(client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    one = daemon.add("one", "base")
    daemon.traces[one.id] = [Span("wherryd", 1, "C1 TagStore", 1, 2)]

    def fake(d: Any, ref: str) -> list[str]:
        with step("S1 lookup"):
            pass
        from wherry.model.steps import current_trace
        trace = current_trace()
        assert trace is not None
        d.remember(one, trace.spans)
        return []

    monkeypatch.setattr(start, "start", fake)
    assert client("POST", "/containers/one/start") == (204, b"")
    steps = client("GET", "/wherry/v1/traces/one")[1]["steps"]
    assert [s["name"] for s in steps] == ["C1 TagStore", "S1 lookup"] and set(steps[0]) == {"process", "pid", "name", "start_ns", "end_ns"}
    assert client("POST", "/containers/one/start", b"x" * 8)[0] == 400


@pytest.mark.parametrize(("error", "status"), [
    (NotModified("x"), 304), (Conflict("x"), 409), (StartFailed("x", exit_code=127), 400), (StartFailed("x", exit_code=126), 400),
    (StartFailed("x"), 500), (OSError(5, "x"), 500),
])
def test_start_errors(client: Client, daemon: FakeDaemon, called: dict[str, Any], error: Exception, status: int) -> None:
    daemon.add("one", "base")
    called["set"](start, "start", error)
    assert client("POST", "/containers/one/start")[0] == status


def test_verbs_get_their_parameters(client: Client, daemon: FakeDaemon, called: dict[str, Any]) -> None:
    daemon.add("one", "base")
    for module, name in ((stop, "stop"), (restart, "restart"), (kill, "kill")):
        called["set"](module, name)
    assert client("POST", "/containers/one/stop?t=-1&signal=INT")[0] == 204 and called["stop"] == ("one", -1, "INT")
    assert client("POST", "/v1.41/containers/one/stop?signal=INT")[0] == 204 and called["stop"] == ("one", None, "")
    assert client("POST", "/containers/one/restart?t=5")[0] == 204 and called["restart"] == ("one", 5, "")
    assert client("POST", "/containers/one/kill?signal=HUP")[0] == 204 and called["kill"] == ("one", "HUP")
    assert client("POST", "/containers/one/stop?t=x")[0] == 400
    assert client("POST", "/containers/one/resize?h=1&w=x")[0] == 400 and client("POST", "/containers/one/resize?h=1&w=2")[0] == 409


def test_rename_and_lists(client: Client, daemon: FakeDaemon) -> None:
    daemon.add("one", "base", State(status="running", started_at=time.time_ns()), HostConfig(annotations={"a": "b"}))
    daemon.add("two", "base", State(status="exited", exit_code=1, finished_at=1), labels={"k": "v"})
    assert client("POST", "/containers/two/rename?name=three") == (204, b"")
    assert client("POST", "/containers/one/rename?name=three")[0] == 409 and client("POST", "/containers/one/rename?name=")[0] == 400
    assert [c["Names"] for c in client("GET", "/containers/json")[1]] == [["/one"]]
    assert [c["Names"] for c in client("GET", "/containers/json?all=1")[1]] == [["/three"], ["/one"]]
    assert [c["Names"] for c in client("GET", f"/containers/json?{where(label=['k=v'], status=['exited'])}")[1]] == [["/three"]]
    assert client("GET", f"/containers/json?{where(junk=['k'])}")[0] == 400
    assert client("GET", "/containers/json?before=three&all=1")[1][0]["Names"] == ["/one"]
    assert client("GET", "/containers/json?size=1")[1][0]["SizeRw"] == 0
    assert "Annotations" not in client("GET", "/v1.45/containers/json")[1][0]["HostConfig"]
    shown = client("GET", "/containers/three/json?size=1")[1]
    assert (shown["Name"], shown["State"]["Status"], shown["SizeRw"], shown["Driver"]) == ("/three", "exited", 0, "vfs")


def test_wait_sends_its_headers_when_it_is_registered(client: Client, daemon: FakeDaemon) -> None:
    one = daemon.add("one", "base", State(status="running", started_at=1))
    sock, file = client.connect("POST", "/containers/one/wait?condition=next-exit")
    with sock, file:
        assert head(file)[0] == 200
        one.state.status, one.state.exit_code = "exited", 7
        one.exits, one.last_exit = 1, 7
        one.notify()
        assert int(file.readline(), 16) and json.loads(file.readline()) == {"StatusCode": 7}
    assert client("POST", "/containers/one/wait") == (200, {"StatusCode": 7})
    assert client("POST", "/containers/one/wait?condition=junk")[0] == 400


def test_a_wait_ends_with_its_client(client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.add("one", "base", State(status="running", started_at=1))
    ended, real = threading.Event(), wait.wait

    def watched(*args: Any) -> int | None:
        code = real(*args)
        ended.set()
        return code

    monkeypatch.setattr(wait, "wait", watched)
    sock, file = client.connect("POST", "/containers/one/wait")
    assert head(file)[0] == 200 and not ended.is_set()
    file.close()
    sock.close()
    assert ended.wait(5)


def test_prune(client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    from wherry.daemon import prune, remove
    removed = []
    monkeypatch.setattr(remove, "remove", lambda d, ref, **_: removed.append(ref))
    one = daemon.add("one", "base", State(status="exited", finished_at=1), labels={"a": "1"})
    daemon.add("two", "base", State(status="running", started_at=1), labels={"a": "1"})
    daemon.add("three", "base", labels={"a": "1", "keep": ""})
    monkeypatch.setattr(prune.show, "sizes", lambda d, c: (10, 20))
    pruned = client("POST", f"/containers/prune?{where(label=['a=1'], label_not=['keep'])}")
    assert pruned == (200, {"ContainersDeleted": [one.id], "SpaceReclaimed": 10})
    assert client("POST", f"/containers/prune?{where(until=['10'])}")[1]["ContainersDeleted"] is None
    assert removed == [one.id]


# Streams


def test_attach_hands_the_socket_over_with_early_input(client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    one = daemon.add("one", "base", open_stdin=True)
    got: list[Any] = []

    def hand_over(d: Any, container: Container, request: attach.AttachRequest, sock: socket.socket, early: bytes) -> bool:
        got.extend((container, request, sock.dup(), early))
        return True

    monkeypatch.setattr(attach, "hand_over", hand_over)
    target = "/v1.41/containers/one/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a"
    sock, file = client.connect("POST", target, b"", b"early", Connection="Upgrade", Upgrade="tcp")
    with sock, file:
        status, headers = head(file)
        assert status == 101 and headers["content-type"] == "application/vnd.docker.raw-stream" and headers["upgrade"] == "tcp"
        deadline = time.monotonic() + 5
        while len(got) < 4 and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        container, request, copy, early = got
        assert container is one and request == attach.AttachRequest(True, True, False, True, b"\x01") and early == b"early"
        copy.sendall(b"output")
        copy.close()
        assert file.read() == b"output"


def test_attach_without_upgrade_and_its_errors(client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.add("one", "base", State(status="exited", finished_at=1))
    daemon.add("frozen", "base", State(status="paused", started_at=1))
    monkeypatch.setattr(attach, "hand_over", lambda *_: False)
    status, headers, body = client.raw("POST", "/containers/one/attach?stream=1&stdout=1")
    assert (status, headers["content-type"], body) == (200, "application/vnd.docker.raw-stream", b"") and "content-length" not in headers
    for target, code in (("nobody/attach", 404), ("one/attach?detachKeys=ctrl-1", 400), ("frozen/attach", 409)):
        status, headers, body = client.raw("POST", f"/containers/{target}")
        assert status == code and body and not body.startswith(b"{")
    status, headers, _ = client.raw("POST", "/containers/one/attach", b"", Upgrade="tcp", Connection="Upgrade")
    assert (status, headers["content-type"]) == (101, "application/vnd.docker.multiplexed-stream")


def write_log(daemon: FakeDaemon, container: Container) -> None:
    lines = [{"log": f"line{n}\n", "stream": "stdout" if n % 2 else "stderr", "time": f"2026-01-01T00:00:0{n}.5Z"} for n in range(4)]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (daemon.containers.directory(container.id) / f"{container.id}-json.log").write_text(text)


def test_logs(client: Client, daemon: FakeDaemon) -> None:
    one = daemon.add("one", "base", State(status="exited", finished_at=1))
    write_log(daemon, one)
    status, headers, body = client.raw("GET", "/containers/one/logs?stdout=1&stderr=1&follow=1&tail=2")
    assert status == 200 and headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    assert body == b"\x02\0\0\0\0\0\0\x06line2\n\x01\0\0\0\0\0\0\x06line3\n"
    body = client.raw("GET", "/containers/one/logs?stdout=1&timestamps=1&since=1767225602")[2]
    assert body[8:] == b"2026-01-01T00:00:03.500000000Z line3\n"
    assert client("GET", "/containers/one/logs")[0] == 400
    tty = daemon.add("two", "base", State(status="exited", finished_at=1), tty=True)
    write_log(daemon, tty)
    status, headers, body = client.raw("GET", "/containers/two/logs?stdout=1&tail=all")
    assert body == b"line1\nline3\n" and headers["content-type"] == "application/vnd.docker.raw-stream"


def test_attach_replays_the_log_also_to_a_client_that_closed_its_input(client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(daemon, daemon.add("one", "base", State(status="exited", finished_at=1)))
    monkeypatch.setattr(attach, "hand_over", lambda *_: False)
    sock, file = client.connect("POST", "/containers/one/attach?logs=1&stdout=1&stream=1", b"", Upgrade="tcp", Connection="Upgrade")
    sock.shutdown(socket.SHUT_WR)
    with sock, file:
        assert head(file)[0] == 101
        assert file.read() == stdcopy.encode(stdcopy.STDOUT, b"line1\nline3\n")


def test_following_logs_ends_with_the_run(client: Client, daemon: FakeDaemon) -> None:
    one = daemon.add("one", "base", State(status="running", started_at=1))
    write_log(daemon, one)
    sock, file = client.connect("GET", "/containers/one/logs?stdout=1&follow=1", Connection="close")
    with sock, file:
        assert head(file)[0] == 200
        assert int(file.readline(), 16) > 0
        one.exits, one.state.status = 1, "exited"
        one.notify()
        assert file.read().endswith(b"0\r\n\r\n")
    assert not [thread for thread in threading.enumerate() if thread.name == "api-follow"]


def test_exec(client: Client, daemon: FakeDaemon, called: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.add("one", "base")
    called["set"](exec, "create", "e1")
    assert client("POST", "/containers/one/exec", {"Cmd": ["sh"], "Tty": True, "DetachKeys": "a"}) == (201, {"Id": "e1"})
    assert called["create"][0] == "one" and called["create"][1].tty and called["create"][2] == b"a"
    assert client("POST", "/containers/one/exec", {"Cmd": "sh"})[0] == 201 and called["create"][1].cmd == ["sh"]
    assert client("POST", "/containers/one/exec", {"Cmd": {}})[0] == 400
    monkeypatch.setattr(exec, "find", lambda d, ref: SimpleNamespace(asked=SimpleNamespace(tty=True)))

    def fake(d: Any, ref: str, *, detach: bool, console_size: Any, hijack: Any) -> None:
        if ref == "bad":
            raise Conflict("has run")
        if hijack:
            sock, _ = hijack()
            sock.sendall(b"hello")

    monkeypatch.setattr(exec, "start", fake)
    assert client("POST", "/exec/e1/start", {"Detach": True})[0] == 200
    assert client("POST", "/exec/bad/start", {})[0] == 409
    assert client("POST", "/exec/e1/start", {"ConsoleSize": [1, 2]})[0] == 400
    status, _, body = client.raw("POST", "/exec/e1/start", {"Tty": True}, Upgrade="tcp", Connection="Upgrade")
    assert (status, body) == (101, b"hello")


# Images, volumes, networks


def test_images(client: Client, daemon: FakeDaemon) -> None:
    daemon.add("one", "base")
    [image] = client("GET", "/images/json")[1]
    assert image["RepoTags"] == ["base:latest"] and image["Containers"] == 1 and "VirtualSize" not in image
    [old] = client("GET", "/v1.42/images/json")[1]
    assert old["Containers"] == -1 and old["VirtualSize"] == old["Size"]
    assert client("POST", "/images/base/tag?repo=reg:5000/a/b&tag=2")[0] == 201
    assert client("GET", "/images/reg:5000/a/b:2/json")[1]["Id"] == image["Id"]
    assert "ContainerConfig" in client("GET", "/v1.44/images/base/json")[1]
    assert client("GET", "/images/base/history")[1][0]["Id"] == image["Id"]
    assert client("DELETE", "/images/reg:5000/a/b:2?force=1")[1] == [{"Untagged": "reg:5000/a/b:2"}]
    assert client("DELETE", "/images/base")[0] == 409
    events = [event.action for event in daemon.events.subscribe(since=0, until=time.time_ns() - 1)]
    assert events[-2:] == ["tag", "untag"]


def test_import_save_load_prune(client: Client, daemon: FakeDaemon) -> None:
    status, body = client.raw("POST", "/images/create?fromSrc=-&repo=fresh&tag=1&changes=ENV%20A=b", rootfs())[::2]
    identifier = json.loads(body.splitlines()[-1])["status"]
    assert status == 200 and body.endswith(b"\r\n") and daemon.images.get("fresh:1").id == identifier
    assert daemon.images.get("fresh:1").run_config["Env"] == ["A=b"]
    status, headers, archive = client.raw("GET", "/images/fresh:1/get")
    assert status == 200 and headers["content-type"] == "application/x-tar"
    assert client.raw("GET", "/images/get?names=fresh:1&names=base")[0] == 200 and client("GET", "/images/get?names=no")[0] == 404
    assert client("DELETE", "/images/fresh:1")[0] == 200
    status, body = client.raw("POST", "/images/load?quiet=1", archive)[::2]
    assert status == 200 and json.loads(body.splitlines()[-1]) == {"stream": "Loaded image: fresh:1\n"}
    status, body = client.raw("POST", "/images/load", b"no archive at all" * 100)[::2]
    last = json.loads(body.splitlines()[-1])
    assert status == 200 and last["error"] == last["errorDetail"]["message"]
    assert client("POST", "/images/prune")[1]["ImagesDeleted"] in (None, [])
    assert client("POST", "/images/create?fromSrc=-&repo=UPPER", rootfs())[0] == 400


def test_volumes(client: Client, daemon: FakeDaemon) -> None:
    status, made = client("POST", "/volumes/create", {"Name": "data", "labels": {"a": "b"}})
    assert status == 201 and made["Name"] == "data" and made["Labels"] == {"a": "b"} and made["Scope"] == "local"
    assert len(client("POST", "/volumes/create")[1]["Name"]) == 64
    assert [v["Name"] for v in client("GET", f"/volumes?{where(name=['dat'])}")[1]["Volumes"]] == ["data"]
    assert client("GET", "/volumes/data")[1] == made and "CreatedAt" not in client("GET", "/v1.30/volumes/data")[1]
    assert client("POST", "/volumes/create", {"Name": "../x"})[0] == 400
    assert client("POST", "/volumes/create", {"ClusterVolumeSpec": {"x": 1}})[0] == 503
    assert len(client("POST", "/volumes/prune")[1]["VolumesDeleted"]) == 1
    assert client("POST", "/v1.41/volumes/prune")[1]["VolumesDeleted"] == ["data"]
    assert client("DELETE", "/volumes/data")[0] == 404 and client("DELETE", "/volumes/data?force=1")[0] == 204


def test_networks(client: Client, daemon: FakeDaemon) -> None:
    one = daemon.add("one", "base", State(status="running", started_at=1), HostConfig(network_mode="host"))
    found = client("GET", "/networks")[1]
    assert {n["Name"] for n in found} == {"bridge", "host", "none"} and all(n["Containers"] == {} for n in found)
    [host] = [n for n in found if n["Name"] == "host"]
    assert set(client("GET", f"/networks/{host['Id'][:12]}")[1]["Containers"]) == {one.id}
    bridge = client("GET", "/networks/bridge")[1]
    assert bridge["IPAM"]["Config"] == [{"Subnet": "172.30.0.0/16", "Gateway": "172.30.0.1"}]
    assert [n["Name"] for n in client("GET", f"/networks?{where(driver=['null'])}")[1]] == ["none"]
    assert "EnableIPv4" in bridge and "EnableIPv4" not in client("GET", "/v1.47/networks/bridge")[1]
    assert client("GET", "/networks/bridge?verbose=perhaps")[0] == 400 and client("GET", f"/networks?{where(x=['1'])}")[0] == 400


def test_versions_of_routes() -> None:
    from wherry.api.app import ROUTES
    assert {route.pattern for route in ROUTES if route.since > Version(1, 24)} == {
        "/containers/prune", "/images/prune", "/volumes/prune", "/volumes/{name}"}
