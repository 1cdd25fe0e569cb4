"""What an engine of a single node answers to the groups of Docker's API that need a swarm, plugins or BuildKit."""

from __future__ import annotations

from wherry.api.messages import Answer, Request, json_answer
from wherry.api.router import Handler, Reply, Route
from wherry.api.routes.later import later
from wherry.model.errors import NotFound, Unavailable

_OBJECTS = ("secrets", "configs")

_SWARM = (
    ("GET", "/swarm"), ("POST", "/swarm/init"), ("POST", "/swarm/join"), ("POST", "/swarm/leave"), ("POST", "/swarm/update"),
    ("POST", "/swarm/unlock"), ("GET", "/swarm/unlockkey"), ("GET", "/nodes"), ("GET", "/nodes/{name}"), ("DELETE", "/nodes/{name}"),
    ("POST", "/nodes/{name}/update"), ("GET", "/services"), ("POST", "/services/create"), ("GET", "/services/{name}/logs"),
    ("GET", "/services/{name}"), ("DELETE", "/services/{name}"), ("POST", "/services/{name}/update"), ("GET", "/tasks"),
    ("GET", "/tasks/{name}/logs"), ("GET", "/tasks/{name}"),
    *(("GET", f"/{kind}") for kind in _OBJECTS), *(("POST", f"/{kind}/create") for kind in _OBJECTS),
    *(("GET", f"/{kind}/{{name}}") for kind in _OBJECTS), *(("DELETE", f"/{kind}/{{name}}") for kind in _OBJECTS),
    *(("POST", f"/{kind}/{{name}}/update") for kind in _OBJECTS),
)


def _no_swarm(daemon: object, request: Request) -> Reply:
    raise Unavailable("this node is no swarm manager: wherry runs on a single node and has no swarm")


def plugins(daemon: object, request: Request) -> Answer:
    return json_answer([])


def plugin(daemon: object, request: Request) -> Reply:
    raise NotFound(f"plugin {request.name!r} not found")


def _routes(handler: Handler, endpoints: tuple[tuple[str, str], ...]) -> tuple[Route, ...]:
    return tuple(Route(method, pattern, handler) for method, pattern in endpoints)


ROUTES = (
    *_routes(_no_swarm, _SWARM),
    Route("GET", "/plugins", plugins),
    *later("plugins are not built", ("GET", "/plugins/privileges"), ("POST", "/plugins/pull"), ("POST", "/plugins/create"),
           ("POST", "/plugins/{name}/enable"), ("POST", "/plugins/{name}/disable"), ("POST", "/plugins/{name}/push"),
           ("POST", "/plugins/{name}/set"), ("POST", "/plugins/{name}/upgrade"), ("DELETE", "/plugins/{name}")),
    Route("GET", "/plugins/{name}/json", plugin),
    *later("BuildKit is not built", ("POST", "/session"), ("POST", "/grpc"), ("POST", "/build/cancel")),
    *later("building images is not built yet", ("POST", "/build"), ("POST", "/build/prune")),
)
