"""S2 and S4: the files of name resolution that each container gets: resolv.conf, hosts, hostname."""

from __future__ import annotations

from pathlib import Path

from wherry.daemon import command
from wherry.daemon.daemon import Daemon
from wherry.model.container import Container
from wherry.network import dns, hosts
from wherry.network.endpoint import Endpoint
from wherry.store import atomic


def write_resolv_conf(d: Daemon, container: Container) -> None:
    """S2: from the container's options, else the daemon's, else the host's file. Who shares another's network has that one's files."""
    if container.host.network_mode.startswith("container:"):
        return
    host, options = container.host, d.options
    content = dns.resolv_conf(_host_resolv_conf(), servers=host.dns or options.dns, search=host.dns_search or options.dns_search,
                              options=host.dns_options or options.dns_options, own_network=host.network_mode != "host")
    atomic.write(d.containers.directory(container.id) / "resolv.conf", content, 0o644, sync=False)


def _host_resolv_conf() -> bytes:
    """The host's file, or systemd-resolved's where the host's names only its stub."""
    content = _read(dns.HOST_FILE)
    return _read(dns.RESOLVED_FILE) or content if dns.behind_resolved(content) else content


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return b""


def write_hosts(d: Daemon, container: Container, endpoint: Endpoint | None) -> None:
    """S4: own address, --add-host; and the host name."""
    host = container.host
    if host.network_mode.startswith("container:"):
        return
    directory = d.containers.directory(container.id)
    name = command.hostname_of(d, container)
    content = hosts.hosts(
        hostname=name, domainname=container.config.domainname, address=endpoint.address if endpoint is not None else "",
        extra=host.extra_hosts or (), gateway=str(d.bridge.address.ip), host_file=_read("/etc/hosts") if host.network_mode == "host" else None,
    )
    atomic.write(directory / "hosts", content, 0o644, sync=False)
    atomic.write(directory / "hostname", hosts.hostname_file(name), 0o644, sync=False)
