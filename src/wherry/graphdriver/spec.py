"""What every graph driver offers, and the plain data it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal, NamedTuple, Protocol


class Kind(IntEnum):
    """Kinds of change, numbered as in Docker's `GET /containers/{id}/changes`."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


class Change(NamedTuple):
    """One difference of a layer from its parent: an absolute path inside the container, and what happened to it."""

    path: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class MountSpec:
    """How the merged view of a layer is mounted. `lowers` are topmost first; a bind mount has one lower and nothing else.

    An option with an empty value is a flag."""

    kind: Literal["overlay", "bind"]
    lowers: tuple[Path, ...]
    upper: Path | None = None
    work: Path | None = None
    options: tuple[tuple[str, str], ...] = ()
    readonly: bool = False


class Driver(Protocol):
    """Keeps layers. A layer's files are its parent's with its own on top; only a layer that is no parent may be written to."""

    name: str
    whiteouts: Literal["kept", "applied"]  # kept: a deletion is an overlay whiteout in diff_dir; applied: the name is really gone

    def create(self, layer_id: str, parent: str | None) -> None:
        """A new empty layer over `parent`: wholly there or not at all. Conflict if it exists, NotFound if the parent does not."""

    def remove(self, layer_id: str, *, later: bool = False) -> None:
        """Takes the layer away at once, and deletes its files now, or with the next `sweep()` where `later`. Missing is fine."""

    def rename(self, layer_id: str, new_id: str) -> None:
        """Gives a layer, that is no parent yet, its final name; Conflict if that is taken."""

    def sweep(self) -> None:
        """Deletes the files of removed and of half-made layers."""

    def exists(self, layer_id: str) -> bool: ...

    def layers(self) -> list[str]: ...

    def parent(self, layer_id: str) -> str | None: ...

    def diff_dir(self, layer_id: str) -> Path:
        """Where this layer's own files are written (by the unpacker, and by the init layer)."""

    def mount_spec(self, layer_id: str, *, readonly: bool = False) -> MountSpec: ...

    def open_mount(self, layer_id: str, *, readonly: bool = False, volatile: bool = False) -> int:
        """Descriptor of a detached mount of the merged view; the caller attaches it with move_mount(2), or just closes it.

        The end of an overlay mount waits for a sync of the whole filesystem below; `volatile` spares that, and makes fsync in the mount do
        nothing: for layers that are not worth keeping over a power loss. Drivers without such a thing take no notice."""

    def changes(self, layer_id: str) -> list[Change]:
        """Differences from the parent, sorted by path; a directory above a change counts as modified."""

    def size(self, layer_id: str) -> int:
        """Bytes of content that the layer adds to its parent."""

    def status(self) -> list[tuple[str, str]]:
        """Pairs for `DriverStatus` of `info`."""
