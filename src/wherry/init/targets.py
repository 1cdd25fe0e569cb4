"""Mount targets and the working directory: found inside the root, made when missing (R1)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from wherry.linux.mount import PROC_SUPER_MAGIC, fs_magic
from wherry.linux.path import IN_ROOT, O_PATH, make_dirs_in_root, make_file_in_root, openat2

_MAX_LINKS = 40  # as the kernel's own limit, path_resolution(7)


def directory(root: int, path: str) -> int:
    """An O_PATH descriptor of the directory `path` inside the root, made when missing."""
    return _make(make_dirs_in_root, root, path)


def file(root: int, path: str) -> int:
    """An O_PATH descriptor of the file `path` inside the root, made empty when missing."""
    return _make(make_file_in_root, root, path)


def _make(make: Callable[[int, str], int], root: int, path: str) -> int:
    try:
        return make(root, path)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
    # A dangling link of the image: what it names is made inside the root, as if the container itself followed it. The name that comes out
    # is only a better request; making it obeys the same rules as before.
    return make(root, without_links(root, path))


def without_links(root: int, path: str) -> str:
    """`path` with the links of the image replaced by what they name inside the root, as far as it exists. ELOOP for links of a procfs."""
    waiting, walked, links = _parts(path)[::-1], list[str](), 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            del walked[-1:]
            continue
        walked.append(part)
        try:
            fd = openat2(root, "/".join(walked), O_PATH | os.O_NOFOLLOW, IN_ROOT)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                links += 1
                if links > _MAX_LINKS or fs_magic(fd) == PROC_SUPER_MAGIC:
                    raise OSError(errno.ELOOP, "too many or magic symbolic links", path)
                target = os.readlink("", dir_fd=fd)
                walked = [] if target.startswith("/") else walked[:-1]
                waiting += _parts(target)[::-1]
        finally:
            os.close(fd)
    return "/" + "/".join(walked)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
