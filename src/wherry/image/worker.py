"""Starts the unpack process and reads its answer.

wherryd has threads, so it does not fork; subprocess (vfork and exec) is safe, and a load is not on the way of a run. The interpreter is
started isolated (-I): no environment variable and no current directory decide what it imports, and it gets no environment at all (R12).
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
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


def unpack(tar: Path, target: Path, skeleton: Path, whiteouts: Literal["kept", "applied"]) -> Unpacked:
    """Unpacks the (maybe compressed) file `tar` into the fresh directory `target`; what rebuilds the tar goes to `skeleton`.

    InvalidArgument where the tar is at fault, OSError (ENOSPC, EIO ...) or Internal where the host is."""
    with ExitStack() as stack:
        fds = [tree.open_dir(os.fspath(target)), os.open(tar, os.O_RDONLY | os.O_CLOEXEC),
               os.open(skeleton, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)]
        for fd in fds:
            stack.callback(os.close, fd)
        source = Path(wherry.__file__).parent.parent
        command = [sys.executable, "-I", "-c", _START, str(source), whiteouts, *map(str, fds)]
        done = subprocess.run(command, pass_fds=fds, env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise Internal(f"unpacking the layer failed: the worker ended with {done.returncode}: {said}") from None
    if "error" in answer:
        if answer["errno"] in _HOST_ERRORS:
            raise OSError(answer["errno"], f"unpacking the layer: {answer['error']}")
        raise InvalidArgument(f"bad layer: {answer['error']}")
    return Unpacked(answer["diff_id"], answer["size"], answer["whole"], answer["tar_size"])
