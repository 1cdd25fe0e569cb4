"""--user and --group-add against passwd and group files, good ones and bad ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.init import user
from wherry.model.errors import InvalidArgument

PASSWD = """root:x:0:0:root:/root:/bin/sh
# a comment
+nis::::::
broken
alsobroken:x:notanumber:0::/:/bin/sh
web:x:1000:1001:Web:/home/web:/bin/sh
huge:x:99999999999:0::/:/bin/sh
123:x:55:56::/numeric:/bin/sh
short:x:70:71
last:x:4294967294:4294967294::/last:"""
GROUP = "root:x:0:\nwheel:x:10:root,web\nweb:x:1001:\nvideo:x:44:web\nbad:x:zz:web\n+:::\naudio:x:29:other"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(("spec", "add", "expected"), [
    ("", [], user.User(0, 0, [0, 10], "/root")),
    ("root", [], user.User(0, 0, [0, 10], "/root")),
    ("0", [], user.User(0, 0, [0, 10], "/root")),
    ("web", [], user.User(1000, 1001, [1001, 10, 44], "/home/web")),
    ("1000", [], user.User(1000, 1001, [1001, 10, 44], "/home/web")),
    ("web:audio", [], user.User(1000, 29, [29], "/home/web")),
    ("web:5", ["video", "5", "77"], user.User(1000, 5, [5, 44, 77], "/home/web")),
    ("4242", [], user.User(4242, 0, [0], "/")),
    ("4242:4243", [], user.User(4242, 4243, [4243], "/")),
    ("123", [], user.User(55, 56, [56], "/numeric")),
    ("short", [], user.User(70, 71, [71], "/")),
    ("last", [], user.User(4294967294, 4294967294, [4294967294], "/last")),
    ("4294967294", ["4294967294"], user.User(4294967294, 4294967294, [4294967294], "/last")),
    (":audio", [], user.User(0, 29, [29], "/root")),
])  # fmt: skip
def test_lookup(root: int, spec: str, add: list[str], expected: user.User) -> None:
    assert user.lookup(root, spec, add) == expected


@pytest.mark.parametrize(("spec", "add", "text"), [
    ("nobody", [], "unable to find user nobody: no matching entries in passwd file"),
    ("alsobroken", [], "unable to find user alsobroken: no matching entries in passwd file"),
    ("huge", [], "unable to find user huge: no matching entries in passwd file"),
    ("web:none", [], "unable to find group none: no matching entries in group file"),
    ("web", ["none"], "unable to find group none: no matching entries in group file"),
    ("4294967295", [], "uids and gids must be in range 0-4294967294"),
    ("4294967296", [], "uids and gids must be in range 0-4294967294"),
    ("18446744073709551616", [], "uids and gids must be in range 0-4294967294"),
    ("-1", [], "uids and gids must be in range 0-4294967294"),
    ("0:-1", [], "uids and gids must be in range 0-4294967294"),
    ("0", ["9999999999"], "uids and gids must be in range 0-4294967294"),
])  # fmt: skip
def test_refusals(root: int, spec: str, add: list[str], text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        user.lookup(root, spec, add)
    assert str(raised.value) == text


def test_an_image_without_files(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert user.lookup(fd, "", []) == user.User(0, 0, [0], "/")
        assert user.lookup(fd, "7:8", ["9"]) == user.User(7, 8, [8, 9], "/")
        with pytest.raises(InvalidArgument):
            user.lookup(fd, "web", [])
    finally:
        os.close(fd)


def test_a_link_stays_inside_the_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "secret").write_text("evil:x:66:66::/evil:\n")
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc/passwd").symlink_to(tmp_path / "secret")
    fd = os.open(inside, os.O_PATH)
    try:
        with pytest.raises(InvalidArgument):
            user.lookup(fd, "evil", [])
    finally:
        os.close(fd)


def test_files_are_bounded_and_regular(root: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user, "MAX_FILE", 100)
    with pytest.raises(InvalidArgument, match="larger than 100 bytes"):
        user.lookup(root, "web", [])
    (tmp_path / "etc/passwd").unlink()
    os.mkfifo(tmp_path / "etc/passwd")
    with pytest.raises(InvalidArgument, match="not a regular file"):
        user.lookup(root, "web", [])
