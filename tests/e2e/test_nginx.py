"""nginx on a published port, its page fetched from the host and from another host."""

import json
import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import Cli
from harness.waiting import eventually

UDP_ECHO = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 5000))
while True:
    data, peer = sock.recvfrom(2000)
    sock.sendto(data.upper(), peer)
"""


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return str(response.read().decode())


@pytest.fixture
def neighbour() -> Iterator[tuple[str, str]]:
    """Another machine on a wire of its own: (network namespace, the host's address on that wire)."""
    name = f"we{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for line in (
            f"link add {name}h type veth peer name {name}p netns {name}",
            f"addr add 198.51.100.1/30 dev {name}h",
            f"link set {name}h up",
            f"-n {name} addr add 198.51.100.2/30 dev {name}p",
            f"-n {name} link set {name}p up",
            f"-n {name} link set lo up",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        yield name, "198.51.100.1"
    finally:
        subprocess.run(["ip", "link", "del", f"{name}h"], check=False)
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_published_page(cli: Cli, name: str, free_port: int, neighbour: tuple[str, str]) -> None:
    cli("run", "-d", "-p", f"{free_port}:80", "--name", name, "nginx")
    assert "Welcome to nginx!" in eventually(lambda: page(f"http://127.0.0.1:{free_port}/"))
    assert "Welcome to nginx!" in page(f"http://[::1]:{free_port}/")
    namespace, address = neighbour
    fetch = f"import urllib.request as u; print(u.urlopen('http://{address}:{free_port}/', timeout=5).read().decode())"
    fetched = subprocess.run(["ip", "netns", "exec", namespace, "/usr/bin/python3", "-c", fetch], capture_output=True, text=True)
    assert "Welcome to nginx!" in fetched.stdout, fetched.stderr
    assert cli("port", name, "80").out.splitlines() == [f"0.0.0.0:{free_port}", f"[::]:{free_port}"]
    assert '"GET / HTTP/1.1" 200' in cli("logs", name).out
    cli("stop", name)
    with pytest.raises(OSError):
        page(f"http://127.0.0.1:{free_port}/")


def test_as_another_user_with_logs_on_stdout(cli: Cli, name: str, free_port: int) -> None:
    cli("run", "-d", "-u", "33:33", "-p", f"127.0.0.1:{free_port}:80", "--name", name, "nginx")
    assert "Welcome" in eventually(lambda: page(f"http://127.0.0.1:{free_port}/"))
    eventually(lambda: '"GET / HTTP/1.1" 200' in cli("logs", name).out)
    assert cli("exec", name, "id", "-u").line == "33"
    assert cli("inspect", "-f", "{{.Config.User}}", name).line == "33:33"


def test_own_page_from_the_host_and_random_port(cli: Cli, name: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("from the host")
    tmp_path.chmod(0o755)
    cli("run", "-d", "-P", "-v", f"{tmp_path}:/usr/share/nginx/html:ro", "--name", name, "nginx")
    address = cli("port", name, "80").out.splitlines()[0]
    port = int(address.rsplit(":", 1)[1])
    assert eventually(lambda: page(f"http://127.0.0.1:{port}/")) == "from the host"
    assert cli("exec", name, "touch", "/usr/share/nginx/html/x", code=1).err
    assert f":{port}->80/tcp" in cli("ps", "--filter", f"name={name}").out


def test_a_taken_port_is_refused_at_once(cli: Cli, name: str, free_port: int) -> None:
    cli("run", "-d", "-p", f"{free_port}:80", "--name", name, "busybox", "sleep", "60")
    refused = cli("run", "-d", "-p", f"{free_port}:80", "--name", f"{name}-2", "busybox", "sleep", "60", code=125)
    assert str(free_port) in refused.err
    cli("rm", "-f", name)
    cli("start", f"{name}-2")


def test_published_udp(cli: Cli, name: str, free_port: int) -> None:
    cli("run", "-d", "-p", f"{free_port}:5000/udp", "--name", name, "debian", "python3", "-c", UDP_ECHO)

    def echoed(family: socket.AddressFamily, address: str) -> bool:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            sock.connect((address, free_port))
            sock.send(b"ping")
            return sock.recv(100) == b"PING"

    eventually(lambda: echoed(socket.AF_INET, "127.0.0.1"))
    eventually(lambda: echoed(socket.AF_INET6, "::1"))


def test_ports_in_inspect(cli: Cli, name: str, free_port: int) -> None:
    cli("run", "-d", "-p", f"127.0.0.1:{free_port}:80", "--name", name, "nginx")
    ports = json.loads(cli("inspect", name).out)[0]["NetworkSettings"]["Ports"]
    assert ports["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(free_port)}]


def test_containers_reach_each_other_and_the_host_network(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "nginx")
    address = cli("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name).line
    get = ("wget", "-q", "-O-", f"http://{address}/")
    assert "Welcome" in eventually(lambda: cli("run", "--rm", "busybox", *get).out)
    assert "Welcome" in cli("run", "--rm", "--network", f"container:{name}", "busybox", "wget", "-q", "-O-", "http://127.0.0.1/").out
    assert "Welcome" in page(f"http://{address}/")
