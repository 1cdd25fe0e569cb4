"""The nftables backend: its script as text, and its errors; what the rules do is in tests/contract/test_publish.py."""

from __future__ import annotations

import errno
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.linux import conntrack, netlink, nftables
from wherry.network.firewall import Forward, by_kernel, quoted, table_name, table_text

SUBNET = IPv4Network("172.17.0.0/16")


def test_entries_go_to_the_map_of_their_address():
    text = table_text(
        "wherry0", SUBNET, 7, True, [Forward("tcp", "0.0.0.0", 8080, "172.17.0.2", 80), Forward("udp", "192.0.2.1", 53, "172.17.0.3", 53)]
    )
    assert "elements = { 6 . 8080 : 172.17.0.2 . 80 }" in text
    assert "elements = { 192.0.2.1 . 17 . 53 : 172.17.0.3 . 53 }" in text
    assert text.startswith("table ip wherry0\ndelete table ip wherry0\n"), "replaced in the transaction that makes it"
    assert "table bridge" not in text
    assert "meta iifgroup 7 meta oifgroup 7" in table_text("wherry0", SUBNET, 7, False, [])


@pytest.mark.parametrize(
    ("host_ip", "expected"), [("0.0.0.0", True), ("192.0.2.1", True), ("127.0.0.1", False), ("127.9.9.9", False), ("::", False), ("::1", False)]
)
def test_what_the_kernel_leads(host_ip, expected):
    assert by_kernel(host_ip) is expected


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=15))
def test_a_bridge_name_cannot_leave_its_place_in_the_script(name):
    table = table_name(name)
    assert table.startswith("wherry")
    assert all(c.isalnum() or c in "_.-" for c in table)
    try:
        assert quoted(name) == f'"{name}"'
    except ValueError:
        assert set(name) & set('"\\*')


def test_different_bridges_have_different_tables():
    names = ["wherry0", "br0", "br_0", "br+0", "br@0", "wherry-0"]
    assert len({table_name(name) for name in names}) == len(names)


def test_errors_carry_the_kernels_errno():
    message = "Error: No such file or directory; did you mean table ‘wherry0’ in family ip?\ndelete table bridge wherry0\n   ^^^\n"
    error = nftables._error("x", message)
    assert error.errno == errno.ENOENT
    assert nftables._error("x", "Error: Could not process rule: File exists\nadd ...\n").errno == errno.EEXIST
    assert nftables._error("hello", "Error: syntax error, unexpected newline\n").errno == errno.EINVAL
    assert nftables._error("hello", "").errno == errno.EINVAL


def message(kind: int, body: bytes) -> bytes:
    return netlink._HEADER.pack(16 + 4 + len(body), 10 << 8 | kind, 0, 0, 0) + bytes(4) + body


def test_notifications_of_changes():
    data = message(2, netlink.attr(1, b"wherry0\0")) + message(15, netlink.attr(2, (4711).to_bytes(4, "big")))
    assert list(nftables.changes(data)) == [("wherry0", -1), ("", 4711)]


@given(st.binary(max_size=120))
def test_random_notifications_are_parsed_or_refused(data):
    try:
        list(nftables.changes(data))
    except OSError as error:
        assert error.errno == errno.EBADMSG


@given(st.binary(max_size=120))
def test_random_conntrack_entries_are_parsed_or_refused(data):
    try:
        conntrack.reply_source(data)
    except OSError as error:
        assert error.errno == errno.EBADMSG
