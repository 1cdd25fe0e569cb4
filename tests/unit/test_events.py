from __future__ import annotations

import threading
import time

import pytest

from wherry.daemon import events
from wherry.daemon.events import Event, EventBus, matches
from wherry.model.filters import Filters


def actions(subscription: events.Subscription) -> list[str]:
    return [event.action for event in subscription]


def test_replay_then_live_without_gap_or_double() -> None:
    bus = EventBus(memory=3)
    for number in range(5):
        bus.publish("container", f"old{number}", "id")
    subscription = bus.subscribe(since=0)
    bus.publish("container", "new", "id")
    iterator = iter(subscription)
    assert [next(iterator).action for _ in range(4)] == ["old2", "old3", "old4", "new"]
    waiter = threading.Timer(0.05, subscription.close)
    waiter.start()
    assert list(iterator) == [] and bus.listeners == 0
    waiter.join()


def test_until_and_since() -> None:
    bus = EventBus()
    first = bus.publish("container", "a", "id")
    bus.publish("container", "b", "id")
    assert actions(bus.subscribe(since=first.time + 1, until=time.time_ns() - 1)) == ["b"]
    assert actions(bus.subscribe(until=0)) == [] and bus.listeners == 0
    begun = time.monotonic()
    assert actions(bus.subscribe(until=time.time_ns() + 50_000_000)) == [] and time.monotonic() - begun >= 0.05
    assert bus.listeners == 0


def test_a_listener_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BACKLOG", 10)
    bus = EventBus()
    subscription = bus.subscribe()
    for _ in range(20):
        bus.publish("container", "x", "id")
    assert len(actions(subscription)) == 10 and bus.listeners == 0


def test_close_ends_all() -> None:
    bus = EventBus()
    got: list[list[str]] = []
    subscriptions = [bus.subscribe() for _ in range(3)]
    threads = [threading.Thread(target=lambda s=one: got.append(actions(s))) for one in subscriptions]
    for thread in threads:
        thread.start()
    bus.publish("container", "x", "id")
    bus.close()
    for thread in threads:
        thread.join(5)
    assert got == [["x"]] * 3


def test_shape() -> None:
    event = Event("container", "die", "abc", {"image": "busybox", "name": "n", "exitCode": "1"}, 1_500_000_000_000_000_007)
    assert event.to_json() == {
        "status": "die", "id": "abc", "from": "busybox", "Type": "container", "Action": "die",
        "Actor": {"ID": "abc", "Attributes": {"image": "busybox", "name": "n", "exitCode": "1"}},
        "scope": "local", "time": 1_500_000_000, "timeNano": 1_500_000_000_000_000_007}
    assert set(Event("volume", "create", "v", {}, 1).to_json()) == {"Type", "Action", "Actor", "scope", "time", "timeNano"}


CONTAINER = Event("container", "exec_start: sh -c x", "abcdef", {"image": "reg:5/a:1", "name": "web", "k": "v"}, 1)
IMAGE = Event("image", "pull", "sha256:12", {"name": "busybox:latest"}, 1)
NETWORK = Event("network", "connect", "net1", {"name": "bridge", "container": "abcdef"}, 1)


@pytest.mark.parametrize(("filters", "event", "passes"), [
    ({}, CONTAINER, True), ({"type": ["container"]}, CONTAINER, True), ({"type": ["image", "volume"]}, CONTAINER, False),
    ({"container": ["abc"]}, CONTAINER, True), ({"container": ["we"]}, CONTAINER, True), ({"container": ["x"]}, CONTAINER, False),
    ({"event": ["exec_start"]}, CONTAINER, True), ({"event": ["exec_start: sh -c x"]}, CONTAINER, True), ({"event": ["exec_s"]}, CONTAINER, False),
    ({"event": ["start"]}, CONTAINER, False), ({"event": ["die", "pull"]}, IMAGE, True),
    ({"image": ["reg:5/a"]}, CONTAINER, True), ({"image": ["reg:5/a:1"]}, CONTAINER, True), ({"image": ["reg"]}, CONTAINER, False),
    ({"image": ["busybox"]}, IMAGE, True), ({"image": ["busybox:1"]}, IMAGE, False), ({"label": ["k"]}, CONTAINER, True),
    ({"label": ["k=v", "k=w"]}, CONTAINER, False), ({"container": ["abc"]}, IMAGE, False), ({"network": ["bri"]}, NETWORK, True),
    ({"nonsense": ["x"]}, CONTAINER, True), ({"scope": ["swarm"]}, CONTAINER, False), ({"volume": ["x"]}, CONTAINER, False),
])
def test_filters(filters: dict[str, list[str]], event: Event, passes: bool) -> None:
    assert matches(event, Filters(filters)) is passes
