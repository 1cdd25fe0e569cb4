"""What a client writes about mounts, read into plain records: `-v` texts, `--mount` entries, `--tmpfs` options. Nothing is made here.

Texts of the errors are Docker's, whose clients know them; where Docker answers 500 to a bad `-v`, this answers 400."""

from __future__ import annotations

import os
import posixpath
from typing import NamedTuple

from wherry.linux import mount as mnt
from wherry.model.config import BindOptions, DriverConfig, MountRequest, TmpfsOptions, VolumeOptions
from wherry.model.errors import InvalidArgument, Unimplemented

PROPAGATIONS = {
    "private": mnt.MS_PRIVATE, "rprivate": mnt.MS_PRIVATE | mnt.MS_REC, "slave": mnt.MS_SLAVE, "rslave": mnt.MS_SLAVE | mnt.MS_REC,
    "shared": mnt.MS_SHARED, "rshared": mnt.MS_SHARED | mnt.MS_REC,
}  # fmt: skip
_CLASSES = (("ro", "rw"), ("z", "Z"), tuple(PROPAGATIONS), ("nocopy",), ("consistent", "cached", "delegated", "default"))

_FLAGS = {
    "ro": mnt.MOUNT_ATTR_RDONLY, "nosuid": mnt.MOUNT_ATTR_NOSUID, "nodev": mnt.MOUNT_ATTR_NODEV, "noexec": mnt.MOUNT_ATTR_NOEXEC,
    "noatime": mnt.MOUNT_ATTR_NOATIME, "nodiratime": mnt.MOUNT_ATTR_NODIRATIME, "strictatime": mnt.MOUNT_ATTR_STRICTATIME,
}  # fmt: skip
_CLEARS = {
    "rw": mnt.MOUNT_ATTR_RDONLY, "suid": mnt.MOUNT_ATTR_NOSUID, "dev": mnt.MOUNT_ATTR_NODEV, "exec": mnt.MOUNT_ATTR_NOEXEC,
    "atime": mnt.MOUNT_ATTR_NOATIME, "diratime": mnt.MOUNT_ATTR_NODIRATIME, "relatime": mnt.MOUNT_ATTR_STRICTATIME | mnt.MOUNT_ATTR_NOATIME,
    "nostrictatime": mnt.MOUNT_ATTR_STRICTATIME, "defaults": 0, "async": 0, "nomand": 0, "private": 0, "rprivate": 0,
}  # fmt: skip
#: Words that Docker knows for a tmpfs too.
_TMPFS_LATER = ("sync", "dirsync", "mand", "norelatime", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable")
_TMPFS_DATA = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol")
_TMPFS_DEFAULTS = mnt.MOUNT_ATTR_NOSUID | mnt.MOUNT_ATTR_NODEV | mnt.MOUNT_ATTR_NOEXEC


class Bind(NamedTuple):
    """One `-v`: a host path (`source` absolute), a volume's name, or an anonymous volume (`source` empty)."""

    source: str
    destination: str
    mode: str

    @property
    def is_bind(self) -> bool:
        return self.source.startswith("/")


def clean(path: str) -> str:
    """A path without `.`, `..`, doubled and trailing slashes, as Go's filepath.Clean; for absolute paths."""
    return "/" + posixpath.normpath("/" + path).lstrip("/")


def mode_words(mode: str) -> list[str]:
    """The words of a `-v` mode; InvalidArgument for an unknown one or two of one class."""
    if not mode:
        return []
    words = mode.split(",")
    for wanted in words:
        if not any(wanted in one for one in _CLASSES):
            raise InvalidArgument(f"invalid mode: {mode}")
    if any(sum(word in one for word in words) > 1 for one in _CLASSES):
        raise InvalidArgument(f"invalid mode: {mode}")
    return words


def is_mode(text: str) -> bool:
    """Whether a text is a valid mode, so that `-v /dst:ro` is not taken for a source and a destination."""
    try:
        return bool(mode_words(text))
    except InvalidArgument:
        return False


def propagation_of(words: list[str]) -> str:
    """The propagation among mode words, rprivate without one."""
    return next((word for word in words if word in PROPAGATIONS), "rprivate")


def parse_bind(text: str) -> Bind:
    """`[src:]dst[:modes]`."""
    parts = text.split(":", 3)
    if not parts[0] or len(parts) > 3:
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        bind = Bind("", parts[0], "")
    elif len(parts) == 2 and is_mode(parts[1]):
        bind = Bind("", parts[0], parts[1])
    else:
        bind = Bind(parts[0], parts[1], parts[2] if len(parts) == 3 else "")
    words = mode_words(bind.mode)
    kind = "bind" if bind.is_bind else "volume"
    try:
        check_target(kind, bind.destination)
        if bind.is_bind and "nocopy" in words:
            raise _bad(kind, "field VolumeOptions must not be specified")
        if not bind.is_bind and any(word in PROPAGATIONS for word in words):
            raise _bad(kind, "field BindOptions must not be specified")
        if not bind.source and "ro" in words:
            raise _bad(kind, "must not set ReadOnly mode when using anonymous volumes")
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid volume specification: '{text}': {error}") from None
    return Bind(clean(bind.source) if bind.is_bind else bind.source, clean(bind.destination), bind.mode)


def check_target(kind: str, target: str) -> None:
    """A mount's destination: absolute, and not the root."""
    try:
        check_destination(target)
    except InvalidArgument as error:
        raise _bad(kind, str(error)) from None


def check_destination(target: str) -> None:
    """An absolute path below /, without NUL."""
    if not target:
        raise InvalidArgument("field Target must not be empty")
    if not target.startswith("/") or "\0" in target:
        raise InvalidArgument(f"invalid mount path: '{target}' mount path must be absolute")
    if clean(target) == "/":
        raise InvalidArgument("invalid specification: destination can't be '/'")


def check_mount(mount: MountRequest) -> None:
    """One entry of HostConfig.Mounts; a bind source must exist now, unless CreateMountpoint."""
    if mount.type in ("image", "cluster", "npipe"):
        raise Unimplemented(f"mounts of type {mount.type} are not built yet")
    if mount.type not in ("bind", "volume", "tmpfs"):
        raise InvalidArgument(f'invalid mount config for type "{mount.type}": mount type unknown')
    own = f"{mount.type}_options"
    for field, name in (("bind_options", "BindOptions"), ("volume_options", "VolumeOptions"), ("tmpfs_options", "TmpfsOptions")):
        if field != own and getattr(mount, field) is not None:
            raise InvalidArgument(f'{name} must not be specified on mount type "{mount.type}"')
    check_target(mount.type, mount.target)
    if mount.type == "bind":
        _check_bind(mount, mount.bind_options or BindOptions())
    elif mount.type == "volume":
        _check_volume(mount, mount.volume_options or VolumeOptions())
    else:
        if mount.source:
            raise _bad("tmpfs", "field Source must not be specified")
        tmpfs_of(mount)


def _check_bind(mount: MountRequest, options: BindOptions) -> None:
    if not mount.source:
        raise _bad("bind", "field Source must not be empty")
    if options.propagation and options.propagation not in PROPAGATIONS:
        raise _bad("bind", f"invalid propagation mode: {options.propagation}")
    if not mount.source.startswith("/") or "\0" in mount.source:
        raise _bad("bind", f"invalid mount path: '{mount.source}' mount path must be absolute")
    if not options.create_mountpoint and not os.path.exists(mount.source):
        raise missing_source(mount.source)


def _check_volume(mount: MountRequest, options: VolumeOptions) -> None:
    if not mount.source and mount.read_only:
        raise _bad("volume", "must not set ReadOnly mode when using anonymous volumes")
    if not mount.source and options.subpath:
        raise _bad("volume", "must not set Subpath when using anonymous volumes")
    parts = options.subpath.split("/")
    if options.subpath.startswith("/") or ".." in parts or "\0" in options.subpath:
        raise _bad("volume", "subpath must be a relative path within the volume")


def missing_source(path: str) -> InvalidArgument:
    """The error of a bind mount without its source."""
    return _bad("bind", f"bind source path does not exist: {path}")


def driver_of(options: VolumeOptions) -> DriverConfig:
    """The driver that a volume of --mount asks for."""
    return options.driver_config or DriverConfig()


def tmpfs_of(mount: MountRequest) -> str:
    """The options of a tmpfs of HostConfig.Mounts, as `--tmpfs` would have them."""
    options = mount.tmpfs_options or TmpfsOptions()
    words = ["ro"] if mount.read_only else []
    if options.size_bytes > 0:
        words.append(f"size={options.size_bytes}")
    if options.mode:
        words.append(f"mode={options.mode & 0o7777:o}")
    for option in options.options or ():
        if len(option) not in (1, 2):
            raise _bad("tmpfs", "invalid option array length")
        if len(option) == 2 or option[0] not in ("exec", "noexec"):
            raise _bad("tmpfs", f"invalid option: {'='.join(option) if option[0] in ('exec', 'noexec') else option[0]}")
        words.append(option[0])
    return ",".join(words)


def parse_tmpfs(text: str) -> tuple[int, dict[str, str | None]]:
    """MOUNT_ATTR_* and the file system's options of a `--tmpfs`; nosuid, nodev and noexec unless said otherwise. The last word wins."""
    attributes = _TMPFS_DEFAULTS
    data: dict[str, str | None] = {}
    for word in filter(None, text.split(",")):
        key, equals, value = word.partition("=")
        if word in _FLAGS:
            attributes |= _FLAGS[word]
        elif word in _CLEARS:
            attributes &= ~_CLEARS[word]
        elif key in _TMPFS_DATA and equals and value:
            data[key] = value
        elif word in _TMPFS_LATER:
            raise Unimplemented(f'the tmpfs option "{word}" is not built yet')
        else:
            raise InvalidArgument(f'invalid tmpfs option "{word}"')
    return attributes, data


def _bad(kind: str, text: str) -> InvalidArgument:
    return InvalidArgument(f'invalid mount config for type "{kind}": {text}')
