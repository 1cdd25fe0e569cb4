"""Publishing ports: sockets, rows of wherry.db, firewall entries and the proxy, in this order; undone in the other."""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import ExitStack

from wherry.model.errors import Internal
from wherry.network.endpoint import PortMapping
from wherry.network.firewall import Firewall, Forward, by_kernel
from wherry.network.ports import Binder, overlap
from wherry.network.proxy import Port
from wherry.network.proxyclient import ProxyClient
from wherry.network.sockets import open_socket
from wherry.store.db import Database

log = logging.getLogger(__name__)

_COLUMNS = "container, protocol, host_ip, host_port, address, container_port"


def forwards(ports: Iterable[Port]) -> list[Forward]:
    """The entries of the firewall for these ports."""
    return [Forward(p.protocol, p.host_ip, p.host_port, p.address, p.container_port) for p in ports if by_kernel(p.host_ip)]


class Publisher:
    """The published ports of one bridge. `firewall` None: no rules, the proxy carries everything."""

    def __init__(self, db: Database, bridge: str, proxy: ProxyClient) -> None:
        self._db, self._bridge, self._proxy = db, bridge, proxy
        self._binder = Binder(self._ours)
        self.firewall: Firewall | None = None
        self._lock = threading.RLock()  # rows, rules and the proxy's ports change together, and are compared under it
        proxy.lost = self.hand_over

    def ports(self, container: str | None = None) -> list[Port]:
        """What is published, of one container or of all."""
        where, args = (" AND container=?", (self._bridge, container)) if container is not None else ("", (self._bridge,))
        rows = self._db.query(f"SELECT {_COLUMNS} FROM network_ports WHERE bridge=?{where} ORDER BY container_port, protocol, host_ip", args)
        return [Port(*row) for row in rows]

    def _ours(self, protocol: str, host_ip: str, host_port: int) -> bool:
        rows = self._db.query("SELECT host_ip FROM network_ports WHERE protocol=? AND host_port=?", (protocol, host_port))
        return any(overlap(host_ip, row[0]) for row in rows)

    def publish(self, container: str, address: str, mappings: list[PortMapping]) -> list[PortMapping]:
        """Bind, record, open and hand over; all or nothing. Returns what is bound, one mapping for each address."""
        bound = self._binder.bind(mappings, address)
        try:
            ports = [Port(container, m.protocol, m.host_ip, m.host_port, address, m.container_port) for m, _ in bound]
            with self._lock, ExitStack() as undo:
                undo.callback(self._retire_proxy)
                self._record(ports)
                undo.callback(self._forget, container)
                self._open(ports)
                undo.callback(self._shut, ports)
                undo.callback(self._proxy.remove, container)
                self._proxy.add([(port, one.sock) for port, one in zip(ports, bound, strict=True)])
                undo.pop_all()
            return [one.mapping for one in bound]
        finally:
            self._binder.close(bound)

    def unpublish(self, container: str) -> None:
        """Close the container's ports; none is fine."""
        with self._lock:
            ports = self.ports(container)
            if ports:
                self._shut(ports)
                self._proxy.remove(container)
                self._forget(container)
                self._retire_proxy()
                udp = {port.address for port in ports if port.protocol == "udp"}
                if self.firewall is not None and udp:  # a TCP client begins anew by itself; the look-out costs the kernel 10 ms
                    self.firewall.forget_flows_to(udp)

    def _retire_proxy(self) -> bool:
        """End the proxy when no bridge of this engine publishes anything: an idle process is 10 MB for nothing. Whether it was told to."""
        if self._db.query("SELECT 1 FROM network_ports LIMIT 1"):
            return False
        self._proxy.exit()
        return True

    def _record(self, ports: list[Port]) -> None:
        try:
            with self._db.transaction() as cursor:
                cursor.executemany(f"INSERT INTO network_ports (bridge, {_COLUMNS}) VALUES (?,?,?,?,?,?,?)", [(self._bridge, *p) for p in ports])
        except sqlite3.IntegrityError:
            raise Internal("a port is published twice, by this container or by one that starts at the same time: port is already allocated") from None

    def _forget(self, container: str) -> None:
        with self._db.transaction() as cursor:
            cursor.execute("DELETE FROM network_ports WHERE bridge=? AND container=?", (self._bridge, container))

    def _open(self, ports: list[Port]) -> None:
        if self.firewall is None:
            return
        try:
            self.firewall.add(forwards(ports))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            self.restore()  # somebody flushed our table; the rows are there already

    def _shut(self, ports: list[Port]) -> None:
        if self.firewall is not None:
            self.firewall.remove(forwards(ports))

    # At daemon start, and when somebody else was here

    def restore(self) -> None:
        """Our firewall tables as the rows say."""
        with self._lock:
            if self.firewall is not None:
                self.firewall.install(forwards(self.ports()))

    def check(self) -> bool:
        """Verify our tables and restore them when they are not as they should be; True when they were (R10)."""
        with self._lock:
            if self.firewall is None or self.firewall.verify(forwards(self.ports())):
                return True
            self.restore()
            return False

    def drop(self, live: set[str]) -> None:
        """Forget the ports of every container that is not in `live`; the caller restores the tables, and hands over."""
        for container in {port.container for port in self.ports()} - live:
            self._forget(container)

    def hand_over(self) -> None:
        """Let the proxy hold exactly the recorded ports: close what it holds beyond them, bind and hand over what is missing. Internal,
        after all others were handed over, where ports cannot be bound."""
        with self._lock:
            self._hand_over(self.ports())

    def _hand_over(self, wanted: list[Port]) -> None:
        if not wanted and (self._retire_proxy() or not self._proxy.running()):  # one that ends may still answer: asking would start another
            return
        held = set(self._proxy.held())
        for container in {port.container for port in held - set(wanted)}:
            self._proxy.remove(container)
            held = {port for port in held if port.container != container}
        failed = []
        for port in wanted:
            if port in held:
                continue
            try:
                with open_socket(*port.bound) as sock:
                    self._proxy.add([(port, sock)])
            except OSError as error:
                failed.append(f"{port.host_ip}:{port.host_port}/{port.protocol} of container {port.container[:12]}: {error}")
        missing = set(wanted) - held
        if missing:
            log.warning("the port proxy did not hold %d published ports; %d of them are bound again", len(missing), len(missing) - len(failed))
        if failed:
            raise Internal("cannot bind published ports again: " + "; ".join(failed))
