"""Routes of networks: the built-in ones are shown; making others is not built yet."""

from __future__ import annotations

from typing import Any

from wherry.api.messages import Answer, Request, json_answer
from wherry.api.router import Route
from wherry.api.routes.later import later
from wherry.daemon import networks
from wherry.daemon.daemon import Daemon


def list_networks(d: Daemon, r: Request) -> Answer:
    found = networks.list_networks(d, r.query.filters())
    if r.version < (1, 28):
        found = [networks.network_json(d, network["Name"], containers=True) for network in found]
    return json_answer([_for_version(network, r) for network in found])


def _for_version(network: dict[str, Any], r: Request) -> dict[str, Any]:
    return network if r.version >= (1, 48) else {key: value for key, value in network.items() if key != "EnableIPv4"}


def inspect(d: Daemon, r: Request) -> Answer:
    r.query.strict_flag("verbose")
    return json_answer(_for_version(networks.find_network(d, r.name), r))


ROUTES = (
    Route("GET", "/networks", list_networks),
    Route("GET", "/networks/", list_networks),
    Route("GET", "/networks/{name}", inspect),
    *later("user-defined networks are not built yet", ("POST", "/networks/create"), ("POST", "/networks/prune"),
           ("POST", "/networks/{name}/connect"), ("POST", "/networks/{name}/disconnect"), ("DELETE", "/networks/{name}")),
)
