"""R10: what a container can do to the host's network. The CVEs of firewall reloads are in tests/contract/test_publish.py."""

from __future__ import annotations

import errno
import socket
import struct
import time

import pytest

from namespaces import Namespace, connect_veth
from wherry.linux import rtnetlink
from wherry.network.bridge import Bridge, BridgeOptions, write_sysctl
from wherry.network.proxyclient import ProxyClient
from wherry.store.db import Database


def no_proxy() -> None:
    raise AssertionError("nothing is published here")


@pytest.fixture
def attack(tmp_path):
    """(host, container) namespaces on a bridge."""
    db = Database(tmp_path / "wherry.db")
    bridge = Bridge(db, BridgeOptions(), ProxyClient(str(tmp_path / "proxy.sock"), no_proxy))
    with Namespace() as host, Namespace() as box:
        host.run(bridge.up)
        end = bridge.allocate("a")
        box.run(write_sysctl, "ipv6/conf/default/accept_dad", "0")
        host.run(write_sysctl, "ipv6/conf/wherry0/accept_dad", "0")
        host.run(connect_veth, end.veth, end.bridge, netns=box.fd, mac=end.mac)
        box.run(rtnetlink.configure, "eth0", end.address, end.prefix_len, end.gateway)
        yield host, box
        bridge.close()
    db.close()


def advertise() -> None:
    """Sends a router advertisement for 2001:db8:bad::/64, as rogue router with the highest preference; RFC 4861."""
    prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 7200, 7200, 0, socket.inet_pton(socket.AF_INET6, "2001:db8:bad::"))
    packet = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0x08, 1800, 0, 0) + prefix
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
        sock.sendto(packet, ("ff02::1", 0, 0, socket.if_nametoindex("eth0")))


def until_sent(box: Namespace) -> None:
    """Waits for the container's link-local address, which comes a moment after the link."""
    end = time.monotonic() + 5
    while True:
        try:
            return box.run(advertise)
        except OSError as error:
            if error.errno != errno.ENETUNREACH or time.monotonic() > end:
                raise
            time.sleep(0.01)


def global_addresses() -> list[str]:
    with rtnetlink.Rtnetlink() as kernel:
        return [one.address for one in kernel.addresses(socket.AF_INET6) if one.address.startswith("2001:db8:bad:")]


def wait_for_address(host: Namespace, box: Namespace, seconds: float) -> list[str]:
    end = time.monotonic() + seconds
    found: list[str] = []
    while not found and time.monotonic() < end:
        box.run(advertise)
        time.sleep(0.05)
        found = host.run(global_addresses)
    return found


def test_cve_2020_13401_router_advertisements_do_not_reach_the_host(attack):
    host, box = attack
    until_sent(box)
    assert wait_for_address(host, box, 0.5) == []
    host.run(write_sysctl, "ipv6/conf/wherry0/disable_ipv6", "0")
    assert wait_for_address(host, box, 0.5) == [], "accept_ra=0 stands by itself"
    host.run(write_sysctl, "ipv6/conf/wherry0/accept_ra", "1")
    assert wait_for_address(host, box, 5), "the attack works on a host that is open to it"


def test_cve_2024_32473_no_ipv6_on_the_bridge(attack):
    host, _ = attack

    def of_bridge() -> list[str]:
        with rtnetlink.Rtnetlink() as kernel:
            index = kernel.link("wherry0").index
            return [one.address for one in kernel.addresses(socket.AF_INET6) if one.index == index]

    assert host.run(of_bridge) == []
