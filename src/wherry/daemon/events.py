"""The event bus: what happens to containers, images, volumes and networks, told to whoever listens, with a bounded memory.

The shape of a message is that of the Engine API up to 1.51 ("GET /events").
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from wherry.model.filters import Filters

#: How many events are kept for `since`.
MEMORY = 1024
#: How many events a listener may be behind; one that falls further back is cut off, so that it cannot fill the daemon's memory.
BACKLOG = 16384

#: Filter keys that name objects: an ID or a `name`, whole or its beginning.
_OBJECTS = ("container", "network", "volume", "daemon", "plugin", "node", "service", "secret", "config")
#: Actions that carry something after a colon, which `event=` may leave out.
_OPEN_ENDED = ("health_status", "exec_create", "exec_start")


class Event(NamedTuple):
    """One event; `time` is nanoseconds since the epoch."""

    type: str
    action: str
    actor: str
    attributes: dict[str, str]
    time: int

    def to_json(self) -> dict[str, Any]:
        message: dict[str, Any] = {}
        if self.type in ("container", "image"):
            message["status"], message["id"] = self.action, self.actor
            if self.type == "container" and self.attributes.get("image"):
                message["from"] = self.attributes["image"]
        message["Type"], message["Action"] = self.type, self.action
        message["Actor"] = {"ID": self.actor, "Attributes": self.attributes}
        message["scope"] = "local"
        message["time"], message["timeNano"] = self.time // 1_000_000_000, self.time
        return message


class Subscription:
    """The events from `since` on, first those remembered, then those to come; ends at `until` (both nanoseconds) or with close()."""

    def __init__(self, bus: EventBus, replay: list[Event], until: int | None, filters: Filters, live: bool) -> None:
        self._bus = bus
        self._queue: deque[Event] = deque(replay)
        self._until = until
        self._filters = filters
        self._changed = threading.Condition()
        self._closed = not live

    def close(self) -> None:
        """End the iteration, also one that waits in another thread."""
        self._bus.drop(self)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def put(self, event: Event) -> None:
        """Called by the bus; never blocks."""
        with self._changed:
            if len(self._queue) >= BACKLOG:
                self._closed = True
            elif not self._closed:
                self._queue.append(event)
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Event]:
        try:
            while (event := self._next()) is not None:
                if matches(event, self._filters):
                    yield event
        finally:
            self.close()

    def _next(self) -> Event | None:
        with self._changed:
            while not self._queue:
                left = None if self._until is None else (self._until - time.time_ns()) / 1e9
                if self._closed or (left is not None and left <= 0):
                    return None
                self._changed.wait(left)
            return self._queue.popleft()


class EventBus:
    """One per daemon. `publish` may be called from any thread, also under locks: it never blocks."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._lock = threading.Lock()
        self._memory: deque[Event] = deque(maxlen=memory)
        self._listeners: list[Subscription] = []

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def publish(self, type: str, action: str, actor: str, attributes: dict[str, str] | None = None) -> Event:
        """Tell everybody that `action` happened to the object with the ID `actor`."""
        with self._lock:
            event = Event(type, action, actor, attributes or {}, time.time_ns())
            self._memory.append(event)
            for listener in self._listeners:
                listener.put(event)
        return event

    def container(self, action: str, container: Any, **attributes: str) -> Event:
        """An event of a container: its labels, image and name are attributes of it."""
        known = {**(container.config.labels or {}), "image": container.record.image_ref, "name": container.name}
        return self.publish("container", action, container.id, {**known, **attributes})

    def subscribe(self, since: int | None = None, until: int | None = None, filters: Filters | None = None) -> Subscription:
        """Listen from now on, or from `since`; to the end, or to `until` (nanoseconds since the epoch).

        Nothing is missed and nothing doubled between what is remembered and what is to come. `until` in the past ends after the replay.
        """
        with self._lock:
            replay = [] if since is None else [e for e in self._memory if e.time >= since and (until is None or e.time <= until)]
            live = until is None or until > time.time_ns()
            subscription = Subscription(self, replay, until, filters or Filters(), live)
            if live:
                self._listeners.append(subscription)
        return subscription

    def drop(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._listeners:
                self._listeners.remove(subscription)

    def close(self) -> None:
        """The daemon stops: every listener's stream ends."""
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.close()


def matches(event: Event, filters: Filters) -> bool:
    """True when `event` passes `filters`; keys that are no event filters are ignored."""
    if not filters:
        return True
    return (_among(filters, "type", event.type) and _among(filters, "scope", "local") and _action(event, filters)
            and filters.labels_match(event.attributes) and _image(event, filters)
            and all(_object(event, filters, key) for key in _OBJECTS))


def _among(filters: Filters, key: str, value: str) -> bool:
    return key not in filters or value in filters.get(key)


def _action(event: Event, filters: Filters) -> bool:
    if "event" not in filters:
        return True
    head = event.action.partition(":")[0]
    wanted = filters.get("event")
    return event.action in wanted or (head in _OPEN_ENDED and any(want.partition(":")[0] == want == head for want in wanted))


def _object(event: Event, filters: Filters, key: str) -> bool:
    if key not in filters:
        return True
    return any(event.actor.startswith(want) or event.attributes.get("name", "").startswith(want) for want in filters.get(key))


def _image(event: Event, filters: Filters) -> bool:
    if "image" not in filters:
        return True
    name = event.attributes.get("name" if event.type == "image" else "image", "")
    known = {event.actor, name, _without_tag(event.actor), _without_tag(name)}
    return any(want in known for want in filters.get("image"))


def _without_tag(reference: str) -> str:
    """`registry:5000/a/b:tag` without its tag or digest."""
    head = reference.partition("@")[0]
    at = head.rfind(":")
    return head[:at] if at > head.rfind("/") else head
