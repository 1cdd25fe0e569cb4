"""What a running container holds on this host, journalled before it is taken and cleared after it is given back.

Law: a journal row `run` exists whenever a mount, an address, a port, a cgroup or an exec directory of that container may exist.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable

from wherry.daemon.daemon import Daemon, log
from wherry.linux import mount
from wherry.model.container import Container
from wherry.model.errors import Unavailable, WherryError
from wherry.model.steps import step

CGROUP_SECONDS = 5.0  # how long dying processes may keep a group
RELEASE_SECONDS = 15.0


def mount_root(d: Daemon, identifier: str, *, volatile: bool = False) -> int:
    """S3: mounts the merged layers at mnt/{ID}; a detached copy of that mount for the container. The path is ours alone.

    `volatile`: for a container that goes with its end; its unmounting need not sync the file system below."""
    place = d.mounts / identifier
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    merged = d.driver.open_mount(identifier, volatile=volatile)
    try:
        mount.move_mount_to(merged, str(place))
    finally:
        os.close(merged)
    return mount.open_tree(str(place))


def unmount_root(d: Daemon, identifier: str) -> None:
    """Undoes mount_root; nothing mounted is fine."""
    place = d.mounts / identifier
    try:
        while True:
            mount.umount(str(place), mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)
    except OSError:
        pass
    try:
        place.rmdir()
    except FileNotFoundError:
        pass


def release_network(d: Daemon, identifier: str) -> None:
    """Gives back ports and address at once: the next container may want them."""
    d.bridge.unpublish(identifier)
    d.bridge.release(identifier)


def release(d: Daemon, identifier: str, *, keep_record: bool = False) -> None:
    """Gives back everything that the container holds: all steps are tried, and what failed stays in the journal for the next start.

    `keep_record`: the exec directory stays too, because its exit.json is the only record of the end."""
    failed = []
    undo: list[tuple[str, Callable[[], object]]] = [
        ("network", lambda: release_network(d, identifier)),
        ("root mount", lambda: unmount_root(d, identifier)),
        ("volumes", lambda: d.volumes.unmount_all(identifier)),
        ("cgroup", lambda: _remove_cgroup(d, identifier)),
    ]
    if not keep_record:
        undo.append(("exec directory", lambda: d.launcher.forget(identifier)))
    for what, give_back in undo:
        try:
            with step(f"end: {what}"):
                give_back()
        except (OSError, WherryError) as error:
            failed.append(f"{what}: {error}")
    if failed:
        log.error("container %s: could not be cleaned up wholly (tried again at the next start): %s", identifier[:12], "; ".join(failed))
        return
    if keep_record:
        return
    try:
        with step("end: clear journal"):
            d.journal.clear(identifier, "run")
    except WherryError as error:
        log.error("container %s: that it is cleaned up cannot be recorded: %s", identifier[:12], error)


def wait_released(container: Container) -> None:
    """Until what the last run held is given back: a matter of milliseconds, in the background of its end. Unavailable when it takes too long."""
    if not container.held:
        return
    with container.changed:
        if not container.changed.wait_for(lambda: not container.held, RELEASE_SECONDS):
            raise Unavailable(f"container {container.name}: what its last run held (mounts, cgroup) is not given back yet; try again")


def _remove_cgroup(d: Daemon, identifier: str) -> None:
    group = d.cgroups.open(f"wherry/{identifier}")
    if group.remove():
        return
    group.kill()  # of the host's PID namespace, or of a start whose monitor and launcher died: nobody else ends them
    if not group.remove(timeout=CGROUP_SECONDS):
        raise OSError(errno.EBUSY, "its cgroup is still busy")


def kill_and_wait(pidfd: int, seconds: float) -> None:
    """SIGKILL, and until the process is gone; takes over the pidfd (pidfd_open(2): readable at the end)."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(seconds * 1000)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)
