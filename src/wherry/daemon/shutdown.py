"""The daemon's end where containers are not to run on (`--live-restore=false`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from wherry.daemon import ends, stop
from wherry.daemon.daemon import Daemon, log
from wherry.daemon.verify import stop_signal
from wherry.model.container import Container
from wherry.model.errors import WherryError


def stop_all(d: Daemon, seconds: int) -> None:
    """Stops every running container, all at once, each within `seconds`. Their restart policies apply at the next start."""

    def end(container: Container) -> None:
        by_hand = container.state.manually_stopped
        try:
            with container.keeping():  # neither restarted nor removed now
                stop.end(d, container, seconds, stop_signal(container.config))
        except WherryError as error:
            log.error("container %s could not be stopped: %s", container.name, error)
        with container.lock:
            container.state.manually_stopped = by_hand
            d.containers.save_state(container)

    for container in d.containers.all():
        with container.lock:
            ends.put_off_restart(container)
    running = [c for c in d.containers.all() if c.state.running]
    with ThreadPoolExecutor(max_workers=max(1, min(32, len(running)))) as pool:
        list(pool.map(end, running))
