"""VolumeStore: verbs, filters, uses, and what start-up mends."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.model.errors import Conflict, InvalidArgument, NotFound, Unimplemented
from wherry.model.filters import Filters
from wherry.store.db import Database
from wherry.volume import tree
from wherry.volume.store import ANONYMOUS, VolumeStore


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = Database(tmp_path / "wherry.db")
    yield db
    db.close()


@pytest.fixture
def volumes(tmp_path: Path, db: Database) -> VolumeStore:
    return VolumeStore(tmp_path / "volumes", db)


def test_create_get_inspect(tmp_path: Path, db: Database) -> None:
    events: list[tuple[str, str, object]] = []
    volumes = VolumeStore(tmp_path / "volumes", db, lambda action, volume, attributes: events.append((action, volume.name, dict(attributes))))
    made = volumes.create("data", labels={"a": "b"})
    assert made == volumes.create("data", options={"foo": "ignored"}) == volumes.get("data")
    assert events == [("create", "data", {"driver": "local"})]
    shown = made.inspect()
    assert shown.pop("CreatedAt").endswith("Z")
    assert shown == {
        "Driver": "local", "Labels": {"a": "b"}, "Mountpoint": str(tmp_path / "volumes/data/_data"), "Name": "data", "Options": None,
        "Scope": "local",
    }  # fmt: skip
    assert (tmp_path / "volumes/data/_data").stat().st_mode & 0o7777 == 0o755
    anonymous = volumes.create()
    assert len(anonymous.name) == 64 and anonymous.labels == {ANONYMOUS: ""} and anonymous.anonymous


@pytest.mark.parametrize(
    ("name", "options", "driver", "error", "text"),
    [
        ("x", {}, "local", InvalidArgument, "create x: volume name is too short, names should be at least two alphanumeric characters"),
        ("a/b", {}, "local", InvalidArgument, 'create a/b: "a/b" includes invalid characters for a local volume name'),
        ("../x", {}, "local", InvalidArgument, "includes invalid characters"),
        ("ok\n", {}, "local", InvalidArgument, "includes invalid characters"),
        ("y" * 256, {}, "local", InvalidArgument, "256 characters is too long"),
        ("vv", {}, "nope", NotFound, 'create vv: error looking up volume plugin nope: plugin "nope" not found'),
        ("vv", {"foo": "x"}, "", InvalidArgument, 'create vv: invalid option: "foo"'),
        ("vv", {"type": "tmpfs"}, "", InvalidArgument, 'create vv: missing required option: "device"'),
        ("vv", {"device": "/x", "o": "bind"}, "", InvalidArgument, 'create vv: missing required option: "type"'),
        ("vv", {"type": "none", "device": "rel", "o": "bind"}, "", InvalidArgument, "must be an absolute path"),
        ("vv", {"type": "nfs", "device": ":/x"}, "", Unimplemented, "volumes of type nfs are not built yet"),
        ("vv", {"size": "1m"}, "", Unimplemented, "quota"),
    ],
)
def test_refused(volumes: VolumeStore, name: str, options: dict[str, str], driver: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="(?s)^.*" + re.escape(text)):
        volumes.create(name, driver, options)
    assert volumes.list() == [] and os.listdir(volumes.root) == []


def test_list_filters(volumes: VolumeStore) -> None:
    volumes.create("web-data", labels={"env": "prod", "tier": "1"})
    volumes.create("web-logs", labels={"env": "test"})
    volumes.create("db-data", container="c1")

    def names(**filters: list[str]) -> list[str]:
        return [v.name for v in volumes.list(Filters(filters))]

    assert names() == ["db-data", "web-data", "web-logs"]
    assert names(name=["^web"]) == ["web-data", "web-logs"] and names(name=["data", "logs"]) == names()
    assert names(name=["["]) == []
    assert names(label=["env"]) == ["web-data", "web-logs"] and names(label=["env=prod", "tier"]) == ["web-data"] and names(label=["env="]) == []
    assert names(dangling=["true"]) == ["web-data", "web-logs"] and names(dangling=["0"]) == ["db-data"]
    assert names(driver=["local"]) == names() and names(driver=["other"]) == []
    for bad, text in (({"foo": ["x"]}, "invalid filter 'foo'"), ({"dangling": ["x"]}, "invalid filter 'dangling=x': it takes true or false")):
        with pytest.raises(InvalidArgument, match=text):
            volumes.list(Filters(bad))


def test_remove_and_uses(volumes: VolumeStore) -> None:
    volumes.create("data", container="c1")
    volumes.use("c2", ["data"])
    with pytest.raises(Conflict, match=r"remove data: volume is in use - \[c1, c2\]"):
        volumes.remove("data")
    assert volumes.users("data") == ["c1", "c2"]
    (volumes.path("data") / "file").write_bytes(b"x" * 5000)
    os.link(volumes.path("data") / "file", volumes.path("data") / "again")
    (volumes.path("data") / "directory").mkdir()
    assert volumes.size("data") == 5000
    assert volumes.release("c1", remove=["data"]) == [] and volumes.release("c2", remove=["data"]) == ["data"]
    with pytest.raises(NotFound, match="get data: no such volume"):
        volumes.get("data")
    with pytest.raises(NotFound, match="get data: no such volume"):
        volumes.remove("data")
    assert volumes.remove("data", force=True) == 0 and os.listdir(volumes.root) == []
    with pytest.raises(NotFound):
        volumes.use("c1", ["data"])


def test_prune(volumes: VolumeStore) -> None:
    anonymous = volumes.create().name
    for name, labels in (("keep", {"k": "1"}), ("named", {})):
        volumes.create(name, labels=labels)
    volumes.create("used", container="c")
    volumes.create("with-options", options={"type": "tmpfs", "device": "tmpfs"})
    assert volumes.prune(filters=Filters({"all": ["false"]}))[0] == [anonymous]
    assert volumes.prune(all_volumes=True, filters=Filters({"label!": ["k"]}))[0] == ["named"]
    assert [v.name for v in volumes.list()] == ["keep", "used", "with-options"]
    with pytest.raises(InvalidArgument, match="invalid filter 'foo'"):
        volumes.prune(filters=Filters({"foo": ["x"]}))


def test_reconcile_drops_uses_of_what_is_gone(volumes: VolumeStore) -> None:
    volumes.create("one", container="gone")
    volumes.create("two", container="stopped")
    os.close(volumes.mount("stopped", "two"))
    volumes.reconcile({"stopped"}, set())
    assert volumes.users("one") == [] and volumes.users("two") == ["stopped"]


def test_start_mends_what_a_crash_left(tmp_path: Path, db: Database) -> None:
    volumes = VolumeStore(tmp_path / "volumes", db)
    for name in ("whole", "removing", "lost"):
        volumes.create(name)
        (volumes.path(name) / "file").write_text("x")
    with db.transaction() as cursor:
        cursor.execute("UPDATE volumes SET removing=1 WHERE name='removing'")
    with pytest.raises(Conflict, match="just being removed"):
        volumes.create("removing")
    tree.remove_tree(os.open(volumes.root, os.O_RDONLY), "lost")
    (volumes.root / "half-made").mkdir()
    (volumes.root / "empty/_data").mkdir(parents=True)
    (volumes.root / "orphan/_data").mkdir(parents=True)
    (volumes.root / "orphan/_data/precious").write_text("x")
    said: list[str] = []
    again = VolumeStore(tmp_path / "volumes", db, report=said.append)
    assert [v.name for v in again.list()] == ["lost", "orphan", "whole"] == sorted(os.listdir(volumes.root))
    assert (again.path("orphan") / "precious").exists() and (again.path("whole") / "file").exists() and again.path("lost").is_dir()
    assert len(said) == 2 and "orphan" in said[1] and "lost" in said[0]


@pytest.fixture
def image(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    root = tmp_path / "rootfs"
    root.mkdir()
    fd = os.open(root, os.O_PATH)
    yield root, fd
    os.close(fd)


def test_copy_up_keeps_everything_that_matters(volumes: VolumeStore, image: tuple[Path, int]) -> None:
    root, fd = image
    source = root / "var/lib/app"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_bytes(b"content" * 1000)
    os.link(source / "file", source / "sub/other-name")
    os.symlink("/etc/passwd", source / "link")
    os.symlink("missing", source / "dangling")
    os.mkfifo(source / "fifo")
    os.chmod(source / "fifo", 0o620)
    os.mknod(source / "device", 0o20666, os.makedev(1, 3))
    with open(source / "sparse", "wb") as sparse:
        sparse.truncate(1 << 30)
        sparse.seek(1 << 29)
        sparse.write(b"middle")
    os.chown(source / "file", 12, 34)
    os.chmod(source / "file", 0o4751)
    os.chown(source / "link", 56, 78, follow_symlinks=False)
    os.setxattr(source / "file", "user.colour", b"blue")
    os.chown(source, 999, 998)
    os.chmod(source, 0o1770)
    os.utime(source / "sub", ns=(10**18, 2 * 10**18 + 7))
    os.utime(source / "file", ns=(10**18, 10**18 + 5))
    volumes.create("data", container="c")
    assert volumes.copy_up("c", fd, "/var/lib/app", "data") is True
    data = volumes.path("data")
    assert sorted(os.listdir(data)) == ["dangling", "fifo", "file", "link", "sparse", "sub"] and os.listdir(data.parent) == ["_data"]
    info = (data / "file").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777, info.st_mtime_ns, info.st_nlink) == (12, 34, 0o4751, 10**18 + 5, 2)
    assert (data / "sub/other-name").stat().st_ino == info.st_ino and (data / "file").read_bytes() == b"content" * 1000
    assert os.getxattr(data / "file", "user.colour") == b"blue"
    assert os.readlink(data / "link") == "/etc/passwd" and (data / "link").lstat().st_uid == 56 and os.readlink(data / "dangling") == "missing"
    assert (data / "fifo").stat().st_mode == 0o10620 and (data / "sub").stat().st_mtime_ns == 2 * 10**18 + 7
    top = data.stat()
    assert (top.st_uid, top.st_gid, top.st_mode & 0o7777) == (999, 998, 0o1770)
    sparse_info = (data / "sparse").stat()
    assert sparse_info.st_size == 1 << 30 and sparse_info.st_blocks * 512 < 1 << 20
    with open(data / "sparse", "rb") as sparse:
        sparse.seek(1 << 29)
        assert sparse.read(7) == b"middle\0"


def test_copy_up_happens_once_and_only_into_an_empty_volume(volumes: VolumeStore, image: tuple[Path, int]) -> None:
    root, fd = image
    (root / "data").mkdir()
    (root / "data/f").write_text("image")
    volumes.create("used", container="c")
    (volumes.path("used") / "own").write_text("own")
    assert volumes.copy_up("c", fd, "/data", "used") is False and os.listdir(volumes.path("used")) == ["own"]
    volumes.create("fresh", container="c")
    assert volumes.copy_up("c", fd, "/data", "fresh") is True
    (volumes.path("fresh") / "f").unlink()
    assert volumes.copy_up("c", fd, "/data", "fresh") is False and os.listdir(volumes.path("fresh")) == []
    volumes.create("nothing", container="c")
    assert volumes.copy_up("c", fd, "/no/such", "nothing") is False
    (root / "plain").write_text("x")
    with pytest.raises(InvalidArgument, match="cannot mount volume over existing file, file exists /plain"):
        volumes.copy_up("c", fd, "/plain", volumes.create(container="c").name)


def test_copy_up_that_fails_leaves_an_empty_volume(volumes: VolumeStore, image: tuple[Path, int], monkeypatch: pytest.MonkeyPatch) -> None:
    root, fd = image
    (root / "data").mkdir()
    for name in ("a", "b", "c"):
        (root / "data" / name).write_text(name)
    volumes.create("v1", container="c")
    monkeypatch.setattr(tree, "copy_xattrs", lambda s, t: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        volumes.copy_up("c", fd, "/data", "v1")
    assert os.listdir(volumes.path("v1")) == [] and os.listdir(volumes.path("v1").parent) == ["_data"]
    monkeypatch.undo()
    assert volumes.copy_up("c", fd, "/data", "v1") is True and sorted(os.listdir(volumes.path("v1"))) == ["a", "b", "c"]


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_killed_copy_up_is_finished_or_dropped_at_the_next_start(tmp_path: Path, db: Database, volumes: VolumeStore, moved: int) -> None:
    volumes.create("v1")
    staged = volumes.root / "v1/_copy"
    staged.mkdir(mode=0o750)
    for name in ("a", "b"):
        (staged / name).write_text(name)
    for name in ("a", "b")[:moved]:
        os.rename(staged / name, volumes.path("v1") / name)
    volumes.create("v2")
    (volumes.root / "v2/_copy.part").mkdir()
    (volumes.root / "v2/_copy.part/half").write_text("ha")
    again = VolumeStore(tmp_path / "volumes", db)
    assert sorted(os.listdir(again.path("v1"))) == ["a", "b"] and again.path("v1").stat().st_mode & 0o777 == 0o750
    assert os.listdir(again.path("v2")) == [] and os.listdir(volumes.root / "v2") == ["_data"] == os.listdir(volumes.root / "v1")


def test_deep_trees(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/keep").write_text("x")
    parent = os.open(tmp_path, os.O_RDONLY)
    here = parent
    os.mkdir("deep", dir_fd=here)
    here = os.open("deep", os.O_RDONLY, dir_fd=here)
    for _ in range(2100):  # deeper than any path name, than Python's recursion, than the descriptors of a process
        os.symlink(tmp_path / "victim", "link", dir_fd=here)
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)
    source, target = os.open(tmp_path / "deep", os.O_RDONLY), tmp_path / "copy"
    target.mkdir()
    with pytest.raises(OSError, match="nest deeper than 200"):
        tree.copy_tree(source, os.open(target, os.O_RDONLY))
    tree.remove_tree(parent, "copy")
    tree.remove_tree(parent, "deep")
    os.close(source)
    os.close(parent)
    assert os.listdir(tmp_path) == ["victim"] and (tmp_path / "victim/keep").exists()


def test_a_removal_between_the_look_and_the_unmount(volumes: VolumeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rm -v` right after the end of a run: both unmount, and the removal takes the volume away from under the other."""
    name = volumes.create(container="c1").name
    os.close(volumes.mount("c1", name))
    real, removed = volumes._busy_lock, []

    def come_in_between(of: str) -> object:
        if not removed:
            removed.append(of)
            assert volumes.release("c1", [name]) == [name]
        return real(of)

    monkeypatch.setattr(volumes, "_busy_lock", come_in_between)
    volumes.unmount_all("c1")
    with pytest.raises(NotFound):
        volumes.get(name)
