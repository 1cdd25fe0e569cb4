"""Published ports on real kernel objects: `host` runs the bridge and the proxy, `other` is another machine, `box` a container."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from namespaces import Namespace, connect_veth, wire
from wherry.linux import rtnetlink
from wherry.linux.conntrack import Conntrack
from wherry.model.errors import Internal
from wherry.network.bridge import Bridge, BridgeOptions, write_sysctl
from wherry.network.endpoint import PortMapping
from wherry.network.proxyclient import ProxyClient
from wherry.store.db import Database

PROXY = """
import sys
from wherry.network import proxy
control = proxy.listen(sys.argv[1])
print("listening", flush=True)
proxy.proxy_main(control, sys.argv[2])
"""

SERVER = """
import socket, sys, threading
address, port = sys.argv[1], int(sys.argv[2])
def talk(connection, peer):
    connection.sendall(f"{peer[0]}\\n".encode())
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.sendall(b"end")
    connection.close()
def datagrams(sock):
    while True:
        data, peer = sock.recvfrom(65536)
        sock.sendto(peer[0].encode() + b" " + data, peer)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", port))
threading.Thread(target=datagrams, args=(udp,), daemon=True).start()
tcp = socket.create_server(("0.0.0.0", port), backlog=64)
print("ready", flush=True)
while True:
    threading.Thread(target=talk, args=tcp.accept(), daemon=True).start()
"""


class World:
    """The three namespaces, and the daemon's side of them."""

    def __init__(self, directory) -> None:
        self.directory = directory
        self.host, self.other = Namespace(), Namespace()
        self.proxies: list[subprocess.Popen] = []
        self.boxes: list[Namespace] = []
        self.db = Database(directory / "wherry.db")
        for one in (self.host, self.other):
            one.run(write_sysctl, "ipv6/conf/default/accept_dad", "0")  # IPv6 addresses serve at once
        wire(self.host, "uplink", "192.0.2.1", self.other, "eth0", "192.0.2.2", 24)
        self.host.run(batch, lambda i: rtnetlink.addr_add(i, "2001:db8::1", 64), "uplink")
        self.other.run(batch, lambda i: rtnetlink.addr_add(i, "2001:db8::2", 64), "eth0")

    def start_proxy(self) -> None:
        command = [sys.executable, "-c", PROXY, str(self.directory / "proxy.sock"), str(self.directory / "proxy.json")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "listening\n"
        self.proxies.append(child)

    def bridge(self, **options) -> Bridge:
        made = Bridge(self.db, BridgeOptions(**options), ProxyClient(str(self.directory / "proxy.sock"), self.start_proxy))
        self.host.run(made.up)
        return made

    def container(self, bridge: Bridge, name: str, port: int = 80):
        """A namespace on the bridge with a server in it: (namespace, endpoint)."""
        box = Namespace()
        self.boxes.append(box)
        end = self.host.run(bridge.allocate, name)
        self.host.run(connect_veth, end.veth, end.bridge, netns=box.fd, mac=end.mac, mtu=end.mtu)
        box.run(rtnetlink.configure, "eth0", end.address, end.prefix_len, end.gateway)
        assert box.spawn(SERVER, "0.0.0.0", str(port)).stdout.readline() == "ready\n"
        return box, end

    def close(self) -> None:
        for child in self.proxies:
            child.kill()
            child.wait()
            child.stdout.close()
        for one in (*self.boxes, self.host, self.other):
            one.close()
        self.db.close()


def batch(make, name: str) -> None:
    with rtnetlink.Rtnetlink() as kernel:
        kernel.batch(make(kernel.link(name).index))


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


@contextmanager
def running(world: World, **options):
    bridge = world.bridge(**options)
    try:
        yield bridge
    finally:
        bridge.close()


def tcp(address: str, port: int, data: bytes = b"hello") -> tuple[str, bytes]:
    """(who the server saw, what it echoed with the end it adds after our half-close)."""
    with socket.create_connection((address, port), 5) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as stream:
            return stream.readline().decode().strip(), stream.read()


def udp(address: str, port: int, data: bytes = b"hello") -> tuple[str, bytes]:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((address, port))
        client.send(data)
        peer, _, echo = client.recv(65536).partition(b" ")
        return peer.decode(), echo


def published(container_port: int, host_port: int, protocol: str = "tcp") -> list[PortMapping]:
    return [PortMapping(container_port, protocol, ip, host_port) for ip in ("0.0.0.0", "::")]


@pytest.mark.parametrize("br_netfilter", ["0", "1"])
def test_reachable_from_everywhere(world, br_netfilter):
    with running(world) as bridge:
        world.host.run(write_sysctl, "bridge/bridge-nf-call-iptables", br_netfilter)
        box, end = world.container(bridge, "web")
        wanted = [PortMapping(80, "tcp", "", 8080), PortMapping(80, "udp", "", 8080)]
        assert world.host.run(bridge.publish, "web", end, wanted) == published(80, 8080) + published(80, 8080, "udp")
        assert world.other.run(tcp, "192.0.2.1", 8080) == ("192.0.2.2", b"helloend"), "the kernel keeps the client's address"
        assert world.other.run(udp, "192.0.2.1", 8080) == ("192.0.2.2", b"hello")
        for call, expected in ((tcp, b"helloend"), (udp, b"hello")):
            assert world.host.run(call, "192.0.2.1", 8080) == ("192.0.2.1", expected)
            for address in ("127.0.0.1", "::1"):
                assert world.host.run(call, address, 8080) == (end.gateway, expected)
            assert world.other.run(call, "2001:db8::1", 8080) == (end.gateway, expected)
            assert box.run(call, "192.0.2.1", 8080) == (end.gateway, expected), "a container reaches itself through the host"
            neighbour, far = world.container(bridge, f"neighbour-{call.__name__}")
            assert neighbour.run(call, "192.0.2.1", 8080)[1] == expected, "hairpin"
            assert neighbour.run(call, end.address, 80) == (far.address, expected), "containers talk directly"
        world.host.run(bridge.unpublish, "web")
        for address in ("127.0.0.1", "192.0.2.1"):
            with pytest.raises(ConnectionRefusedError):
                world.host.run(tcp, address, 8080)
        assert bridge.published("web") == []
        world.host.run(bridge.down)


def test_masquerade_and_default_drop_towards_containers(world):
    with running(world) as bridge:
        box, end = world.container(bridge, "a")
        assert world.other.spawn(SERVER, "0.0.0.0", "99").stdout.readline() == "ready\n"
        assert box.run(tcp, "192.0.2.2", 99) == ("192.0.2.1", b"helloend"), "the way out is masqueraded"

        def route() -> None:
            with rtnetlink.Rtnetlink() as kernel:
                kernel.batch(rtnetlink.route_add("172.17.0.0", 16, gateway="192.0.2.1"))

        world.other.run(route)
        with pytest.raises(TimeoutError):
            world.other.run(socket.create_connection, (end.address, 80), 0.7)


@pytest.mark.parametrize("br_netfilter", ["0", "1"])
def test_without_icc_containers_meet_only_at_published_ports(world, br_netfilter):
    with running(world, icc=False) as bridge:
        world.host.run(write_sysctl, "bridge/bridge-nf-call-iptables", br_netfilter)
        _, end = world.container(bridge, "a")
        neighbour, _ = world.container(bridge, "b")
        world.host.run(bridge.publish, "a", end, [PortMapping(80, "tcp", "", 8080)])
        with pytest.raises(TimeoutError):
            neighbour.run(socket.create_connection, (end.address, 80), 0.7)
        assert neighbour.run(tcp, "192.0.2.1", 8080)[1] == b"helloend"
        assert world.host.run(tcp, end.address, 80)[1] == b"helloend"


def test_a_taken_port_is_refused_at_once_and_nothing_is_left(world):
    with running(world) as bridge:
        _, end = world.container(bridge, "a")
        world.host.run(bridge.publish, "a", end, [PortMapping(80, "tcp", "", 8080)])
        two = world.host.run(bridge.allocate, "b")
        free = PortMapping(80, "tcp", "", 9000)
        for mapping in (PortMapping(80, "tcp", "", 8080), PortMapping(80, "tcp", "127.0.0.1", 8080)):
            with pytest.raises(Internal, match=r"Bind for (0.0.0.0|127.0.0.1):8080 failed: port is already allocated"):
                world.host.run(bridge.publish, "b", two, [free, mapping])
        with pytest.raises(Internal, match="port is already allocated"):
            world.host.run(bridge.publish, "b", two, [free, PortMapping(81, "tcp", "", 9000)])
        foreign = world.host.run(socket.create_server, ("192.0.2.1", 7777))
        with pytest.raises(Internal, match=r"0.0.0.0:7777:172.17.0.3:80/tcp: address already in use"):
            world.host.run(bridge.publish, "b", two, [free, PortMapping(80, "tcp", "", 7777)])
        foreign.close()
        assert bridge.published("b") == []
        world.host.run(bridge.publish, "b", two, [free])
        with pytest.raises(OSError, match="Address already in use"):
            world.host.run(socket.create_server, ("0.0.0.0", 9000))
        assert world.host.run(bridge.check)


def test_ephemeral_ports_and_ranges(world):
    with running(world) as bridge:
        world.host.run(write_sysctl, "ipv4/ip_local_port_range", "40000 40002")
        _, end = world.container(bridge, "a")
        foreign = world.host.run(socket.create_server, ("0.0.0.0", 40001))
        got = [world.host.run(bridge.publish, name, end, [PortMapping(80)]) for name in ("a", "b")]
        assert got == [published(80, 40000), published(80, 40002)]
        with pytest.raises(Internal, match="all ports are allocated"):
            world.host.run(bridge.publish, "c", end, [PortMapping(80)])
        foreign.close()
        ranged = [PortMapping(80, "tcp", "192.0.2.1", 5000, 5001), PortMapping(80, "tcp", "192.0.2.1", 5000, 5001)]
        assert [m.host_port for m in world.host.run(bridge.publish, "c", end, ranged)] == [5000, 5001]
        assert world.other.run(tcp, "192.0.2.1", 5001)[1] == b"helloend"
        with pytest.raises(ConnectionRefusedError):
            world.host.run(tcp, "127.0.0.1", 5001)


def test_a_port_published_on_loopback_is_for_loopback_only(world):
    """CVE-2025-54388: nothing a reload of the firewall could open."""
    with running(world) as bridge:
        _, end = world.container(bridge, "a")
        world.host.run(bridge.publish, "a", end, [PortMapping(80, "tcp", "127.0.0.1", 8080)])
        assert world.host.run(tcp, "127.0.0.1", 8080)[1] == b"helloend"
        with pytest.raises(ConnectionRefusedError):
            world.other.run(tcp, "192.0.2.1", 8080)


def test_without_rules_the_proxy_carries_everything(world):
    with running(world, iptables=False) as bridge:
        assert bridge.firewall_backend == "none"
        _, end = world.container(bridge, "a")
        world.host.run(bridge.publish, "a", end, [PortMapping(80, "tcp", "", 8080), PortMapping(80, "udp", "", 8080)])
        for namespace, address in ((world.other, "192.0.2.1"), (world.other, "2001:db8::1"), (world.host, "192.0.2.1")):
            assert namespace.run(tcp, address, 8080) == (end.gateway, b"helloend")
            assert namespace.run(udp, address, 8080) == (end.gateway, b"hello")


def wait_for(call, seconds: float = 10.0):
    """The first answer of `call` that raises no connection error: what is waited for happens in another process."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except (ConnectionError, TimeoutError):
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def test_a_killed_proxy_is_replaced_and_gets_every_port_again(world):
    with running(world) as bridge:
        _, end = world.container(bridge, "a")
        world.host.run(bridge.publish, "a", end, [PortMapping(80, "tcp", "", 8080), PortMapping(80, "udp", "", 8080)])
        os.kill(world.proxies[0].pid, signal.SIGKILL)
        world.proxies[0].wait()
        assert wait_for(lambda: world.host.run(tcp, "127.0.0.1", 8080)) == (end.gateway, b"helloend")
        assert world.host.run(udp, "::1", 8080) == (end.gateway, b"hello")
        assert len(world.proxies) == 2
        world.host.run(bridge.publish, "b", end, [PortMapping(80, "tcp", "", 8081)])
        assert world.host.run(tcp, "127.0.0.1", 8081)[1] == b"helloend"


def test_the_proxy_ends_with_the_last_port_and_comes_back_with_the_next(world):
    with running(world) as bridge:
        _, end = world.container(bridge, "a")
        for turn in range(1, 4):
            world.host.run(bridge.publish, "a", end, [PortMapping(80, "tcp", "", 8080)])
            assert len(world.proxies) == turn
            assert world.host.run(tcp, "127.0.0.1", 8080)[1] == b"helloend"
            world.host.run(bridge.unpublish, "a")
            assert world.proxies[-1].wait(10) == 0
        world.host.run(bridge.publish, "a", end, [PortMapping(80, "tcp", "", 8080)])
        os.kill(world.proxies[-1].pid, signal.SIGKILL)
        assert wait_for(lambda: world.host.run(tcp, "127.0.0.1", 8080))[1] == b"helloend", "and the new one is watched, too"


def test_a_proxy_that_comes_back_by_itself_binds_what_its_facts_say(world):
    with running(world) as bridge:
        _, end = world.container(bridge, "a")
        world.host.run(bridge.publish, "a", end, [PortMapping(80, "tcp", "", 8080)])
    os.kill(world.proxies[0].pid, signal.SIGKILL)
    world.proxies[0].wait()
    world.host.run(world.start_proxy)
    assert wait_for(lambda: world.host.run(tcp, "127.0.0.1", 8080))[1] == b"helloend"


def test_everything_outlives_the_daemon_and_the_next_one_takes_it_over(world):
    with running(world) as first:
        _, live = world.container(first, "live")
        _, dead = world.container(first, "dead")
        world.host.run(first.publish, "live", live, [PortMapping(80, "tcp", "", 8080)])
        world.host.run(first.publish, "dead", dead, [PortMapping(80, "tcp", "", 8081)])
    talking = world.other.run(socket.create_connection, ("192.0.2.1", 8080), 5)
    assert talking.recv(99) == b"192.0.2.2\n"
    assert world.host.run(tcp, "127.0.0.1", 8080)[1] == b"helloend"
    with running(world) as second:
        world.host.run(second.reconcile, {"live"})
        talking.sendall(b"still here")
        assert talking.recv(99) == b"still here"
        talking.close()
        assert second.published("live") == published(80, 8080)
        assert world.host.run(tcp, "127.0.0.1", 8080)[1] == b"helloend"
        assert world.other.run(tcp, "192.0.2.1", 8080)[1] == b"helloend"
        for address in ("127.0.0.1", "192.0.2.1"):
            with pytest.raises(ConnectionRefusedError):
                world.host.run(tcp, address, 8081)
        assert world.host.run(second.check)
        assert second.warnings == []
        facts = json.loads((world.directory / "proxy.json").read_text())
        assert [port[3] for port in facts["ports"]] == [8080, 8080]


def test_a_udp_client_that_goes_on_finds_the_next_container(world):
    """Connection tracking would lead its datagrams to the old address for ever."""
    with running(world) as bridge, world.other.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("192.0.2.1", 8080))
        for name in ("first", "second"):
            _, end = world.container(bridge, name)
            world.host.run(bridge.publish, name, end, [PortMapping(80, "udp", "", 8080)])
            client.send(name.encode())
            assert client.recv(99) == b"192.0.2.2 " + name.encode()
            world.host.run(bridge.unpublish, name)
            tracked = world.host.run(Conntrack)
            assert world.host.run(tracked.forget_flows_to, end.address) == 0
            tracked.close()


def test_a_flushed_table_is_put_back(world):
    """CVE-2025-54388, CVE-2025-54410: a reload of somebody's firewall takes our rules away."""
    with running(world) as bridge:
        _, end = world.container(bridge, "a")
        world.host.run(bridge.publish, "a", end, [PortMapping(80, "tcp", "", 8080)])
        world.host.run(subprocess.run, ["nft", "flush", "ruleset"], check=True)
        assert wait_for(lambda: seen_by_server(world)) == "192.0.2.2"
        world.host.run(subprocess.run, ["nft", "delete element ip wherry0 ports { tcp . 8080 }"], check=True)
        assert wait_for(lambda: seen_by_server(world)) == "192.0.2.2"
        assert world.host.run(bridge.check)


def test_our_own_changes_from_any_thread_are_no_reason_to_look(world, monkeypatch):
    with running(world) as bridge:
        _, end = world.container(bridge, "a")
        looks = []
        monkeypatch.setattr(bridge._guard, "_check", lambda: looks.append(1) or True)
        world.host.run(bridge.publish, "a", end, [PortMapping(80, "tcp", "", 8080)])
        world.host.run(bridge.unpublish, "a")
        world.host.run(subprocess.run, ["nft", "add table ip foreign"], check=True)
        assert not looks
        world.host.run(subprocess.run, ["nft", "flush chain ip wherry0 output"], check=True)
        end_of_wait = time.monotonic() + 5
        while not looks and time.monotonic() < end_of_wait:
            time.sleep(0.01)
        assert len(looks) == 1


def test_a_table_flushed_unseen_is_put_back_by_the_next_publish(world):
    with running(world) as bridge:
        _, end = world.container(bridge, "a")
        world.host.run(bridge.publish, "a", end, [PortMapping(80, "tcp", "", 8080)])
        bridge._guard.stop()
        bridge._guard = None
        world.host.run(subprocess.run, ["nft", "flush", "ruleset"], check=True)
        world.host.run(bridge.publish, "b", end, [PortMapping(80, "tcp", "", 8081)])
        assert world.other.run(tcp, "192.0.2.1", 8080)[0] == world.other.run(tcp, "192.0.2.1", 8081)[0] == "192.0.2.2"


def seen_by_server(world) -> str:
    """Whom the server saw: while the table is away the proxy carries the connection, and it is not the client itself."""
    peer = world.other.run(tcp, "192.0.2.1", 8080)[0]
    if peer != "192.0.2.2":
        raise ConnectionError(peer)
    return peer


def test_a_foreign_drop_is_reported(world):
    chain = "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    world.host.run(subprocess.run, ["nft", chain], check=True)
    with running(world) as bridge:
        assert len(bridge.warnings) == 1
        assert "chain FORWARD of the firewall table ip filter drops" in bridge.warnings[0]


def test_two_bridges_with_the_same_container_ports(world):
    with running(world) as one:
        (world.directory / "two").mkdir()
        two = Bridge(world.db, BridgeOptions(name="wherry1", icc=False), ProxyClient(str(world.directory / "proxy.sock"), world.start_proxy))
        world.host.run(two.up)
        _, left = world.container(one, "a")
        _, right = world.container(two, "b")
        world.host.run(one.publish, "a", left, [PortMapping(80, "tcp", "", 8080)])
        world.host.run(two.publish, "b", right, [PortMapping(80, "tcp", "", 8081)])
        assert world.other.run(tcp, "192.0.2.1", 8080)[1] == world.other.run(tcp, "192.0.2.1", 8081)[1] == b"helloend"
        two.close()
