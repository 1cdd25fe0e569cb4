"""Routes of volumes."""

from __future__ import annotations

import msgspec

from wherry.api.messages import NO_CONTENT, Answer, Request, json_answer
from wherry.api.router import Route
from wherry.daemon.daemon import Daemon
from wherry.model.errors import InvalidArgument, Unavailable
from wherry.model.version import Version
from wherry.volume.store import Volume


class CreateVolume(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    """The body of `POST /volumes/create`."""

    name: str = ""
    driver: str = "local"
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, object] | None = None


def list_volumes(d: Daemon, r: Request) -> Answer:
    found = d.volumes.list(r.query.filters())
    return json_answer({"Volumes": [_json(volume, r) for volume in found], "Warnings": None})


def create(d: Daemon, r: Request) -> Answer:
    asked = r.json_or_none(CreateVolume) or CreateVolume()
    if asked.cluster_volume_spec:
        raise Unavailable("ClusterVolumeSpec: this node is no swarm manager: wherry has no cluster volumes")
    volume = d.volumes.create(asked.name or None, asked.driver or "local", asked.driver_opts, asked.labels)
    return json_answer(_json(volume, r), 201)


def inspect(d: Daemon, r: Request) -> Answer:
    return json_answer(_json(d.volumes.get(r.name), r))


def remove(d: Daemon, r: Request) -> Answer:
    d.volumes.remove(r.name, force=r.version >= (1, 25) and r.query.flag("force"))
    return NO_CONTENT


def update(d: Daemon, r: Request) -> Answer:
    raise Unavailable("this node is no swarm manager: only cluster volumes can be updated, and wherry has none")


def prune(d: Daemon, r: Request) -> Answer:
    filters = r.query.filters()
    if "all" in filters and r.version < (1, 42):
        raise InvalidArgument("invalid filter 'all': it needs API version 1.42 or newer")
    names, size = d.volumes.prune(r.version < (1, 42), filters)
    if r.version >= (1, 41):
        d.events.publish("volume", "prune", "", {"reclaimed": str(size)})
    return json_answer({"VolumesDeleted": names, "SpaceReclaimed": size})


def _json(volume: Volume, r: Request) -> dict[str, object]:
    shown = volume.inspect()
    if r.version < (1, 31):
        del shown["CreatedAt"]
    return shown


ROUTES = (
    Route("GET", "/volumes", list_volumes),
    Route("POST", "/volumes/create", create),
    Route("POST", "/volumes/prune", prune, Version(1, 25)),
    Route("GET", "/volumes/{name}", inspect),
    Route("PUT", "/volumes/{name}", update, Version(1, 42)),
    Route("DELETE", "/volumes/{name}", remove),
)
