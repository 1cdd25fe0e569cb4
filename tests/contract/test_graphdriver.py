"""One contract for all graph drivers: each test runs on each of them, and on each way of mounting an overlay."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wherry.graphdriver import DRIVERS, Driver, Kind, initlayer, open_driver
from wherry.graphdriver.overlay import Overlay
from wherry.model.errors import Conflict, InvalidArgument, NotFound, Unavailable

VARIANTS = ("overlay", "overlay-string", "overlay-mount", "vfs")


@pytest.fixture(params=VARIANTS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    name, _, way = request.param.partition("-")
    made = open_driver(name, tmp_path)
    if way:
        assert isinstance(made, Overlay)
        made.way = way
    return made


@contextmanager
def view(driver: Driver, layer: str, *, readonly: bool = False) -> Iterator[int]:
    """The merged view as a directory descriptor, never attached anywhere."""
    mounted = driver.open_mount(layer, readonly=readonly)
    try:
        yield mounted
    finally:
        os.close(mounted)


def path(fd: int, name: str = "") -> str:
    return f"/proc/self/fd/{fd}/{name}"


def write(driver: Driver, layer: str, files: dict[str, str]) -> None:
    with view(driver, layer) as fd:
        for name, text in files.items():
            os.makedirs(os.path.dirname(path(fd, name)), exist_ok=True)
            Path(path(fd, name)).write_text(text)


def changes(driver: Driver, layer: str) -> dict[str, Kind]:
    return {change.path: change.kind for change in driver.changes(layer)}


def test_layers_show_their_ancestors(driver: Driver) -> None:
    driver.create("a", None)
    write(driver, "a", {"one": "a", "two": "a"})
    driver.create("b", "a")
    write(driver, "b", {"two": "b", "dir/three": "b"})
    driver.create("c", "b")
    with view(driver, "c", readonly=True) as fd:
        assert Path(path(fd, "one")).read_text() == "a"
        assert Path(path(fd, "two")).read_text() == "b"
        assert Path(path(fd, "dir/three")).read_text() == "b"
        with pytest.raises(OSError, match="Read-only"):
            Path(path(fd, "new")).write_text("")
    with view(driver, "a", readonly=True) as fd:
        assert Path(path(fd, "two")).read_text() == "a"
    assert driver.parent("c") == "b" and driver.parent("a") is None
    assert driver.layers() == ["a", "b", "c"]


def test_a_layer_is_made_once_and_needs_its_parent(driver: Driver) -> None:
    driver.create("a", None)
    with pytest.raises(Conflict):
        driver.create("a", None)
    with pytest.raises(NotFound):
        driver.create("b", "missing")
    with pytest.raises(NotFound):
        driver.diff_dir("b")
    assert not driver.exists("b") and driver.layers() == ["a"]


@pytest.mark.parametrize("bad", ["", ".", "..", "../a", "a/b", ".trash", "a\0", "x" * 200])
def test_bad_layer_ids_are_refused(driver: Driver, bad: str) -> None:
    with pytest.raises(InvalidArgument):
        driver.create(bad, None)
    with pytest.raises(InvalidArgument):
        driver.remove(bad)


def test_remove_takes_everything_and_follows_nothing(driver: Driver, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    driver.create("a", None)
    with view(driver, "a") as fd:
        os.symlink(outside, path(fd, "link"))
        os.mkdir(path(fd, "closed"), 0)
        os.mkfifo(path(fd, "fifo"))
        os.mknod(path(fd, "null"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
    deep = os.open(driver.diff_dir("a"), os.O_RDONLY)
    for _ in range(1500):  # deeper than PATH_MAX, and than Python's recursion limit
        os.mkdir("deeper", dir_fd=deep)
        below = os.open("deeper", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    driver.remove("a")
    driver.remove("a")
    assert not driver.exists("a") and driver.layers() == []
    assert (outside / "kept").read_text() == "kept"
    root = tmp_path / driver.name
    assert not list((root / ".trash").iterdir()) and not (root / "a").exists()


def test_remove_later_is_swept(driver: Driver, tmp_path: Path) -> None:
    driver.create("a", None)
    write(driver, "a", {"file": "text"})
    driver.remove("a", later=True)
    assert not driver.exists("a")
    driver.create("a", None)  # the name is free at once
    trash = tmp_path / driver.name / ".trash"
    assert len(list(trash.iterdir())) == 1
    driver.sweep()
    assert not list(trash.iterdir()) and driver.exists("a")


def test_another_daemon_finds_the_layers(driver: Driver, tmp_path: Path) -> None:
    driver.create("a", None)
    driver.create("b", "a")
    again = DRIVERS[driver.name](tmp_path)
    assert again.layers() == ["a", "b"] and again.parent("b") == "a"
    assert open_driver(None, tmp_path).name == driver.name  # whose layers are there


def test_kill_during_create_leaves_no_layer(driver: Driver, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom wherry.graphdriver import open_driver\n"
        "d = open_driver(sys.argv[1], Path(sys.argv[2]))\nos.symlink = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\nd.create('half', None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, driver.name, str(tmp_path)], check=False)
    assert done.returncode == -9
    root = tmp_path / driver.name
    assert [one.name for one in root.iterdir() if one.name.startswith(".new-")], "the kill came too early"
    assert driver.layers() == []
    driver.sweep()
    assert not [one.name for one in root.iterdir() if one.name.startswith(".new-")]


def test_changes_and_size(driver: Driver) -> None:
    driver.create("a", None)
    write(driver, "a", {"etc/passwd": "root", "etc/old": "x", "var/lib/data": "d", "same/file": "s", "gone/a": "1", "gone/b": "2"})
    driver.create("b", "a")
    assert changes(driver, "b") == {}
    with view(driver, "b") as fd:
        Path(path(fd, "etc/passwd")).write_text("root and more")
        os.unlink(path(fd, "etc/old"))
        os.unlink(path(fd, "gone/a"))
        os.unlink(path(fd, "gone/b"))
        os.rmdir(path(fd, "gone"))
        os.makedirs(path(fd, "new/dir"))
        Path(path(fd, "new/dir/file")).write_text("12345")
        os.symlink("dir", path(fd, "new/link"))
    assert changes(driver, "b") == {
        "/etc": Kind.MODIFIED, "/etc/passwd": Kind.MODIFIED, "/etc/old": Kind.DELETED, "/gone": Kind.DELETED,
        "/new": Kind.ADDED, "/new/dir": Kind.ADDED, "/new/dir/file": Kind.ADDED, "/new/link": Kind.ADDED,
    }
    assert driver.size("b") == len("root and more") + 5


def test_a_replaced_directory(driver: Driver) -> None:
    driver.create("a", None)
    write(driver, "a", {"d/x": "x", "d/y": "y"})
    driver.create("b", "a")
    with view(driver, "b") as fd:
        os.unlink(path(fd, "d/x"))
        os.unlink(path(fd, "d/y"))
        os.rmdir(path(fd, "d"))
        os.mkdir(path(fd, "d"))
        Path(path(fd, "d/y")).write_text("new")
    assert changes(driver, "b") == {"/d": Kind.MODIFIED, "/d/x": Kind.DELETED, "/d/y": Kind.MODIFIED}
    with view(driver, "b") as fd:
        assert os.listdir(path(fd)) == ["d"] and os.listdir(path(fd, "d")) == ["y"]


def test_attributes_survive_into_a_child(driver: Driver) -> None:
    driver.create("a", None)
    with view(driver, "a") as fd:
        name = path(fd, "tool")
        Path(name).write_text("x")
        os.chown(name, 12, 34)
        os.chmod(name, 0o4755)
        os.setxattr(name, "user.note", b"hello")
        os.setxattr(name, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
        os.link(name, path(fd, "same"))
        os.mknod(path(fd, "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.chmod(path(fd, "null"), 0o666)
        os.utime(name, ns=(1_000_000_001, 2_000_000_003))
        os.chmod(path(fd, "."), 0o1777)
        os.chown(path(fd, "."), 7, 8)
    driver.create("b", "a")
    with view(driver, "b") as fd:
        have = os.stat(path(fd, "tool"))
        assert (have.st_uid, have.st_gid, stat.S_IMODE(have.st_mode), have.st_mtime_ns) == (12, 34, 0o4755, 2_000_000_003)
        assert os.getxattr(path(fd, "tool"), "user.note") == b"hello"
        assert len(os.getxattr(path(fd, "tool"), "security.capability")) == 20
        assert have.st_nlink == 2 and os.stat(path(fd, "same")).st_ino == have.st_ino
        device = os.stat(path(fd, "null"))
        assert device.st_rdev == os.makedev(1, 3) and stat.S_IMODE(device.st_mode) == 0o666
        root = os.stat(path(fd))
        assert (stat.S_IMODE(root.st_mode), root.st_uid, root.st_gid) == (0o1777, 7, 8)
    assert changes(driver, "b") == {}


def test_127_layers(driver: Driver) -> None:
    for number in range(127):
        driver.create(f"layer{number:060}", f"layer{number - 1:060}" if number else None)
        if number % 42 == 0:
            write(driver, f"layer{number:060}", {f"file{number}": str(number)})
    top = f"layer{126:060}"
    with view(driver, top) as fd:
        assert sorted(os.listdir(path(fd))) == ["file0", "file126", "file42", "file84"]
        Path(path(fd, "file0")).write_text("changed")
    assert changes(driver, top) == {"/file0": Kind.MODIFIED, "/file126": Kind.ADDED}


def test_a_data_root_with_a_long_and_odd_name(tmp_path: Path) -> None:
    root = tmp_path / "a,b:c\\d" / ("x" * 200) / ("y" * 60)
    driver = open_driver("overlay", root)
    driver.create("a", None)
    driver.create("b", "a")
    write(driver, "b", {"file": "text"})
    assert changes(driver, "b") == {"/file": Kind.ADDED}


def test_volatile_mounts_come_again(driver: Driver) -> None:
    """A container with --rm may be restarted; and one that is no longer volatile mounts as well."""
    driver.create("a", None)
    driver.create("b", "a")
    for turn, volatile in enumerate((True, True, False, True)):
        fd = driver.open_mount("b", volatile=volatile)
        Path(path(fd, f"file{turn}")).write_text("x")
        assert len(os.listdir(path(fd))) == turn + 1
        os.close(fd)


def test_init_layer_is_invisible_in_diff(driver: Driver) -> None:
    driver.create("a", None)
    write(driver, "a", {"etc/passwd": "root", "bin/sh": "x"})
    init = initlayer.ensure(driver, "a")
    assert init == "a-init" and initlayer.ensure(driver, "a") == init
    driver.create("c", init)
    assert changes(driver, "c") == {}
    with view(driver, "c") as fd:
        for name in initlayer.FILES:
            assert stat.S_ISREG(os.lstat(path(fd, name)).st_mode), name
        for name in initlayer.DIRECTORIES:
            assert stat.S_ISDIR(os.lstat(path(fd, name)).st_mode), name
        assert os.readlink(path(fd, "etc/mtab")) == "/proc/mounts"
        assert Path(path(fd, "etc/passwd")).read_text() == "root"
    assert [name for name in driver.layers() if name.startswith("draft-")] == []


def test_init_layer_over_nothing(driver: Driver) -> None:
    init = initlayer.ensure(driver, None)
    with view(driver, init, readonly=True) as fd:
        assert sorted(os.listdir(path(fd))) == [".dockerinit", "dev", "etc", "proc", "sys"]


def test_init_layer_keeps_what_the_image_has(driver: Driver) -> None:
    driver.create("a", None)
    write(driver, "a", {"etc/hosts": "mine"})
    with view(driver, "a") as fd:
        os.chmod(path(fd, "etc"), 0o700)
        os.chown(path(fd, "etc"), 5, 6)
        os.symlink("/run/resolv.conf", path(fd, "etc/resolv.conf"))
        Path(path(fd, "etc/mtab")).write_text("mine")
        os.utime(path(fd, "etc"), ns=(1, 2))
    init = initlayer.ensure(driver, "a")
    with view(driver, init, readonly=True) as fd:
        assert Path(path(fd, "etc/hosts")).read_text() == "mine" and Path(path(fd, "etc/mtab")).read_text() == "mine"
        assert os.readlink(path(fd, "etc/resolv.conf")) == "/run/resolv.conf"
        assert Path(path(fd, "run/resolv.conf")).read_bytes() == b""  # where the mount will find its target
        have = os.stat(path(fd, "etc"))
        assert (stat.S_IMODE(have.st_mode), have.st_uid, have.st_gid, have.st_mtime_ns) == (0o700, 5, 6, 2)


def test_init_layer_under_hostile_links(driver: Driver, tmp_path: Path) -> None:
    """C5, and runc's CVE-2024-45310, crun's CVE-2026-88264: links of the image make nothing outside of the layer."""
    outside = tmp_path / "outside"
    outside.mkdir()
    driver.create("a", None)
    with view(driver, "a") as fd:
        os.symlink(outside, path(fd, "etc"))  # absolute: inside the image there is no such directory
        os.symlink("../" * 40 + str(outside / "dev"), path(fd, "dev"))
        os.symlink("proc", path(fd, "sys"))
        os.symlink("sys", path(fd, "proc"))  # a loop
    init = initlayer.ensure(driver, "a")
    assert list(outside.iterdir()) == []
    with view(driver, init, readonly=True) as fd:
        inside = path(fd, str(outside).lstrip("/"))
        assert sorted(os.listdir(inside)) == ["dev", "hostname", "hosts", "mtab", "resolv.conf"]
    driver.create("c", init)
    assert changes(driver, "c") == {}


def test_unknown_and_unusable_drivers(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="known are overlay, vfs"):
        open_driver("zfs", tmp_path)
    with pytest.raises(Unavailable, match="overlay"):
        open_driver("overlay2", Path("/proc/self"))
    with pytest.raises(Unavailable, match="vfs:"):
        open_driver(None, Path("/proc/self"))
