"""Volumes that are mounts of their own: mounted at the first use, unmounted after the last, also over a crash."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.model.errors import Internal
from wherry.store.db import Database
from wherry.volume.store import VolumeStore


def mounts_below(path: Path) -> list[str]:
    with open("/proc/self/mountinfo") as lines:
        return [line.split()[4] for line in lines if line.split()[4].startswith(str(path))]


@pytest.fixture
def volumes(tmp_path: Path) -> Iterator[VolumeStore]:
    db = Database(tmp_path / "wherry.db")
    volumes = VolumeStore(tmp_path / "volumes", db)
    yield volumes
    for user in {user for volume in volumes.list() for user in volumes.users(volume.name)}:
        volumes.release(user)
    db.close()
    assert mounts_below(tmp_path) == []


def test_tmpfs_is_shared_while_used_and_gone_after(volumes: VolumeStore, tmp_path: Path) -> None:
    volumes.create("fast", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=750,noexec"})
    for container in ("c1", "c2"):
        volumes.use(container, ["fast"])
    first = volumes.mount("c1", "fast")
    second = volumes.mount("c2", "fast")
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=first))
    assert os.listdir(second) == ["file"] and os.fstatvfs(first).f_blocks * os.fstatvfs(first).f_frsize == 1 << 20
    assert os.fstatvfs(first).f_flag & os.ST_NOEXEC and os.fstat(first).st_mode & 0o777 == 0o750
    assert mounts_below(tmp_path) == [str(volumes.path("fast"))]
    volumes.unmount_all("c1")
    assert mounts_below(tmp_path) == [str(volumes.path("fast"))]
    os.close(first)
    os.close(second)
    volumes.unmount_all("c2")
    assert mounts_below(tmp_path) == [] and os.listdir(volumes.path("fast")) == []


def test_bind_volume_read_only_and_removed_without_its_source(volumes: VolumeStore, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/kept").write_text("x")
    volumes.create("bound", options={"type": "none", "device": str(tmp_path / "source"), "o": "bind,ro"}, container="c")
    fd = volumes.mount("c", "bound")
    assert os.listdir(fd) == ["kept"]
    with pytest.raises(OSError, match="Read-only"):
        os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.close(fd)
    assert volumes.release("c", remove=["bound"]) == ["bound"]
    assert os.listdir(volumes.root) == [] and (tmp_path / "source/kept").exists()


def test_missing_device_is_an_error_that_leaves_nothing(volumes: VolumeStore, tmp_path: Path) -> None:
    volumes.create("bound", options={"type": "none", "device": "/no/such/place", "o": "bind"}, container="c")
    with pytest.raises(Internal, match="failed to mount local volume: mount /no/such/place:.*, flags: 0x1000: no such file or directory"):
        volumes.mount("c", "bound")
    assert mounts_below(tmp_path) == []


def test_a_mount_without_a_running_user_goes_at_the_next_start(volumes: VolumeStore, tmp_path: Path) -> None:
    for name, container in (("stopped", "c1"), ("running", "c2")):
        volumes.create(name, options={"type": "tmpfs", "device": "tmpfs"}, container=container)
        os.close(volumes.mount(container, name))
    volumes.reconcile({"c1", "c2"}, {"c2"})
    assert mounts_below(tmp_path) == [str(volumes.path("running"))]
    volumes.reconcile({"c2"}, {"c2"})
    assert volumes.users("stopped") == []


def test_copy_up_into_a_mounted_volume(volumes: VolumeStore, tmp_path: Path) -> None:
    (tmp_path / "rootfs/data").mkdir(parents=True)
    (tmp_path / "rootfs/data/f").write_text("image")
    volumes.create("fast", options={"type": "tmpfs", "device": "tmpfs"}, container="c")
    fd, root = volumes.mount("c", "fast"), os.open(tmp_path / "rootfs", os.O_PATH)
    assert volumes.copy_up("c", root, "/data", "fast") is True and os.listdir(fd) == ["f"]
    os.close(fd)
    os.close(root)
