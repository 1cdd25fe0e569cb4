"""Random layers, mad ones included: both drivers must show the same files or both refuse, and `save` must give every byte back."""

from __future__ import annotations

import io
import os
import random
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from imagehelp import directory, docker_archive, file, hardlink, layer, open_store, sha256, silent, symlink
from wherry.image.store import ImageStore
from wherry.model.errors import InvalidArgument

NAMES = ["a", "b", "a/x", "a/y", "a/x/1", "b/z", "a/x/1/2", "c"]


FIRST, SEEDS = int(os.environ.get("WHERRY_FUZZ_FIRST", "2")), int(os.environ.get("WHERRY_FUZZ_SEEDS", "10"))  # set by tools/test-long


def entry(pick: random.Random) -> dict[str, Any]:
    name = pick.choice(NAMES)
    above, _, base = name.rpartition("/")
    whiteout = f"{above}/.wh.{base}" if above else f".wh.{base}"
    return pick.choices(
        [
            file(name, b"x" * pick.randrange(3), mode=pick.choice([0o644, 0o755, 0o4711]), uid=pick.randrange(3)),
            directory(name, mode=pick.choice([0o755, 0o700])),
            symlink(name, pick.choice(["a", "/etc", "../b", "x", "/"])),
            hardlink(name, pick.choice(NAMES)),
            file(whiteout),
            file(pick.choice(["a", "b", "a/x"]) + "/.wh..wh..opq"),
            {"name": name, "type": tarfile.FIFOTYPE},
        ],
        [30, 20, 10, 8, 15, 8, 5],
    )[0]


def files(store: ImageStore, layer_id: str) -> dict[str, tuple[object, ...]]:
    fd = store.driver.open_mount(layer_id, readonly=True)
    base, found = f"/proc/self/fd/{fd}/", {}
    try:
        for top, directories, names in os.walk(base):
            for name in directories + names:
                path = os.path.join(top, name)
                have = os.lstat(path)
                what = have.st_size if stat.S_ISREG(have.st_mode) else os.readlink(path) if stat.S_ISLNK(have.st_mode) else None
                found[path.removeprefix(base)] = (stat.filemode(have.st_mode), have.st_uid, what)
    finally:
        os.close(fd)
    return found


def run(root: Path, seed: int, rounds: int) -> None:
    pick = random.Random(seed)
    stores = [open_store(root / name, name) for name in ("overlay", "vfs")]
    good = 0
    for turn in range(rounds):
        layers = [layer(*(entry(pick) for _ in range(pick.randrange(1, 7)))) for _ in range(pick.randrange(1, 4))]
        results: list[object] = []
        for store in stores:
            try:
                (image,) = store.load(docker_archive(layers), silent)
            except InvalidArgument:
                results.append("refused")
                continue
            results.append(files(store, store.get(image).layers[-1]))
            out = io.BytesIO()
            store.save([image], out)
            assert all(sha256(one)[7:].encode() in out.getvalue() for one in layers)
        assert results[0] == results[1], (seed, turn, [tarfile.open(fileobj=io.BytesIO(one)).getnames() for one in layers])
        good += results[0] != "refused"
    assert good > rounds // 5, "the generator makes nothing that can be loaded"


def test_random_layers(tmp_path: Path) -> None:
    run(tmp_path, seed=1, rounds=25)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_many_random_layers(tmp_path: Path, seed: int) -> None:
    run(tmp_path, seed=seed, rounds=300)
