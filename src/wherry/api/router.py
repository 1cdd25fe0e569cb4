"""From method and path to a route. Names in paths may hold slashes, so a pattern is matched as a whole, its verb last."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from wherry.api.messages import Answer, Hijacked, Request, Stream
from wherry.model.errors import NotFound
from wherry.model.version import NEWEST, OLDEST, Version, negotiate

Reply = Answer | Stream | Hijacked
Handler = Callable[[Any, Request], Reply]

_VERSIONED = re.compile(r"/v([0-9][0-9.]*)(/.*)", re.DOTALL)
_VARIABLE = re.compile(r"\{(\w+)\}")


class Route(NamedTuple):
    """`pattern` is a path in which `{name}` stands for one or more characters; `since` is the first API version that has it."""

    method: str
    pattern: str
    handler: Handler
    since: Version = OLDEST


class PageNotFound(NotFound):
    """No route for this method and path."""


class Router:
    """Finds the route; among those that match, the first in the table wins."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[tuple[str, str], list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            key = (route.method, _first(route.pattern))
            expression = _VARIABLE.sub(r"(?P<\1>.+)", re.escape(route.pattern).replace(r"\{", "{").replace(r"\}", "}"))
            self._routes.setdefault(key, []).append((re.compile(expression, re.DOTALL), route))

    def resolve(self, request: Request) -> Handler:
        """The handler for `request`, whose `version` and `vars` are set. Raises PageNotFound, or InvalidArgument for its version."""
        path = request.path
        versioned = _VERSIONED.fullmatch(path)
        if versioned:
            request.version = negotiate(versioned[1])
            path = versioned[2]
        else:
            request.version = NEWEST
        for expression, route in self._routes.get((request.method, _first(path)), ()):
            found = expression.fullmatch(path)
            if found and request.version >= route.since:
                request.vars = found.groupdict()
                return route.handler
        raise PageNotFound("page not found")


def _first(path: str) -> str:
    """The first segment of a path, which no pattern leaves open."""
    return path[1:].partition("/")[0]
