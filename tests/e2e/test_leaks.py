"""After any number of runs, failed ones among them, the host and the daemon are as they were before."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import snapshot
from harness.engine import Engine, engine
from harness.waiting import eventually

pytestmark = pytest.mark.own_daemon

# Each fails after more of the start has been done than the one before it.
FAILING: list[dict[str, object]] = [
    {"Cmd": ["no-such-program"]},
    {"Cmd": ["true"], "User": "nobody-of-this-name"},
    {"Cmd": ["true"], "HostConfig": {"Mounts": [{"Type": "bind", "Source": "/no/such/source", "Target": "/x"}]}},
    {"Cmd": ["true"], "WorkingDir": "/etc/passwd"},
    {"Cmd": ["/etc/passwd"], "HostConfig": {"Binds": ["leak-volume:/data"], "Tmpfs": {"/t": ""}}},
]


@pytest.fixture(scope="module")
def private() -> Iterator[Engine]:
    with engine("leaks") as made:
        with ThreadPoolExecutor(8) as pool:  # what is made once and kept (caches, worker threads, the shared init layer) is made now
            list(pool.map(lambda n: run_once(made, n * 5, 0), range(40)))
        for n in range(len(FAILING)):
            run_once(made, n * 5 + 4, 0)
        made.api("DELETE", "/volumes/leak-volume")
        yield made


def run_once(private: Engine, n: int, taken: int) -> None:
    """One container from create to removal; every fifth fails half-way, in one of several ways."""
    body: dict[str, object] = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "0"}]}}}
    fails = n % 5 == 4
    if fails:
        kind = (n // 5) % (len(FAILING) + 1)
        body |= FAILING[kind] if kind < len(FAILING) else {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": str(taken)}]}}}
    created = private.api("POST", f"/containers/create?name=leak{n}", body)
    if created.status >= 400:
        assert fails, created
        return
    started = private.api("POST", f"/containers/leak{n}/start")
    assert (started.status >= 400) == fails, (n, body, started)
    if not fails:
        assert private.api.ok("POST", f"/containers/leak{n}/wait")["StatusCode"] == 0
    private.api.ok("DELETE", f"/containers/leak{n}?force=1&v=1")


def test_100_runs_in_a_row_a_fifth_failing(private: Engine, free_port: int) -> None:
    private.api.ok("POST", "/containers/create?name=holder", {"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {
        "PortBindings": {"80/tcp": [{"HostPort": str(free_port)}]}}})  # fmt: skip
    private.api.ok("POST", "/containers/holder/start")
    before = snapshot.settled(private)
    for n in range(100):
        run_once(private, n, free_port)
    private.api("DELETE", "/volumes/leak-volume")
    snapshot.assert_as_before(before, private)
    private.api.ok("DELETE", "/containers/holder?force=1")


def test_100_runs_8_at_a_time(private: Engine) -> None:
    before = snapshot.settled(private)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: run_once(private, n * 5, 0), range(100)))
    snapshot.assert_as_before(before, private)


def test_runs_through_both_clients(private: Engine) -> None:
    clients = [private.cli("wherry"), private.cli("docker")]
    for cli in clients:
        cli("run", "--rm", "busybox", "true")
    before = snapshot.settled(private)
    for cli in clients:
        for _ in range(5):
            cli("run", "--rm", "-v", "/anonymous", "-p", "127.0.0.1::80", "busybox", "true")
            cli("run", "--rm", "busybox", "no-such-program", code=127)
        with cli.terminal("run", "-it", "--rm", "busybox", "true") as terminal:
            assert terminal.wait() == 0
    snapshot.assert_as_before(before, private)


def test_execs_leave_nothing(private: Engine) -> None:
    cli = private.cli("wherry")
    cli("run", "-d", "--name", "host-of-execs", "busybox", "sleep", "600")
    cli("exec", "host-of-execs", "true")
    before = snapshot.settled(private)
    for _ in range(15):
        cli("exec", "host-of-execs", "true")
        cli("exec", "host-of-execs", "no-such-program", code=127)
    snapshot.assert_as_before(before, private)
    cli("rm", "-f", "host-of-execs")


def test_clients_that_go_away(private: Engine) -> None:
    """Attach, logs -f, events, wait: a client that vanishes leaves no thread and no descriptor behind."""
    cli = private.cli("wherry")
    script = "trap 'echo tick' USR1; while :; do sleep 0.02; done"
    cli("run", "-d", "--name", "watched", "busybox", "sh", "-c", script)
    before = snapshot.settled(private)
    upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
    for method, path, headers in [
        ("GET", "/containers/watched/logs?follow=1&stdout=1", {}),
        ("GET", "/events", {}),
        ("POST", "/containers/watched/attach?stream=1&stdout=1", upgrade),
        ("POST", "/containers/watched/wait", {}),
    ]:
        for _ in range(5):
            with private.api.connection() as connection:
                connection.request(method, path, headers=headers)
                with contextlib.suppress(TimeoutError):
                    connection.sock.settimeout(0.2)
                    connection.sock.recv(100)
    private.api.ok("POST", "/containers/watched/kill?signal=USR1")  # output shows the monitor that its clients are gone
    snapshot.assert_as_before(before, private, seconds=20)
    cli("rm", "-f", "watched")


def test_a_stopped_daemon_leaves_the_host_as_it_was() -> None:
    """From before its start to after its end, with nothing running: only the files under its data root remain."""
    made = Engine("whole")
    try:
        before = snapshot.take(made, daemon=False)
        made.start()
        made.load("busybox")
        made.cli("wherry")("run", "--rm", "-p", "127.0.0.1::80", "busybox", "true")
        made.signal(15)

        def left() -> dict[str, list[str]]:
            found = snapshot.difference(before, snapshot.take(made, daemon=False))
            found.pop("files", None)
            # The bridge stays, as Docker's does: running containers would need it.
            for kind in ("links", "addresses", "rules", "cgroups"):
                found[kind] = [line for line in found.get(kind, []) if made.bridge not in line and "wherry" not in line and "tap" not in line]
            return {kind: lines for kind, lines in found.items() if lines}

        eventually(lambda: not left(), 10, every=0.2, what=f"nothing is left: {left()}")
        assert not Path(made.socket).exists()
    finally:
        made.close()
