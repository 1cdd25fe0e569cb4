"""Routes of containers: their life."""

from __future__ import annotations

from typing import Any

import msgspec

from wherry.api import compat, unbuilt
from wherry.api.channel import ClientGone
from wherry.api.messages import NO_CONTENT, Answer, Request, Stream, Write, json_answer
from wherry.api.router import Route
from wherry.api.routes.later import later
from wherry.api.routes.platforms import check_platform
from wherry.daemon import create, kill, pause, prune, remove, rename, resize, restart, show, start, stop, top, wait
from wherry.daemon.daemon import Daemon
from wherry.model.config import Config, HostConfig, NetworkingConfig, pascal
from wherry.model.container import Container
from wherry.model.errors import InvalidArgument
from wherry.model.steps import Trace, step, use_trace
from wherry.model.version import Version


class CreateBody(Config, frozen=True, rename=pascal, kw_only=True):
    """The body of create: Config at top level, and the rest."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


def list_containers(d: Daemon, r: Request) -> Answer:
    limit = r.query.integer("limit", 0) or 0
    found = show.list_containers(d, r.query.flag("all"), max(limit, 0), r.query.flag("size"), _list_filters(r))
    if r.version < (1, 46):
        for one in found:
            one["HostConfig"].pop("Annotations", None)
    return json_answer(found)


def _list_filters(r: Request) -> Any:
    """`since` and `before` were parameters of their own before they were filters."""
    filters = r.query.filters()
    old = {key: [r.query.text(key)] for key in ("since", "before") if r.query.text(key)}
    return filters.with_more(old) if old else filters


def create_container(d: Daemon, r: Request) -> Answer:
    trace = Trace("wherryd")
    use_trace(trace)
    try:
        with step("C0 request"):
            body = r.json(CreateBody)
            config = Config(**{name: getattr(body, name) for name in Config.__struct_fields__})
            config, host, networking, warnings = compat.adjust(
                config, body.host_config or HostConfig(), body.networking_config or NetworkingConfig(), r.version, d.cgroups.version != "v2")
            unbuilt.check(config, host, networking)
            if r.version >= (1, 41):
                warnings += check_platform(d.images, config.image, r.query.text("platform"))
        identifier, more = create.create(d, r.query.text("name") or None, config, host, networking)
    finally:
        use_trace(None)
    d.remember(d.containers.get(identifier), trace.spans)
    return json_answer({"Id": identifier, "Warnings": [*warnings, *more]}, 201)


def start_container(d: Daemon, r: Request) -> Answer:
    if r.headers.get("content-length", "0").isdigit() and int(r.headers.get("content-length", "0")) > 7 or "transfer-encoding" in r.headers:
        raise InvalidArgument("start takes no body: give HostConfig when the container is created")
    if r.query.text("checkpoint"):
        raise InvalidArgument("checkpoint: checkpoints need an experimental daemon")
    container = d.containers.get(r.name)
    use_trace(_trace_of(d, container))
    try:
        start.start(d, r.name)
    finally:
        use_trace(None)
    return NO_CONTENT


def _trace_of(d: Daemon, container: Container) -> Trace:
    """The trace of a start; a first start goes on with that of the create."""
    trace = Trace("wherryd")
    if not container.state.started_at:
        with d.traces_lock:
            trace.spans.extend(d.traces.get(container.id, ()))
    return trace


def stop_container(d: Daemon, r: Request) -> Answer:
    stop.stop(d, r.name, r.query.integer("t"), _signal(r))
    return NO_CONTENT


def restart_container(d: Daemon, r: Request) -> Answer:
    restart.restart(d, r.name, r.query.integer("t"), _signal(r))
    return NO_CONTENT


def _signal(r: Request) -> str:
    return r.query.text("signal") if r.version >= (1, 42) else ""


def kill_container(d: Daemon, r: Request) -> Answer:
    kill.kill(d, r.name, r.query.text("signal"))
    return NO_CONTENT


def pause_container(d: Daemon, r: Request) -> Answer:
    pause.pause(d, r.name)
    return NO_CONTENT


def unpause_container(d: Daemon, r: Request) -> Answer:
    pause.unpause(d, r.name)
    return NO_CONTENT


def rename_container(d: Daemon, r: Request) -> Answer:
    rename.rename(d, r.name, r.query.text("name"))
    return NO_CONTENT


def resize_container(d: Daemon, r: Request) -> Answer:
    resize.resize(d, r.name, r.query.size("h"), r.query.size("w"))
    return Answer(200)


def remove_container(d: Daemon, r: Request) -> Answer:
    remove.remove(d, r.name, force=r.query.flag("force"), volumes=r.query.flag("v"), link=r.query.flag("link"))
    return NO_CONTENT


def wait_container(d: Daemon, r: Request) -> Stream:
    condition = r.query.text("condition") if r.version >= (1, 30) else ""

    def produce(write: Write) -> None:
        with r.client_watched() as cancel:
            code = wait.wait(d, r.name, condition, lambda: write(b"") if r.version >= (1, 30) else None, cancel)
        if code is None:
            raise ClientGone("the client of a wait left, or the daemon stops")
        write(msgspec.json.encode({"StatusCode": code}) + b"\n")

    return Stream("application/json", produce)


def inspect_container(d: Daemon, r: Request) -> Answer:
    return json_answer(show.inspect_container(d, r.name, r.query.flag("size")))


def top_container(d: Daemon, r: Request) -> Answer:
    return json_answer(top.top(d, r.name, r.query.text("ps_args", "-ef")))


def prune_containers(d: Daemon, r: Request) -> Answer:
    names, size = prune.prune_containers(d, r.query.filters())
    return json_answer({"ContainersDeleted": names or None, "SpaceReclaimed": size})


ROUTES = (
    Route("GET", "/containers/json", list_containers),
    Route("POST", "/containers/create", create_container),
    Route("POST", "/containers/prune", prune_containers, Version(1, 25)),
    Route("GET", "/containers/{name}/json", inspect_container),
    Route("GET", "/containers/{name}/top", top_container),
    Route("POST", "/containers/{name}/resize", resize_container),
    Route("POST", "/containers/{name}/start", start_container),
    Route("POST", "/containers/{name}/stop", stop_container),
    Route("POST", "/containers/{name}/restart", restart_container),
    Route("POST", "/containers/{name}/kill", kill_container),
    Route("POST", "/containers/{name}/rename", rename_container),
    Route("POST", "/containers/{name}/pause", pause_container),
    Route("POST", "/containers/{name}/unpause", unpause_container),
    Route("POST", "/containers/{name}/wait", wait_container),
    *later("copying files is not built yet", ("GET", "/containers/{name}/archive"), ("HEAD", "/containers/{name}/archive"),
           ("PUT", "/containers/{name}/archive")),
    *later("export is not built yet", ("GET", "/containers/{name}/export")),
    *later("diff is not built yet", ("GET", "/containers/{name}/changes")),
    *later("stats is not built yet", ("GET", "/containers/{name}/stats")),
    *later("update is not built yet", ("POST", "/containers/{name}/update")),
    *later("commit is not built yet", ("POST", "/commit")),
    *later("checkpoints are not built", ("GET", "/containers/{name}/checkpoints"), ("POST", "/containers/{name}/checkpoints"),
           ("DELETE", "/containers/{name}/checkpoints/{checkpoint}")),
    Route("DELETE", "/containers/{name}", remove_container),
)
