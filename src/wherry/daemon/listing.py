"""`ps`: which containers a client asks for, and what it is told about each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from wherry.daemon.endpoints import exposed, mode_of, network_id, networks_json, ports_list
from wherry.daemon.inspect import mounts_json
from wherry.daemon.status import STATUSES, status_text
from wherry.model.container import Container
from wherry.model.errors import InvalidArgument
from wherry.model.filters import Filters

FILTERS = frozenset({"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish",
                     "since", "status", "volume"})
_HEALTH = frozenset({"starting", "healthy", "unhealthy", "none"})

Sizes = Callable[[Container], tuple[int, int]]


class Question(NamedTuple):
    """What is asked. `limit` newest containers in any state (0: no limit); `sizes` gives (read-write, all) bytes, None: not asked.

    `find` finds the container of the filters `before` and `since`; `image_id` an image's ID by its name, None for an unknown one.
    """

    all: bool
    limit: int
    filters: Filters
    engine: str
    find: Callable[[str], Container]
    image_id: Callable[[str], str | None]
    sizes: Sizes | None = None


def summaries(containers: Iterable[Container], question: Question) -> list[dict[str, Any]]:
    """The answer, newest first. Raises InvalidArgument for a filter's value that can match nothing, NotFound for `before` and `since`."""
    return [_summary(container, question) for container in select(containers, question)]


def select(containers: Iterable[Container], question: Question) -> list[Container]:
    """The containers asked for, newest first."""
    filters = question.filters
    filters.check_keys(FILTERS)
    tests = _tests(question)
    every = question.all or question.limit > 0 or any(key in filters for key in ("status", "before", "since"))
    found: list[Container] = []
    for container in sorted(containers, key=lambda one: one.record.created, reverse=True):
        if not every and not container.state.running and container.state.status != "restarting":
            continue
        if all(test(container) for test in tests):
            found.append(container)
            if len(found) == question.limit:
                break
    return found


Test = Callable[[Container], bool]


def _tests(question: Question) -> list[Test]:
    """One test for each filter that is there."""
    filters = question.filters
    makers: dict[str, Callable[[Question], Test]] = {
        "ancestor": _ancestor, "before": _before, "exited": _exited, "expose": _expose, "health": _health, "id": _id, "is-task": _is_task,
        "label": _label, "name": _name, "network": _network, "publish": _publish, "since": _since, "status": _status, "volume": _volume,
    }
    return [maker(question) for key, maker in makers.items() if key in filters]


def _ancestor(question: Question) -> Test:
    wanted = {question.image_id(name) for name in question.filters.get("ancestor")}
    return lambda container: container.record.image_id in wanted


def _before(question: Question) -> Test:
    limit = min(question.find(name).record.created for name in question.filters.get("before"))
    return lambda container: container.record.created < limit


def _since(question: Question) -> Test:
    limit = max(question.find(name).record.created for name in question.filters.get("since"))
    return lambda container: container.record.created > limit


def _exited(question: Question) -> Test:
    codes = set()
    for text in question.filters.get("exited"):
        if not re.fullmatch(r"-?[0-9]{1,9}", text):
            raise InvalidArgument(f"invalid filter 'exited={text}': an exit code is needed")
        codes.add(int(text))
    return lambda container: container.state.status == "exited" and container.state.exit_code in codes


def _status(question: Question) -> Test:
    wanted = question.filters.get("status")
    for status in wanted:
        if status not in STATUSES:
            raise InvalidArgument(f"invalid filter 'status={status}': one of {', '.join(sorted(STATUSES))} is needed")
    return lambda container: container.state.status in wanted


def _health(question: Question) -> Test:
    wanted = question.filters.get("health")
    for health in wanted:
        if health not in _HEALTH:
            raise InvalidArgument(f"invalid filter 'health={health}': one of {', '.join(sorted(_HEALTH))} is needed")
    return lambda container: "none" in wanted


def _id(question: Question) -> Test:
    return lambda container: any(container.id.startswith(want) for want in question.filters.get("id"))


def _is_task(question: Question) -> Test:
    wanted = question.filters.flag("is-task", False)
    return lambda container: not wanted


def _label(question: Question) -> Test:
    return lambda container: question.filters.labels_match(container.config.labels or {})


def _name(question: Question) -> Test:
    patterns = [_pattern(text) for text in question.filters.get("name")]
    return lambda container: any(p.search(container.name) or p.search("/" + container.name) for p in patterns)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise InvalidArgument(f"invalid filter 'name={text}': not a regular expression") from None


def _network(question: Question) -> Test:
    wanted = question.filters.get("network")

    def test(container: Container) -> bool:
        mode = mode_of(container)
        return mode in wanted or any(len(want) >= 12 and network_id(question.engine, mode).startswith(want) for want in wanted)

    return test


def _volume(question: Question) -> Test:
    wanted = {text.rstrip("/") or "/" for text in question.filters.get("volume")}
    return lambda container: any(mount.name in wanted or mount.destination in wanted for mount in container.record.mounts)


def _expose(question: Question) -> Test:
    wanted = {port for text in question.filters.get("expose") for port in _ports("expose", text)}
    return lambda container: not wanted.isdisjoint(exposed(container))


def _publish(question: Question) -> Test:
    wanted = {port for text in question.filters.get("publish") for port in _ports("publish", text)}

    def test(container: Container) -> bool:
        return any(f"{mapping.host_port}/{mapping.protocol}" in wanted or f"{mapping.container_port}/{mapping.protocol}" in wanted
                   for mapping in container.ports)

    return test


def _ports(key: str, text: str) -> list[str]:
    """`port[-port][/protocol]` as the ports it stands for."""
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not found or first > last or last > 65535:
        raise InvalidArgument(f"invalid filter '{key}={text}': a port, or a range of ports, is needed")
    return [f"{port}/{found[3] or 'tcp'}" for port in range(first, last + 1)]


def _summary(container: Container, question: Question) -> dict[str, Any]:
    record = container.record
    same = question.image_id(record.image_ref) == record.image_id
    summary: dict[str, Any] = {
        "Id": container.id,
        "Names": ["/" + container.name],
        "Image": record.image_ref if same else record.image_id,
        "ImageID": record.image_id,
        "Command": " ".join([record.path, *(f"'{arg}'" if " " in arg else arg for arg in record.args)]),
        "Created": record.created // 1_000_000_000,
        "Ports": ports_list(container),
        "Labels": container.config.labels or {},
        "State": container.state.status,
        "Status": status_text(container.state),
        "HostConfig": {"NetworkMode": mode_of(container)},
        "NetworkSettings": {"Networks": networks_json(container, question.engine)},
        "Mounts": mounts_json(container),
    }
    if container.host.annotations:
        summary["HostConfig"]["Annotations"] = container.host.annotations
    if question.sizes is not None:
        summary["SizeRw"], summary["SizeRootFs"] = question.sizes(container)
    return summary
