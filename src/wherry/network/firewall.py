"""The nftables backend: one table of our own per bridge, one atomic transaction per change, none for a container without ports.

The table `ip` holds two maps, looked up by protocol and port (and host address), so that a packet costs the same with one published port
or ten thousand. Traffic to 127.0.0.1, to [::1], over IPv6, and from a container to its own host's published ports is not here: the proxy
carries it. (With br_netfilter on, a packet that the kernel leads back into the bridge it came from is bridged, not routed: it would meet
the rules between containers, and could not return to its own port.) Packets between two containers are bridged as well; whether the
`ip` hooks see them depends on br_netfilter, so the rules hold either way, and `icc=False` is a table of family `bridge`, which sees them
always; it knows our ports by their device group (`meta ibrname` is not in every kernel). nft(8), Documentation/networking/bridge.rst.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import NamedTuple

from wherry.linux.conntrack import Conntrack
from wherry.linux.nftables import Nftables

log = logging.getLogger(__name__)

PROTOCOLS = {"tcp": 6, "udp": 17}
_OURS = "wherry"


class Forward(NamedTuple):
    """A published port as the kernel leads it: host_ip "0.0.0.0" is every address of the host."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    container_port: int


def by_kernel(host_ip: str) -> bool:
    """Whether the kernel leads traffic of this host address; IPv6 and loopback addresses are the proxy's."""
    return ":" not in host_ip and not host_ip.startswith("127.")


def table_name(bridge: str) -> str:
    """The name of our tables. nft names begin with a letter or `_` and hold only letters, digits and `_.-/`."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else f"_{ord(c):02x}_" for c in bridge)
    return safe if safe.startswith(_OURS) else f"{_OURS}_{safe}"


def quoted(bridge: str) -> str:
    """An interface name as an nft string; what would end the string, or match more than one name, is refused."""
    if any(c in '"\\*' for c in bridge):
        raise ValueError(f"bridge name {bridge!r} cannot be used in a firewall rule")
    return f'"{bridge}"'


def _key(one: Forward) -> tuple[str, str]:
    """(map, key) of an entry."""
    port = f"{PROTOCOLS[one.protocol]} . {one.host_port}"
    return ("ports", port) if one.host_ip == "0.0.0.0" else ("address_ports", f"{one.host_ip} . {port}")


def _elements(forwards: Iterable[Forward]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"ports": [], "address_ports": []}
    for one in forwards:
        where, key = _key(one)
        found[where].append(f"{key} : {one.address} . {one.container_port}")
    return found


def table_text(bridge: str, subnet: IPv4Network, group: int, icc: bool, forwards: Iterable[Forward]) -> str:
    """The whole of our tables as one script, which replaces what is there of them in one transaction. `group` is the device group of the
    bridge's ports (rtnetlink.port_group)."""
    name, device = table_name(bridge), quoted(bridge)
    elements = {where: f"elements = {{ {', '.join(keys)} }}" if keys else "" for where, keys in _elements(forwards).items()}
    between = "accept" if icc else "drop"
    text = f"""\
table ip {name}
delete table ip {name}
table ip {name} {{
  map ports {{
    type inet_proto . inet_service : ipv4_addr . inet_service
    {elements["ports"]}
  }}
  map address_ports {{
    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
    {elements["address_ports"]}
  }}
  chain published {{
    dnat ip to ip daddr . meta l4proto . th dport map @address_ports
    dnat ip to meta l4proto . th dport map @ports
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    iifname != {device} ip daddr != 127.0.0.0/8 fib daddr type local jump published
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    ip daddr != 127.0.0.0/8 fib daddr type local jump published
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {subnet} oifname != {device} masquerade
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    oifname {device} jump to_containers
  }}
  chain to_containers {{
    ct state established,related accept
    ct status dnat accept
    iifname {device} {between}
    drop
  }}
}}
"""
    if icc:
        return text
    return text + f"""\
table bridge {name}
delete table bridge {name}
table bridge {name} {{
  chain forward {{
    type filter hook forward priority 0; policy accept;
    meta iifgroup {group} meta oifgroup {group} ether type {{ ip, ip6 }} drop
  }}
}}
"""


class Firewall:
    """Our tables of one bridge. Make it at daemon start: the first use loads libnftables."""

    name = "nftables"

    def __init__(self, bridge: str, subnet: IPv4Network, group: int, icc: bool) -> None:
        self.bridge, self.subnet, self.group, self.icc = bridge, subnet, group, icc
        self.table = table_name(bridge)
        self._nft = Nftables()
        self._tracked = Conntrack()
        self._installed = ""

    def close(self) -> None:
        """Let go of the library; the rules stay and serve."""
        self._nft.close()
        self._tracked.close()

    def install(self, forwards: Iterable[Forward]) -> None:
        """Put our tables in place with these entries, in one transaction; what was there of them is replaced."""
        self._nft.run(table_text(self.bridge, self.subnet, self.group, self.icc, forwards))
        if self.icc:
            self._delete("bridge")
        self._installed = self._shape()

    def add(self, forwards: Iterable[Forward]) -> None:
        """Open published ports. OSError(EEXIST) where one leads elsewhere; OSError(ENOENT) when our table is gone."""
        script = [f"add element ip {self.table} {where} {{ {', '.join(keys)} }}" for where, keys in _elements(forwards).items() if keys]
        if script:
            self._nft.run("\n".join(script))

    def remove(self, forwards: Iterable[Forward]) -> None:
        """Close published ports. Those that are not open are passed over (the transaction is then made one by one)."""
        commands = [f"delete element ip {self.table} {where} {{ {key} }}" for where, key in map(_key, forwards)]
        if not commands:
            return
        try:
            self._nft.run("\n".join(commands))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            self._remove_singly(commands)

    def _remove_singly(self, commands: list[str]) -> None:
        for command in commands:
            try:
                self._nft.run(command)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise

    def forget_flows_to(self, addresses: Iterable[str]) -> None:
        """Let no tracked connection lead to these addresses any more: they get other owners. A kernel that cannot do it keeps old UDP
        clients from the next container for a while, which is no reason to fail a stop."""
        for address in addresses:
            try:
                self._tracked.forget_flows_to(address)
            except OSError as error:
                log.warning("cannot forget tracked connections to %s: %s", address, error)

    def verify(self, forwards: Iterable[Forward]) -> bool:
        """Whether our tables are as we made them and hold exactly these entries (firewalld and `nft flush ruleset` take them away)."""
        try:
            return bool(self._installed) and self._shape() == self._installed and self._entries() == set(forwards)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise

    def drop_tables(self) -> None:
        """Remove our tables; none is fine."""
        self._delete("ip")
        self._delete("bridge")

    def _delete(self, family: str) -> None:
        try:
            self._nft.run(f"delete table {family} {self.table}")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP):  # not there, or a kernel without this family
                raise

    def _shape(self) -> str:
        """Our tables as text without their elements."""
        text = self._nft.run(f"list table ip {self.table}", terse=True)
        return text if self.icc else text + self._nft.run(f"list table bridge {self.table}", terse=True)

    def _entries(self) -> set[Forward]:
        found = set()
        protocols = {number: name for name, number in PROTOCOLS.items()}
        for where in ("ports", "address_ports"):
            for listed in self._nft.query(f"list map ip {self.table} {where}"):
                for key, value in listed["map"].get("elem", []):
                    *host, protocol, port = key["concat"]
                    address, container_port = value["concat"]
                    found.add(Forward(protocols[int(protocol)], host[0] if host else "0.0.0.0", int(port), address, int(container_port)))
        return found

    def foreign_drops(self) -> list[str]:
        """A sentence for each base chain in the forward hook that is not ours and drops by policy: our accept cannot overrule it
        (nft(8): every base chain of a hook must accept)."""
        chains = [one["chain"] for one in self._nft.query("list chains") if "chain" in one]
        return [
            f"the chain {c['name']} of the firewall table {c['family']} {c['table']} drops forwarded packets by default: containers may be cut off "
            f"from other networks until it accepts packets from and to {self.bridge}"
            for c in chains
            if c.get("hook") == "forward" and c.get("policy") == "drop" and c["family"] in ("ip", "inet") and not c["table"].startswith(_OURS)
        ]
