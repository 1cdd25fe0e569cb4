"""tools/images: the layers that it writes are deterministic and hold exactly the difference of two trees."""

import importlib.util
import json
import os
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools" / "images"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_images_{name}", TOOLS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tarball() -> ModuleType:
    return load("tarball")


def make_tree(root: Path) -> Path:
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (root / "etc/old").write_text("gone later")
    (root / "gone/deep").mkdir(parents=True)
    (root / "gone/deep/file").write_text("x")
    (root / "bin").mkdir()
    (root / "bin/a").write_text("program")
    os.link(root / "bin/a", root / "bin/b")
    (root / "link").symlink_to("etc/passwd")
    for name in ("etc/passwd", "etc/old", "bin/a"):
        os.utime(root / name, ns=(10**18, 10**18 + 5))
    return root


def test_equal_trees_give_equal_bytes_and_hard_links_stay_links(tarball: ModuleType, tmp_path: Path) -> None:
    ids = []
    for n in (1, 2):
        root = make_tree(tmp_path / str(n))
        paths, removed = tarball.changed(None, root)
        assert removed == []
        ids.append(tarball.write_layer(root, paths, removed, tmp_path / f"{n}.tar", clamp=1_000_000_000))
    assert ids[0] == ids[1] and ids[0].startswith("sha256:")
    with tarfile.open(tmp_path / "1.tar") as tar:
        assert tar.getmember("bin/b").linkname == "bin/a"
        assert tar.getmember("link").issym()
        assert max(member.mtime for member in tar) <= 1_000_000_000


def test_a_layer_holds_what_changed_and_a_whiteout_for_what_went(tarball: ModuleType, tmp_path: Path) -> None:
    before, after = make_tree(tmp_path / "before"), make_tree(tmp_path / "after")
    (after / "etc/old").unlink()
    (after / "etc/new").write_text("n")
    (after / "bin/a").chmod(0o4755)
    (after / "gone/deep/file").unlink()
    (after / "gone/deep").rmdir()
    (after / "gone").rmdir()
    os.utime(after / "link", ns=(5, 5), follow_symlinks=False)
    paths, removed = tarball.changed(before, after)
    assert paths == ["bin/a", "bin/b", "etc/new"]
    assert removed == ["etc/old", "gone"]
    tarball.write_layer(after, paths, removed, tmp_path / "layer.tar", clamp=2_000_000_000)
    with tarfile.open(tmp_path / "layer.tar") as tar:
        assert set(tar.getnames()) == {"bin/a", "bin/b", "etc/new", "etc/.wh.old", ".wh.gone"}


def test_the_archive_names_tag_config_and_layers(tarball: ModuleType, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root")
    paths, removed = tarball.changed(None, root)
    diff_id = tarball.write_layer(root, paths, removed, tmp_path / "layer.tar", clamp=0)
    tarball.write_archive(tmp_path / "image.tar", "x:latest", {"Cmd": ["a"]}, [(diff_id, tmp_path / "layer.tar")], "2025-01-01T00:00:00Z")
    with tarfile.open(tmp_path / "image.tar") as tar:
        (entry,) = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        config = json.load(tar.extractfile(entry["Config"]))  # type: ignore[arg-type]
        assert entry["RepoTags"] == ["x:latest"]
        assert config["config"] == {"Cmd": ["a"]} and config["rootfs"]["diff_ids"] == [diff_id]
        assert tar.getmember(entry["Layers"][0]).size == (tmp_path / "layer.tar").stat().st_size
