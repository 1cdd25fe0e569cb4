"""The processes that unpack: `python -I -c ... box.main()`, see `worker.py`. Not for calling inside the daemon."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import socket
import sys
import traceback
from typing import Any, Literal, NoReturn

import zstandard

from wherry.graphdriver import tree
from wherry.image.compress import DECODE_ERRORS, Readable, decompressed
from wherry.image.tarread import CHUNK, TarReader
from wherry.image.unpack import Skeleton, Unpacker
from wherry.linux import mount, process

_NAMES_READY = "".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")  # the codecs are loaded before the root changes (R5)


class _Hashing:
    def __init__(self, src: Readable) -> None:
        self._src = src
        self.sum = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._src.read(size)
        self.sum.update(data)
        self.size += len(data)
        return data


def main() -> None:
    """argv[2] is the socket to the daemon. For each layer: whiteouts (kept or applied) with the descriptors of target, tar, skeleton and maybe
    the view of the layers below come in, one JSON object goes out. Each layer is unpacked by a fork, because a box cannot be left again;
    this process has one thread."""
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)  # nothing goes on writing when the daemon is gone
    with socket.socket(fileno=int(sys.argv[2])) as sock:
        while True:
            whiteouts, fds, _, _ = socket.recv_fds(sock, 64, 4)
            if not whiteouts:
                return
            child = os.fork()
            if child == 0:
                _one(sock, "kept" if whiteouts == b"kept" else "applied", *fds)
            for fd in fds:
                os.close(fd)
            _, status = os.waitpid(child, 0)
            if status:
                sock.send(json.dumps({"crashed": f"its process ended with {os.waitstatus_to_exitcode(status)}"}).encode())


def _one(sock: socket.socket, whiteouts: Literal["kept", "applied"], target: int, tar: int, skeleton: int, below: int | None = None) -> NoReturn:
    try:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            answer = _run(whiteouts, target, tar, skeleton, below)
        except DECODE_ERRORS as error:  # TarError is a ValueError
            answer = {"error": str(error)[:4096] or type(error).__name__, "errno": getattr(error, "errno", None) or 0}
        sock.send(json.dumps(answer).encode())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _run(whiteouts: Literal["kept", "applied"], target: int, tar: int, skeleton: int, below: int | None) -> dict[str, Any]:
    enter(target)
    root = tree.open_dir("/")
    source = os.fdopen(tar, "rb", buffering=0)
    os.umask(0)
    hashing = _Hashing(decompressed(source))
    with open(skeleton, "wb", closefd=False) as file, zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as out:
        record = Skeleton(out.write)
        reader = TarReader(hashing, skeleton=record.raw)
        unpacker = Unpacker(root, below, whiteouts, record)
        for entry in reader:
            unpacker.apply(reader, entry)
        reader.drain()
        unpacker.finish()
        record.close()
    if unpacker.whole:
        _keep_whole(source, skeleton)
    return {"diff_id": "sha256:" + hashing.sum.hexdigest(), "size": unpacker.size, "whole": unpacker.whole, "tar_size": hashing.size}


def _keep_whole(source: Any, skeleton: int) -> None:
    """The tar overwrote its own entries, so the contents on disk do not give it back: keep it, compressed."""
    source.seek(0)
    os.ftruncate(skeleton, 0)
    os.lseek(skeleton, 0, os.SEEK_SET)
    again = decompressed(source)
    with open(skeleton, "wb", closefd=False) as file, zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as out:
        while data := again.read(CHUNK):
            out.write(data)


def enter(target: int) -> None:
    """Leaves the host: a new mount namespace with the target as root and only mount; mount_namespaces(7), pivot_root(2)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    clone = mount.open_tree("", target)  # before unshare: only a mount of our own namespace can be cloned
    mount.mount_setattr(clone, set_=mount.MOUNT_ATTR_NODEV | mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NOEXEC, propagation=mount.MS_PRIVATE)
    process.unshare(process.CLONE_NEWNS)
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
    mount.move_mount_to(clone, "/")
    os.fchdir(clone)
    process.pivot_root(".", ".")
    mount.umount(".", mount.MNT_DETACH)
    os.chdir("/")
    os.close(clone)
    os.close(target)
