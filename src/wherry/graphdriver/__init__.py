"""Graph drivers: layers of files, one on another, and the mounts that show them as one tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wherry.graphdriver.overlay import Overlay
from wherry.graphdriver.spec import Change, Driver, Kind, MountSpec
from wherry.graphdriver.vfs import Vfs
from wherry.model.errors import InvalidArgument, Unavailable

__all__ = ["DRIVERS", "MAX_LAYERS", "Change", "Driver", "Kind", "MountSpec", "open_driver"]

MAX_LAYERS = 127  # image layers, init layer and read-write layer (C3)

DRIVERS: dict[str, Callable[[Path], Driver]] = {"overlay": Overlay, "vfs": Vfs}  # best first
ALIASES = {"overlay2": "overlay"}  # Docker's name for what we do


def open_driver(name: str | None, root: Path) -> Driver:
    """The driver `name`, or without a name: the one whose layers are there already, else the best that works on `root`.

    Raises InvalidArgument for an unknown name, Unavailable with the reasons where a driver does not work here."""
    if name:
        make = DRIVERS.get(ALIASES.get(name, name))
        if make is None:
            raise InvalidArgument(f"storage driver {name!r} is unknown; known are {', '.join(DRIVERS)}")
        try:
            return make(root)
        except OSError as error:
            raise Unavailable(f"storage driver {name!r} does not work on {root}: {error}") from error
    reasons = []
    used = [one for one in DRIVERS if _has_layers(root / one)]
    for one in used or DRIVERS:
        try:
            return DRIVERS[one](root)
        except OSError as error:
            reasons.append(f"{one}: {error}")
    hint = "; its layers are there, another driver would not see them: choose one with --storage-driver" if used else ""
    raise Unavailable(f"no storage driver works on {root} ({'; '.join(reasons)}){hint}")


def _has_layers(root: Path) -> bool:
    try:
        return any(not one.name.startswith(".") and (one / "lower").is_symlink() for one in root.iterdir())
    except FileNotFoundError:
        return False
