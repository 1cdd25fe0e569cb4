"""`create`: act 1 of the run flow. After it the container is on disk and can be found; nothing of it runs."""

from __future__ import annotations

import os
from contextlib import ExitStack
from time import time_ns

import msgspec

from wherry.daemon import names, runconfig, verify, volumes
from wherry.daemon.containers import name_conflict
from wherry.daemon.daemon import Daemon
from wherry.graphdriver import MAX_LAYERS, initlayer
from wherry.image.config import Image
from wherry.model.config import Config, HostConfig, NetworkingConfig
from wherry.model.container import Container, Record
from wherry.model.errors import InvalidArgument
from wherry.model.ids import check_name, new_id, short
from wherry.model.steps import step


def create(d: Daemon, name: str | None, asked: Config, host: HostConfig, networking: NetworkingConfig) -> tuple[str, list[str]]:
    """(ID, warnings). NotFound for the image, Conflict for the name, InvalidArgument for what cannot be."""
    with step("C1 TagStore"):
        image = d.images.get(asked.image)
    with d.images.pinned(image):
        with step("C2 image graph"):
            defaults = image.run_config
        with step("C3 layer limit"):
            check_layers(image)
        with step("C4 runconfig merge"):
            config = runconfig.merge(defaults, asked)
            argv = runconfig.argv_of(config)
            host, warnings = verify.verify(d, asked, config, host)
        identifier = new_id()
        wanted = _name(d, name)
        if not config.hostname and not host.network_mode.startswith("container:"):
            own = host.network_mode != "host" and not host.uts_mode
            config = verify.with_hostname(config, short(identifier) if own else os.uname().nodename)
        record = Record(id=identifier, created=time_ns(), image_ref=asked.image, image_id=image.id, path=argv[0], args=argv[1:], config=config,
                        networking=networking, mounts=[], driver=d.driver.name)
        container = _make(d, image, record, host, wanted)
    d.event(container, "create")
    if not host.auto_remove:  # one that removes itself need not survive a loss of power
        d.submit(d.containers.sync, container)
    return identifier, warnings


def _make(d: Daemon, image: Image, record: Record, host: HostConfig, name: str) -> Container:
    """C5 to C8: what is on disk, object first, then the row that names it; whatever fails undoes what was done."""
    with ExitStack() as undo:
        d.journal.intend(record.id, "layer", layer=record.id)
        undo.callback(d.journal.clear, record.id)
        with step("C5 init layer"):
            init_layer = initlayer.ensure(d.driver, image.top_layer)
        with step("C6 read-write layer"):
            d.driver.create(record.id, init_layer)
            undo.callback(d.driver.remove, record.id)
        with step("C6 volumes"):
            points = volumes.plan(d, record.id, record.config, host)
            undo.callback(d.volumes.release, record.id, [p.name for p in points if p.anonymous])
        container = Container(msgspec.structs.replace(record, mounts=points), host, name)
        with step("C7 container record"):
            undo.callback(_forget_files, d, container)
            d.containers.write_objects(container)
        with step("C8 idIndex and container store"):
            with d.db.transaction() as cursor:
                d.containers.add(container, cursor)
                d.journal.clear(record.id)
            undo.pop_all()
            d.containers.publish(container)
    return container


def _name(d: Daemon, asked: str | None) -> str:
    """The name asked for, if it is free, or two random words. C8 decides for good, in its transaction."""
    if not asked:
        return names.pick(lambda candidate: d.containers.holder(candidate) is None)
    wanted = check_name(asked)
    holder = d.containers.holder(wanted)
    if holder is not None:
        raise name_conflict(wanted, holder)
    return wanted


def check_layers(image: Image) -> None:
    """C3: image layers, init layer and read-write layer together."""
    count = len(image.diff_ids) + 2
    if count > MAX_LAYERS:
        raise InvalidArgument(f"the image has {len(image.diff_ids)} layers; with the container's own two that makes {count}, "
                              f"and at most {MAX_LAYERS} can be mounted: flatten the image (export, import)")


def _forget_files(d: Daemon, container: Container) -> None:
    directory = d.containers.directory(container.id)
    if directory.exists():
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()
