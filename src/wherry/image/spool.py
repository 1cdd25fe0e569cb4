"""An image archive, spooled to disk: its members are numbered files, and names lead to them only through a table.

No name of the archive ever becomes a path of the host. Members are hashed while they come in.
"""

from __future__ import annotations

import hashlib
import posixpath
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from wherry.image.compress import DECODE_ERRORS, Readable, decompressed
from wherry.image.tarread import Limits, TarEntry, TarError, TarReader
from wherry.model.errors import InvalidArgument, WherryError

LIMITS = Limits(entries=20_000, depth=32)
MAX_JSON = 8 << 20
PREFIX = "load-"


@dataclass(frozen=True, slots=True)
class Member:
    file: Path
    size: int
    digest: str


class Spool:
    """Context manager; `members` maps normalised names to files in a temporary directory below `parent`."""

    def __init__(self, parent: Path) -> None:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._members: dict[str, Member] = {}
        self._links: dict[str, str] = {}

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def read_archive(self, src: Readable) -> None:
        """Takes a whole archive in; InvalidArgument if it is none."""
        try:
            reader = TarReader(decompressed(src), LIMITS)
            for entry in reader:
                self._take(reader, entry)
        except WherryError:
            raise
        except DECODE_ERRORS as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise InvalidArgument(f"not an image archive: {error or type(error).__name__}") from error

    def read_file(self, src: Readable) -> Member:
        """Takes one plain file in (an import's tar)."""
        target = self.directory / "import"
        size = 0
        with open(target, "wb") as file:
            while data := src.read(1 << 20):
                file.write(data)
                size += len(data)
        return Member(target, size, "")

    def find(self, name: str) -> Member | None:
        """The member of a name, through the archive's own links."""
        here = _normal(name)
        for _ in range(10):
            if here in self._members:
                return self._members[here]
            if here not in self._links:
                return None
            here = self._links[here]
        raise InvalidArgument(f"image archive: {name}: too many links")

    def get(self, name: str) -> Member:
        found = self.find(name)
        if found is None:
            raise InvalidArgument(f"image archive: {name} is missing")
        return found

    def json(self, name: str) -> bytes:
        member = self.get(name)
        if member.size > MAX_JSON:
            raise InvalidArgument(f"image archive: {name} has {member.size} bytes, at most {MAX_JSON} are allowed")
        return member.file.read_bytes()

    def _take(self, reader: TarReader, entry: TarEntry) -> None:
        name = _normal(entry.name)
        match entry.kind:
            case "5":
                return
            case "2":
                self._links[name] = _normal(posixpath.join(posixpath.dirname(name), entry.link))
            case "1":
                self._links[name] = _normal(entry.link)
            case "0":
                target = self.directory / str(len(self._members))
                digest = hashlib.sha256()
                with open(target, "xb") as file:
                    for data in reader.content():
                        digest.update(data)
                        file.write(data)
                if name in self._members:
                    raise TarError(f"{name} is in the archive twice")
                self._members[name] = Member(target, entry.size, "sha256:" + digest.hexdigest())
            case _:
                raise TarError(f"{name}: an image archive holds files and directories only")


def _normal(name: str) -> str:
    return posixpath.normpath("/" + name).lstrip("/")
