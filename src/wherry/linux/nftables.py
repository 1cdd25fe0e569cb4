"""libnftables in-process: a script of nft commands is one atomic transaction of the kernel; libnftables(3), nft(8).

A context holds a netlink socket of the network namespace of the thread that made it. Making the first one loads the library: do it at
daemon start. Numbers go in and come out (no NSS look-ups of protocols and services), nothing is written to our standard streams.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import threading
from typing import Any

_JSON, _TERSE = 1 << 4, 1 << 11
_NUMERIC_ALL = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10
_ERRNO_OF_TEXT = {os.strerror(number): number for number in errno.errorcode}


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise OSError(errno.ELIBACC, f"cannot load libnftables.so.1 (Debian package libnftables1): {error}") from None
    library.nft_ctx_new.argtypes, library.nft_ctx_new.restype = [ctypes.c_uint32], ctypes.c_void_p
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_ctx_free.argtypes, library.nft_ctx_free.restype = [ctypes.c_void_p], None
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes, getattr(library, name).restype = [ctypes.c_void_p], ctypes.c_char_p
    library.nft_ctx_output_set_flags.argtypes, library.nft_ctx_output_set_flags.restype = [ctypes.c_void_p, ctypes.c_uint], None
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


class Nftables:
    """One libnftables context; safe for threads (one command at a time). Close it."""

    def __init__(self) -> None:
        self._library = _load()
        self._lock = threading.Lock()
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise OSError(errno.ENOMEM, "nft_ctx_new failed")
        if self._library.nft_ctx_buffer_output(self._context) or self._library.nft_ctx_buffer_error(self._context):
            self.close()
            raise OSError(errno.ENOMEM, "nft_ctx_buffer_output failed")

    def close(self) -> None:
        """Free the context; rules stay."""
        with self._lock:
            context, self._context = self._context, None
            if context:
                self._library.nft_ctx_free(context)

    def run(self, script: str, *, terse: bool = False) -> str:
        """Run nft commands: all of them or none. Returns what they print (`terse`: without the elements of sets and maps).
        OSError carries the kernel's errno where libnftables names it (ENOENT, EEXIST), else EINVAL."""
        return self._run(script, _NUMERIC_ALL | (_TERSE if terse else 0))

    def query(self, command: str) -> list[dict[str, Any]]:
        """The objects that a `list` command prints, as libnftables-json(5) has them, without the header."""
        found = json.loads(self._run(command, _NUMERIC_ALL | _JSON))["nftables"]
        return [one for one in found if "metainfo" not in one]

    def _run(self, script: str, flags: int) -> str:
        with self._lock:
            if not self._context:
                raise OSError(errno.EBADF, "nftables context is closed")
            self._library.nft_ctx_output_set_flags(self._context, flags)
            failed = self._library.nft_run_cmd_from_buffer(self._context, script.encode())
            output: str = self._library.nft_ctx_get_output_buffer(self._context).decode()
            message = self._library.nft_ctx_get_error_buffer(self._context).decode()
        if failed:
            raise _error(script, message)
        return output


def _error(script: str, message: str) -> OSError:
    """The first line of libnftables' message, and the command that it stands under."""
    lines = message.splitlines() or ["no message"]
    reason = lines[0].partition(";")[0].rpartition(": ")[2]  # the rest after ";" is advice
    command = lines[1].strip() if len(lines) > 1 else script.strip().partition("\n")[0]
    text = lines[0].partition("Error: ")[2] or lines[0]
    return OSError(_ERRNO_OF_TEXT.get(reason, errno.EINVAL), f"nftables: {text}", command[:200])
