"""S6: the volumes of a container. `plan` at its creation says what is mounted where and makes missing volumes; `open_sources` at each start
turns every source into a detached mount (the host's paths are resolved here, in the host's mount namespace, and nowhere else: R1)."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from typing import Protocol

from wherry.daemon import mountspec as spec
from wherry.linux import mount as mnt
from wherry.linux.path import O_PATH, open_in_root
from wherry.model.command import Mount
from wherry.model.config import BindOptions, Config, HostConfig, MountRequest, VolumeOptions
from wherry.model.container import Container, MountPoint
from wherry.model.errors import InvalidArgument, NotFound
from wherry.volume.store import Volume, VolumeStore


class _Containers(Protocol):
    def get(self, ref: str, /) -> Container: ...


class _Daemon(Protocol):
    @property
    def volumes(self) -> VolumeStore: ...
    @property
    def containers(self) -> _Containers: ...


class _Sources(Protocol):
    """The descriptors that go with the Command; `fds[0]` is the root file system."""

    fds: list[int]

    def add(self, fd: int) -> int: ...


def plan(d: _Daemon, identifier: str, config: Config, host: HostConfig) -> list[MountPoint]:
    """The mounts of a new container as `inspect` shows them; volumes that they name are made and recorded as used by it.

    Later sources win over earlier ones in this order: --volumes-from, then -v and --mount, then the image's and the client's Volumes, which
    only fill what is free. InvalidArgument, with nothing left behind: NotFound here would make clients pull the image."""
    for destination, options in (host.tmpfs or {}).items():
        spec.check_destination(destination)
        spec.parse_tmpfs(options)
    for mount in host.mounts or ():
        spec.check_mount(mount)
    binds = [spec.parse_bind(text) for text in host.binds or ()]
    taken = {spec.clean(path) for path in host.tmpfs or ()}
    for destination in [bind.destination for bind in binds] + [mount.target for mount in host.mounts or ()]:
        if spec.clean(destination) in taken:
            raise InvalidArgument(f"Duplicate mount point: {destination}")
        taken.add(spec.clean(destination))
    points: dict[str, MountPoint] = {}
    try:
        for point in _volumes_from(d, identifier, host.volumes_from or ()):
            points[point.destination] = point
        for bind in binds:
            points[bind.destination] = _from_bind(d, identifier, bind, host.volume_driver)
        for mount in host.mounts or ():
            points[spec.clean(mount.target)] = _from_mount(d, identifier, mount)
        for path in config.volumes or {}:
            destination = spec.clean(path)
            if destination not in points and destination not in taken:
                spec.check_destination(destination)
                points[destination] = _volume_point(_create(d, identifier, "", host.volume_driver), destination, mode="")
    except BaseException as error:
        d.volumes.release(identifier, [point.name for point in points.values() if point.anonymous])
        if isinstance(error, NotFound):
            raise InvalidArgument(str(error)) from None
        raise
    return list(points.values())


def _create(d: _Daemon, identifier: str, name: str, driver: str = "", options: VolumeOptions | None = None) -> tuple[Volume, bool]:
    """The volume, and whether it is an anonymous one of this container's."""
    wanted = spec.driver_of(options or VolumeOptions())
    labels = options.labels if options else None
    return d.volumes.create(name or None, wanted.name or driver, wanted.options, labels, container=identifier), not name


def _volume_point(made: tuple[Volume, bool], destination: str, *, mode: str = "z", rw: bool = True, no_copy: bool = False,
                  subpath: str = "") -> MountPoint:
    volume, anonymous = made
    return MountPoint(type="volume", name=volume.name, source=volume.mountpoint, destination=destination, driver=volume.driver, mode=mode, rw=rw,
                      no_copy=no_copy, subpath=subpath, anonymous=anonymous)


def _from_bind(d: _Daemon, identifier: str, bind: spec.Bind, driver: str) -> MountPoint:
    words = spec.mode_words(bind.mode)
    rw = "ro" not in words
    if bind.is_bind:
        return MountPoint(type="bind", source=bind.source, destination=bind.destination, mode=bind.mode, rw=rw, create_source=True,
                          propagation=spec.propagation_of(words))
    made = _create(d, identifier, bind.source, driver)
    return _volume_point(made, bind.destination, mode=bind.mode or "z", rw=rw, no_copy="nocopy" in words)


def _from_mount(d: _Daemon, identifier: str, mount: MountRequest) -> MountPoint:
    destination = spec.clean(mount.target)
    if mount.type == "tmpfs":
        return MountPoint(type="tmpfs", destination=destination, rw=not mount.read_only, tmpfs_options=spec.tmpfs_of(mount))
    if mount.type == "volume":
        options = mount.volume_options or VolumeOptions()
        made = _create(d, identifier, mount.source, "", options)
        return _volume_point(made, destination, rw=not mount.read_only, no_copy=options.no_copy, subpath=options.subpath)
    bind = mount.bind_options or BindOptions()
    recursive = "no" if bind.read_only_non_recursive else "force" if bind.read_only_force_recursive else "try"
    return MountPoint(type="bind", source=spec.clean(mount.source), destination=destination, rw=not mount.read_only,
                      propagation=bind.propagation or "rprivate", recursive=not bind.non_recursive, readonly_recursive=recursive,
                      create_source=bind.create_mountpoint)


def _volumes_from(d: _Daemon, identifier: str, wanted: Iterable[str]) -> Iterable[MountPoint]:
    for text in wanted:
        name, colon, mode = text.partition(":")
        if not name:
            raise InvalidArgument("volumes-from specification cannot be an empty string")
        if colon and not spec.is_mode(mode):
            raise InvalidArgument(f"invalid mode: {mode}")
        read_only = "ro" in mode.split(",")
        for point in d.containers.get(name).record.mounts:
            if point.type == "volume":
                d.volumes.use(identifier, [point.name])
            yield _replace(point, rw=point.rw and not read_only, mode="", no_copy=True, anonymous=False)


def _replace(point: MountPoint, **changes: bool | str) -> MountPoint:
    fields = {name: getattr(point, name) for name in point.__struct_fields__}
    return MountPoint(**{**fields, **changes})


def open_sources(d: _Daemon, container: Container, sources: _Sources) -> list[tuple[MountPoint, Mount]]:
    """Every mount of a start, its source as a detached mount with its flags set, handed to `sources`. New volumes get the image's content.

    InvalidArgument, NotFound: a source that is not there. `d.volumes.unmount_all(container.id)` undoes what this does to volumes."""
    made = []
    for point in container.record.mounts:
        if point.type == "tmpfs":
            made.append((point, _tmpfs(point.destination, point.tmpfs_options)))
            continue
        fd = _open_volume(d, container, sources, point) if point.type == "volume" else _open_bind(point)
        index = sources.add(fd)
        _set_flags(fd, point)
        made.append((point, Mount("bind", point.destination, index, is_dir=stat.S_ISDIR(os.fstat(fd).st_mode))))
    for destination, options in (container.host.tmpfs or {}).items():
        destination = spec.clean(destination)
        made.append((MountPoint(type="tmpfs", destination=destination, tmpfs_options=options), _tmpfs(destination, options)))
    return made


def _tmpfs(destination: str, options: str) -> Mount:
    attributes, data = spec.parse_tmpfs(options)
    return Mount("tmpfs", destination, attributes=attributes, options=data)


def _open_bind(point: MountPoint) -> int:
    try:
        return mnt.open_tree(point.source, recursive=point.recursive)
    except FileNotFoundError:
        if not point.create_source:
            raise spec.missing_source(point.source) from None
    try:
        os.makedirs(point.source, 0o755, exist_ok=True)
    except OSError as error:
        raise InvalidArgument(f"error while creating mount source path '{point.source}': mkdir {error.filename}: {error.strerror}") from error
    return mnt.open_tree(point.source, recursive=point.recursive)


def _open_volume(d: _Daemon, container: Container, sources: _Sources, point: MountPoint) -> int:
    data = d.volumes.mount(container.id, point.name, {"destination": point.destination, "driver": point.driver, "read/write": str(point.rw).lower()})
    try:
        if not point.no_copy and not point.subpath:
            d.volumes.copy_up(container.id, sources.fds[0], point.destination, point.name)
        if not point.subpath:
            return mnt.open_tree("", data, recursive=True)
        try:
            inner = open_in_root(data, point.subpath, O_PATH)
        except OSError as error:
            where = f"{point.source}/{point.subpath}"
            raise NotFound(f"cannot access path {where}: {os.strerror(error.errno or errno.EIO).lower()}") from error
        try:
            return mnt.open_tree("", inner, recursive=True)
        finally:
            os.close(inner)
    finally:
        os.close(data)


def _set_flags(fd: int, point: MountPoint) -> None:
    """Read-only and propagation of the detached tree."""
    kind = spec.PROPAGATIONS[point.propagation or "rprivate"]
    if kind & ~mnt.MS_REC == mnt.MS_SHARED:
        _need_peers(fd, point, ("shared",), "a shared")  # it is in its source's peer group already, and stays there
    else:
        if kind & ~mnt.MS_REC == mnt.MS_SLAVE:
            _need_peers(fd, point, ("shared", "master"), "a shared or slave")
        mnt.mount_setattr(fd, propagation=kind & ~mnt.MS_REC, recursive=bool(kind & mnt.MS_REC))
    if not point.rw:
        try:
            mnt.mount_setattr(fd, set_=mnt.MOUNT_ATTR_RDONLY, recursive=point.readonly_recursive != "no")
        except OSError as error:
            if error.errno != errno.EPERM or point.readonly_recursive != "try":
                raise
            mnt.mount_setattr(fd, set_=mnt.MOUNT_ATTR_RDONLY)


def _need_peers(fd: int, point: MountPoint, wanted: tuple[str, ...], what: str) -> None:
    """InvalidArgument where the source's mount lies in no peer group of the wanted kind (mount_namespaces(7))."""
    place = os.open(point.source, O_PATH)
    try:
        with open(f"/proc/self/fdinfo/{place}") as info:
            number = re.search(r"^mnt_id:\s*(\d+)", info.read(), re.M)
    finally:
        os.close(place)
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            fields = line.split()
            if number and fields[0] == number[1]:
                if not any(field.startswith(f"{one}:") for one in wanted for field in fields[6 : fields.index("-")]):
                    raise InvalidArgument(f"path {point.source} is mounted on {fields[4]} but it is not {what} mount")
                return


def is_device(path: str) -> bool:
    """Whether the host has a device node of that name (links are not followed)."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
