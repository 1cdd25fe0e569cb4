"""A host without one of the controllers, or without any: limits are dropped with a warning, or the daemon says what is missing."""

import os

import pytest

from harness.engine import Engine

pytestmark = pytest.mark.own_daemon

DISCARDED = {
    "memory": "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
    "pids": "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
    "cpu": "Your kernel does not support CPU CFS scheduler or the cgroup is not mounted. Period and quota discarded.",
    "cpuset": "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
}
LIMITS = {"Memory": 1 << 26, "PidsLimit": 50, "NanoCpus": 500_000_000, "CpusetCpus": "0"}


@pytest.fixture(autouse=True)
def clean_after() -> None:
    """The session's daemon is not used here."""


def engine_without(*paths: str) -> Engine:
    """An engine in a mount namespace of its own, where these are not mounted."""
    made = Engine("ctl")
    unmount = " && ".join(f"umount -l {path}" for path in paths)
    made.prefix = ("unshare", "-m", "sh", "-c", f'mount --make-rprivate / && {unmount} && exec "$@"', "sh")
    return made


# A pure v2 host has no controller that could be unmounted alone.
@pytest.mark.parametrize("controller", [one for one in (*DISCARDED, "freezer") if os.path.ismount(f"/sys/fs/cgroup/{one}")])
def test_one_controller_is_missing(controller: str) -> None:
    made = engine_without(f"/sys/fs/cgroup/{controller}")
    try:
        made.start()
        made.load("busybox")
        created = made.api.ok("POST", "/containers/create?name=limited", {
            "Image": "busybox", "Cmd": ["cat", "/proc/self/cgroup"], "HostConfig": LIMITS})  # fmt: skip
        assert created["Warnings"] == [DISCARDED[controller]] if controller in DISCARDED else not created["Warnings"], created
        made.api.ok("POST", "/containers/limited/start")
        assert made.api.ok("POST", "/containers/limited/wait")["StatusCode"] == 0
        groups = dict(line.split(":")[1:3] for line in made.cli("wherry")("logs", "limited").out.splitlines())
        assert created["Id"] not in groups[controller]
        assert all(created["Id"] in groups[other] for other in DISCARDED if other != controller and other in groups), groups
        made.api.ok("DELETE", "/containers/limited")
    finally:
        made.close()


@pytest.mark.parametrize("path", [path for path in ("/sys/fs/cgroup/devices",) if os.path.ismount(path)])
def test_without_device_control_no_node_can_be_made(path: str) -> None:
    """MKNOD is harmless only because a cgroup decides which devices may be opened."""
    made = engine_without(path)
    try:
        made.start()
        made.load("busybox")
        cli = made.cli("docker")
        refused = cli("run", "--rm", "busybox", "mknod", "/tmp/disk", "b", "8", "0", code=None)
        assert refused.code == 1 and "not permitted" in refused.err
        assert "device control" in cli("create", "busybox", "true").err
        assert cli("run", "--rm", "--cap-add", "MKNOD", "busybox", "mknod", "/tmp/disk", "b", "8", "0").code == 0
    finally:
        made.close()


def test_no_cgroups_at_all() -> None:
    """As dockerd: there is nothing to run containers with, so the daemon says so and ends."""
    made = engine_without("/sys/fs/cgroup")
    try:
        made.start(wait=False)
        assert made.wait_end() == 1
        assert "cannot start" in made.log_tail() and "no cgroup tree is mounted" in made.log_tail()
    finally:
        made.close()
