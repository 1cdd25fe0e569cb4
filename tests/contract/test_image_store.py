"""The image store on real layers, with each graph driver: load, save, import, names, delete, prune, and what a kill leaves."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import json
import lzma
import os
import signal
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from imagehelp import config, directory, docker_archive, file, hardlink, layer, oci_archive, open_store, sha256, silent, symlink
from wherry.daemon.create import check_layers
from wherry.graphdriver import initlayer
from wherry.image.delete import User
from wherry.image.store import ImageStore
from wherry.linux import mount
from wherry.model.errors import Conflict, InvalidArgument, NotFound, Unavailable
from wherry.model.filters import Filters

BASE = layer(directory("./", mode=0o755), directory("etc/"), file("etc/passwd", b"root"), file("etc/old", b"old"), directory("opt/"),
             file("opt/a", b"a"))
TOP = layer(directory("etc/", mode=0o750), file("etc/.wh.old"), file("etc/new", b"new", mode=0o4755, uid=5, gid=6), file("opt/.wh..wh..opq"),
            file("opt/b", b"b"))


@pytest.fixture(params=["overlay", "vfs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ImageStore:
    return open_store(tmp_path, request.param)


@contextmanager
def merged(store: ImageStore, ref: str) -> Iterator[Path]:
    top = store.get(ref).top_layer
    assert top is not None
    fd = store.driver.open_mount(top, readonly=True)
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def lines(load: Callable[[Callable[[dict[str, Any]], None]], object]) -> list[str]:
    said: list[dict[str, Any]] = []
    load(said.append)
    return [one["stream"] for one in said if "stream" in one]


def test_load_applies_layers(store: ImageStore) -> None:
    assert lines(lambda say: store.load(docker_archive([BASE, TOP], "app:1", "app:2"), say)) == ["Loaded image: app:1\n", "Loaded image: app:2\n"]
    with merged(store, "app:1") as root:
        assert sorted(os.listdir(root / "etc")) == ["new", "passwd"] and os.listdir(root / "opt") == ["b"]
        have = os.stat(root / "etc/new")
        assert (stat.S_IMODE(have.st_mode), have.st_uid, have.st_gid, have.st_mtime) == (0o4755, 5, 6, 1_700_000_000)
        assert stat.S_IMODE(os.stat(root / "etc").st_mode) == 0o750 and os.stat(root / "etc").st_mtime == 1_700_000_000
    image = store.get("app:2")
    assert image.size == len(b"rootoldanewb") and len(image.layers) == 2
    assert lines(lambda say: store.load(docker_archive([BASE]), say)) == [f"Loaded image ID: {sha256(config([BASE]))}\n"]
    assert len(store.layers.all()) == 2  # the base is shared


def test_a_moved_name_is_told(store: ImageStore) -> None:
    store.load(docker_archive([BASE], "app:1"), silent)
    old = store.get("app:1").id
    said = lines(lambda say: store.load(docker_archive([BASE, TOP], "app:1"), say))
    assert said == [f"The image app:1 already exists, renaming the old one with ID {old} to empty string\n", "Loaded image: app:1\n"]
    assert store.tags_of(old) == [] and store.get(old)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_compressed_archives_and_layers(store: ImageStore, pack: Callable[[bytes], bytes]) -> None:
    store.load(io.BytesIO(pack(docker_archive([BASE], "app:1").getvalue())), silent)
    store.load(oci_archive([BASE, TOP], "docker.io/library/oci:1", blobs=[pack(BASE), pack(TOP)]), silent)
    image = store.get("oci:1")
    assert image.diff_ids == (sha256(BASE), sha256(TOP)) and image.layers[0] == store.get("app:1").layers[0]
    (digest,) = store.digests_of(image.id)
    assert store.get(digest) == image and store.get(f"oci:whatever{digest.removeprefix('oci')}") == image


def test_names_ids_and_prefixes(store: ImageStore) -> None:
    store.load(docker_archive([BASE], "app:latest", "cafe:latest"), silent)
    image = store.get("app")
    bare = image.id.removeprefix("sha256:")
    for ref in ("docker.io/library/app", image.id, bare, bare[:12], bare[:1], "sha256:" + bare[:5], f"app@{image.id}"):
        assert store.get(ref) == image, ref
    assert store.get("cafe") == image  # a name that could be a prefix is a name
    for ref in ("missing", "app:2", "f" * 64, "sha256:" + "f" * 64, "beef", f"other@{image.id}"):
        with pytest.raises(NotFound, match="No such image: "):
            store.get(ref)
    with pytest.raises(InvalidArgument, match="must be lowercase"):
        store.get("APP")
    for number in range(17):  # two of 18 share a first digit
        store.load(docker_archive([BASE], raw=config([BASE], comment=str(number))), silent)
    first = [one.id[7] for one in store.list()]
    twice = next(one for one in first if first.count(one) > 1)
    with pytest.raises(InvalidArgument, match="Multiple IDs found with provided prefix"):
        store.get("sha256:" + twice)


def test_save_gives_the_same_bytes(store: ImageStore, tmp_path: Path) -> None:
    odd = layer(file("f", b"first"), file("f", b"second"), directory("d/"), file("d/x", b"x"), symlink("d2", "x"), file("d", b"no directory"))
    links = layer(file("a", b"data"), hardlink("b", "a"), file("./c", b"1" * 700), file("e")) + b"trailing bytes"
    store.load(docker_archive([BASE, TOP, odd, links], "app:1", "app:2"), silent)
    assert [one.whole for one in store.layers.all()].count(True) == 1
    out = io.BytesIO()
    store.save(["app:1", "app:2"], out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert manifest[0]["RepoTags"] == ["app:1", "app:2"]
        assert [archive.extractfile(one).read() for one in manifest[0]["Layers"]] == [BASE, TOP, odd, links]  # type: ignore[union-attr]
        assert json.load(archive.extractfile("repositories")) == {"app": dict.fromkeys(("1", "2"), sha256(links)[7:])}  # type: ignore[arg-type]
        without = layer(*(file(one.name, archive.extractfile(one).read()) for one in archive if one.isreg() and one.name != "manifest.json"))  # type: ignore[union-attr]
    for number, data in enumerate((out.getvalue(), without)):  # as Docker archive, then as OCI layout
        other = open_store(tmp_path / str(number), store.driver.name)
        other.load(io.BytesIO(data), silent)
        assert other.get("app:2").id == store.get("app:1").id
    with pytest.raises(NotFound):
        store.save(["app:3"], io.BytesIO())
    out = io.BytesIO()
    store.save(["app"], out)  # a bare name means all its tags
    assert b'"app:1", "app:2"' in out.getvalue()


def test_a_changed_layer_is_not_saved(store: ImageStore) -> None:
    store.load(docker_archive([BASE], "app:1"), silent)
    top = store.get("app:1").top_layer
    assert top is not None
    (store.driver.diff_dir(top) / "etc/passwd").write_bytes(b"evil")
    with pytest.raises(Exception, match="no longer give the layer"):
        store.save(["app:1"], io.BytesIO())


def test_import(store: ImageStore) -> None:
    said: list[dict[str, Any]] = []
    image = store.import_rootfs(io.BytesIO(gzip.compress(BASE)), "root", "1", "made", ["CMD [\"sh\"]", "ENV A=b"], "linux/arm64/v8", said.append)
    assert said[-1] == {"status": image.id} and store.get("root:1") == image
    shown = store.inspect("root:1")
    assert (shown["Comment"], shown["Architecture"], shown["Variant"]) == ("made", "arm64", "v8")
    assert shown["Config"] == {"Cmd": ["sh"], "Entrypoint": None, "Env": ["A=b"], "Labels": None, "OnBuild": None, "User": "", "Volumes": None,
                               "WorkingDir": ""}
    assert shown["RootFS"]["Layers"] == [sha256(BASE)] and shown["RepoTags"] == ["root:1"]
    with pytest.raises(InvalidArgument):
        store.import_rootfs(io.BytesIO(BASE), "root", "", "", ["RUN x"], "", silent)
    with pytest.raises(InvalidArgument, match="cannot be used on this platform"):
        store.import_rootfs(io.BytesIO(BASE), "root", "", "", [], "windows", silent)
    with pytest.raises(InvalidArgument, match="bad layer"):
        store.import_rootfs(io.BytesIO(b"no tar at all" * 100), "root", "", "", [], "", silent)


def test_delete_by_name_and_id(store: ImageStore) -> None:
    store.load(docker_archive([BASE, TOP], "app:1", "app:2", "other:1"), silent)
    image = store.get("app:1")
    assert store.delete("app:2", force=False, prune=True, users=list) == [{"Untagged": "app:2"}]
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is referenced in multiple repositories"):
        store.delete(image.id, force=False, prune=True, users=list)
    store.delete("other:1", force=False, prune=True, users=list)
    gone = store.delete(image.id[7:19], force=False, prune=True, users=list)
    assert gone == [{"Untagged": "app:1"}, {"Deleted": image.id}, *({"Deleted": one} for one in reversed(image.chain_ids))]
    assert store.list() == [] and store.driver.layers() == [] and store.layers.all() == []
    with pytest.raises(NotFound):
        store.delete("app:1", force=True, prune=True, users=list)


def test_delete_keeps_shared_layers(store: ImageStore) -> None:
    store.load(docker_archive([BASE], "base:1"), silent)
    store.load(docker_archive([BASE, TOP], "app:1"), silent)
    gone = store.delete("app:1", force=False, prune=True, users=list)
    assert len(gone) == 3 and len(store.layers.all()) == 1
    with merged(store, "base:1") as root:
        assert (root / "etc/old").read_bytes() == b"old"


def test_delete_with_containers(store: ImageStore) -> None:
    store.load(docker_archive([BASE, TOP], "app:1", "app:2"), silent)
    image = store.get("app:1")
    container = "c" * 64
    store.driver.create(container, initlayer.ensure(store.driver, image.top_layer))
    running, stopped = ([User(container, image.id, state)] for state in (True, False))
    assert store.delete("app:2", force=False, prune=True, users=lambda: stopped) == [{"Untagged": "app:2"}]
    with pytest.raises(Conflict, match="must force"):
        store.delete("app:1", force=False, prune=True, users=lambda: stopped)
    with pytest.raises(Conflict, match="must be forced"):
        store.delete(image.id, force=False, prune=True, users=lambda: stopped)
    with pytest.raises(Conflict, match="cannot be forced"):
        store.delete(image.id, force=True, prune=True, users=lambda: running)
    assert store.delete("app:1", force=True, prune=True, users=lambda: running) == [{"Untagged": "app:1"}]
    assert store.delete(image.id, force=True, prune=True, users=lambda: stopped) == [{"Deleted": image.id}]  # the layers carry the container
    fd = store.driver.open_mount(container)
    assert (Path(f"/proc/self/fd/{fd}") / "etc/new").read_bytes() == b"new"
    os.close(fd)
    store.driver.remove(container)
    assert store.release_layers() == list(reversed(image.chain_ids))
    assert store.driver.layers() == []


def test_prune(store: ImageStore) -> None:
    store.load(docker_archive([BASE], "named:1"), silent)
    store.load(docker_archive([BASE, TOP]), silent)
    unnamed = next(one for one in store.list() if not store.tags_of(one.id))
    user = [User("c" * 64, unnamed.id, False)]
    assert store.prune(Filters(), lambda: user) == {"ImagesDeleted": [], "SpaceReclaimed": 0}
    assert store.prune(Filters({"until": ["2020-01-01T00:00:00Z"]}), list)["ImagesDeleted"] == []
    assert store.prune(Filters({"label": ["x"]}), list)["ImagesDeleted"] == []
    done = store.prune(Filters({"dangling": ["true"]}), list)
    assert done == {"ImagesDeleted": [{"Deleted": unnamed.id}, {"Deleted": unnamed.chain_ids[1]}], "SpaceReclaimed": len("newb")}
    assert store.prune(Filters({"dangling": ["false"]}), list)["SpaceReclaimed"] == len("rootolda") and store.list() == []
    with pytest.raises(InvalidArgument):
        store.prune(Filters({"nonsense": ["1"]}), list)


def test_summaries_history_inspect(store: ImageStore) -> None:
    store.load(docker_archive([BASE, TOP], "app:1", "lib:1", raw=config([BASE, TOP], config={"Labels": {"k": "v"}})), silent)
    old = config([BASE], created="2020-01-01T00:00:00Z", history=[{"created_by": "x", "empty_layer": True}])
    store.load(docker_archive([BASE], "old:1", raw=old), silent)
    (first, second) = store.summaries(Filters(), shared_size=True)
    assert first["RepoTags"] == ["app:1", "lib:1"] and first["Created"] == 1767323045 and first["SharedSize"] == 8 and first["Labels"] == {"k": "v"}
    assert second["RepoTags"] == ["old:1"]
    new, aged = [["app:1", "lib:1"]], [["old:1"]]
    for filters, want in [({"reference": ["a*"]}, [["app:1"]]), ({"label": ["k=v"]}, new), ({"dangling": ["true"]}, []),
                          ({"before": ["app:1"]}, aged), ({"since": ["old:1"]}, new), ({"until": ["1600000000"]}, aged)]:
        assert [one["RepoTags"] for one in store.summaries(Filters(filters))] == want, filters
    rows = [(one["Id"], one["Size"], one["CreatedBy"]) for one in store.history("app:1")]
    assert rows == [(first["Id"], 4, "step 1"), ("<missing>", 8, "step 0")]
    assert [one["Size"] for one in store.history("old:1")] == [8, 0]
    shown = store.inspect("app:1")
    assert shown["GraphDriver"]["Name"] == store.driver.name and shown["Size"] == 12


def test_tag(store: ImageStore) -> None:
    store.load(docker_archive([BASE], "app:1"), silent)
    store.tag("app:1", "registry.example/x", "")
    store.tag("app:1", "y", "z")
    assert store.tags_of(store.get("app:1").id) == ["app:1", "y:z", "registry.example/x:latest"]
    for repo, tag in [("BAD", ""), ("x", "bad tag"), ("", ""), ("x@sha256:" + "0" * 64, "")]:
        with pytest.raises(InvalidArgument):
            store.tag("app:1", repo, tag)


def test_layer_limit(tmp_path: Path) -> None:
    """C3: 127 layers with the init and the read-write layer; what passes the check can be mounted."""
    store = open_store(tmp_path, "overlay")
    store.load(docker_archive([layer(file("f", b"x"))], "deep:1"), silent)
    image = store.get("deep:1")
    with pytest.raises(InvalidArgument, match="makes 128, and at most 127 can be mounted"):
        check_layers(replace(image, diff_ids=image.diff_ids * 126))
    check_layers(replace(image, diff_ids=image.diff_ids * 125))
    top = image.top_layer
    for number in range(124):
        store.driver.create(f"img-{number}", top)
        top = f"img-{number}"
    store.driver.create("c", initlayer.ensure(store.driver, top))
    assert len(store.driver.mount_spec("c").lowers) == 126, "and the read-write layer on them"
    fd = store.driver.open_mount("c")
    assert Path(f"/proc/self/fd/{fd}/f").read_bytes() == b"x"
    os.close(fd)


def test_loads_at_the_same_time(store: ImageStore) -> None:
    archives = [docker_archive([BASE, TOP], f"app:{number}") for number in range(6)]
    failed: list[BaseException] = []

    def run(archive: io.BytesIO) -> None:
        try:
            store.load(archive, silent)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in archives]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert not failed
    assert len(store.get("app:0").layers) == 2 and len(store.layers.all()) == 2 and len(store.tags_of(store.get("app:3").id)) == 6
    store.collect_garbage()
    assert len(store.driver.layers()) == 2


POINTS = ["spool", "layer", "unpacking", "unpacked", "recorded", "image", "named"]


@pytest.mark.parametrize(("driver", "point"), [("overlay", point) for point in POINTS] + [("vfs", "unpacked")])
def test_kill_during_load(tmp_path: Path, driver: str, point: str) -> None:
    """kill -9 between any two steps: the image is wholly there or wholly gone, and the next start leaves no rubbish."""
    store = open_store(tmp_path, driver)
    store.load(docker_archive([BASE], "base:1"), silent)
    (tmp_path / "archive.tar").write_bytes(docker_archive([BASE, TOP], "app:1").getvalue())
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom wherry.graphdriver import open_driver\n"
        "from wherry.image import archive, layers, load, store, tags, worker\nfrom wherry.image.spool import Spool\n"
        "die = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "def after(owner, name):\n"
        "    real = getattr(owner, name)\n"
        "    def act(*a, **k):\n        real(*a, **k)\n        die()\n"
        "    setattr(owner, name, act)\n"
        "root = Path(sys.argv[1])\nmade = store.ImageStore(root, open_driver(sys.argv[2], root))\n"
        "where = {'spool': (Spool, 'read_archive'), 'layer': (type(made.driver), 'create'), 'unpacked': (worker.Worker, 'unpack'),\n"
        "         'unpacking': (worker.socket, 'send_fds'),\n"
        "         'recorded': (layers.LayerStore, 'add'), 'image': (store.ImageStore, 'add_image'), 'named': (tags.TagStore, 'set')}[sys.argv[3]]\n"
        "after(*where)\nmade.load(open(root / 'archive.tar', 'rb'), print)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), store.driver.name, point], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = open_store(tmp_path, store.driver.name)
    again.collect_garbage()
    assert os.listdir(tmp_path / "tmp") == [] and not [one for one in os.listdir(tmp_path / "layers") if one.startswith(".")]
    driver_root = tmp_path / store.driver.name
    assert os.listdir(driver_root / ".trash") == [] and not [one for one in os.listdir(driver_root) if one.startswith(".new")]
    assert again.get("base:1")
    if point in ("image", "named"):
        assert len(again.list()) == 2 and len(again.driver.layers()) == 2
    else:
        assert len(again.list()) == 1 and len(again.driver.layers()) == 1
    again.load(docker_archive([BASE, TOP], "app:1"), silent)
    with merged(again, "app:1") as root:
        assert (root / "etc/new").read_bytes() == b"new"


def test_a_full_disk(tmp_path: Path) -> None:
    """A load that does not fit fails with ENOSPC, leaves nothing, and what was there is still there."""
    root = tmp_path / "small"
    root.mkdir()
    mount.mount("tmpfs", str(root), "tmpfs", 0, "size=4m")
    try:
        store = open_store(root)
        store.load(docker_archive([BASE], "base:1"), silent)
        big = layer(file("big", os.urandom(1 << 20)), file("big2", os.urandom(1 << 20)))
        with pytest.raises(Unavailable, match="image load: no space left"):
            store.load(docker_archive([BASE, big], "big:1"), silent)
        assert os.listdir(root / "tmp") == [] and len(store.driver.layers()) == 1
        again = open_store(root)
        again.load(docker_archive([BASE, TOP], "app:1"), silent)
        assert again.get("base:1") and len(again.get("app:1").layers) == 2
        del again, store
        gc.collect()  # the drivers' descriptors keep the mount busy
    finally:
        mount.umount(str(root), mount.MNT_DETACH)


def test_garbage_is_collected(store: ImageStore, tmp_path: Path) -> None:
    store.load(docker_archive([BASE], "base:1"), silent)
    kept = initlayer.ensure(store.driver, store.get("base:1").top_layer)
    for name in ("img-" + "0" * 32, "img-" + "0" * 32 + "-init", "draft-" + "0" * 16, "f" * 64):
        store.driver.create(name, None)
    (tmp_path / "tmp/load-old").mkdir()
    store.collect_garbage()
    assert set(store.driver.layers()) == {store.get("base:1").top_layer, kept, "f" * 64}  # a container's layer is not ours to judge
    assert os.listdir(tmp_path / "tmp") == []


def test_broken_records_do_not_stop_the_daemon(store: ImageStore, tmp_path: Path) -> None:
    store.load(docker_archive([BASE], "base:1"), silent)
    store.load(docker_archive([BASE, TOP], "app:1"), silent)
    bad = store.get("app:1")
    (tmp_path / "images" / bad.id[7:]).write_text("{}")
    again = open_store(tmp_path, store.driver.name)
    again.collect_garbage()
    assert again.get("base:1")
    with pytest.raises(NotFound):
        again.get("app:1")
    assert len(again.driver.layers()) == 2  # whatever the broken record stood for is kept
    (tmp_path / "layers" / bad.chain_ids[1][7:] / "layer.json").write_text("no json")
    again = open_store(tmp_path, store.driver.name)
    again.collect_garbage()
    assert again.get("base:1") and len(again.driver.layers()) == 2
