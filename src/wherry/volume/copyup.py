"""Copy-up: the content that an image has where a new volume is mounted becomes the volume's (S6).

In two phases, so that kill -9 leaves all of it or nothing: the copy grows in `_copy.part` beside the data, is renamed to `_copy` when it is
complete, and then moved into the data entry by entry. `finish` does at the next start what was left of either."""

from __future__ import annotations

import os

from wherry.volume import tree

_STAGED, _STAGING = "_copy", "_copy.part"
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def fill(directory: int, source: int, data: int) -> None:
    """Copies `source` into `data`, which lies in the volume's `directory` (all readable descriptors of directories)."""
    tree.remove_tree(directory, _STAGING)
    os.mkdir(_STAGING, 0o700, dir_fd=directory)
    staging = os.open(_STAGING, _DIR, dir_fd=directory)
    try:
        tree.copy_tree(source, staging)
    except BaseException:
        tree.remove_tree(directory, _STAGING)
        raise
    finally:
        os.close(staging)
    os.rename(_STAGING, _STAGED, src_dir_fd=directory, dst_dir_fd=directory)
    _move_in(directory, data)


def finish(directory: int, data: int) -> None:
    """After a crash: drops an incomplete copy, moves the rest of a complete one in."""
    tree.remove_tree(directory, _STAGING)
    if _exists(directory, _STAGED):
        _move_in(directory, data)


def _move_in(directory: int, data: int) -> None:
    """Run again it does the rest. What a container made in the volume meanwhile wins."""
    staged = os.open(_STAGED, _DIR, dir_fd=directory)
    try:
        info = os.fstat(staged)
        for entry in os.listdir(staged):
            if not _exists(data, entry):
                os.rename(entry, entry, src_dir_fd=staged, dst_dir_fd=data)
        tree.copy_metadata(staged, data, info)
        tree.empty_dir(staged)
    finally:
        os.close(staged)
    os.rmdir(_STAGED, dir_fd=directory)


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
