"""Addresses of containers: next free with wrap-around, recorded, in every corner of a small subnet."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network

import pytest

from wherry.model.errors import Unavailable
from wherry.network.endpoint import mac_of
from wherry.network.ipam import CANDIDATES, Pool, choose_subnet
from wherry.store.db import Database


@pytest.fixture
def db(tmp_path):
    database = Database(tmp_path / "wherry.db")
    yield database
    database.close()


def pool(db: Database, address: str, bridge: str = "wherry0") -> Pool:
    made = Pool(db, bridge)
    made.record(IPv4Interface(address))
    return made


def test_addresses_are_given_in_turn_and_rest_after_release(db):
    addresses = pool(db, "172.17.0.1/16")
    first = addresses.allocate("a", 1500)
    assert (first.address, first.gateway, first.prefix_len, first.mac) == ("172.17.0.2", "172.17.0.1", 16, "02:42:ac:11:00:02")
    assert len(first.veth) == 11 and first.veth.startswith("veth")
    addresses.release("a")
    assert addresses.allocate("b", 1500).address == "172.17.0.3"
    assert addresses.find("b") is not None
    assert addresses.find("a") is None


def test_a_full_subnet_wraps_around_and_then_refuses(db):
    addresses = pool(db, "10.0.0.3/29")
    got = [addresses.allocate(str(n), 1500).address for n in range(5)]
    assert got == ["10.0.0.1", "10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(Unavailable, match="no available IPv4 addresses"):
        addresses.allocate("one too many", 1500)
    addresses.release("1")
    assert addresses.allocate("new", 1500).address == "10.0.0.2"
    addresses.release("3")
    addresses.release("0")
    assert addresses.allocate("next", 1500).address == "10.0.0.5"
    assert addresses.allocate("last", 1500).address == "10.0.0.1"


def test_the_gateway_at_the_end_and_in_a_gap(db):
    addresses = pool(db, "10.0.0.6/29")
    got = [addresses.allocate(str(n), 1500).address for n in range(5)]
    assert got == [f"10.0.0.{n}" for n in range(1, 6)]
    with pytest.raises(Unavailable):
        addresses.allocate("x", 1500)


def test_bridges_do_not_share_their_pools(db):
    one, two = pool(db, "10.0.0.1/24"), pool(db, "10.0.0.1/24", "wherry1")
    assert one.allocate("a", 1500).address == two.allocate("a", 1500).address == "10.0.0.2"
    assert list(one.held()) == ["a"]


def test_a_long_run_of_taken_addresses_is_skipped_in_one_look(db):
    addresses = pool(db, "10.0.0.1/16")
    for number in range(300):
        addresses.allocate(str(number), 1500)
    with db.transaction() as cursor:
        cursor.execute("UPDATE network_bridges SET next=?", (int(IPv4Network("10.0.0.0/16")[2]),))
    assert addresses.allocate("after", 1500).address == "10.0.1.46"


def test_choose_subnet_in_order_and_without_overlap():
    assert str(choose_subnet([])) == "172.17.0.1/16"
    assert str(choose_subnet([IPv4Network("172.16.0.0/14")])) == "172.20.0.1/16"
    assert str(choose_subnet([IPv4Network("172.16.0.0/12"), IPv4Network("192.168.3.0/24")])) == "192.168.16.1/20"
    with pytest.raises(Unavailable, match="--bip"):
        choose_subnet(CANDIDATES)


def test_mac_is_made_of_the_address():
    assert mac_of("192.168.255.1") == "02:42:c0:a8:ff:01"
