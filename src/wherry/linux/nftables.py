"""libnftables in-process: a script of nft commands is one atomic transaction of the kernel; libnftables(3), nft(8).

A context holds a netlink socket of the network namespace of the thread that made it. Making the first one loads the library: do it at
daemon start. Numbers go in and come out (no NSS look-ups of protocols and services), nothing is written to our standard streams.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

from wherry.linux.netlink import attributes, messages

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


# Changes made by others

_NETLINK_NETFILTER, _NFNLGRP_NFTABLES, _NFNL_SUBSYS_NFTABLES, _NFT_MSG_NEWGEN = 12, 7, 10, 15
_NFGENMSG = 4  # bytes: family, version, resource id; linux/netfilter/nfnetlink.h
_NFTA_TABLE, _NFTA_GEN_PROC_PID = 1, 2


def changes(data: bytes) -> Iterator[tuple[str, int]]:
    """The notifications of one datagram: (table, -1) for a change in a table, ("", TID) for the end of a transaction of that thread.
    OSError(EBADMSG) for a length that does not add up."""
    for kind, _, _, body in messages(data):
        if kind >> 8 != _NFNL_SUBSYS_NFTABLES:
            continue
        values = attributes(body[_NFGENMSG:])
        if kind & 0xFF == _NFT_MSG_NEWGEN:
            yield "", int.from_bytes(values.get(_NFTA_GEN_PROC_PID, b""), "big")
        else:
            yield values.get(_NFTA_TABLE, b"").split(b"\0", 1)[0].decode("utf-8", "replace"), -1


def _ours(thread: int) -> bool:
    """Whether a thread is one of this process. One that ended already is not: then a look too many is taken."""
    return os.path.exists(f"/proc/self/task/{thread}")


class Changes:
    """A socket on which the kernel reports every change of the firewall's tables; poll `fileno()`, then read()."""

    def __init__(self, tables: set[str]) -> None:
        self._tables = tables
        self._pending: set[str] = set()  # changed in a transaction whose end is still to come
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
        self._sock.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))

    def fileno(self) -> int:
        return self._sock.fileno()

    def read(self) -> set[str]:
        """Our tables that other processes changed since the last read; all of them when reports were lost."""
        found: set[str] = set()
        while True:
            try:
                for table, pid in changes(self._sock.recv(1 << 16)):
                    if table in self._tables:
                        self._pending.add(table)
                    elif pid >= 0:
                        found |= set() if _ours(pid) else self._pending
                        self._pending = set()
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.EBADMSG):
                    raise
                found |= self._tables

    def close(self) -> None:
        """Stop listening."""
        self._sock.close()
