"""Attaching to a monitor that is gone."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.daemon.attach import AttachRequest, hand_over
from wherry.execdriver import messages
from wherry.execdriver.client import Monitor
from wherry.model.config import Config, HostConfig, NetworkingConfig
from wherry.model.container import Container, Record, State


@pytest.mark.parametrize("status", ["running", "created"])
def test_the_stream_of_a_monitor_that_is_gone_is_at_its_end(status: str) -> None:
    record = Record(id="1" * 64, created=1, image_ref="x", image_id="x", path="true", args=[], config=Config(), networking=NetworkingConfig(),
                    mounts=[], driver="vfs")  # fmt: skip
    container = Container(record, HostConfig(), "gone", State(status=status))
    ours, theirs = messages.pair()
    theirs.close()
    monitor = container.monitor = Monitor(ours, container.id, "", Path("/nowhere"))
    told: list[Any] = []
    daemon: Any = SimpleNamespace(event=lambda *what: told.append(what))
    client, other = socket.socketpair()
    with client, other:
        assert hand_over(daemon, container, AttachRequest(stdout=True), client, b"") is False
    assert told == []
    # What will never start is let go, so that the next start makes another; the end of a run is on its way to the hub.
    assert (container.monitor is None) == (status == "created")
    monitor.close()
