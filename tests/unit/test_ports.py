"""What the API asks for of published ports, as mappings."""

from __future__ import annotations

import pytest

from wherry.model.config import PortBinding
from wherry.model.errors import InvalidArgument, Unimplemented
from wherry.network.endpoint import PortMapping
from wherry.network.ports import Binder, overlap, parse_bindings, parse_port


def test_bindings_as_mappings():
    bindings = {
        "443": [PortBinding(host_port="8443")],
        "80/tcp": [PortBinding(host_ip="127.0.0.1", host_port="8080"), PortBinding(host_ip="::1", host_port="0")],
        "53/UDP": None,
        "22/tcp": [PortBinding(host_port="2200-2210")],
        "23/tcp": [PortBinding(host_port="2300-2300")],
    }
    assert sorted(parse_bindings(bindings)) == [
        PortMapping(22, "tcp", "", 2200, 2210),
        PortMapping(23, "tcp", "", 2300),
        PortMapping(53, "udp"),
        PortMapping(80, "tcp", "127.0.0.1", 8080),
        PortMapping(80, "tcp", "::1"),
        PortMapping(443, "tcp", "", 8443),
    ]
    assert list(bindings)[0] == "443" and parse_bindings(bindings)[0].container_port == 443, "in the order in which they were asked for"
    assert parse_bindings({"80": [PortBinding(host_ip="[::1]")]}) == [PortMapping(80, "tcp", "::1")]
    assert parse_bindings(None) == []


@pytest.mark.parametrize("key", ["", "x", "0/tcp", "65536", "80/", "-1", "80/icmp", "٣", "8 0", "80/tcp/udp"])
def test_bad_ports(key):
    if key == "80/":
        assert parse_port(key) == (80, "tcp")
        return
    with pytest.raises(InvalidArgument, match="invalid port specification"):
        parse_port(key)


@pytest.mark.parametrize(
    "binding",
    [
        PortBinding(host_port="x"),
        PortBinding(host_port="9-8"),
        PortBinding(host_port="-8"),
        PortBinding(host_port="8-"),
        PortBinding(host_port="0-8"),
        PortBinding(host_ip="localhost"),
        PortBinding(host_port="70000"),
    ],
)
def test_bad_bindings(binding):
    with pytest.raises(InvalidArgument):
        parse_bindings({"80/tcp": [binding]})


def test_sctp_says_that_it_is_not_built():
    with pytest.raises(Unimplemented, match="sctp"):
        parse_bindings({"80/sctp": [PortBinding()]})


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "::", False),
        ("::", "::1", True),
    ],
)
def test_which_addresses_exclude_each_other(one, other, expected):
    assert overlap(one, other) is overlap(other, one) is expected


def test_bound_sockets_are_all_or_none():
    binder = Binder(lambda protocol, host_ip, port: False)
    bound = binder.bind([PortMapping(80, "tcp", "127.0.0.1"), PortMapping(53, "udp", "127.0.0.1")], "172.17.0.2")
    taken = bound[0].mapping.host_port
    with pytest.raises(Exception, match="port is already allocated"):
        binder.bind([PortMapping(81, "tcp", "127.0.0.1"), PortMapping(80, "tcp", "127.0.0.1", taken)], "172.17.0.3")
    assert len(binder._pending) == 2
    binder.close(bound)
    assert not binder._pending
    again = binder.bind([PortMapping(80, "tcp", "127.0.0.1", taken)], "172.17.0.2")
    binder.close(again)
