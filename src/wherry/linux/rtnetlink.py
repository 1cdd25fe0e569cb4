"""rtnetlink: links, addresses and routes, several changes in one round trip.

Standard library only and light, because the init uses it too.

Sources: rtnetlink(7), veth(4), linux/if_link.h, linux/rtnetlink.h.
"""

from __future__ import annotations

import errno
import select
import socket
import struct

from wherry.linux.netlink import NLM_F_CREATE, NLM_F_EXCL, SOL_NETLINK, Netlink, Request, attr, attributes, fixed, integer, malformed, text, u32

_NETLINK_ADD_MEMBERSHIP, _RTNLGRP_LINK = 1, 1
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_PID, _IFLA_GROUP, _IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 19, 27, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK, _RTN_UNICAST = 254, 3, 0, 253, 1
IFF_UP, IFF_RUNNING = 0x1, 0x40
_NEW = NLM_F_CREATE | NLM_F_EXCL

_IFINFO = struct.Struct("=BxHiII")  # ifinfomsg: family, device type, index, flags, change
_IFADDR = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags


class Link:
    """A network device. `master` and `index` are interface indexes (0: none); `kind` is "veth", "bridge" ... or "" for hardware."""

    __slots__ = ("index", "name", "flags", "mtu", "mac", "master", "kind")

    def __init__(self, index: int, name: str, flags: int, mtu: int, mac: str, master: int, kind: str) -> None:
        self.index, self.name, self.flags, self.mtu, self.mac, self.master, self.kind = index, name, flags, mtu, mac, master, kind


class Address:
    """An address of the interface `index`, as text, with its prefix length."""

    __slots__ = ("index", "family", "address", "prefix_len")

    def __init__(self, index: int, family: int, address: str, prefix_len: int) -> None:
        self.index, self.family, self.address, self.prefix_len = index, family, address, prefix_len


class Route:
    """A unicast route. `destination` is "" for the default route; `gateway` is "" for a directly connected net; `index` 0: no device."""

    __slots__ = ("family", "destination", "prefix_len", "gateway", "index", "table")

    def __init__(self, family: int, destination: str, prefix_len: int, gateway: str, index: int, table: int) -> None:
        self.family, self.destination, self.prefix_len = family, destination, prefix_len
        self.gateway, self.index, self.table = gateway, index, table


# Encoding


def interface_name(name: str) -> bytes:
    """`name` as the kernel takes it: 1 to 15 bytes, none of them `/`, `:`, blank or NUL (dev_valid_name). ValueError else."""
    raw = name.encode("ascii", "strict")
    if not 0 < len(raw) < 16 or name in (".", "..") or any(byte <= 32 or byte in b"/:" for byte in raw):
        raise ValueError(f"invalid network interface name {name!r}")
    return raw + b"\0"


def _mac(text: str) -> bytes:
    raw = bytes.fromhex(text.replace(":", ""))
    if len(raw) != 6:
        raise ValueError(f"invalid MAC address {text!r}")
    return raw


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _ifinfo(index: int = 0, up: bool = False) -> bytes:
    return _IFINFO.pack(socket.AF_UNSPEC, 0, index, IFF_UP if up else 0, IFF_UP if up else 0)


def _link_options(mac: str, mtu: int) -> bytes:
    return (attr(_IFLA_ADDRESS, _mac(mac)) if mac else b"") + (u32(_IFLA_MTU, mtu) if mtu else b"")


def port_group(bridge: int) -> int:
    """The device group of the ports of the bridge with this index: by it the firewall knows them."""
    return 0x57480000 | bridge & 0xFFFF


def bridge_add(name: str, mac: str = "", mtu: int = 0) -> Request:
    """A new bridge. With `mac` given, the address does not change as ports come and go."""
    body = _ifinfo() + attr(_IFLA_IFNAME, interface_name(name)) + _link_options(mac, mtu)
    return Request("link add", name, _RTM_NEWLINK, _NEW, body + attr(_IFLA_LINKINFO, attr(_IFLA_INFO_KIND, b"bridge")))


def veth_add(
    name: str, peer: str, *, peer_pid: int = 0, peer_netns: int = -1, peer_mac: str = "", mtu: int = 0, master: int = 0, up: bool = True
) -> Request:
    """A veth pair in one message: `name` here (a port of the bridge with index `master`, up), `peer` made directly in the network
    namespace of the process `peer_pid` or of the descriptor `peer_netns`. The peer is left down: who owns the namespace sets it up.
    A port of a bridge gets that bridge's device group."""
    inner = _ifinfo() + attr(_IFLA_IFNAME, interface_name(peer)) + _link_options(peer_mac, mtu)
    if peer_netns >= 0:
        inner += u32(_IFLA_NET_NS_FD, peer_netns)
    elif peer_pid:
        inner += u32(_IFLA_NET_NS_PID, peer_pid)
    info = attr(_IFLA_INFO_KIND, b"veth") + attr(_IFLA_INFO_DATA, attr(_VETH_INFO_PEER, inner))
    body = _ifinfo(up=up) + attr(_IFLA_IFNAME, interface_name(name)) + _link_options("", mtu) + attr(_IFLA_LINKINFO, info)
    body += u32(_IFLA_MASTER, master) + u32(_IFLA_GROUP, port_group(master)) if master else b""
    return Request("link add", name, _RTM_NEWLINK, _NEW, body)


def link_set(
    index: int, *, up: bool = False, name: str = "", mac: str = "", mtu: int = 0, master: int = 0, netns: int = -1, pid: int = 0
) -> Request:
    """Change the link `index`: each argument that is given. `netns` (a descriptor) or `pid` moves it to that network namespace."""
    body = _ifinfo(index, up) + _link_options(mac, mtu)
    body += attr(_IFLA_IFNAME, interface_name(name)) if name else b""
    body += u32(_IFLA_MASTER, master) if master else b""
    body += u32(_IFLA_NET_NS_FD, netns) if netns >= 0 else u32(_IFLA_NET_NS_PID, pid) if pid else b""
    return Request("link set", name or f"index {index}", _RTM_SETLINK, 0, body)


def link_del(name: str) -> Request:
    """Delete a link by name. For a veth the kernel waits about 20 ms: not on a user's way."""
    return Request("link del", name, _RTM_DELLINK, 0, _ifinfo() + attr(_IFLA_IFNAME, interface_name(name)))


def _address(operation: str, kind: int, flags: int, index: int, address: str, prefix_len: int) -> Request:
    family = _family(address)
    raw = socket.inet_pton(family, address)
    if not 0 <= prefix_len <= len(raw) * 8:
        raise ValueError(f"invalid prefix length {prefix_len} for {address}")
    body = _IFADDR.pack(family, prefix_len, 0, _RT_SCOPE_UNIVERSE, index) + attr(_IFA_LOCAL, raw) + attr(_IFA_ADDRESS, raw)
    if family == socket.AF_INET and prefix_len < 31 and flags:
        last = int.from_bytes(raw, "big") | (1 << (32 - prefix_len)) - 1
        body += attr(_IFA_BROADCAST, last.to_bytes(4, "big"))
    return Request(operation, f"{address}/{prefix_len}", kind, flags, body)


def addr_add(index: int, address: str, prefix_len: int) -> Request:
    """Give the link an address (IPv4 with its broadcast address, or IPv6)."""
    return _address("addr add", _RTM_NEWADDR, _NEW, index, address, prefix_len)


def addr_del(index: int, address: str, prefix_len: int) -> Request:
    """Take an address from the link."""
    return _address("addr del", _RTM_DELADDR, 0, index, address, prefix_len)


def route_add(destination: str = "", prefix_len: int = 0, *, gateway: str = "", index: int = 0) -> Request:
    """A route in the main table; an empty destination is the default route. Needs a gateway, a device (`index`), or both."""
    known = destination or gateway
    if not known:
        raise ValueError("a route needs a destination or a gateway")
    scope = _RT_SCOPE_UNIVERSE if gateway else _RT_SCOPE_LINK
    body = _RTMSG.pack(_family(known), prefix_len, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, scope, _RTN_UNICAST, 0)
    body += attr(_RTA_DST, socket.inet_pton(_family(known), destination)) if destination else b""
    body += attr(_RTA_GATEWAY, socket.inet_pton(_family(known), gateway)) if gateway else b""
    body += u32(_RTA_OIF, index) if index else b""
    return Request("route add", f"{destination or 'default'}/{prefix_len} via {gateway or index}", _RTM_NEWROUTE, _NEW, body)


# Decoding


def _ip(family: int, raw: bytes) -> str:
    if (family, len(raw)) not in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        raise malformed(f"address of {len(raw)} bytes in family {family}")
    return socket.inet_ntop(family, raw)


def parse_link(body: bytes) -> Link:
    """A Link from the body of RTM_NEWLINK."""
    _, _, index, flags, _ = fixed(_IFINFO, body)
    found = attributes(body[_IFINFO.size :])
    kind = text(attributes(found.get(_IFLA_LINKINFO, b"")), _IFLA_INFO_KIND)
    mac = found.get(_IFLA_ADDRESS, b"").hex(":")
    return Link(index, text(found, _IFLA_IFNAME), flags, integer(found, _IFLA_MTU), mac, integer(found, _IFLA_MASTER), kind)


def parse_address(body: bytes) -> Address:
    """An Address from the body of RTM_NEWADDR: the local address (of a point-to-point link IFA_ADDRESS is the other end's)."""
    family, prefix_len, _, _, index = fixed(_IFADDR, body)
    found = attributes(body[_IFADDR.size :])
    return Address(index, family, _ip(family, found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, b""))), prefix_len)


def parse_route(body: bytes) -> tuple[Route, int]:
    """A Route from the body of RTM_NEWROUTE, and its type (RTN_UNICAST is 1)."""
    family, prefix_len, _, _, table, _, _, kind, _ = fixed(_RTMSG, body)
    found = attributes(body[_RTMSG.size :])
    destination = _ip(family, found[_RTA_DST]) if _RTA_DST in found else ""
    gateway = _ip(family, found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else ""
    return Route(family, destination, prefix_len, gateway, integer(found, _RTA_OIF), integer(found, _RTA_TABLE) or table), kind


# The socket


class Rtnetlink(Netlink):
    """A socket for routing requests; `fd`: one that another Rtnetlink opened, see Netlink."""

    def __init__(self, fd: int = -1) -> None:
        super().__init__(socket.NETLINK_ROUTE, fd)

    def links(self) -> list[Link]:
        """All links of this network namespace."""
        return [parse_link(body) for body in self.dump("link list", _RTM_GETLINK, _ifinfo())]

    def link(self, name: str) -> Link:
        """The link called `name`; OSError(ENODEV) when there is none."""
        return parse_link(self.get("link get", name, _RTM_GETLINK, _ifinfo() + attr(_IFLA_IFNAME, interface_name(name))))

    def settle(self, names: list[str], seconds: float = 1.0) -> bool:
        """Wait until these links carry packets. A veth's carrier comes when its peer is set up, but its queue and the state of its bridge
        port change only when the kernel's link watch has run; until then packets are dropped, and the ARP request among them is sent again
        a second later. Since Linux 6.8 asking for a link runs the link watch for it; before, it says so with an event. False when a link
        is gone or not running in time."""
        waiting = list(names)
        poll = None
        while True:
            try:
                waiting = [name for name in waiting if not self.link(name).flags & IFF_RUNNING]
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return False
                if error.errno == errno.ENOBUFS:  # events were lost (netlink(7)): what they told is asked again
                    continue
                raise
            if not waiting:
                return True
            if poll is None:
                self.sock.setsockopt(SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _RTNLGRP_LINK)
                poll = select.poll()
                poll.register(self.sock, select.POLLIN)
                continue  # what came before the membership is seen by looking again
            if not poll.poll(seconds * 1000):
                return False
            self.receive()

    def addresses(self, family: int = socket.AF_UNSPEC) -> list[Address]:
        """All addresses, or those of AF_INET or AF_INET6 only."""
        return [parse_address(body) for body in self.dump("addr list", _RTM_GETADDR, _IFADDR.pack(family, 0, 0, 0, 0))]

    def routes(self, family: int = socket.AF_INET) -> list[Route]:
        """The unicast routes of every table of one family."""
        parsed = [parse_route(body) for body in self.dump("route list", _RTM_GETROUTE, _RTMSG.pack(family, *[0] * 8))]
        return [route for route, kind in parsed if kind == _RTN_UNICAST]


# What the init does inside the container's namespace


def loopback_up() -> None:
    """Set `lo` up (index 1 in every network namespace); the kernel gives it 127.0.0.1/8 and ::1."""
    with Rtnetlink() as netlink:
        netlink.batch(link_set(1, up=True))


def configure(name: str, address: str, prefix_len: int, gateway: str) -> None:
    """Inside a container's network namespace: `lo` up, the link `name` gets its address and is set up, default route via `gateway`
    ("": none). One round trip to find the link, one for everything else."""
    with Rtnetlink() as netlink:
        index = netlink.link(name).index
        requests = [link_set(1, up=True), addr_add(index, address, prefix_len), link_set(index, up=True)]
        if gateway:
            requests.append(route_add(gateway=gateway, index=index))
        netlink.batch(*requests)
