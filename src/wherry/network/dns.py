"""S2: a container's resolv.conf, as a function from the bytes of the host's to the container's; resolv.conf(5)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

from wherry.model.errors import InvalidArgument

HOST_FILE = "/etc/resolv.conf"
RESOLVED_FILE = "/run/systemd/resolve/resolv.conf"
FALLBACK = ("8.8.8.8", "8.8.4.4")  # Docker's
_STUBS = {"127.0.0.53", "127.0.0.54"}  # systemd-resolved.service(8)
_HEAD = "# Made by wherry for this container. It may be edited; wherry writes it again at the next start.\n"


class Resolver(NamedTuple):
    """What a resolv.conf says."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse(content: bytes) -> Resolver:
    """The servers, search list and options of a file. As in resolv.conf(5) the last `search` or `domain` line wins and comments begin a
    line; what cannot be understood is passed over."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in content.decode("utf-8", "replace").splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:] if words[0] == "search" else words[1:2])
        elif words[0] == "options":
            options += words[1:]
    return Resolver(tuple(servers), search, tuple(options))


def behind_resolved(content: bytes) -> bool:
    """Whether the host's file names systemd-resolved's stub only: then RESOLVED_FILE has the real servers."""
    servers = set(parse(content).servers)
    return bool(servers) and servers <= _STUBS


def _usable(server: str, ipv6: bool) -> bool:
    """Whether a server of the host can be reached from a network namespace of its own."""
    address, zone, _ = server.partition("%")
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return not known.is_loopback and not known.is_unspecified and (known.version == 4 or ipv6 and not zone)


def resolv_conf(
    host: bytes, *, servers: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = (), own_network: bool = True, ipv6: bool = False
) -> bytes:
    """The container's file. `servers`, `search`, `options`: the container's, else the daemon's (the caller picks; empty: the host's).
    A search of "." is none at all. With a network namespace of its own, the host's loopback servers and (without `ipv6`) IPv6 servers
    are dropped; where none is left the fallback servers stand. InvalidArgument for a server that is no address, or for a value with
    blanks, which would become another line."""
    found = parse(host)
    for value in servers:
        _check_server(value)
    for value in (*search, *options):
        if not value or any(character.isspace() for character in value):
            raise InvalidArgument(f"invalid DNS search domain or option {value!r}")
    used = tuple(servers) or found.servers
    if own_network and not servers:
        used = tuple(server for server in found.servers if _usable(server, ipv6)) or FALLBACK
    domains = tuple(search) or found.search
    lines = [f"nameserver {server}" for server in used]
    lines += [f"search {' '.join(domains)}"] if domains and domains != (".",) else []
    lines += [f"options {' '.join(options or found.options)}"] if options or found.options else []
    return (_HEAD + "\n".join(lines) + "\n").encode()


def _check_server(server: str) -> None:
    try:
        ip_address(server.partition("%")[0])
    except ValueError:
        raise InvalidArgument(f"invalid DNS server {server!r}: not an IP address") from None
    if any(character.isspace() for character in server):
        raise InvalidArgument(f"invalid DNS server {server!r}: not an IP address")
