"""Control files, reached from a directory descriptor: one open, one write or read, one close."""

import os
from typing import NamedTuple


class Tree(NamedTuple):
    """One mounted hierarchy. `path` is only for messages, all access goes through `fd`."""

    fd: int
    path: str

    def open(self, file: str, flags: int) -> int:
        """A descriptor of `file`, close-on-exec. OSError names the whole path."""
        try:
            return os.open(file, flags | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError as err:
            raise OSError(err.errno, os.strerror(err.errno or 0), f"{self.path}/{file}") from None

    def write(self, file: str, *values: str) -> None:
        """Write each value in a write(2) of its own, as control files want it. OSError names the file and the value."""
        fd = self.open(file, os.O_WRONLY)
        try:
            for value in values:
                os.write(fd, value.encode())
        except OSError as err:
            raise OSError(err.errno, f"{os.strerror(err.errno or 0)}: writing {value!r}", f"{self.path}/{file}") from None
        finally:
            os.close(fd)

    def read(self, file: str) -> str:
        """The whole file. OSError names it."""
        fd = self.open(file, os.O_RDONLY)
        try:
            parts = []
            while part := os.read(fd, 65536):
                parts.append(part)
            return b"".join(parts).decode()
        finally:
            os.close(fd)

    def exists(self, file: str) -> bool:
        try:
            os.stat(file, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True

    def mkdir(self, group: str) -> None:
        try:
            os.mkdir(group, 0o755, dir_fd=self.fd)
        except OSError as err:
            raise OSError(err.errno, os.strerror(err.errno or 0), f"{self.path}/{group}") from None

    def rmdir(self, group: str) -> None:
        try:
            os.rmdir(group, dir_fd=self.fd)
        except OSError as err:
            raise OSError(err.errno, os.strerror(err.errno or 0), f"{self.path}/{group}") from None

    def children(self, group: str) -> list[str]:
        """Names of the groups right below `group`; none when it is gone."""
        try:
            fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        except FileNotFoundError:
            return []
        try:
            with os.scandir(fd) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        finally:
            os.close(fd)

    def walk(self, group: str) -> list[str]:
        """`group` and all groups below it, deepest first."""
        return [below for name in self.children(group) for below in self.walk(f"{group}/{name}")] + [group]

    def remove(self, group: str) -> bool:
        """Remove `group` with the groups a container made below it. True: it is gone; False: a process still is in it."""
        try:
            os.rmdir(group, dir_fd=self.fd)
            return True
        except FileNotFoundError:
            return True
        except OSError:  # EBUSY: groups below, or processes
            pass
        gone = True
        for below in self.walk(group):
            try:
                os.rmdir(below, dir_fd=self.fd)
            except FileNotFoundError:
                pass
            except OSError:
                gone = False
        return gone


def fields(text: str) -> dict[str, int]:
    """A "flat keyed" file (`name value` lines) as numbers."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].lstrip("-").isdigit()}
