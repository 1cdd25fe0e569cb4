"""The local driver's options `type`, `o`, `device`: a volume that is a mount of its own, made at its first use, undone after its last."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from wherry.linux import mount as mnt
from wherry.model.errors import Internal, InvalidArgument, Unimplemented

_NAMES = ("type", "o", "device", "size")
_SET = {
    "ro": mnt.MS_RDONLY, "nosuid": mnt.MS_NOSUID, "nodev": mnt.MS_NODEV, "noexec": mnt.MS_NOEXEC, "noatime": mnt.MS_NOATIME,
    "bind": mnt.MS_BIND, "rbind": mnt.MS_BIND | mnt.MS_REC, "relatime": mnt.MS_RELATIME, "strictatime": mnt.MS_STRICTATIME,
}
_CLEAR = {"rw": mnt.MS_RDONLY, "suid": mnt.MS_NOSUID, "dev": mnt.MS_NODEV, "exec": mnt.MS_NOEXEC, "atime": mnt.MS_NOATIME, "defaults": 0}


def parse_options(text: str) -> tuple[int, str]:
    """The flags of mount(2) and the file system's own options in a comma separated `o`."""
    flags, data = 0, []
    for word in filter(None, text.split(",")):
        if word in _SET:
            flags |= _SET[word]
        elif word in _CLEAR:
            flags &= ~_CLEAR[word]
        else:
            data.append(word)
    return flags, ",".join(data)


def check_options(volume: str, options: Mapping[str, str]) -> None:
    """InvalidArgument for options that the local driver does not have, with Docker's texts."""
    for name in options:
        if name not in _NAMES:
            raise InvalidArgument(f'create {volume}: invalid option: "{name}"')
    if "size" in options:
        raise Unimplemented(f"create {volume}: the option size (a quota) is not built yet; type=tmpfs with o=size= limits a volume in memory")
    if not options:
        return
    for name in ("device", "type"):
        if not options.get(name):
            raise InvalidArgument(f'create {volume}: missing required option: "{name}"')
    if options["type"].startswith(("nfs", "cifs", "smb")):
        raise Unimplemented(f"create {volume}: volumes of type {options['type']} are not built yet; mount it on the host and use type=none, o=bind")
    flags, data = parse_options(options.get("o", ""))
    if flags & mnt.MS_BIND and not os.path.isabs(options["device"]):
        raise InvalidArgument(f'create {volume}: device "{options["device"]}" of a bind volume must be an absolute path')
    if flags & mnt.MS_BIND and data:
        raise InvalidArgument(f"create {volume}: a bind volume has no options of a file system: {data}")


def mount(volume: str, options: Mapping[str, str], target: str) -> None:
    """Mounts the volume on its `_data` directory; Internal with Docker's text where the kernel refuses."""
    flags, data = parse_options(options.get("o", ""))
    device, kind = options["device"], options["type"]
    try:
        mnt.mount(device, target, kind, flags, data or None)
        if flags & mnt.MS_BIND and flags & ~(mnt.MS_BIND | mnt.MS_REC):  # a bind ignores all other flags at first, mount(2)
            try:
                mnt.mount(None, target, None, flags | mnt.MS_REMOUNT)
            except OSError:
                mnt.umount(target, mnt.MNT_DETACH)
                raise
    except OSError as error:
        raise Internal(
            f"error while mounting volume '{target}': failed to mount local volume: mount {device}:{target}, "
            f"flags: {flags:#x}{f', data: {data}' if data else ''}: {os.strerror(error.errno or errno.EIO).lower()}"
        ) from error


def unmount(target: str) -> None:
    """Takes the volume's mount off; what running programs still have of it stays with them."""
    mnt.umount(target, mnt.MNT_DETACH | mnt.UMOUNT_NOFOLLOW)
