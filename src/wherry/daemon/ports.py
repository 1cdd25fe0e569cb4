"""Which ports a container publishes: `-p`, `-P`, `EXPOSE`."""

from __future__ import annotations

from wherry.model.config import Config, HostConfig
from wherry.network.endpoint import PortMapping
from wherry.network.ports import parse_bindings, parse_port


def wanted(config: Config, host: HostConfig) -> list[PortMapping]:
    """What is asked to be published, in a stable order; InvalidArgument or Unimplemented for what cannot be."""
    bindings = host.port_bindings or {}
    found = parse_bindings(bindings)
    if host.publish_all_ports:
        found += [PortMapping(*parse_port(key)) for key in sorted(config.exposed_ports or {}) if key not in bindings]
    return found
