"""/etc/hosts and /etc/hostname of a container, as bytes; the expected texts are those of Docker 28.5."""

from __future__ import annotations

import pytest

from wherry.model.errors import InvalidArgument
from wherry.network.hosts import hostname_file, hosts, parse_extra_host

LOCAL = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
]


def lines(**values) -> list[str]:
    return hosts(**values).decode().splitlines()


def test_own_address_after_extra_hosts():
    extra = ["foo:1.2.3.4", "h:host-gateway", "six:::1"]
    got = lines(hostname="myhost", domainname="dom.example", address="172.17.0.4", extra=extra, gateway="172.17.0.1")
    assert got == [*LOCAL, "1.2.3.4\tfoo", "172.17.0.1\th", "::1\tsix", "172.17.0.4\tmyhost.dom.example myhost"]


def test_names_of_a_full_host_name_and_without_network():
    assert lines(hostname="my.host.example", address="172.17.0.4")[-1] == "172.17.0.4\tmy.host.example my"
    assert lines(hostname="abc", address="172.17.0.4")[-1] == "172.17.0.4\tabc"
    assert lines(hostname="abc") == LOCAL


def test_with_the_hosts_network_its_file_is_the_beginning():
    assert hosts(host_file=b"127.0.0.1 vm", extra=["a=1.1.1.1"]) == b"127.0.0.1 vm\n1.1.1.1\ta\n"


def test_links_have_their_lines():
    assert lines(links=[("172.17.0.9", "db mysql")])[-1] == "172.17.0.9\tdb mysql"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a:1.2.3.4", ("1.2.3.4", "a")), ("a=::1", ("::1", "a")), ("a:[fd00::1]", ("fd00::1", "a")), ("a=[fd00::1]", ("fd00::1", "a"))],
)
def test_forms_of_extra_hosts(text, expected):
    assert parse_extra_host(text) == expected


@pytest.mark.parametrize(
    "text", ["foo", ":1.2.3.4", "a b:1.2.3.4", "a\nb:1.2.3.4", "", "foo:", "foo:bar", "foo:1.2.3.4\n6.6.6.6 evil", "foo:host-gateway"]
)
def test_bad_extra_hosts_are_refused(text):
    with pytest.raises(InvalidArgument):
        parse_extra_host(text)


def test_hostname():
    assert hostname_file("abc") == b"abc\n"
