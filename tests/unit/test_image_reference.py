"""The reference grammar: what people write, what it means, how it is shown again."""

import pytest

from wherry.image.reference import Reference, is_digest, parse
from wherry.model.errors import InvalidArgument

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
        ("user/app:v1", "docker.io/user/app:v1", "user/app:v1"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("registry.example/a/b/c", "registry.example/a/b/c", "registry.example/a/b/c"),
        ("UPPER/app", "UPPER/app", "UPPER/app"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
        ("a__b.c-d---e_f:T.a_g-1", "docker.io/library/a__b.c-d---e_f:T.a_g-1", "a__b.c-d---e_f:T.a_g-1"),
        (HEX[:63], f"docker.io/library/{HEX[:63]}", HEX[:63]),
    ],
)
def test_good_references(text: str, full: str, familiar: str) -> None:
    ref = parse(text)
    assert str(ref) == full and ref.familiar() == familiar
    assert parse(full) == ref and parse(familiar) == ref


@pytest.mark.parametrize(
    "text",
    ["", ":", ":tag", "/", "a/", "/a", "a//b", "a:", "a: b", "a b", "a..b", "a___b", "-a", "a-", ".a", "_a", "Upper", "a/Upper", "a:" + "t" * 129,
     "a:-t", "a@",
     "a@sha256:abc", f"a@{DIGEST.upper()}", f"a@sha512:{HEX}", "a@b@c", HEX, "../etc", "a/../b", "a\0", "é", "ex_ample.com/a", "a.b:port/c",
     "x" * 300, "exam ple/x", "-a.b/c", "[::1/x"],
)
def test_bad_references(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(text)


def test_words_that_clients_match() -> None:
    with pytest.raises(InvalidArgument, match=r"repository name \(library/Foo\) must be lowercase"):
        parse("Foo")
    with pytest.raises(InvalidArgument, match="cannot specify 64-byte hexadecimal strings"):
        parse(HEX)


def test_parts() -> None:
    ref = parse(f"r.example:443/a/b:tag@{DIGEST}")
    assert ref == Reference("r.example:443", "a/b", "tag", DIGEST)
    assert str(ref.tagged()) == "r.example:443/a/b:tag" and str(ref.canonical()) == f"r.example:443/a/b@{DIGEST}"
    assert parse("a").with_default_tag().tag == "latest" and parse(f"a@{DIGEST}").with_default_tag().tag == ""
    assert is_digest(DIGEST) and not is_digest(HEX) and not is_digest(DIGEST + "\n")
