"""Hostile images and containers against copy-up and removal of volumes. One test a row of the CVE tables."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.model.errors import InvalidArgument
from wherry.store.db import Database
from wherry.volume import tree
from wherry.volume.store import VolumeStore


@pytest.fixture
def volumes(tmp_path: Path) -> Iterator[VolumeStore]:
    db = Database(tmp_path / "wherry.db")
    yield VolumeStore(tmp_path / "volumes", db)
    db.close()


@pytest.fixture
def rootfs(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/secret").write_text("secret of the host")
    root = tmp_path / "rootfs"
    root.mkdir()
    fd = os.open(root, os.O_PATH)
    yield root, fd
    os.close(fd)


@pytest.mark.parametrize("target", ["/../host", "/../../../../../..{host}", "{host}", "/link", "/relative", "/x/../../host", "/link/../host"])
def test_cve_2022_23648_volume_path_of_an_image_copies_no_host_files(volumes: VolumeStore, rootfs: tuple[Path, int], target: str) -> None:
    root, fd = rootfs
    host = str(root.parent / "host")
    os.symlink(host, root / "link")
    os.symlink("../host", root / "relative")
    (root / "x").mkdir()
    name = volumes.create(container="c").name
    try:
        volumes.copy_up("c", fd, target.format(host=host), name)
    except InvalidArgument:
        pass
    assert os.listdir(volumes.path(name)) == []


def test_cve_2022_23648_links_of_the_image_are_copied_as_links(volumes: VolumeStore, rootfs: tuple[Path, int]) -> None:
    root, fd = rootfs
    (root / "data").mkdir()
    os.symlink(root.parent / "host", root / "data/dir")
    os.symlink(root.parent / "host/secret", root / "data/file")
    os.symlink("/proc/self/root", root / "data/magic")
    name = volumes.create(container="c").name
    assert volumes.copy_up("c", fd, "/data", name)
    assert all((volumes.path(name) / entry).is_symlink() for entry in ("dir", "file", "magic"))


def _flip(path: Path, host: Path, stop: threading.Event) -> None:
    """Swaps `path` between what the image has and a link to the host, as fast as it can."""
    aside, link = path.with_name("aside"), path.with_name("link")
    os.symlink(host, link)
    while not stop.is_set():
        os.rename(path, aside)
        os.rename(link, path)
        os.rename(path, link)
        os.rename(aside, path)


@pytest.mark.parametrize("what", ["dir", "file"])
def test_cve_2023_0778_a_racing_link_never_leads_to_the_host(volumes: VolumeStore, rootfs: tuple[Path, int], what: str, tmp_path: Path) -> None:
    """The source is changed while it is copied, as by a container that shares it."""
    root, fd = rootfs
    (root / "data").mkdir()
    victim = root / "data" / what
    if what == "dir":
        victim.mkdir()
        (victim / "secret").write_text("of the image")
    else:
        victim.write_text("of the image")
    host = root.parent / ("host" if what == "dir" else "host/secret")
    stop = threading.Event()
    racer = threading.Thread(target=_flip, args=(victim, host, stop))
    racer.start()
    try:
        source = os.open(root / "data", os.O_RDONLY)
        for number in range(150):
            target = tmp_path / f"copy{number}"
            target.mkdir()
            fd = os.open(target, os.O_RDONLY)
            try:
                tree.copy_tree(source, fd)
            except OSError:
                pass  # it noticed
            os.close(fd)
            for directory, _, files in os.walk(target):  # does not go into links
                plain = [Path(directory, name) for name in files if not Path(directory, name).is_symlink()]
                assert all(path.read_text() in ("of the image", "") for path in plain), plain
        os.close(source)
    finally:
        stop.set()
        racer.join()


def test_removal_of_a_volume_follows_no_link_even_a_racing_one(volumes: VolumeStore, rootfs: tuple[Path, int]) -> None:
    host = rootfs[0].parent / "host"
    for _ in range(50):
        name = volumes.create(container="c").name
        directory = volumes.path(name) / "dir"
        directory.mkdir()
        for number in range(20):
            (directory / str(number)).write_text("x")
        stop = threading.Event()

        def race(directory: Path = directory, stop: threading.Event = stop) -> None:
            while not stop.is_set():
                try:
                    os.rename(directory, directory.with_name("aside"))
                    os.symlink(host, directory)
                except OSError:
                    return

        racer = threading.Thread(target=race)
        racer.start()
        fd = os.open(volumes.path(name), os.O_RDONLY)
        try:
            tree.empty_dir(fd)
        except OSError:
            pass
        finally:
            stop.set()
            racer.join()
            os.close(fd)
        assert (host / "secret").read_text() == "secret of the host"


def test_device_nodes_and_foreign_attributes_of_the_image_are_not_copied(volumes: VolumeStore, rootfs: tuple[Path, int]) -> None:
    root, fd = rootfs
    (root / "data").mkdir()
    os.mknod(root / "data/mem", 0o20666, os.makedev(1, 1))
    os.mknod(root / "data/disk", 0o60666, os.makedev(8, 0))
    (root / "data/f").write_text("")
    os.setxattr(root / "data/f", "trusted.overlay.redirect", b"/host")
    os.setxattr(root / "data/f", "user.ok", b"1")
    name = volumes.create(container="c").name
    assert volumes.copy_up("c", fd, "/data", name)
    assert os.listdir(volumes.path(name)) == ["f"] and os.listxattr(volumes.path(name) / "f") == ["user.ok"]
