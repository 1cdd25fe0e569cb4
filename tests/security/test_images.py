"""Hostile images: what an archive or a layer may try against the host, one test a row of the tables in the security notes (R7, R8)."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imagehelp import config, directory, docker_archive, file, hardlink, layer, oci_archive, oci_layout, open_store, sha256, silent, symlink
from wherry.image import worker
from wherry.image.store import ImageStore
from wherry.image.tarread import Limits, TarError, TarReader
from wherry.model.errors import InvalidArgument, WherryError


@pytest.fixture(params=["overlay", "vfs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ImageStore:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("host")
    return open_store(tmp_path / "data", request.param)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that no image may touch; checked when the test is over."""
    there = tmp_path / "outside"
    os.chmod(there, 0o755)
    yield there
    assert sorted(os.listdir(there)) == ["secret"]
    assert (there / "secret").read_text() == "host"
    assert stat.S_IMODE(os.stat(there).st_mode) == 0o755 and os.stat(there).st_uid == 0
    assert os.listxattr(there) == []


def load(store: ImageStore, *layers: bytes) -> Path:
    """Loads an image; the directory of its top layer."""
    ids = store.load(docker_archive(list(layers), "evil:latest"), silent)
    top = store.get(ids[0]).top_layer
    assert top is not None
    return store.driver.diff_dir(top)


def refused(store: ImageStore, *layers: bytes, match: str) -> None:
    """The load fails as the archive's fault and leaves nothing."""
    before = store.driver.layers()
    with pytest.raises(InvalidArgument, match=match):
        store.load(docker_archive(list(layers), "evil:latest"), silent)
    assert store.driver.layers() == before
    assert os.listdir(store.root / "tmp") == []
    assert [one for one in os.listdir(store.root / "layers") if one.startswith(".")] == []


# Ways out of the target (CVE-2025-11395 and -2021-32760, -2021-41089 and their kin)


@pytest.mark.parametrize("name", ["../outside/new", "a/../../outside/new", "..", "a/.."])
def test_dotdot_names_are_refused(store: ImageStore, outside: Path, name: str) -> None:
    refused(store, layer(file(name, b"x")), match="leaves the layer")


def test_absolute_names_are_confined(store: ImageStore, outside: Path) -> None:
    top = load(store, layer(file(f"{outside}/new", b"x")))
    assert (top / str(outside).lstrip("/") / "new").read_bytes() == b"x"


@pytest.mark.parametrize("link", ["absolute", "relative", "root", "cwd", "self"])
def test_a_file_through_a_symlink_of_the_layer(store: ImageStore, outside: Path, link: str) -> None:
    target = {"absolute": str(outside), "relative": "../" * 30 + str(outside)[1:], "root": "/", "cwd": "/proc/self/cwd", "self": "."}[link]
    refused(store, layer(symlink("door", target), file("door/new", b"x")), match="through links")
    refused(store, layer(symlink("door", target), directory("door/sub")), match="through links")


def test_a_file_over_a_symlink_replaces_the_link(store: ImageStore, outside: Path) -> None:
    top = load(store, layer(symlink("door", str(outside / "secret")), file("door", b"mine")))
    assert (top / "door").read_bytes() == b"mine" and not (top / "door").is_symlink()


def test_a_directory_over_a_symlink_changes_no_modes_outside(store: ImageStore, outside: Path) -> None:
    """CVE-2021-32760: the mode and owner of an entry reached the symlink's target."""
    top = load(store, layer(symlink("door", str(outside)), directory("door", mode=0o777, uid=1234)))
    assert (top / "door").is_dir() and not (top / "door").is_symlink()
    assert os.stat(top / "door").st_uid == 1234


def test_a_symlink_in_a_lower_layer_does_not_lead_the_upper_one_out(store: ImageStore, outside: Path) -> None:
    top = load(store, layer(symlink("door", str(outside))), layer(file("door/new", b"x"), directory("door", mode=0o700)))
    assert (top / "door/new").read_bytes() == b"x" and not (top / "door").is_symlink()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd", "door/secret", "missing", ""])
def test_hard_links_out_are_refused(store: ImageStore, outside: Path, target: str) -> None:
    refused(store, layer(symlink("door", str(outside)), hardlink("mine", target)), match="did not bring|leaves the layer|is a directory")


def test_a_hard_link_to_a_symlink_is_not_followed(store: ImageStore, outside: Path) -> None:
    top = load(store, layer(symlink("door", str(outside / "secret")), hardlink("mine", "door")))
    assert (top / "mine").is_symlink()
    refused(store, layer(symlink("door", str(outside)), hardlink("mine", "door"), file("mine/new", b"x")), match="through links")


def test_a_whiteout_through_a_symlink(store: ImageStore, outside: Path) -> None:
    refused(store, layer(symlink("door", str(outside)), file("door/.wh.secret")), match="through links")
    refused(store, layer(symlink("door", str(outside)), file("door/.wh..wh..opq")), match="through links")
    load(store, layer(symlink("door", str(outside))), layer(file("door/.wh.secret")))


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh..wh..opq"])
def test_whiteouts_of_dots(store: ImageStore, outside: Path, name: str) -> None:
    refused(store, layer(file(name)), match="whiteout|root of a layer")


def test_xattrs_outside_the_list_are_dropped(store: ImageStore, outside: Path) -> None:
    """A layer that sets overlay's own attributes would redirect the mount (GHSA-w26x-xg27-7qjc is about where xattrs land)."""
    headers = {"SCHILY.xattr.trusted.overlay.redirect": "/../../etc", "SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.fine": "yes",
               "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.security.selinux": "u:r:t:s0", "SCHILY.xattr.trusted.other": "1"}
    top = load(store, layer(directory("d", pax_headers=headers), file("f", b"", pax_headers=headers)))
    assert os.listxattr(top / "d") == ["user.fine"] and os.listxattr(top / "f") == ["user.fine"]


def test_xattr_through_a_symlink(store: ImageStore, outside: Path) -> None:
    load(store, layer(dict(symlink("door", str(outside)), pax_headers={"SCHILY.xattr.user.evil": "1"})))


def test_devices_keep_to_the_layer(store: ImageStore, outside: Path) -> None:
    top = load(store, layer(dict(file("disk"), type=tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o666), dict(file("fifo"), type=tarfile.FIFOTYPE)))
    have = os.lstat(top / "disk")
    assert stat.S_ISBLK(have.st_mode) and have.st_rdev == os.makedev(8, 0)
    # Nobody but root gets to it: the data root's directories are closed to others (CVE-2021-41091).
    assert stat.S_IMODE(os.stat(store.root / store.driver.name).st_mode) & 0o007 == 0


def test_a_device_whiteout_is_a_whiteout(store: ImageStore, outside: Path) -> None:
    top = load(store, layer(file("gone", b"x"), file("kept", b"x")), layer(dict(file("gone"), type=tarfile.CHRTYPE)))
    fd = store.driver.open_mount(top.parent.name, readonly=True)
    try:
        assert os.listdir(f"/proc/self/fd/{fd}") == ["kept"]
    finally:
        os.close(fd)


@pytest.mark.parametrize("ids", [(2**32 - 1, 0), (0, 2**32), (2**40, 0), (-2, 0)])
def test_owners_out_of_range(store: ImageStore, outside: Path, ids: tuple[int, int]) -> None:
    made = layer(dict(file("f"), uid=ids[0] % 2**21, gid=ids[1] % 2**21))
    header = bytearray(made[:512])
    for at, value in ((108, ids[0]), (116, ids[1])):
        header[at : at + 8] = (b"\xff" if value < 0 else b"\x80") + (value & (1 << 56) - 1).to_bytes(7, "big")
    refused(store, _sign(header) + made[512:], match="out of range")


def _sign(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


# Bombs and damage


def test_counts_sizes_and_depths_are_bounded() -> None:
    many = layer(*(file(str(number)) for number in range(30)))
    with pytest.raises(TarError, match="more than 20 entries"):
        list(TarReader(io.BytesIO(many), Limits(entries=20)))
    with pytest.raises(TarError, match="over the bound"):
        list(TarReader(io.BytesIO(layer(file("big", b"x" * 600))), Limits(payload=512)))
    with pytest.raises(TarError, match="deeper than"):
        list(TarReader(io.BytesIO(layer(file("a/" * 40 + "f"))), Limits(depth=32)))
    with pytest.raises(TarError, match="longer than"):
        list(TarReader(io.BytesIO(layer(file("x" * 5000)))))


@pytest.mark.parametrize("size", [b"77777777777\0", b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7, b"\xff" * 12, b"99999999999\0"])
def test_lying_sizes(store: ImageStore, outside: Path, size: bytes) -> None:
    header = bytearray(layer(file("f"))[:512])
    header[124:136] = size
    refused(store, _sign(header), match="bad layer")


def test_a_huge_pax_record(store: ImageStore, outside: Path) -> None:
    refused(store, layer(file("f", pax_headers={"comment": "x" * (2 << 20)})), match="over the bound")


@pytest.mark.parametrize("record", [b"5 a=b\n", b"99 a=b\n", b"x a=b\n", b"3 =\n", b"-1 a=b\n", b"0 a=b\n"])
def test_malformed_pax_records(record: bytes) -> None:
    header = bytearray(layer(file("f", record))[:1024])
    header[156:157] = b"x"
    with pytest.raises(TarError):
        list(TarReader(io.BytesIO(_sign(header[:512]) + bytes(header[512:]) + layer(file("g")))))


def test_a_deep_tree_is_refused_or_made_whole(store: ImageStore, outside: Path) -> None:
    refused(store, layer(file("d/" * 600 + "f")), match="deeper than")
    load(store, layer(file("d/" * 500 + "f", b"deep")))
    store.delete("evil", force=True, prune=True, users=list)
    assert store.driver.layers() == []


@pytest.mark.parametrize("cut", [100, 512, 700, 1024])
def test_a_truncated_layer(store: ImageStore, outside: Path, cut: int) -> None:
    refused(store, layer(file("f", b"x" * 700))[:cut], match="ends in the middle|diff ID") if cut != 1024 else refused(
        store, layer(file("f", b"x" * 700))[:cut], match="ends in the middle"
    )


MAGICS = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0", b"junk"]


@pytest.mark.parametrize("junk", [magic + b"\xff" * 600 for magic in MAGICS])
def test_damaged_compression(store: ImageStore, outside: Path, junk: bytes) -> None:
    refused(store, junk, match="bad layer")
    with pytest.raises(InvalidArgument, match="not an image archive"):
        store.load(io.BytesIO(junk), silent)


# Digests (CVE-2024-3727, -2026-95839, -2026-85747, -2026-111361; GHSA-p3rc-w3hc-pqvv)


def test_a_layer_that_is_not_its_diff_id(store: ImageStore, outside: Path) -> None:
    good, bad = layer(file("good")), layer(file("bad"))
    with pytest.raises(InvalidArgument, match="does not match its diff ID"):
        store.load(docker_archive([bad], "evil:latest", raw=config([good])), silent)
    assert store.driver.layers() == [] and store.list() == [] and store.layers.all() == []


def test_a_config_that_is_not_its_name(store: ImageStore, outside: Path) -> None:
    one = layer(file("f"))
    archive = docker_archive([one], "evil:latest").getvalue()
    with pytest.raises(InvalidArgument, match="hashes to"):
        store.load(io.BytesIO(archive.replace(b'"step 0"', b'"step 9"')), silent)


def test_a_blob_that_is_not_its_digest(store: ImageStore, outside: Path) -> None:
    one = layer(file("f", b"12345"))
    archive = oci_archive([one], "docker.io/library/evil:1").getvalue()
    with pytest.raises(InvalidArgument, match="hashes to"):
        store.load(io.BytesIO(archive.replace(b"12345", b"54321")), silent)


@pytest.mark.parametrize("digest", ["sha256:../../../../etc/passwd", "sha256:ABC", "", "sha512:" + "0" * 128, "sha256:" + "0" * 63, 7, None, ["x"]])
def test_malformed_digests(store: ImageStore, outside: Path, digest: Any) -> None:
    descriptor = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1}
    with pytest.raises(InvalidArgument, match="bad digest"):
        store.load(oci_layout([b"x"], [descriptor]), silent)
    raw = json.dumps({"rootfs": {"type": "layers", "diff_ids": [digest]}}).encode()
    with pytest.raises(InvalidArgument, match="diff_ids"):
        store.load(docker_archive([layer()], "evil:1", raw=raw), silent)


def test_one_document_is_not_two(store: ImageStore, outside: Path) -> None:
    """CVE-2021-41190: the same bytes as manifest and as index."""
    raw = config([])
    both = json.dumps({"schemaVersion": 2, "manifests": [], "config": {"digest": sha256(raw), "size": len(raw)}, "layers": []}).encode()
    for media in ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"):
        descriptor = {"mediaType": media, "digest": sha256(both), "size": len(both)}
        with pytest.raises(InvalidArgument, match="at once"):
            store.load(oci_layout([raw, both], [descriptor]), silent)
    with pytest.raises(InvalidArgument, match="this is a manifest"):
        store.load(docker_archive([], "evil:1", raw=both), silent)


def test_nested_indexes_end(store: ImageStore, outside: Path) -> None:
    blobs = [config([])]
    descriptor: dict[str, Any] = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha256(blobs[0]), "size": len(blobs[0])}
    for _ in range(6):
        blobs.append(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode())
        descriptor = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(blobs[-1]), "size": len(blobs[-1])}
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        store.load(oci_layout(blobs, [descriptor]), silent)


# The archive around the layers


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "/etc/passwd", "x/../../../etc/passwd"])
def test_a_manifest_that_names_files_of_the_host(store: ImageStore, outside: Path, name: str) -> None:
    manifest = json.dumps([{"Config": name, "RepoTags": None, "Layers": []}]).encode()
    with pytest.raises(InvalidArgument, match="is missing"):
        store.load(io.BytesIO(layer(file("manifest.json", manifest))), silent)


def test_links_of_the_archive_stay_in_it(store: ImageStore, outside: Path) -> None:
    """CVE-2025-4953's kin: the manifest is a link to a file of the host, or to itself."""
    for target in (str(outside / "secret"), "/etc/passwd", "../" * 20 + "etc/passwd"):
        with pytest.raises(InvalidArgument, match="not an image archive"):
            store.load(io.BytesIO(layer(symlink("manifest.json", target))), silent)
    with pytest.raises(InvalidArgument, match="too many links"):
        store.load(io.BytesIO(layer(symlink("manifest.json", "manifest.json"))), silent)


def test_a_member_twice(store: ImageStore, outside: Path) -> None:
    with pytest.raises(InvalidArgument, match="twice"):
        store.load(io.BytesIO(layer(file("manifest.json", b"[]"), file("manifest.json", b"[]"))), silent)


def test_a_device_in_the_archive(store: ImageStore, outside: Path) -> None:
    with pytest.raises(InvalidArgument, match="files and directories only"):
        store.load(io.BytesIO(layer(dict(file("manifest.json"), type=tarfile.CHRTYPE, devmajor=1, devminor=5))), silent)


@pytest.mark.parametrize("tag", ["", "evil", "UPPER:1", "a b:1", "../x:1", "evil:" + "x" * 200, "-x:1", "evil@sha256:" + "0" * 64, "0" * 64])
def test_names_are_checked(store: ImageStore, outside: Path, tag: str) -> None:
    with pytest.raises(InvalidArgument):
        store.load(docker_archive([layer(file("f"))], tag), silent)
    assert store.list() == []


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"Env": ["PATH"]}}, {"config": {"Env": ["*"]}}, {"config": {"Env": ["=x"]}}, {"config": {"Env": "PATH=/"}}, {"config": []},
        {"config": {"Cmd": [1]}}, {"config": {"Labels": {"a": 1}}}, {"config": {"User": 0}}, {"os": "windows"}, {"history": {}}, {"rootfs": None},
        {"history": [{"created_by": 1}]}, {"created": 5},
    ],
)
def test_configs_are_checked(store: ImageStore, outside: Path, change: dict[str, Any]) -> None:
    """CVE-2026-57231 (an Env entry without value), and wrong types that would surface later."""
    with pytest.raises(InvalidArgument):
        store.load(docker_archive([layer(file("f"))], "evil:1", raw=config([layer(file("f"))], **change)), silent)
    assert store.list() == []


def test_big_and_deep_json(store: ImageStore, outside: Path) -> None:
    with pytest.raises(InvalidArgument, match="not valid JSON"):
        store.load(io.BytesIO(layer(file("manifest.json", b"[" * 100_000))), silent)
    with pytest.raises(InvalidArgument, match="at most"):
        store.load(io.BytesIO(layer(file("manifest.json", b" " * (9 << 20)))), silent)


# The box


def test_the_worker_sees_nothing_but_its_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the box with a probe in the place of the unpacking: what can code in it reach?"""
    probe = (
        "import sys, os; sys.path.insert(0, sys.argv[1])\nfrom wherry.image import box\n"
        "def look(self, reader, entry):\n"
        "    seen = ['/'] + sorted(os.listdir('/')); os.chdir('..'); seen += sorted(os.listdir('.'))\n"
        "    raise box.DECODE_ERRORS[2](repr((seen, dict(os.environ))))\n"
        "box.Unpacker.apply = look; box.main()"
    )
    monkeypatch.setattr(worker, "_START", probe)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/inside").touch()
    (tmp_path / "tar").write_bytes(layer(file("f")))
    mounts: Callable[[], str] = Path("/proc/self/mountinfo").read_text
    before = mounts()
    with pytest.raises(WherryError) as caught, worker.Worker() as process:
        process.unpack(tmp_path / "tar", tmp_path / "target", tmp_path / "skeleton", "kept")
    said = str(caught.value)
    assert "['/', 'inside', 'inside']" in said and "PATH" not in said
    assert str(tmp_path) not in mounts() and mounts().count("\n") == before.count("\n")


def test_contents_are_what_the_header_says(store: ImageStore, outside: Path) -> None:
    """A file whose data look like headers gives no entries of its own."""
    inner = layer(file("smuggled", b"x"))
    top = load(store, layer(file("carrier", inner), file("after", struct.pack("<I", 7))))
    assert sorted(os.listdir(top)) == ["after", "carrier"]
