"""Routes of the engine itself: ping, version, info, events, traces."""

from __future__ import annotations

import time

import msgspec

from wherry.api.messages import Answer, Request, Stream, Write, json_answer
from wherry.api.router import Route
from wherry.api.routes.later import later
from wherry.daemon.daemon import Daemon
from wherry.daemon.info import info_json, version_json
from wherry.model.errors import InvalidArgument, NotFound
from wherry.model.times import parse_unix

_PING = (
    ("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-cache, no-store, must-revalidate"), ("Pragma", "no-cache"),
    ("Builder-Version", "1"), ("Swarm", "inactive"),
)


def ping(d: Daemon, r: Request) -> Answer:
    return Answer(200, b"OK", _PING)


def ping_head(d: Daemon, r: Request) -> Answer:
    return Answer(200, b"", _PING)


def version(d: Daemon, r: Request) -> Answer:
    answer = version_json()
    if r.version < (1, 35):
        answer = {key: value for key, value in answer.items() if key not in ("Platform", "Components")}
    return json_answer(answer)


#: Parts of `info` and the API version they came with.
_INFO_SINCE = {"Warnings": (1, 39), "CgroupVersion": (1, 41), "DefaultAddressPools": (1, 41), "CDISpecDirs": (1, 44), "Containerd": (1, 46),
               "FirewallBackend": (1, 49), "DiscoveredDevices": (1, 50)}


def info(d: Daemon, r: Request) -> Answer:
    answer = info_json(d, time.time_ns())
    return json_answer({key: value for key, value in answer.items() if r.version >= _INFO_SINCE.get(key, (0, 0))})


def events(d: Daemon, r: Request) -> Stream:
    since, until = (parse_unix(text, name) if (text := r.query.text(name)) else None for name in ("since", "until"))
    if since is not None and until is not None and since > until:
        raise InvalidArgument("since lies after until")
    filters = r.query.filters()

    def produce(write: Write) -> None:
        subscription = d.events.subscribe(since, until, filters)
        with r.client_watched() as cancel, cancel.calling(subscription.close):
            write(b"")
            for event in subscription:
                write(msgspec.json.encode(event.to_json()) + b"\n")

    return Stream("application/json", produce)


def trace(d: Daemon, r: Request) -> Answer:
    """The steps of the last create and start of a container, also when it is gone by now; not part of Docker's API."""
    identifier = r.name if r.name in d.traces else d.containers.get(r.name).id
    with d.traces_lock:
        spans = d.traces.get(identifier)
    if spans is None:
        raise NotFound(f"no steps are remembered of container {r.name}")
    return json_answer({"steps": [span._asdict() for span in spans]})


ROUTES = (
    Route("GET", "/_ping", ping),
    Route("HEAD", "/_ping", ping_head),
    Route("GET", "/version", version),
    Route("GET", "/info", info),
    Route("GET", "/events", events),
    Route("GET", "/wherry/v1/traces/{name}", trace),
    *later("registries are not built yet", ("POST", "/auth")),
    *later("disk usage is not built yet", ("GET", "/system/df")),
)
