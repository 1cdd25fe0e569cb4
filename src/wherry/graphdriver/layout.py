"""The directories of a graph driver, shared by all drivers: `{root}/{layer}/...` and `{root}/.trash`.

A layer is made under a name that starts with a dot and renamed when it is whole; it is removed by a rename into the trash. So a kill -9 at
any point leaves a whole layer, or rubbish that `sweep()` deletes. The parent is the target of the symlink `lower` (`-` for none): one system
call writes it, one reads it, and a journalling filesystem keeps it over a power loss without fsync.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wherry.graphdriver import tree
from wherry.model.errors import Conflict, Internal, InvalidArgument, NotFound

_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,127}")
TRASH = ".trash"
NEW = ".new-"


class Layout:
    """Names, parents and the atomic coming and going of layers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o710, parents=True, exist_ok=True)
        (root / TRASH).mkdir(mode=0o700, exist_ok=True)
        self.fd = tree.open_dir(os.fsencode(root))
        self._parents: dict[str, str | None] = {}
        self._making: set[str] = set()
        self._lock = threading.Lock()
        self._sweeping = threading.Lock()

    def path(self, layer_id: str) -> Path:
        return self.root / check_id(layer_id)

    def create(self, layer_id: str, parent: str | None, fill: Callable[[int], None]) -> None:
        """Makes a layer; `fill` gets a descriptor of its directory before it has its name."""
        check_id(layer_id)
        if parent is not None:
            self.require(parent)
        fresh = f"{NEW}{layer_id}-{os.urandom(4).hex()}"
        with self._in_making(fresh):
            os.mkdir(fresh, 0o710, dir_fd=self.fd)
            try:
                fd = tree.open_dir(fresh, self.fd)
                try:
                    fill(fd)
                    os.symlink(parent or "-", "lower", dir_fd=fd)
                finally:
                    os.close(fd)
                self._name(fresh, layer_id)
            except BaseException:
                tree.remove_tree(self.fd, fresh)
                raise
        self._parents[layer_id] = parent

    def _name(self, fresh: str, layer_id: str) -> None:
        try:
            os.rename(fresh, layer_id, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as error:
            if self.exists(layer_id):
                raise Conflict(f"graph driver: layer {layer_id} exists already") from error
            raise

    @contextmanager
    def _in_making(self, name: str) -> Iterator[None]:
        with self._lock:
            self._making.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._making.discard(name)

    def rename(self, layer_id: str, new_id: str) -> None:
        parent = self.parent(layer_id)
        self._name(check_id(layer_id), check_id(new_id))
        self._parents.pop(layer_id, None)
        self._parents[new_id] = parent

    def discard(self, layer_id: str) -> bool:
        """Moves the layer to the trash; False if there is none."""
        try:
            os.rename(check_id(layer_id), f"{TRASH}/{layer_id}.{os.urandom(4).hex()}", src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except FileNotFoundError:
            return False
        finally:
            self._parents.pop(layer_id, None)
        return True

    def sweep(self) -> None:
        """Empties the trash, and drops layers that were half made when a daemon died."""
        with self._sweeping:
            with self._lock:
                rubbish = [name for name in os.listdir(self.fd) if name.startswith(NEW) and name not in self._making]
            for name in rubbish:
                tree.remove_tree(self.fd, name)
            trash = tree.open_dir(TRASH, self.fd)
            try:
                for name in os.listdir(trash):
                    tree.remove_tree(trash, name)
            finally:
                os.close(trash)

    def exists(self, layer_id: str) -> bool:
        if layer_id in self._parents:
            return True
        try:
            self._read_parent(layer_id)
        except NotFound:
            return False
        return True

    def require(self, layer_id: str) -> None:
        if not self.exists(layer_id):
            raise NotFound(f"graph driver: no layer {layer_id}")

    def layers(self) -> list[str]:
        return sorted(name for name in os.listdir(self.fd) if _ID.fullmatch(name) and self.exists(name))

    def parent(self, layer_id: str) -> str | None:
        try:
            return self._parents[layer_id]
        except KeyError:
            return self._read_parent(layer_id)

    def _read_parent(self, layer_id: str) -> str | None:
        try:
            target = os.readlink(f"{check_id(layer_id)}/lower", dir_fd=self.fd)
        except FileNotFoundError:
            raise NotFound(f"graph driver: no layer {layer_id}") from None
        parent = None if target == "-" else check_id(target)
        self._parents[layer_id] = parent
        return parent

    def chain(self, layer_id: str) -> list[str]:
        """The layer, its parent, and so on down; a loop cannot be, but a broken disk must not hang us."""
        found = [layer_id]
        while (above := self.parent(found[-1])) is not None:
            found.append(above)
            if len(found) > 1000:
                raise Internal(f"graph driver: layer {layer_id} has more than 1000 ancestors: {self.root} is damaged")
        return found


class LayoutDriver:
    """The half of a driver (`spec.Driver`) that is about names: the same for every driver that keeps its layers in a Layout."""

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root)

    def remove(self, layer_id: str, *, later: bool = False) -> None:
        if self._layout.discard(layer_id) and not later:
            self._layout.sweep()

    def rename(self, layer_id: str, new_id: str) -> None:
        self._layout.rename(layer_id, new_id)

    def sweep(self) -> None:
        self._layout.sweep()

    def exists(self, layer_id: str) -> bool:
        return self._layout.exists(layer_id)

    def layers(self) -> list[str]:
        return self._layout.layers()

    def parent(self, layer_id: str) -> str | None:
        return self._layout.parent(layer_id)

    def diff_dir(self, layer_id: str) -> Path:
        self._layout.require(layer_id)
        return self._layout.path(layer_id) / "diff"


def check_id(layer_id: str) -> str:
    if not _ID.fullmatch(layer_id):
        raise InvalidArgument(f"graph driver: bad layer ID {layer_id!r}")
    return layer_id
