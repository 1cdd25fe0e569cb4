"""Which ports a container publishes: `-p`, `-P`, `EXPOSE`."""

from __future__ import annotations

from wherry.model.config import Config, HostConfig
from wherry.model.container import Container
from wherry.model.errors import InvalidArgument
from wherry.network.endpoint import PortMapping


def parse(key: str) -> tuple[int, str]:
    """`80/tcp` -> (80, "tcp")."""
    number, _, protocol = key.partition("/")
    if not (number.isascii() and number.isdigit() and 0 < int(number) < 65536):
        raise InvalidArgument(f"invalid port specification: {key!r}")
    if protocol not in ("", "tcp", "udp"):
        raise InvalidArgument(f"invalid port specification {key!r}: protocol {protocol!r} is not built yet (tcp and udp are)")
    return int(number), protocol or "tcp"


def wanted(container: Container) -> list[PortMapping]:
    """What is asked to be published, in a stable order."""
    return plan(container.config, container.host)


def plan(config: Config, host: HostConfig) -> list[PortMapping]:
    """As wanted, from what was asked; InvalidArgument for what cannot be."""
    found = []
    bindings = host.port_bindings or {}
    for key, places in bindings.items():
        port, protocol = parse(key)
        for place in places or []:
            low, high = _range(place.host_port)
            found.append(PortMapping(port, protocol, place.host_ip, low, high))
        if not places:
            found.append(PortMapping(port, protocol))
    if host.publish_all_ports:
        for key in sorted(config.exposed_ports or {}):
            if key not in bindings:
                port, protocol = parse(key)
                found.append(PortMapping(port, protocol))
    return found


def _range(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    low, dash, high = text.partition("-")
    for part in (low, high) if dash else (low,):
        if not (part.isascii() and part.isdigit() and int(part) < 65536):
            raise InvalidArgument(f"invalid port specification: {text!r}")
    if dash and int(high) < int(low):
        raise InvalidArgument(f"invalid port specification: {text!r}")
    return int(low), int(high) if dash else 0
