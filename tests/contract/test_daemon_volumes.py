"""S6: from what a client writes to mount points, and from these to detached mounts."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wherry.daemon import volumes as s6
from wherry.linux import mount as mnt
from wherry.model.command import Mount
from wherry.model.config import Config, HostConfig, NetworkingConfig
from wherry.model.container import Container, MountPoint, Record
from wherry.model.errors import InvalidArgument, NotFound, Unimplemented
from wherry.store.db import Database
from wherry.volume.store import VolumeStore


class Containers(dict[str, Container]):
    def get(self, ref: str, /) -> Container:  # type: ignore[override]
        if ref not in self:
            raise NotFound(f"No such container: {ref}")
        return self[ref]


class Daemon:
    def __init__(self, root: Path) -> None:
        self.db = Database(root / "wherry.db")
        self.volumes = VolumeStore(root / "volumes", self.db)
        self.containers = Containers()

    def make(self, identifier: str, config: dict[str, Any] | None = None, **host: Any) -> list[MountPoint]:
        asked = msgspec.convert(host, HostConfig)
        points = s6.plan(self, identifier, msgspec.convert(config or {}, Config), asked)
        record = Record(id=identifier, created=0, image_ref="", image_id="", path="", args=[], config=Config(), networking=NetworkingConfig(),
                        mounts=points, driver="vfs")
        self.containers[identifier] = Container(record, asked, identifier)
        return points


class Sources:
    def __init__(self, rootfs: int) -> None:
        self.fds = [rootfs]

    def add(self, fd: int) -> int:
        self.fds.append(fd)
        return len(self.fds) - 1


@pytest.fixture
def d(tmp_path: Path) -> Iterator[Daemon]:
    d = Daemon(tmp_path)
    (tmp_path / "rootfs/data").mkdir(parents=True)
    (tmp_path / "rootfs/data/f").write_text("image")
    yield d
    d.db.close()


@pytest.fixture
def start(d: Daemon, tmp_path: Path) -> Iterator[Any]:
    opened: list[Sources] = []

    def run(identifier: str) -> list[tuple[MountPoint, Mount, int]]:
        sources = Sources(os.open(tmp_path / "rootfs", os.O_PATH))
        opened.append(sources)
        return [(point, mount, sources.fds[mount.fd]) for point, mount in s6.open_sources(d, d.containers[identifier], sources)]

    yield run
    for sources in opened:
        for fd in sources.fds:
            os.close(fd)


ok = {"Type": "bind", "Source": "/tmp", "Target": "/x"}


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ({"Binds": ["/tmp:b"]}, "invalid volume specification: '/tmp:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path"
                                " must be absolute"),
        ({"Binds": ["/tmp:/"]}, "invalid mount config for type \"bind\": invalid specification: destination can't be '/'"),
        ({"Binds": ["/tmp:/x/.."]}, "destination can't be '/'"),
        ({"Binds": ["/tmp:/x:ro,rw"]}, "invalid mode: ro,rw"),
        ({"Binds": ["/tmp:/x:bad"]}, "invalid mode: bad"),
        ({"Binds": ["/tmp:/x:z,Z"]}, "invalid mode: z,Z"),
        ({"Binds": ["/tmp:/x:cached,delegated"]}, "invalid mode: cached,delegated"),
        ({"Binds": ["/tmp:/x:nocopy"]}, 'type "bind": field VolumeOptions must not be specified'),
        ({"Binds": ["vol:/x:rslave"]}, 'type "volume": field BindOptions must not be specified'),
        ({"Binds": ["/x:ro"]}, "must not set ReadOnly mode when using anonymous volumes"),
        ({"Binds": ["v!:/x"]}, '"v!" includes invalid characters for a local volume name'),
        ({"Binds": ["../a:/b"]}, '"../a" includes invalid characters'),
        ({"Binds": ["x:/y"]}, "volume name is too short"),
        ({"Binds": ["a:b:c:d"]}, "invalid volume specification: 'a:b:c:d'"),
        ({"Binds": [":/x"]}, "invalid volume specification: ':/x'"),
        ({"Binds": [""]}, "invalid volume specification: ''"),
        ({"Binds": ["/tmp:/x", "/tmp:/x"]}, "Duplicate mount point: /x"),
        ({"Binds": ["/tmp:/x"], "Tmpfs": {"/x": ""}}, "Duplicate mount point: /x"),
        ({"Mounts": [ok, {**ok, "Target": "/x/"}]}, "Duplicate mount point: /x/"),
        ({"Mounts": [{**ok, "Source": "/nonexist"}]}, 'invalid mount config for type "bind": bind source path does not exist: /nonexist'),
        ({"Mounts": [{**ok, "Source": ""}]}, 'invalid mount config for type "bind": field Source must not be empty'),
        ({"Mounts": [{**ok, "Source": "rel"}]}, "invalid mount path: 'rel' mount path must be absolute"),
        ({"Mounts": [{**ok, "Target": ""}]}, 'invalid mount config for type "bind": field Target must not be empty'),
        ({"Mounts": [{**ok, "Type": "foo"}]}, 'invalid mount config for type "foo": mount type unknown'),
        ({"Mounts": [{**ok, "VolumeOptions": {}}]}, 'VolumeOptions must not be specified on mount type "bind"'),
        ({"Mounts": [{**ok, "BindOptions": {"Propagation": "foo"}}]}, "invalid propagation mode: foo"),
        ({"Mounts": [{"Type": "volume", "Target": "/x", "ReadOnly": True}]}, "must not set ReadOnly mode when using anonymous volumes"),
        ({"Mounts": [{"Type": "volume", "Target": "/x", "VolumeOptions": {"Subpath": "a"}}]}, "must not set Subpath when using anonymous volumes"),
        ({"Mounts": [{"Type": "volume", "Source": "vv", "Target": "/x", "VolumeOptions": {"Subpath": "../a"}}]},
         "subpath must be a relative path within the volume"),
        ({"Mounts": [{"Type": "volume", "Source": "vv", "Target": "/x", "VolumeOptions": {"DriverConfig": {"Name": "nope"}}}]},
         'create vv: error looking up volume plugin nope: plugin "nope" not found'),
        ({"Mounts": [{"Type": "tmpfs", "Source": "a", "Target": "/x"}]}, 'type "tmpfs": field Source must not be specified'),
        ({"Mounts": [{"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"Options": [["uid", "5"]]}}]}, "invalid option: uid"),
        ({"Mounts": [{"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"Options": [["a", "b", "c"]]}}]}, "invalid option array length"),
        ({"Tmpfs": {"x": ""}}, "invalid mount path: 'x' mount path must be absolute"),
        ({"Tmpfs": {"/": ""}}, "destination can't be '/'"),
        ({"Tmpfs": {"/x": "foo"}}, 'invalid tmpfs option "foo"'),
        ({"Tmpfs": {"/x": "size=1m,lowerdir=/etc"}}, 'invalid tmpfs option "lowerdir=/etc"'),
        ({"VolumesFrom": ["nope"]}, "No such container: nope"),
        ({"VolumesFrom": [""]}, "volumes-from specification cannot be an empty string"),
        ({"VolumesFrom": ["c0:xx"]}, "invalid mode: xx"),
        ({"VolumeDriver": "nope", "Binds": ["volnn:/x"]}, 'plugin "nope" not found'),
    ],
)  # fmt: skip
def test_refused_with_dockers_words_and_nothing_left(d: Daemon, host: dict[str, Any], text: str) -> None:
    d.make("c0")
    host = {"VolumesFrom": [], **host, "Binds": ["/first", *host.get("Binds", [])]}
    with pytest.raises(InvalidArgument) as caught:
        d.make("c1", **host)
    assert text in str(caught.value)
    assert d.volumes.list() == []


def test_image_mounts_are_not_built_yet(d: Daemon) -> None:
    with pytest.raises(Unimplemented, match="image"):
        d.make("c", Mounts=[{"Type": "image", "Source": "i", "Target": "/x"}])


def shape(point: MountPoint) -> tuple[Any, ...]:
    return point.type, point.name, point.source, point.destination, point.mode, point.rw, point.propagation


def test_mount_points_as_docker_shows_them(d: Daemon) -> None:
    data = str(d.volumes.root / "vol1/_data")
    got = d.make(
        "c",
        Binds=["/tmp/../tmp:/a/../y/:", "/tmp:/ro:ro,rslave", "vol1:/v1", "vol1:/v2:ro,nocopy", "/anon"],
        Mounts=[{**ok, "ReadOnly": True, "BindOptions": {"NonRecursive": True}}, {"Type": "volume", "Source": "vol1", "Target": "/v3",
                 "VolumeOptions": {"Subpath": "a/b", "NoCopy": True}},
                {"Type": "tmpfs", "Target": "/t", "ReadOnly": True, "TmpfsOptions": {"SizeBytes": 4096, "Mode": 0o700, "Options": [["exec"]]}}],
        Tmpfs={"/scratch": "size=1m"}, config={"Volumes": {"/v1": {}, "/fresh/": {}, "/scratch": {}}},
    )  # fmt: skip
    by = {point.destination: point for point in got}
    assert sorted(by) == ["/anon", "/fresh", "/ro", "/t", "/v1", "/v2", "/v3", "/x", "/y"]
    assert shape(by["/y"]) == ("bind", "", "/tmp", "/y", "", True, "rprivate") and shape(by["/ro"])[4:] == ("ro,rslave", False, "rslave")
    assert shape(by["/v1"]) == ("volume", "vol1", data, "/v1", "z", True, "") and shape(by["/v2"])[4:] == ("ro,nocopy", False, "")
    assert by["/v2"].no_copy and by["/v3"].subpath == "a/b" and by["/v1"].driver == "local"
    assert shape(by["/x"])[4:] == ("", False, "rprivate") and not by["/x"].recursive and by["/t"].tmpfs_options == "ro,size=4096,mode=700,exec"
    assert by["/anon"].anonymous and len(by["/anon"].name) == 64 and by["/fresh"].mode == "" and by["/fresh"].anonymous
    assert d.volumes.users("vol1") == ["c"] == d.volumes.users(by["/fresh"].name)
    gone = d.volumes.release("c", [point.name for point in got if point.anonymous])
    assert sorted(gone) == sorted([by["/anon"].name, by["/fresh"].name]) and [v.name for v in d.volumes.list()] == ["vol1"]


def test_volumes_from(d: Daemon) -> None:
    source = d.make("c1", Binds=["vol1:/v1", "/tmp:/t:ro", "/anon"])
    got = d.make("c2", VolumesFrom=["c1:ro"], Binds=["/etc:/t"])
    by = {point.destination: point for point in got}
    assert sorted(by) == ["/anon", "/t", "/v1"] and by["/t"].source == "/etc" and by["/t"].rw
    assert not by["/v1"].rw and by["/v1"].no_copy and not by["/anon"].anonymous
    anonymous = source[-1].name
    assert d.volumes.users(anonymous) == ["c1", "c2"]
    assert d.volumes.release("c1", [anonymous]) == []  # still used


def test_sources_are_opened_copied_up_and_read_only(d: Daemon, start: Any, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/file").write_text("x")
    d.make("c", Binds=[f"{tmp_path}/host:/h:ro", f"{tmp_path}/host/file:/f", f"{tmp_path}/missing/deep:/m", "vol1:/data", "vol2:/data2"])
    got = {point.destination: (mount, fd) for point, mount, fd in start("c")}
    mount, fd = got["/h"]
    assert mount.kind == "bind" and mount.is_dir and os.listdir(f"/proc/self/fd/{fd}") == ["file"]
    assert os.fstatvfs(fd).f_flag & os.ST_RDONLY and not got["/f"][0].is_dir
    assert (tmp_path / "missing/deep").is_dir()
    assert (d.volumes.path("vol1") / "f").read_text() == "image" and os.listdir(d.volumes.path("vol2")) == []
    assert os.listdir(f"/proc/self/fd/{got['/data'][1]}") == ["f"]
    (d.volumes.path("vol1") / "f").unlink()
    start("c")
    assert os.listdir(d.volumes.path("vol1")) == []  # what the program removed does not come back


def test_mount_source_that_went_away_is_not_made(d: Daemon, start: Any, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    d.make("c", Mounts=[{"Type": "bind", "Source": f"{tmp_path}/host", "Target": "/x"}])
    d.make("m", Mounts=[{"Type": "bind", "Source": f"{tmp_path}/made", "Target": "/x", "BindOptions": {"CreateMountpoint": True}}])
    (tmp_path / "host").rmdir()
    with pytest.raises(InvalidArgument, match="bind source path does not exist"):
        start("c")
    start("m")
    assert (tmp_path / "made").is_dir() and not (tmp_path / "host").exists()


def test_subpath_stays_in_the_volume(d: Daemon, start: Any, tmp_path: Path) -> None:
    d.volumes.create("vol1")
    data = d.volumes.path("vol1")
    (data / "a/b").mkdir(parents=True)
    (data / "a/b/inside").touch()
    os.symlink("/etc", data / "link")
    options = {"Type": "volume", "Source": "vol1", "Target": "/x"}
    d.make("good", Mounts=[{**options, "VolumeOptions": {"Subpath": "a/b"}}])
    assert os.listdir(f"/proc/self/fd/{start('good')[0][2]}") == ["inside"]
    for number, bad in enumerate(("link", "link/ssl", "missing", "a/b/c")):
        d.make(f"bad{number}", Mounts=[{**options, "VolumeOptions": {"Subpath": bad}}])
        with pytest.raises(NotFound, match="cannot access path"):
            start(f"bad{number}")


def test_tmpfs_options(d: Daemon, start: Any) -> None:
    d.make("c", Tmpfs={"/a": "", "/b/": "size=1m,exec,mode=700,uid=5,ro"}, Mounts=[{"Type": "tmpfs", "Target": "/c"}])
    by = {mount.target: mount for _, mount, _ in start("c")}
    strict = mnt.MOUNT_ATTR_NOSUID | mnt.MOUNT_ATTR_NODEV | mnt.MOUNT_ATTR_NOEXEC
    assert by["/a"].attributes == strict == by["/c"].attributes and by["/a"].kind == "tmpfs"
    assert by["/b"].attributes == mnt.MOUNT_ATTR_NOSUID | mnt.MOUNT_ATTR_NODEV | mnt.MOUNT_ATTR_RDONLY
    assert by["/b"].options == {"size": "1m", "mode": "700", "uid": "5"}


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """A private tmpfs with another one in it."""
    outer = tmp_path / "outer"
    outer.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "--make-private", "vol-outer", str(outer)], check=True)
    (outer / "inner").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "vol-inner", str(outer / "inner")], check=True)
    (outer / "inner/f").touch()
    yield outer
    subprocess.run(["umount", "-l", "-R", str(outer)], check=True)


@pytest.mark.parametrize(
    ("options", "seen", "inner_readonly"),
    [
        ({}, True, True),
        ({"ReadOnlyNonRecursive": True}, True, False),
        ({"ReadOnlyForceRecursive": True}, True, True),
        ({"NonRecursive": True}, False, True),
    ],
)
def test_recursive_and_read_only(d: Daemon, start: Any, nested: Path, options: dict[str, bool], seen: bool, inner_readonly: bool) -> None:
    d.make("c", Mounts=[{"Type": "bind", "Source": str(nested), "Target": "/x", "ReadOnly": True, "BindOptions": options}])
    fd = start("c")[0][2]
    inner = f"/proc/self/fd/{fd}/inner"
    assert os.fstatvfs(fd).f_flag & os.ST_RDONLY
    assert (os.listdir(inner) == ["f"]) is seen and bool(os.statvfs(inner).f_flag & os.ST_RDONLY) is inner_readonly


def test_propagation_needs_a_shared_source(d: Daemon, start: Any, nested: Path, tmp_path: Path) -> None:
    d.make("shared", Binds=[f"{nested}:/x:rshared"])
    d.make("slave", Binds=[f"{nested}:/x:rslave"])
    for name, text in (("shared", "is not a shared mount"), ("slave", "is not a shared or slave mount")):
        with pytest.raises(InvalidArgument, match=f"path {nested} is mounted on {nested} but it {text}"):
            start(name)
    subprocess.run(["mount", "--make-rshared", str(nested)], check=True)
    places = {}
    for name in ("shared", "slave"):
        places[name] = tmp_path / name
        places[name].mkdir()
        mnt.move_mount_to(start(name)[0][2], str(places[name]))
    try:
        (nested / "late").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "vol-late", str(nested / "late")], check=True)
        (nested / "late/f").touch()
        assert os.listdir(places["shared"] / "late") == ["f"] == os.listdir(places["slave"] / "late")
        subprocess.run(["umount", str(places["slave"] / "late")], check=True)
        assert os.listdir(nested / "late") == ["f"]  # a slave's changes stay its own
        subprocess.run(["umount", str(places["shared"] / "late")], check=True)
        assert os.listdir(nested / "late") == []
    finally:
        for place in places.values():
            subprocess.run(["umount", "-l", "-R", str(place)], check=True)
