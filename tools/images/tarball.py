"""Deterministic ustar/pax archives of a file tree, of the difference of two trees, and Docker archives of such layers.

Formats: POSIX.1-2017 pax; whiteouts as in the OCI image specification, "Layer Filesystem Changeset"; `manifest.json` as in
Docker's image specification v1.2. Equal trees give equal bytes: entries are sorted, names of users are left out, and times
are cut to whole seconds and to no later than `clamp`.
"""

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path


class HashingWriter:
    """A file, written front to back, that knows the SHA-256 of what was written."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb", buffering=1 << 20)
        self._sha256 = hashlib.sha256()

    def tell(self) -> int:
        return self._file.tell()

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        return self._file.write(data)

    def finish(self) -> str:
        self._file.close()
        return self._sha256.hexdigest()


def walk(root: Path) -> Iterator[str]:
    """Paths below `root`, relative, each directory before what it holds, sorted."""
    for directory, names, files in os.walk(root):
        names.sort()
        base = os.path.relpath(directory, root)
        linked = [name for name in names if os.path.islink(os.path.join(directory, name))]
        for name in sorted([*files, *names]):
            yield os.path.normpath(os.path.join(base, name))
        names[:] = [name for name in names if name not in linked]


def changed(before: Path | None, after: Path) -> tuple[list[str], list[str]]:
    """(added or changed paths, removed paths) that lead from the tree `before` to `after`."""
    new = sorted(walk(after), key=lambda path: path.split("/"))
    if before is None:
        return new, []
    present = set(new)
    removed: list[str] = []
    for path in sorted(walk(before), key=lambda path: path.split("/")):
        if path not in present and not any(path.startswith(gone + "/") for gone in removed[-1:]):
            removed.append(path)
    return [path for path in new if _differs(before / path, after / path)], removed


def _differs(before: Path, after: Path) -> bool:
    try:
        old = before.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    new = after.lstat()
    if (old.st_mode, old.st_uid, old.st_gid, old.st_rdev) != (new.st_mode, new.st_uid, new.st_gid, new.st_rdev):
        return True
    if stat.S_ISDIR(new.st_mode):
        return False
    if stat.S_ISLNK(new.st_mode):
        return os.readlink(before) != os.readlink(after)
    return (old.st_size, old.st_mtime_ns) != (new.st_size, new.st_mtime_ns)


def write_layer(root: Path, paths: Iterable[str], removed: Iterable[str], out: Path, clamp: int) -> str:
    """Writes the layer to `out` and returns its diff ID (`sha256:` and the hash of the tar)."""
    sink = HashingWriter(out)
    links: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT, copybufsize=1 << 20) as tar:  # type: ignore[call-overload]
        for path in removed:
            parent, _, name = path.rpartition("/")
            tar.addfile(tarfile.TarInfo(f"{parent}/.wh.{name}".lstrip("/")))
        for path in paths:
            _add(tar, root, path, links, clamp)
    return f"sha256:{sink.finish()}"


def _add(tar: tarfile.TarFile, root: Path, path: str, links: dict[tuple[int, int], str], clamp: int) -> None:
    status = (root / path).lstat()
    if stat.S_ISSOCK(status.st_mode):
        return
    entry = tarfile.TarInfo(path)
    entry.mode, entry.uid, entry.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    entry.mtime = min(int(status.st_mtime), clamp)
    if stat.S_ISDIR(status.st_mode):
        entry.type, entry.name = tarfile.DIRTYPE, path + "/"
    elif stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(root / path)
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        entry.type = tarfile.CHRTYPE if stat.S_ISCHR(status.st_mode) else tarfile.BLKTYPE
        entry.devmajor, entry.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    elif stat.S_ISFIFO(status.st_mode):
        entry.type = tarfile.FIFOTYPE
    else:
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and key in links:
            entry.type, entry.linkname = tarfile.LNKTYPE, links[key]
        else:
            links[key] = path
            for name in os.listxattr(root / path, follow_symlinks=False):
                if name == "security.capability":
                    value = os.getxattr(root / path, name, follow_symlinks=False)
                    entry.pax_headers[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
            entry.size = status.st_size
            with open(root / path, "rb") as source:
                tar.addfile(entry, source)
            return
    tar.addfile(entry)


def write_archive(out: Path, tag: str, config: dict[str, object], layers: list[tuple[str, Path]], created: str) -> None:
    """Writes the Docker archive `out`: the image `tag` of `layers` (diff ID, tar), bottom first; atomic."""
    image = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id for diff_id, _ in layers]},
        "history": [{"created": created, "created_by": f"tools/images {tag}, layer {n}"} for n in range(1, len(layers) + 1)],
    }
    document = json.dumps(image, sort_keys=True).encode()
    config_name = hashlib.sha256(document).hexdigest() + ".json"
    names = [diff_id.removeprefix("sha256:") + "/layer.tar" for diff_id, _ in layers]
    manifest = json.dumps([{"Config": config_name, "RepoTags": [tag], "Layers": names}]).encode()
    partial = out.with_suffix(f".{os.getpid()}.part")
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT, copybufsize=1 << 20) as tar:  # type: ignore[call-overload]
        for name, (_, path) in zip(names, layers, strict=True):
            directory = tarfile.TarInfo(os.path.dirname(name) + "/")
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
            entry = tarfile.TarInfo(name)
            entry.size = path.stat().st_size
            with open(path, "rb") as source:
                tar.addfile(entry, source)
        for name, data in ((config_name, document), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    os.rename(partial, out)
