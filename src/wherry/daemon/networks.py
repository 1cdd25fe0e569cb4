"""`network ls` and `network inspect` of the networks that are always there: bridge, host, none."""

from __future__ import annotations

from typing import Any

from wherry.daemon import endpoints
from wherry.daemon.daemon import Daemon
from wherry.daemon.identity import engine_id
from wherry.model.container import rfc3339
from wherry.model.errors import InvalidArgument, NotFound
from wherry.model.filters import Filters

FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})


def list_networks(d: Daemon, filters: Filters) -> list[dict[str, Any]]:
    """Those that pass `filters`, without their containers."""
    filters.check_keys(FILTERS)
    return [network for name in endpoints.BUILTIN if _passes(network := network_json(d, name), filters)]


def find_network(d: Daemon, ref: str) -> dict[str, Any]:
    """By full ID, name or unique ID prefix, with its running containers. NotFound, InvalidArgument for an ambiguous prefix."""
    ids = {endpoints.network_id(engine_id(d.options.data_root), name): name for name in endpoints.BUILTIN}
    if ref in endpoints.BUILTIN:
        return network_json(d, ref, containers=True)
    found = [name for identifier, name in ids.items() if ref and identifier.startswith(ref)]
    if len(found) > 1:
        raise InvalidArgument(f"network {ref} is ambiguous ({', '.join(found)})")
    if not found:
        raise NotFound(f"network {ref} not found")
    return network_json(d, found[0], containers=True)


def network_json(d: Daemon, name: str, containers: bool = False) -> dict[str, Any]:
    """Docker's JSON of a network."""
    engine = engine_id(d.options.data_root)
    config: list[dict[str, str]] | None = None
    options: dict[str, str] = {}
    if name == "bridge":
        own, chosen = d.bridge.address, d.bridge.options
        config = [{"Subnet": str(own.network), "Gateway": str(own.ip)}]
        options = {
            "com.docker.network.bridge.default_bridge": "true", "com.docker.network.bridge.enable_icc": str(chosen.icc).lower(),
            "com.docker.network.bridge.enable_ip_masquerade": str(chosen.iptables).lower(),
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0", "com.docker.network.bridge.name": chosen.name,
            "com.docker.network.driver.mtu": str(d.bridge.mtu),
        }
    return {
        "Name": name, "Id": endpoints.network_id(engine, name), "Created": rfc3339(0), "Scope": "local", "Driver": endpoints.BUILTIN[name],
        "EnableIPv4": True, "EnableIPv6": False, "IPAM": {"Driver": "default", "Options": None, "Config": config}, "Internal": False,
        "Attachable": False, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False,
        "Containers": _members(d, name) if containers else {}, "Options": options, "Labels": {},
    }


def _members(d: Daemon, name: str) -> dict[str, Any]:
    """The running containers of a network."""
    members: dict[str, Any] = {}
    for container in d.containers.all():
        if not container.state.running or endpoints.mode_of(container) != name:
            continue
        endpoint = container.endpoint
        members[container.id] = {
            "Name": container.name, "EndpointID": endpoints.endpoint_id(container, name), "MacAddress": endpoint.mac if endpoint else "",
            "IPv4Address": f"{endpoint.address}/{endpoint.prefix_len}" if endpoint else "", "IPv6Address": "",
        }
    return members


def _passes(network: dict[str, Any], filters: Filters) -> bool:
    kinds = filters.get("type")
    for kind in kinds:
        if kind not in ("builtin", "custom"):
            raise InvalidArgument(f"invalid filter 'type={kind}': builtin or custom is needed")
    return (
        ("type" not in filters or "builtin" in kinds)
        and not filters.flag("dangling", False)
        and filters.labels_match({})
        and ("driver" not in filters or network["Driver"] in filters.get("driver"))
        and ("scope" not in filters or "local" in filters.get("scope"))
        and ("id" not in filters or any(network["Id"].startswith(want) for want in filters.get("id")))
        and ("name" not in filters or any(want in network["Name"] for want in filters.get("name")))
    )
