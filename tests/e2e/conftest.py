"""One daemon for the whole session, both clients, and a clean engine after each test."""

import itertools
import re
import socket
from collections.abc import Iterator

import docker as docker_py
import pytest

from harness.api import Api
from harness.cli import Cli
from harness.engine import Engine
from harness.external import ExternalEngine, external_host

CLIS = ["docker"] if external_host() else ["wherry", "docker"]
IMAGES = ("busybox", "debian", "nginx", "redis", "mariadb")
counter = itertools.count(1)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The session's daemon, with every test image loaded."""
    if host := external_host():
        made: Engine = ExternalEngine(host)
    else:
        made = Engine("e2e")
    try:
        if not external_host():
            made.start()
            made.load(*IMAGES)
        yield made
    finally:
        made.close()


@pytest.fixture(params=CLIS)
def cli(request: pytest.FixtureRequest, engine: Engine) -> Cli:
    """Each of both clients in turn."""
    return engine.cli(request.param)


@pytest.fixture
def one(engine: Engine) -> Cli:
    """One client, where the test is about the engine alone."""
    return engine.cli(CLIS[0])


@pytest.fixture
def api(engine: Engine) -> Api:
    return engine.api


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for the test's container, of no other test."""
    return "e2e-" + re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)[:40].strip("-") + f"-{next(counter)}"


@pytest.fixture(autouse=True)
def clean_after(engine: Engine) -> Iterator[None]:
    """After each test no container and no volume is left, and the daemon still answers."""
    yield
    assert external_host() or engine.running, f"the daemon died:\n{engine.log_tail()}"
    engine.remove_all()


@pytest.fixture
def client(engine: Engine) -> Iterator[docker_py.DockerClient]:
    made = docker_py.DockerClient(base_url=engine.host, version="auto", timeout=60)
    yield made
    made.close()


@pytest.fixture
def free_port() -> int:
    """A TCP port that nothing uses now, on any address."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("::", 0))
        return int(probe.getsockname()[1])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if external_host():
        items[:] = [item for item in items if not item.get_closest_marker("own_daemon")]
