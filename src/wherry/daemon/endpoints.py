"""The networks of a container in Docker's JSON, and the three networks that are always there."""

from __future__ import annotations

import hashlib
from typing import Any

from wherry.model.container import Container

#: Name and driver of the networks that nobody makes and nobody removes.
BUILTIN = {"bridge": "bridge", "host": "host", "none": "null"}


def network_id(engine: str, name: str) -> str:
    """The ID of a built-in network: the same as long as the engine has its own ID."""
    return hashlib.sha256(f"wherry network {engine} {name}".encode()).hexdigest()


def mode_of(container: Container) -> str:
    """NetworkMode as it is meant: empty and `default` are `bridge`."""
    mode = container.host.network_mode
    return "bridge" if mode in ("", "default") else mode


def endpoint_id(container: Container, network: str) -> str:
    """The ID of a container's place on a network, for one run of it."""
    return hashlib.sha256(f"{container.id} {network} {container.state.started_at}".encode()).hexdigest()


def networks_json(container: Container, engine: str) -> dict[str, Any]:
    """`NetworkSettings.Networks`: by name, empty values while it does not run. A container in another's network has none of its own."""
    mode = mode_of(container)
    if mode.startswith("container:"):
        return {}
    return {mode: endpoint_json(container, mode, engine)}


def endpoint_json(container: Container, network: str, engine: str) -> dict[str, Any]:
    endpoint = container.endpoint if container.state.running else None
    running = container.state.running
    return {
        "IPAMConfig": None, "Links": None, "Aliases": None, "MacAddress": endpoint.mac if endpoint else "", "DriverOpts": None, "GwPriority": 0,
        "NetworkID": network_id(engine, network) if running else "", "EndpointID": endpoint_id(container, network) if running else "",
        "Gateway": endpoint.gateway if endpoint else "", "IPAddress": endpoint.address if endpoint else "",
        "IPPrefixLen": endpoint.prefix_len if endpoint else 0, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }


def exposed(container: Container) -> set[str]:
    """Every port the container exposes or publishes, as `80/tcp`."""
    return {_with_protocol(port) for port in (*(container.config.exposed_ports or ()), *(container.host.port_bindings or ()))}


def _with_protocol(port: str) -> str:
    number, _, protocol = port.partition("/")
    return f"{number}/{protocol.lower() or 'tcp'}"


def ports_json(container: Container) -> dict[str, Any]:
    """`NetworkSettings.Ports`: what is published now, and null for what is only exposed; nothing while it does not run."""
    if not container.state.running or not container.endpoint:
        return {}
    found: dict[str, Any] = dict.fromkeys(sorted(exposed(container)))
    for mapping in container.ports:
        key = f"{mapping.container_port}/{mapping.protocol}"
        found[key] = [*(found.get(key) or ()), {"HostIp": mapping.host_ip, "HostPort": str(mapping.host_port)}]
    return found


def ports_list(container: Container) -> list[dict[str, Any]]:
    """`Ports` of `ps`."""
    result: list[dict[str, Any]] = []
    for key, bindings in ports_json(container).items():
        number, _, protocol = key.partition("/")
        if not bindings and number.isdigit():
            result.append({"PrivatePort": int(number), "Type": protocol})
        for binding in bindings or ():
            result.append({"IP": binding["HostIp"], "PrivatePort": int(number), "PublicPort": int(binding["HostPort"]), "Type": protocol})
    return result
