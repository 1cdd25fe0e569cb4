"""The TagStore (C1): which name means which image; `repositories.json`, format version 1.

`{"Version": 1, "Repositories": {"busybox": {"busybox:latest": "sha256:..."}}, "LastTagTime": {"sha256:...": "2026-..."}}`: Docker's shape,
with familiar names. The file is replaced as a whole (temporary name, fsync, rename) under the lock, so each change is there or not.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wherry.image.reference import Reference, is_digest, parse
from wherry.model.errors import InvalidArgument, Unavailable
from wherry.store import atomic

VERSION = 1


class TagStore:
    """Names to image IDs. All methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._ids: dict[Reference, str] = {}
        self._names: dict[str, set[Reference]] = {}
        self._tagged: dict[str, str] = {}
        self._read()

    def get(self, ref: Reference) -> str | None:
        """Image ID of a name with a tag or digest; a digest wins over a tag."""
        key = ref.canonical() if ref.digest else ref.with_default_tag()
        return self._ids.get(key)

    def set(self, ref: Reference, image_id: str) -> str | None:
        """Points a tag or digest to an image, durably; returns the ID it pointed to before, if another."""
        if not ref.tag and not ref.digest:
            raise InvalidArgument(f"{ref.familiar()}: a tag or digest is missing")
        key = ref.canonical() if ref.digest else ref
        with self._lock:
            before = self._ids.get(key)
            if before == image_id:
                return None
            with self._as_before_on_failure():
                if before is not None:
                    self._names[before].discard(key)
                self._ids[key] = image_id
                self._names.setdefault(image_id, set()).add(key)
                self._tagged[image_id] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
                self._write()
            return before

    def remove(self, refs: list[Reference]) -> None:
        """Forgets references, durably; unknown ones are fine."""
        with self._lock, self._as_before_on_failure():
            for ref in refs:
                image_id = self._ids.pop(ref, None)
                if image_id is not None:
                    self._names[image_id].discard(ref)
            self._write()

    def of(self, image_id: str) -> list[Reference]:
        """All references to an image, sorted."""
        with self._lock:
            return sorted(self._names.get(image_id, ()))

    def last_tag_time(self, image_id: str) -> str | None:
        return self._tagged.get(image_id)

    def forget(self, image_id: str) -> None:
        """Drops all about an image that is being deleted; written with the next change, or now where names were left."""
        with self._lock:
            self._tagged.pop(image_id, None)
            if left := self._names.pop(image_id, set()):
                for ref in left:
                    self._ids.pop(ref, None)
                self._write()

    @contextmanager
    def _as_before_on_failure(self) -> Iterator[None]:
        """What cannot be written (a full disk) has not happened in memory either."""
        ids, names, tagged = dict(self._ids), {key: set(refs) for key, refs in self._names.items()}, dict(self._tagged)
        try:
            yield
        except BaseException:
            self._ids, self._names, self._tagged = ids, names, tagged
            raise

    def _write(self) -> None:
        repositories: dict[str, dict[str, str]] = {}
        for ref in sorted(self._ids):
            repositories.setdefault(ref.familiar_name, {})[ref.familiar()] = self._ids[ref]
        document = {"Version": VERSION, "Repositories": repositories, "LastTagTime": self._tagged}
        atomic.write(self._path, json.dumps(document, indent=1).encode())

    def _read(self) -> None:
        try:
            document = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return
        for ref, image_id in _entries(document):
            self._ids[ref] = image_id
            self._names.setdefault(image_id, set()).add(ref)
        self._tagged = {str(key): str(value) for key, value in document.get("LastTagTime", {}).items()}


def _entries(document: Any) -> list[tuple[Reference, str]]:
    version = document.get("Version", 0) if isinstance(document, dict) else 0
    if isinstance(version, int) and version > VERSION:
        raise Unavailable(f"repositories.json has format version {version}, this engine knows {VERSION}: it was written by a newer one")
    if version != VERSION:
        raise ValueError(f"format version {version!r}")
    found = []
    for names in document["Repositories"].values():
        for name, image_id in names.items():
            if not is_digest(image_id):
                raise ValueError(f"{name} names the image {image_id!r}")
            found.append((parse(name), image_id))
    return found
