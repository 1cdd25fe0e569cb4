"""The unpack process, from the daemon's side: one for each load, which forks a box for each layer.

wherryd has threads, so it does not fork; subprocess (vfork and exec) is safe, and a load is not on the way of a run. The interpreter is
started isolated (-I): no environment variable and no current directory decide what it imports, and it gets no environment at all (R12).
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

import wherry
from wherry.graphdriver import tree
from wherry.model.errors import Internal, InvalidArgument

_START = "import sys; sys.path.insert(0, sys.argv[1]); from wherry.image import box; box.main()"
_HOST_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOTSUP}


class Unpacked(NamedTuple):
    diff_id: str  # of the bytes that were read, to be compared by the caller
    size: int  # bytes of file content
    whole: bool  # `skeleton` holds the whole tar
    tar_size: int  # bytes of the uncompressed tar


class Worker:
    """Context manager around the process, which is started at the first layer and ends with the block. For one thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._socket is not None:
            self._socket.close()  # the process takes that as its end
        if self._process is not None:
            self._process.wait()

    def unpack(self, tar: Path, target: Path, skeleton: Path, whiteouts: Literal["kept", "applied"], below: int | None = None) -> Unpacked:
        """Unpacks the (maybe compressed) file `tar` into the fresh directory `target`; what rebuilds the tar goes to `skeleton`.

        `below` is a descriptor of the merged view of the layers below: a whiteout is kept only where it hides something.
        InvalidArgument where the tar is at fault, OSError (ENOSPC, EIO ...) or Internal where the host is."""
        sock = self._socket or self._start()
        with ExitStack() as stack:
            fds = [tree.open_dir(os.fspath(target)), os.open(tar, os.O_RDONLY | os.O_CLOEXEC),
                   os.open(skeleton, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)]
            for fd in fds:
                stack.callback(os.close, fd)
            socket.send_fds(sock, [whiteouts.encode()], fds if below is None else [*fds, below])
        answer = json.loads(sock.recv(1 << 16) or b'{"crashed": "the worker is gone"}')
        if "crashed" in answer:
            raise Internal(f"unpacking the layer failed: {answer['crashed']}")
        if "error" in answer:
            if answer["errno"] in _HOST_ERRORS:
                raise OSError(answer["errno"], f"unpacking the layer: {answer['error']}")
            raise InvalidArgument(f"bad layer: {answer['error']}")
        return Unpacked(answer["diff_id"], answer["size"], answer["whole"], answer["tar_size"])

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-I", "-c", _START, str(Path(wherry.__file__).parent.parent), str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env={}, cwd="/", stdin=subprocess.DEVNULL)
        self._socket = ours
        return ours
