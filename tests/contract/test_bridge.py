"""The bridge on real kernel objects, in a network namespace of the test's own."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from namespaces import Namespace, connect_veth
from wherry.linux import netlink, rtnetlink
from wherry.linux.rtnetlink import Rtnetlink
from wherry.model.errors import Internal, InvalidArgument
from wherry.network.bridge import Bridge, BridgeOptions
from wherry.network.proxyclient import ProxyClient
from wherry.store.db import Database


def no_proxy() -> None:
    raise AssertionError("nothing is published here")


@pytest.fixture
def host():
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def make(tmp_path):
    """Bridges of one daemon."""
    database = Database(tmp_path / "wherry.db")
    made: list[Bridge | ProxyClient] = []

    def one(**options) -> Bridge:
        made.append(ProxyClient(str(tmp_path / "proxy.sock"), no_proxy))
        made.append(Bridge(database, BridgeOptions(**options), made[-1]))
        return made[-1]

    yield one
    for bridge_or_client in reversed(made):
        bridge_or_client.close()
    database.close()


def links() -> dict[str, rtnetlink.Link]:
    with Rtnetlink() as kernel:
        return {link.name: link for link in kernel.links()}


def addresses(name: str) -> set[str]:
    with Rtnetlink() as kernel:
        index = kernel.link(name).index
        return {f"{a.address}/{a.prefix_len}" for a in kernel.addresses() if a.index == index}


def batch(*requests: netlink.Request) -> None:
    with Rtnetlink() as kernel:
        kernel.batch(*requests)


def sysctl(name: str) -> str:
    with open(f"/proc/sys/net/{name}") as file:
        return file.read().strip()


def test_up_makes_the_bridge_and_is_idempotent(host, make):
    bridge = make()
    for _ in range(2):
        host.run(bridge.up)
        link = host.run(links)["wherry0"]
        assert (link.kind, link.mac, link.flags & 1) == ("bridge", "02:42:ac:11:00:01", 1)
        assert host.run(addresses, "wherry0") == {"172.17.0.1/16"}
    assert host.run(sysctl, "ipv4/ip_forward") == "1"
    assert host.run(sysctl, "ipv6/conf/wherry0/disable_ipv6") == "1"
    assert host.run(sysctl, "ipv6/conf/wherry0/accept_ra") == "0"
    host.run(bridge.down)
    assert set(host.run(links)) == {"lo"}


def test_two_bridges_side_by_side_choose_different_subnets(host, make):
    one, two = make(), make(name="wherry1")
    host.run(one.up)
    host.run(two.up)
    assert (str(one.address), str(two.address)) == ("172.17.0.1/16", "172.18.0.1/16")


def test_the_subnet_avoids_addresses_and_routes_and_stays_when_one_comes_later(host, make):
    def occupy(address: str) -> None:
        with Rtnetlink() as kernel:
            kernel.batch(rtnetlink.addr_add(1, address, 16))

    host.run(occupy, "172.17.5.5")
    host.run(batch, rtnetlink.route_add("172.18.99.0", 24, index=1))
    bridge = make()
    host.run(bridge.up)
    assert str(bridge.address) == "172.19.0.1/16"
    bridge.allocate("a" * 64)
    again = make()
    host.run(batch, rtnetlink.route_add("172.19.7.0", 24, index=1))
    host.run(again.up)
    assert str(again.address) == "172.19.0.1/16", "a subnet with containers in it stays"


def test_after_a_reboot_a_recorded_subnet_that_collides_is_given_up(host, make):
    bridge = make()
    host.run(bridge.up)
    bridge.allocate("a" * 64)
    host.run(batch, rtnetlink.link_del("wherry0"))
    host.run(batch, rtnetlink.addr_add(1, "172.17.9.9", 24))
    host.run(bridge.up)
    assert str(bridge.address) == "172.18.0.1/16"
    assert host.run(addresses, "wherry0") == {"172.18.0.1/16"}


def test_bip_and_its_change(host, make):
    host.run(make(bip="10.77.0.9/24").up)
    assert host.run(addresses, "wherry0") == {"10.77.0.9/24"}
    other = make(bip="10.78.0.1/24")
    host.run(other.up)
    assert host.run(addresses, "wherry0") == {"10.78.0.1/24"}
    other.allocate("a" * 64)
    third = make(bip="10.79.0.1/24")
    host.run(third.up)
    assert host.run(addresses, "wherry0") == {"10.78.0.1/24"}
    assert "keeps 10.78.0.1/24" in third.warnings[0]


@pytest.mark.parametrize("bip", ["10.0.0.1", "10.0.0.0/24", "10.0.0.255/24", "10.0.0.1/31", "fd00::1/64", "x"])
def test_a_bad_bip_is_refused(make, bip):
    with pytest.raises(InvalidArgument):
        make(bip=bip)


def test_an_existing_bridge_keeps_its_address_and_another_kind_of_link_is_refused(host, make):
    host.run(batch, rtnetlink.bridge_add("mine0"))
    host.run(rtnetlink.configure, "mine0", "10.5.0.1", 24, "")
    bridge = make(name="mine0")
    host.run(bridge.up)
    assert str(bridge.address) == "10.5.0.1/24"
    host.run(batch, rtnetlink.veth_add("vethA", "vethB"))
    with pytest.raises(Internal, match="vethA"):
        host.run(make(name="vethA").up)


def test_a_container_is_reachable_through_its_veth(host, make):
    bridge = make(mtu=1400)
    host.run(bridge.up)
    end = bridge.allocate("a" * 64)
    assert end == bridge.allocate("a" * 64)
    with Namespace() as box:
        host.run(connect_veth, end.veth, end.bridge, netns=box.fd, mac=end.mac, mtu=end.mtu)
        box.run(rtnetlink.configure, "eth0", end.address, end.prefix_len, end.gateway)
        inside = box.run(links)["eth0"]
        assert (inside.mac, inside.mtu) == (end.mac, 1400)
        assert host.run(links)[end.veth].master == host.run(links)["wherry0"].index
        server = box.run(socket.create_server, (end.address, 80))
        client = host.run(socket.create_connection, (end.address, 80), 5)
        assert client.getpeername() == (end.address, 80)
        client.close()
        server.close()


def test_reconcile_removes_recorded_veths_of_the_dead_and_nothing_else(host, make):
    bridge = make()
    host.run(bridge.up)
    dead, live = bridge.allocate("d" * 64), bridge.allocate("e" * 64)
    with Namespace() as box:
        host.run(connect_veth, dead.veth, "wherry0", netns=box.fd, peer="eth0")
        host.run(connect_veth, live.veth, "wherry0", netns=box.fd, peer="eth1")
        host.run(connect_veth, "veth0foreign", "wherry0", netns=box.fd, peer="eth2")
        host.run(bridge.reconcile, {"e" * 64})
        assert set(host.run(links)) == {"lo", "wherry0", live.veth, "veth0foreign"}
    assert bridge.allocate("e" * 64) == live
    host.run(bridge.reconcile, set())
    host.run(bridge.down)


def test_half_a_connect_leaves_nothing(host, make):
    bridge = make()
    host.run(bridge.up)
    before = set(host.run(links))
    with pytest.raises(ProcessLookupError):
        host.run(connect_veth, "vethgone", "wherry0", pid=2**22 - 1)
    with pytest.raises(OSError, match="No such device"):
        host.run(connect_veth, "vethgone", "nobridge", pid=1)
    assert set(host.run(links)) == before


def test_the_first_packet_of_a_container_is_not_lost(host, make):
    """Without settle() every fifth of these connections waits a second for its second ARP request."""
    bridge = make()
    host.run(bridge.up)
    server = host.run(socket.create_server, ("0.0.0.0", 99), backlog=99)
    host_side = host.run(Rtnetlink)
    for number in range(25):
        end = bridge.allocate(str(number))
        with Namespace() as box:
            host.run(connect_veth, end.veth, end.bridge, netns=box.fd, mac=end.mac)
            box.run(rtnetlink.configure, "eth0", end.address, end.prefix_len, end.gateway)
            assert host_side.settle([end.veth, end.bridge])
            box.run(socket.create_connection, (end.gateway, 99), 0.5).close()
    assert not host_side.settle(["vethgone"])
    host.run(batch, rtnetlink.veth_add("vethA", "vethB"))
    assert not host_side.settle(["vethA"], 0.01), "its peer is down"
    host_side.close()
    server.close()


def test_settle_is_woken_by_the_link_that_comes_up(host):
    host.run(batch, rtnetlink.veth_add("vethA", "vethB"))
    with Namespace() as box, host.run(Rtnetlink) as host_side, ThreadPoolExecutor(1) as waiter:

        def move() -> None:
            with Rtnetlink() as kernel:
                kernel.batch(rtnetlink.link_set(kernel.link("vethB").index, netns=box.fd))

        host.run(move)
        waiting = waiter.submit(host_side.settle, ["vethA"], 20.0)
        box.run(rtnetlink.configure, "vethB", "10.0.0.2", 24, "")
        assert waiting.result(10)
