"""Addresses: a private subnet that collides with nothing on the host, and one address for each container (rows of wherry.db)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from sqlite3 import Cursor

from wherry.model.errors import InvalidArgument, Unavailable
from wherry.network.endpoint import Endpoint, mac_of
from wherry.store.db import Database

CANDIDATES = [IPv4Network(f"172.{second}.0.0/16") for second in range(17, 32)]
CANDIDATES += [IPv4Network(f"192.168.{third}.0/20") for third in range(0, 256, 16)]


def choose_subnet(taken: Iterable[IPv4Network]) -> IPv4Interface:
    """The gateway's address in the first candidate that overlaps none of `taken` (the host's routes and addresses)."""
    busy = list(taken)
    for candidate in CANDIDATES:
        if not any(candidate.overlaps(one) for one in busy):
            return IPv4Interface((candidate[1], candidate.prefixlen))
    raise Unavailable("no free private subnet for the bridge: every candidate overlaps a route of this host; choose one with --bip")


def parse_bip(text: str) -> IPv4Interface:
    """`--bip`: the bridge's own address with its prefix length, as 192.168.5.1/24."""
    try:
        found = IPv4Interface(text)
    except ValueError:
        raise InvalidArgument(f"invalid CIDR address for --bip: {text!r} (expected for example 192.168.5.1/24)") from None
    network = found.network
    if "/" not in text or network.prefixlen > 30 or found.ip in (network.network_address, network.broadcast_address):
        raise InvalidArgument(f"--bip {text}: not the address of a host in a subnet with room for containers")
    return found


class Pool:
    """The addresses of one bridge. What is allocated is in `network_endpoints`, where to look next in `network_bridges`."""

    def __init__(self, db: Database, bridge: str) -> None:
        self._db, self._bridge = db, bridge

    def recorded(self) -> IPv4Interface | None:
        """The bridge's address as recorded, or None on the first start."""
        rows = self._db.query("SELECT address FROM network_bridges WHERE name=?", (self._bridge,))
        return IPv4Interface(rows[0][0]) if rows else None

    def record(self, address: IPv4Interface) -> None:
        """Keep the bridge's address for later starts."""
        first = int(address.network.network_address) + 1
        with self._db.transaction() as cursor:
            cursor.execute(
                "INSERT INTO network_bridges (name, address, next) VALUES (?,?,?) "
                "ON CONFLICT (name) DO UPDATE SET address=excluded.address, next=excluded.next WHERE address<>excluded.address",
                (self._bridge, str(address), first),
            )

    def allocate(self, container: str, mtu: int) -> Endpoint:
        """The next free address after the last one given, with wrap-around: an address rests as long as possible before it is used
        again. A container that has one keeps it. Unavailable when the subnet is full."""
        with self._db.transaction() as cursor:
            row = cursor.execute("SELECT address, next FROM network_bridges WHERE name=?", (self._bridge,)).fetchone()
            if row is None:
                raise Unavailable(f"bridge {self._bridge} is not up")
            gateway, following = IPv4Interface(row[0]), row[1]
            held = cursor.execute("SELECT address, veth FROM network_endpoints WHERE bridge=? AND container=?", (self._bridge, container))
            found = held.fetchone()
            if found is None:
                number = self._free(cursor, gateway, following)
                found = number, f"veth{os.urandom(4).hex()[:7]}"
                cursor.execute("INSERT INTO network_endpoints (bridge, address, container, veth) VALUES (?,?,?,?)",
                               (self._bridge, number, container, found[1]))
                cursor.execute("UPDATE network_bridges SET next=? WHERE name=?", (number + 1, self._bridge))
        address = str(IPv4Address(found[0]))
        return Endpoint("bridge", self._bridge, found[1], mac_of(address), address, gateway.network.prefixlen, str(gateway.ip), mtu)

    def _free(self, cursor: Cursor, gateway: IPv4Interface, following: int) -> int:
        low, high = int(gateway.network.network_address) + 1, int(gateway.network.broadcast_address) - 1
        start = following if low <= following <= high else low
        for first, last in ((start, high), (low, start - 1)):
            number = self._gap(cursor, first, last, int(gateway.ip))
            if number is not None:
                return number
        raise Unavailable(f"no available IPv4 addresses on this network's address pools: bridge ({self._bridge}, {gateway.network})")

    def _gap(self, cursor: Cursor, first: int, last: int, gateway: int) -> int | None:
        """The lowest free address in first..last: `first` itself, or the one after the run of taken ones (a walk of the primary key)."""
        while first <= last:
            if first == gateway:
                first += 1
                continue
            taken = "SELECT 1 FROM network_endpoints WHERE bridge=? AND address=?"
            if cursor.execute(taken, (self._bridge, first)).fetchone() is None:
                return first
            row = cursor.execute(
                "SELECT e.address FROM network_endpoints e WHERE e.bridge=? AND e.address BETWEEN ? AND ? AND NOT EXISTS "
                "(SELECT 1 FROM network_endpoints n WHERE n.bridge=e.bridge AND n.address=e.address+1) ORDER BY e.address LIMIT 1",
                (self._bridge, first, last),
            ).fetchone()
            if row is None:
                return None
            first = row[0] + 1
        return None

    def find(self, container: str) -> tuple[str, str] | None:
        """(address, veth) of a container, or None."""
        rows = self._db.query("SELECT address, veth FROM network_endpoints WHERE bridge=? AND container=?", (self._bridge, container))
        return (str(IPv4Address(rows[0][0])), rows[0][1]) if rows else None

    def release(self, container: str) -> None:
        """The container's address is free again; none is fine."""
        with self._db.transaction() as cursor:
            cursor.execute("DELETE FROM network_endpoints WHERE bridge=? AND container=?", (self._bridge, container))

    def held(self) -> dict[str, str]:
        """The veth of every container that has an address."""
        return dict(self._db.query("SELECT container, veth FROM network_endpoints WHERE bridge=?", (self._bridge,)))

    def clear(self) -> None:
        """Free every address: the bridge is gone, and every container's veth with it."""
        with self._db.transaction() as cursor:
            cursor.execute("DELETE FROM network_endpoints WHERE bridge=?", (self._bridge,))
