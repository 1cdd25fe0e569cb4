"""Netlink messages as bytes: what we encode is read back by pyroute2, what is malformed is refused, never misread."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from wherry.linux import netlink, rtnetlink


def oracle(kind, request):
    """The request as pyroute2 decodes it."""
    message = kind(struct.pack("=IHHII", 16 + len(request.body), request.kind, 0, 1, 0) + request.body)
    message.decode()
    return message


def test_veth_is_one_message_with_everything():
    request = rtnetlink.veth_add("veth0123456", "eth0", peer_pid=4711, peer_mac="02:42:ac:11:00:02", mtu=1400, master=7)
    message = oracle(ifinfmsg, request)
    assert message.get_attr("IFLA_IFNAME") == "veth0123456"
    assert message.get_attr("IFLA_MASTER") == 7
    assert message.get_attr("IFLA_MTU") == 1400
    assert message["flags"] == message["change"] == rtnetlink.IFF_UP
    info = message.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer.get_attr("IFLA_IFNAME") == "eth0"
    assert peer.get_attr("IFLA_ADDRESS") == "02:42:ac:11:00:02"
    assert peer.get_attr("IFLA_NET_NS_PID") == 4711
    assert peer.get_attr("IFLA_MTU") == 1400


def test_address_and_route_as_the_oracle_reads_them():
    message = oracle(ifaddrmsg, rtnetlink.addr_add(3, "172.17.0.2", 16))
    assert (message["family"], message["prefixlen"], message["index"]) == (2, 16, 3)
    assert message.get_attr("IFA_LOCAL") == message.get_attr("IFA_ADDRESS") == "172.17.0.2"
    assert message.get_attr("IFA_BROADCAST") == "172.17.255.255"
    message = oracle(rtmsg, rtnetlink.route_add(gateway="172.17.0.1", index=3))
    assert (message["dst_len"], message["table"], message["type"]) == (0, 254, 1)
    assert (message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_OIF")) == ("172.17.0.1", 3)
    message = oracle(rtmsg, rtnetlink.route_add("fd00::", 64, index=3))
    assert (message["family"], message["dst_len"], message["scope"], message.get_attr("RTA_DST")) == (10, 64, 253, "fd00::")


def test_parse_link_of_a_message_made_by_the_oracle():
    message = ifinfmsg()
    message["index"], message["flags"] = 9, 1
    message["attrs"] = [
        ("IFLA_IFNAME", "wherry0"), ("IFLA_MTU", 1500), ("IFLA_ADDRESS", "02:42:ac:11:00:01"),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge")]}),
    ]  # fmt: skip
    message.encode()
    link = rtnetlink.parse_link(bytes(message.data)[16:])
    assert (link.index, link.name, link.mtu, link.mac, link.master, link.kind) == (9, "wherry0", 1500, "02:42:ac:11:00:01", 0, "bridge")


def test_a_16_bit_length_never_wraps():
    """CVE-2021-43784: the length field of an attribute wraps and the rest is read as other attributes."""
    assert len(netlink.attr(1, bytes(65531))) == 65536
    with pytest.raises(ValueError, match="16-bit"):
        netlink.attr(1, bytes(65532))


@pytest.mark.parametrize("name", ["", "a" * 16, "a/b", "a b", "a\0b", "..", "a:1", "a\n"])
def test_interface_names_the_kernel_refuses_are_refused_before(name):
    with pytest.raises(ValueError, match="interface name"):
        rtnetlink.interface_name(name)


@pytest.mark.parametrize(
    "call",
    [
        lambda: rtnetlink.addr_add(1, "1.2.3", 8),
        lambda: rtnetlink.addr_add(1, "1.2.3.4", 33),
        lambda: rtnetlink.route_add(),
        lambda: rtnetlink._mac("02:42"),
    ],
)
def test_bad_values_are_refused_before_they_are_sent(call):
    with pytest.raises((ValueError, OSError)):
        call()


def test_acknowledgement_with_the_kernels_words():
    echoed = struct.pack("=IHHII", 16, 24, 0, 1, 0)
    body = struct.pack("=i", -errno.EEXIST) + echoed + netlink.attr(1, b"name taken\0")
    assert netlink.parse_ack(0x200, body) == (errno.EEXIST, "name taken")
    assert netlink.parse_ack(0, struct.pack("=i", 0) + echoed) == (0, "")
    error = netlink.ack_error(rtnetlink.link_del("veth1"), errno.EEXIST, "name taken")
    assert str(error) == "[Errno 17] netlink link del: File exists (name taken): 'veth1'"


PARSERS = [
    lambda data: list(netlink.messages(data)),
    netlink.attributes,
    rtnetlink.parse_link,
    rtnetlink.parse_address,
    rtnetlink.parse_route,
    lambda data: netlink.parse_ack(0x200, data),
]


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(PARSERS))
def test_random_bytes_are_parsed_or_refused(data, parser):
    try:
        parser(data)
    except OSError as error:
        assert error.errno == errno.EBADMSG


VALID = rtnetlink.veth_add("veth1", "eth0", peer_pid=1, peer_mac="02:42:ac:11:00:02", mtu=1400, master=7).body


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(VALID) - 1), st.integers(0, 255), st.integers(0, len(VALID)))
def test_a_damaged_message_is_parsed_or_refused(position, value, length):
    data = bytearray(VALID)
    data[position] = value
    try:
        rtnetlink.parse_link(bytes(data[:length]))
    except OSError as error:
        assert error.errno == errno.EBADMSG


@pytest.mark.parametrize("data", [b"\x10\0\0", struct.pack("=IHHII", 15, 2, 0, 1, 0), struct.pack("=IHHII", 99, 2, 0, 1, 0)])
def test_lengths_that_do_not_add_up(data):
    with pytest.raises(OSError, match="malformed"):
        list(netlink.messages(data))


@pytest.mark.parametrize("data", [struct.pack("=HH", 0, 1), struct.pack("=HH", 3, 1), struct.pack("=HH", 9, 1) + b"1234", b"\4"])
def test_attribute_lengths_that_do_not_add_up(data):
    with pytest.raises(OSError, match="malformed"):
        netlink.attributes(data)
