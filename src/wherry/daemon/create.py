"""`create`: act 1 of the run flow. After it the container is on disk and can be found; nothing of it runs."""

from __future__ import annotations

from contextlib import ExitStack
from time import time_ns

from wherry.daemon import names, runconfig, verify, volumes
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
    with step("C2 image graph"):
        defaults = image.run_config
    with step("C3 layer limit"):
        check_layers(image)
    with step("C4 runconfig merge"):
        config = runconfig.merge(defaults, asked)
        argv = runconfig.argv_of(config)
        host, warnings = verify.verify(d, config, host)
    identifier = new_id()
    wanted = check_name(name) if name else names.pick(lambda candidate: _free(d, candidate))
    if not config.hostname and host.network_mode not in ("host",) and not host.uts_mode:
        config = verify.with_hostname(config, short(identifier))
    with ExitStack() as undo:
        d.journal.intend(identifier, "layer", layer=identifier)
        undo.callback(d.journal.clear, identifier)
        with step("C5 init layer"):
            init_layer = initlayer.ensure(d.driver, image.top_layer)
        with step("C6 read-write layer"):
            d.driver.create(identifier, init_layer)
            undo.callback(d.driver.remove, identifier)
        with step("C6 volumes"):
            points = volumes.plan(d, identifier, config, host)
            undo.callback(d.volumes.release, identifier, [p.name for p in points if p.anonymous])
        record = Record(id=identifier, created=time_ns(), image_ref=asked.image, image_id=image.id, path=argv[0], args=argv[1:], config=config,
                        networking=networking, mounts=points, driver=d.driver.name)
        container = Container(record, host, wanted)
        with step("C7 container record"):
            undo.callback(_forget_files, d, container)
            d.containers.write_objects(container)
        with step("C8 idIndex and container store"):
            with d.db.transaction() as cursor:
                d.containers.add(container, cursor)
                d.journal.clear(identifier)
            undo.pop_all()
            d.containers.publish(container)
    d.event(container, "create")
    if not host.auto_remove:  # one that removes itself need not survive a loss of power
        d.submit(d.containers.sync, container)
    return identifier, warnings


def check_layers(image: Image) -> None:
    """C3: image layers, init layer and read-write layer together."""
    count = len(image.diff_ids) + 2
    if count > MAX_LAYERS:
        raise InvalidArgument(f"the image has {len(image.diff_ids)} layers; with the container's own two that makes {count}, "
                              f"and at most {MAX_LAYERS} can be mounted: flatten the image (export, import)")


def _free(d: Daemon, name: str) -> bool:
    return not d.db.query("SELECT 1 FROM names WHERE name=?", (name,))


def _forget_files(d: Daemon, container: Container) -> None:
    directory = d.containers.directory(container.id)
    if directory.exists():
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()
