"""What a container has of a network: plain data, handed from the network room to daemon, monitor and API."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import NamedTuple


class Endpoint(NamedTuple):
    """A container's place on a bridge. `veth` is the host's end; `address` and `gateway` are dotted text, `mtu` bytes."""

    network: str
    bridge: str
    veth: str
    mac: str
    address: str
    prefix_len: int
    gateway: str
    mtu: int


class PortMapping(NamedTuple):
    """One published port. Asked for: `host_ip` "" is every address of both families, `host_port` 0 any free port, and with
    `host_port_end` any free one of host_port..host_port_end. As published: the address that is bound and its port."""

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: int = 0
    host_port_end: int = 0


def mac_of(address: str) -> str:
    """The MAC address that belongs to an IPv4 address: 02:42 (locally administered) and its four bytes, so that the neighbours'
    ARP caches stay right when an address gets a new owner."""
    return (b"\x02\x42" + IPv4Address(address).packed).hex(":")
