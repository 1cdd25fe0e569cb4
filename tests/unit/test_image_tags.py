"""The TagStore: names move, survive a restart, and a broken file does not stop the daemon."""

import json
from pathlib import Path

import pytest

from wherry.image.reference import parse
from wherry.image.store import _open_tags
from wherry.image.tags import TagStore
from wherry.model.errors import InvalidArgument, Unavailable

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def test_names_survive(tmp_path: Path) -> None:
    tags = TagStore(tmp_path / "repositories.json")
    assert tags.set(parse("app:1"), A) is None
    assert tags.set(parse(f"app@{B}"), A) is None
    assert tags.set(parse("r.example/x:2"), B) is None
    again = TagStore(tmp_path / "repositories.json")
    assert again.get(parse("app:1")) == A and again.get(parse("docker.io/library/app:1")) == A
    assert again.get(parse(f"app:other@{B}")) == A  # a digest wins over a tag
    assert again.get(parse("app")) is None
    assert [one.familiar() for one in again.of(A)] == [f"app@{B}", "app:1"]
    assert again.last_tag_time(B)
    document = json.loads((tmp_path / "repositories.json").read_text())
    assert document["Version"] == 1 and document["Repositories"]["r.example/x"] == {"r.example/x:2": B}
    assert (tmp_path / "repositories.json").stat().st_mode & 0o777 == 0o600


def test_a_name_moves(tmp_path: Path) -> None:
    tags = TagStore(tmp_path / "repositories.json")
    tags.set(parse("app:latest"), A)
    assert tags.set(parse("app:latest"), B) == A
    assert tags.set(parse("app:latest"), B) is None
    assert tags.get(parse("app")) == B and tags.of(A) == []
    tags.remove([parse("app:latest"), parse("unknown:1")])
    assert tags.get(parse("app")) is None
    tags.set(parse("app:1"), B)
    tags.forget(B)
    assert TagStore(tmp_path / "repositories.json").get(parse("app:1")) is None
    with pytest.raises(InvalidArgument):
        tags.set(parse("app"), A)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"Version": 1, "Repositories": {"a": {"a:1": "x"}}}', '{"Version": 1, "Repositories": []}'])
def test_a_broken_file_is_set_aside(tmp_path: Path, text: str) -> None:
    path = tmp_path / "repositories.json"
    path.write_text(text)
    assert _open_tags(path).get(parse("a:1")) is None
    assert (tmp_path / "repositories.json.broken").read_text() == text and not path.exists()


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "repositories.json"
    path.write_text('{"Version": 2}')
    with pytest.raises(Unavailable, match="newer"):
        _open_tags(path)
    assert path.exists()
