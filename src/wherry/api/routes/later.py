"""Endpoints of Docker's API that are known but not built: 501 with the endpoint's name."""

from __future__ import annotations

from wherry.api.messages import Request
from wherry.api.router import Handler, Reply, Route
from wherry.model.errors import Unimplemented


def later(why: str, *endpoints: tuple[str, str]) -> tuple[Route, ...]:
    """Routes that answer 501 with `why`."""
    return tuple(Route(method, pattern, _refuse(method, pattern, why)) for method, pattern in endpoints)


def _refuse(method: str, pattern: str, why: str) -> Handler:
    def handler(daemon: object, request: Request) -> Reply:
        raise Unimplemented(f"{method} {pattern}: {why}")

    return handler
