"""The default bridge: link, address, sysctls, firewall table, and each container's address and published ports.

Everything that outlives a call is a row of wherry.db before it is an object of the kernel; `reconcile` reads the rows, it never
guesses from names. The veth itself is made by the monitor and removed by the kernel with the container's network namespace.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from ipaddress import IPv4Interface, IPv4Network
from typing import NamedTuple

from wherry.linux import rtnetlink
from wherry.linux.rtnetlink import Link, Rtnetlink
from wherry.model.errors import Internal, InvalidArgument, WherryError
from wherry.network import ipam
from wherry.network.endpoint import Endpoint, PortMapping, mac_of
from wherry.network.firewall import Firewall
from wherry.network.guard import Guard
from wherry.network.proxyclient import ProxyClient
from wherry.network.publish import Publisher
from wherry.store.db import Database

log = logging.getLogger(__name__)


class BridgeOptions(NamedTuple):
    """`bip`: own address and prefix ("": choose). `mtu` 0: the smaller of 1500 and the MTU of the host's default route.
    `iptables` False: no firewall rules at all, published ports are carried by the proxy alone."""

    name: str = "wherry0"
    bip: str = ""
    ip_forward: bool = True
    iptables: bool = True
    icc: bool = True
    mtu: int = 0


class Bridge:
    """The network `bridge` of one daemon. `warnings` are texts for the log and for `info`, renewed by up()."""

    def __init__(self, db: Database, options: BridgeOptions, proxy: ProxyClient) -> None:
        try:
            rtnetlink.interface_name(options.name)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
        self._db, self.options = db, options
        self._pool = ipam.Pool(db, options.name)
        self._guard: Guard | None = None
        self._publisher = Publisher(db, options.name, proxy)
        self._proxy = proxy
        self._bip = ipam.parse_bip(options.bip) if options.bip else None
        self.warnings: list[str] = []
        self.mtu = options.mtu

    # The link

    def up(self) -> None:
        """Idempotent, at daemon start: link, address, sysctls, firewall tables (with the recorded ports: live containers go on)."""
        self.warnings = []
        with Rtnetlink() as kernel:
            self.mtu = self.options.mtu or default_mtu(kernel)
            link = find_link(kernel, self.options.name)
            if link is None:
                self._pool.clear()
            elif link.kind != "bridge":
                kind = link.kind or "hardware"
                raise Internal(f"cannot use {link.name} as the bridge: it is a {kind} interface; choose another name with --bridge")
            address = self._choose(kernel, link)
            self._pool.record(address)
            index = self._make(kernel, link, address)
        self._sysctls()
        self._firewall(address, index)
        for warning in self.warnings:
            log.warning("%s", warning)

    def _firewall(self, address: IPv4Interface, index: int) -> None:
        if not self.options.iptables:
            return
        self._close_firewall()
        try:
            firewall = Firewall(self.options.name, address.network, rtnetlink.port_group(index), self.options.icc)
            self._publisher.firewall = firewall
            self._publisher.restore()
            self.warnings += firewall.foreign_drops()
            self._guard = Guard({firewall.table}, self._publisher.check)
        except OSError as error:
            raise Internal(f"cannot set up the firewall of {self.options.name}: {error} (--iptables=false does without)") from error

    def _close_firewall(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.stop()
        firewall, self._publisher.firewall = self._publisher.firewall, None
        if firewall is not None:
            firewall.close()

    def _choose(self, kernel: Rtnetlink, link: Link | None) -> IPv4Interface:
        """`--bip`, the recorded address, what an existing bridge has, or a free subnet, in this order. A subnet with containers in it
        stays."""
        recorded = self._pool.recorded()
        if recorded is not None and self._pool.held():
            if self._bip not in (None, recorded):
                self.warnings.append(f"bridge {self.options.name} keeps {recorded}: containers use it; stop them and restart to change it")
            return recorded
        if self._bip is not None:
            return self._bip
        busy = host_networks(kernel, without=link.index if link else 0)
        if recorded is not None and not any(recorded.network.overlaps(one) for one in busy):
            return recorded
        for one in kernel.addresses(socket.AF_INET) if link else []:
            if link and one.index == link.index and one.prefix_len <= 30:
                return IPv4Interface((one.address, one.prefix_len))
        return ipam.choose_subnet(busy)

    def _make(self, kernel: Rtnetlink, link: Link | None, address: IPv4Interface) -> int:
        """The link, its address and its state as wanted; returns its index."""
        name = self.options.name
        if link is None:
            kernel.batch(rtnetlink.bridge_add(name, mac_of(str(address.ip)), self.mtu))
            link = kernel.link(name)
            write_sysctl(f"ipv6/conf/{name}/accept_ra", "0")
            write_sysctl(f"ipv6/conf/{name}/disable_ipv6", "1")
        present = {(a.address, a.prefix_len) for a in kernel.addresses(socket.AF_INET) if a.index == link.index}
        wanted = (str(address.ip), address.network.prefixlen)
        requests = [rtnetlink.addr_del(link.index, *one) for one in present - {wanted}]
        requests += [] if wanted in present else [rtnetlink.addr_add(link.index, *wanted)]
        kernel.batch(*requests, rtnetlink.link_set(link.index, up=True))
        return link.index

    def _sysctls(self) -> None:
        """IPv6 is off on the bridge, router advertisements are never taken (R10); forwarding on when asked."""
        name = self.options.name
        write_sysctl(f"ipv6/conf/{name}/accept_ra", "0")
        write_sysctl(f"ipv6/conf/{name}/disable_ipv6", "1")
        if self.options.ip_forward:
            write_sysctl("ipv4/ip_forward", "1")

    @property
    def address(self) -> IPv4Interface:
        """The bridge's own address; Internal before the first up()."""
        found = self._pool.recorded()
        if found is None:
            raise Internal(f"bridge {self.options.name} is not up")
        return found

    def down(self) -> None:
        """Remove the bridge, its tables and all its rows, for tests and for cleaning up a host: containers on it lose their network."""
        self._publisher.drop(set())
        self._publisher.hand_over()
        if self._publisher.firewall is not None:
            self._publisher.firewall.drop_tables()
            self._close_firewall()
        with Rtnetlink() as kernel:
            if find_link(kernel, self.options.name) is not None:
                kernel.batch(rtnetlink.link_del(self.options.name))
        self._pool.clear()

    # Containers

    def allocate(self, container_id: str) -> Endpoint:
        """An address and a veth name for a container, recorded. Idempotent; Unavailable when the subnet is full."""
        return self._pool.allocate(container_id, self.mtu)

    def release(self, container_id: str) -> None:
        """Free the container's address; none is fine."""
        self._pool.release(container_id)

    def publish(self, container_id: str, endpoint: Endpoint, ports: list[PortMapping]) -> list[PortMapping]:
        """Publish ports of a container, all or none. Returns them as bound, one mapping for each address ("" becomes 0.0.0.0 and ::).
        Internal, in Docker's words, where a port is taken."""
        return self._publisher.publish(container_id, endpoint.address, ports) if ports else []

    def unpublish(self, container_id: str) -> None:
        """Close the container's published ports; none is fine."""
        self._publisher.unpublish(container_id)

    def published(self, container_id: str) -> list[PortMapping]:
        """The container's published ports as recorded: for a daemon that comes back to a running container."""
        found = self._publisher.ports(container_id)
        return [PortMapping(p.container_port, p.protocol, p.host_ip, p.host_port) for p in found]

    def check(self) -> bool:
        """Verify our firewall tables and put them back when somebody took or changed them (firewalld reload, `nft flush ruleset`).
        True when they were right."""
        return self._publisher.check()

    @property
    def firewall_backend(self) -> str:
        """For `info`: what keeps the rules."""
        return Firewall.name if self.options.iptables else "none"

    def close(self) -> None:
        """Let go of libraries and of the proxy; everything carries on without us."""
        self._close_firewall()
        self._proxy.close()

    def reconcile(self, live: set[str]) -> None:
        """At daemon start: drop ports, rules, addresses and veths of every recorded container that is not in `live`, and let the proxy
        hold what is left. What cannot be bound again becomes a warning."""
        self._publisher.drop(live)
        self._publisher.restore()
        try:
            self._publisher.hand_over()
        except WherryError as error:
            log.error("%s", error)
            self.warnings.append(str(error))
        with Rtnetlink() as kernel:
            for container, veth in self._pool.held().items():
                if container not in live:
                    self._remove_veth(kernel, veth)
                    self.release(container)

    def _remove_veth(self, kernel: Rtnetlink, veth: str) -> None:
        """Delete a recorded veth if it is still a port of this bridge: the kernel may have removed it, and the name found a new use."""
        link, bridge = find_link(kernel, veth), find_link(kernel, self.options.name)
        if link is not None and bridge is not None and link.kind == "veth" and link.master == bridge.index:
            try:
                kernel.batch(rtnetlink.link_del(veth))
            except OSError as error:
                if error.errno != errno.ENODEV:
                    raise


def find_link(kernel: Rtnetlink, name: str) -> Link | None:
    """The link, or None when there is none of that name."""
    try:
        return kernel.link(name)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def host_networks(kernel: Rtnetlink, without: int = 0) -> list[IPv4Network]:
    """Every network that the host has an address in or a route to, but the default route and those of the link `without`."""
    found = [IPv4Network((a.address, a.prefix_len), strict=False) for a in kernel.addresses(socket.AF_INET) if a.index != without]
    routes = [r for r in kernel.routes(socket.AF_INET) if r.destination and r.index != without]
    return found + [IPv4Network((r.destination, r.prefix_len), strict=False) for r in routes]


def default_mtu(kernel: Rtnetlink) -> int:
    """The smaller of 1500 and the MTU of the device that the default route uses, so that packets are not too big for the way out."""
    ways = {route.index for route in kernel.routes(socket.AF_INET) if not route.destination and route.index}
    return min([1500] + [link.mtu for link in kernel.links() if link.index in ways and link.mtu >= 576])


def write_sysctl(name: str, value: str) -> None:
    """Set `net/NAME` of this network namespace. Missing is fine (a kernel without IPv6); else OSError names it."""
    path = f"/proc/sys/net/{name}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
