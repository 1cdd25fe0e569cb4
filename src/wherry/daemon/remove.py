"""`rm`: the container and what was made for it."""

from __future__ import annotations

import shutil
import signal

from wherry.daemon import ends, holdings, kill, stop
from wherry.daemon.daemon import Daemon
from wherry.model.container import Container
from wherry.model.errors import Conflict, Unimplemented
from wherry.model.steps import step


def remove(d: Daemon, ref: str, *, force: bool, volumes: bool, link: bool) -> None:
    """Conflict where it runs and `force` is not given. Anonymous volumes go with `volumes`."""
    if link:
        raise Unimplemented("removing a link (rm --link) is not built yet")
    container = d.containers.get(ref)
    with container.keeping():
        while not _remove_stopped(d, container, force=force, volumes=volumes):
            with step("rm: end it"):
                stop.end(d, container, kill.KILL_SECONDS, signal.SIGKILL)
    d.submit(erase, d, container)


def _remove_stopped(d: Daemon, container: Container, *, force: bool, volumes: bool) -> bool:
    """Removes it if it does not run, in one with the look: nobody starts it in between. False: it has to be ended first."""
    with container.lock:
        if container.removed:
            raise Conflict(f"removal of container {container.name} is already in progress")
        status = container.state.status
        if not force and status in ("running", "paused", "restarting"):
            raise Conflict(f'cannot remove container "/{container.name}": container is {status}: '
                           "stop the container before removing or force remove")
        if container.state.running:
            return False
        ends.cancel_restart(container)
        unname(d, container, volumes=volumes)
        return True


def unname(d: Daemon, container: Container, *, volumes: bool) -> None:
    """The removal itself, under the container's lock: rows first, files later; a crash in between leaves rubbish, which goes at the next start
    from the journal. `erase` must follow."""
    if container.monitor is not None:  # attached to, never started
        container.monitor.close()
        container.monitor = None
    container.state.status = "removing"
    with step("rm: rows"), d.db.transaction() as cursor:
        d.journal.intend(container.id, "layer", layer=container.id)
        d.containers.remove(container, cursor)
    d.containers.unpublish(container)
    anonymous = [p.name for p in container.record.mounts if p.type == "volume" and p.anonymous] if volumes else []
    with step("rm: volumes"):
        d.volumes.release(container.id, anonymous)
    container.removed = True
    d.event(container, "destroy")
    for exec_id in list(container.execs):
        d.execs.pop(exec_id, None)
    container.notify()


def erase(d: Daemon, container: Container) -> None:
    """What is left of a removed container on disk, once its last run has let go of it: nobody waits for it."""
    with step("rm: wait for release"):
        holdings.wait_released(container)
    erase_files(d, container.id)
    if d.images.find(container.record.image_id) is None:  # its image was removed by force meanwhile: the layers were kept for it
        d.images.release_layers()
        d.driver.sweep()


def erase_files(d: Daemon, identifier: str) -> None:
    """The layer, the records, the exec directory."""
    with step("rm: erase layer"):
        d.driver.remove(identifier)
    with step("rm: erase records"):
        shutil.rmtree(d.containers.directory(identifier), ignore_errors=True)
    with step("rm: exec directory"):
        d.launcher.forget(identifier)
    with step("rm: clear journal"):
        d.journal.clear(identifier, "layer")
