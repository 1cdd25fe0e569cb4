"""What `ps` and `inspect` need of the stores."""

from __future__ import annotations

from typing import Any

from wherry.daemon.daemon import Daemon
from wherry.daemon.identity import engine_id
from wherry.daemon.inspect import Place, inspect_json
from wherry.daemon.listing import Question, summaries
from wherry.model.container import Container
from wherry.model.errors import InvalidArgument, NotFound
from wherry.model.filters import Filters


def list_containers(d: Daemon, every: bool, limit: int, size: bool, filters: Filters) -> list[dict[str, Any]]:
    """`ps`: InvalidArgument for a bad filter, NotFound for an unknown container in `before` or `since`."""
    known: dict[str, str | None] = {}

    def image_id(name: str) -> str | None:
        if name not in known:
            known[name] = _image_id(d, name)
        return known[name]

    question = Question(every, limit, filters, engine_id(d.options.data_root), d.containers.get, image_id,
                        (lambda container: sizes(d, container)) if size else None)
    return summaries(d.containers.all(), question)


def inspect_container(d: Daemon, ref: str, size: bool = False) -> dict[str, Any]:
    """`inspect`. NotFound."""
    container = d.containers.get(ref)
    place = Place(engine_id(d.options.data_root), d.containers.directory(container.id), d.driver.name, graph_data(d, container),
                  d.cgroups.version != "v2")
    return inspect_json(container, place, sizes(d, container) if size else None)


def sizes(d: Daemon, container: Container) -> tuple[int, int]:
    """Bytes of the read-write layer, and of the whole root file system."""
    own = d.driver.size(container.id)
    image = d.images.find(container.record.image_id)
    return own, own + (image.size if image else 0)


def graph_data(d: Daemon, container: Container) -> dict[str, str] | None:
    """`GraphDriver.Data`: the directories of an overlay; nothing for a driver without."""
    try:
        spec = d.driver.mount_spec(container.id)
    except (NotFound, OSError):
        return None                              # just being removed
    if spec.kind != "overlay":
        return None
    return {
        "ID": container.id, "LowerDir": ":".join(map(str, spec.lowers)), "MergedDir": str(d.mounts / container.id),
        "UpperDir": str(spec.upper), "WorkDir": str(spec.work),
    }


def _image_id(d: Daemon, name: str) -> str | None:
    try:
        return d.images.get(name).id
    except (NotFound, InvalidArgument):
        return None
