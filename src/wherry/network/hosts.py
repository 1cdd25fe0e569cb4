"""S4: a container's /etc/hosts and /etc/hostname; hosts(5), hostname(5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from wherry.model.errors import InvalidArgument

_LOCAL = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def parse_extra_host(text: str, gateway: str = "") -> tuple[str, str]:
    """`name:address` or `name=address` (an IPv6 address may stand in brackets) as (address, name). The address `host-gateway` is
    `gateway`, the host as the container reaches it. InvalidArgument in Docker's words."""
    separator = "=" if "=" in text and ":" not in text.partition("=")[0] else ":"
    name, found, address = text.partition(separator)
    if not name or not found or any(c.isspace() or c == "\0" for c in name):
        raise InvalidArgument(f'bad format for add-host: "{text}"')
    if address == "host-gateway":
        if not gateway:
            raise InvalidArgument("unable to derive the IP value for host-gateway")
        return gateway, name
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    try:
        return str(ip_address(address)), name
    except ValueError:
        raise InvalidArgument(f'invalid IP address in add-host: "{address}"') from None


def names(hostname: str, domainname: str = "") -> str:
    """The container's names on its line: the full one, then the short one."""
    full = f"{hostname}.{domainname}" if domainname else hostname
    short = full.partition(".")[0]
    return full if short == full or not short else f"{full} {short}"


def hosts(
    *,
    hostname: str = "",
    domainname: str = "",
    address: str = "",
    extra: Iterable[str] = (),
    gateway: str = "",
    links: Sequence[tuple[str, str]] = (),
    host_file: bytes | None = None,
) -> bytes:
    """The container's /etc/hosts. `address` "": no network of its own, no line for it. `extra`: --add-host values. `links`: (address,
    names) lines. `host_file`: with the host's network its own file stands in place of the usual first lines."""
    lines = [f"{where}\t{name}" for where, name in (parse_extra_host(text, gateway) for text in extra)]
    lines += [f"{where}\t{name}" for where, name in links]
    if address and hostname:
        lines.append(f"{address}\t{names(hostname, domainname)}")
    head = _LOCAL.encode() if host_file is None else host_file
    if head and not head.endswith(b"\n"):
        head += b"\n"
    return head + "".join(f"{line}\n" for line in lines).encode()


def hostname_file(hostname: str) -> bytes:
    """The container's /etc/hostname."""
    return hostname.encode() + b"\n"
