"""resolv.conf of a container, as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model.errors import InvalidArgument
from wherry.network.dns import FALLBACK, Resolver, behind_resolved, parse, resolv_conf


def lines(content: bytes) -> list[str]:
    return [line for line in content.decode().splitlines() if not line.startswith("#")]


def test_the_hosts_file_without_what_cannot_be_reached():
    host = b"# x\nnameserver 127.0.0.1\nnameserver 10.0.0.53\nnameserver ::1\n"
    host += b"nameserver fe80::1%eth0\nnameserver 2001:db8::1\nsearch a b\noptions ndots:2\n"
    assert lines(resolv_conf(host)) == ["nameserver 10.0.0.53", "search a b", "options ndots:2"]
    assert lines(resolv_conf(host, ipv6=True))[:2] == ["nameserver 10.0.0.53", "nameserver 2001:db8::1"]
    assert lines(resolv_conf(host, own_network=False))[:3] == ["nameserver 127.0.0.1", "nameserver 10.0.0.53", "nameserver ::1"]


@pytest.mark.parametrize("host", [b"", b"nameserver 127.0.0.1\n", b"nameserver 127.0.0.53\nsearch lan\n", b"nameserver nonsense\n", b"\xff\xfe"])
def test_fallback_where_nothing_is_left(host):
    assert lines(resolv_conf(host))[:2] == [f"nameserver {server}" for server in FALLBACK]


def test_options_of_the_container_win_one_by_one():
    host = b"nameserver 10.0.0.53\nsearch lan\noptions timeout:1\n"
    assert lines(resolv_conf(host, servers=["::1", "1.1.1.1"])) == ["nameserver ::1", "nameserver 1.1.1.1", "search lan", "options timeout:1"]
    assert lines(resolv_conf(host, search=["."])) == ["nameserver 10.0.0.53", "options timeout:1"]
    assert lines(resolv_conf(host, search=["a", "b"], options=["ndots:3"])) == ["nameserver 10.0.0.53", "search a b", "options ndots:3"]


@pytest.mark.parametrize(
    "wrong",
    [{"servers": ["x"]}, {"servers": ["1.1.1.1\nsearch evil"]}, {"search": ["a b"]}, {"options": ["a\nnameserver 6.6.6.6"]}, {"search": [""]}],
)
def test_no_value_becomes_another_line(wrong):
    with pytest.raises(InvalidArgument):
        resolv_conf(b"", **wrong)


def test_the_last_search_or_domain_wins():
    assert parse(b"domain one\nsearch two three\n").search == ("two", "three")
    assert parse(b"search two three\ndomain one extra\n").search == ("one",)
    assert parse(b"nameserver\n; nameserver 1.1.1.1\n  nameserver 2.2.2.2 # c\n") == Resolver(("2.2.2.2",))


def test_systemd_resolved_is_recognised():
    assert behind_resolved(b"nameserver 127.0.0.53\noptions edns0\n")
    assert not behind_resolved(b"nameserver 127.0.0.53\nnameserver 1.1.1.1\n")
    assert not behind_resolved(b"")


@given(st.binary(max_size=300))
def test_any_host_file_gives_a_file_that_parses_to_reachable_servers(host):
    found = parse(resolv_conf(host))
    assert found.servers
    assert not any(server.startswith("127.") for server in found.servers)
