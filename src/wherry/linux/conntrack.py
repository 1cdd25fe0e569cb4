"""Connection tracking: forget the flows that were led to an address which has a new owner now; linux/netfilter/nfnetlink_conntrack.h.

A UDP client that goes on sending keeps its entry alive for ever, and with it the way to a container that is gone (conntrack(8)).
"""

from __future__ import annotations

import errno
import socket
import struct

from wherry.linux.netlink import Netlink, Request, attr, attributes

_NETLINK_NETFILTER = 12
_CT_GET, _CT_DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE
_NESTED = 0x8000
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID, _CTA_FILTER = 1, 2, 12, 25
_CTA_TUPLE_IP, _CTA_IP_V4_SRC, _CTA_FILTER_ORIG_FLAGS, _CTA_FILTER_REPLY_FLAGS = 1, 1, 1, 2
_BY_SOURCE = 1  # CTA_FILTER_F_CTA_IP_SRC
_HEAD = struct.pack("=BBH", socket.AF_INET, 0, 0)  # nfgenmsg


def reply_source(entry: bytes) -> str:
    """The address that answers in an entry (body of an IPCTNL_MSG_CT_NEW): with destination NAT, where the flow was led. "": none."""
    found = attributes(entry[len(_HEAD) :])
    addresses = attributes(attributes(found.get(_CTA_TUPLE_REPLY, b"")).get(_CTA_TUPLE_IP, b""))
    raw = addresses.get(_CTA_IP_V4_SRC, b"")
    return socket.inet_ntoa(raw) if len(raw) == 4 else ""


class Conntrack:
    """A socket to the kernel's table of tracked connections; one thread at a time."""

    def __init__(self) -> None:
        self._kernel = Netlink(_NETLINK_NETFILTER)

    def close(self) -> None:
        """Close the socket."""
        self._kernel.close()

    def forget_flows_to(self, address: str) -> int:
        """Delete every entry whose answers come from this IPv4 address; returns how many. Since Linux 5.8 the kernel looks them
        out, which takes it 10 ms for a table of 65,536 buckets, empty or full."""
        where = attr(_CTA_TUPLE_IP | _NESTED, attr(_CTA_IP_V4_SRC, socket.inet_aton(address)))
        flags = attr(_CTA_FILTER_ORIG_FLAGS, struct.pack("=I", 0)) + attr(_CTA_FILTER_REPLY_FLAGS, struct.pack("=I", _BY_SOURCE))
        wanted = _HEAD + attr(_CTA_TUPLE_REPLY | _NESTED, where) + attr(_CTA_FILTER | _NESTED, flags)
        entries = self._kernel.dump("conntrack list", _CT_GET, wanted)
        return sum(self._delete(address, attributes(entry[len(_HEAD) :])) for entry in entries if reply_source(entry) == address)

    def _delete(self, address: str, entry: dict[int, bytes]) -> int:
        body = _HEAD + attr(_CTA_TUPLE_ORIG | _NESTED, entry[_CTA_TUPLE_ORIG])
        body += attr(_CTA_ID, entry[_CTA_ID]) if _CTA_ID in entry else b""
        try:
            self._kernel.batch(Request("conntrack delete", address, _CT_DELETE, 0, body))
        except OSError as error:
            if error.errno != errno.ENOENT:  # it ended by itself
                raise
            return 0
        return 1
