"""The engine's own identity: made once, kept in a file of the data root."""

from __future__ import annotations

import threading
import uuid
from functools import cache
from pathlib import Path

from wherry.store import atomic

_lock = threading.Lock()


@cache
def engine_id(root: Path) -> str:
    """The ID of the engine whose data is at `root`."""
    path = root / "engine-id"
    with _lock:
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            made = str(uuid.uuid4())
            atomic.write(path, made.encode() + b"\n")
            return made
