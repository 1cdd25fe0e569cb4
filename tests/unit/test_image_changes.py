"""`--change` lines, references of filters, times of filters."""


import pytest

from wherry.image.changes import apply
from wherry.image.listing import familiar_match, seconds
from wherry.image.reference import parse
from wherry.model.errors import InvalidArgument


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ('CMD ["a", "b c"]', "Cmd", ["a", "b c"]),
        ("cmd a b", "Cmd", ["/bin/sh", "-c", "a b"]),
        ('ENTRYPOINT ["/x"]', "Entrypoint", ["/x"]),
        ("ENV A=1 B=\"x y\" C='q \"' D=a\\ b", "Env", ["A=1", "B=x y", 'C=q "', "D=a b"]),
        ("ENV OLD some words", "Env", ["OLD=some words"]),
        ('LABEL a=b "c d"="e=f"', "Labels", {"a": "b", "c d": "e=f"}),
        ("EXPOSE 80 53/udp 1-3", "ExposedPorts", {"80/tcp": {}, "53/udp": {}, "1/tcp": {}, "2/tcp": {}, "3/tcp": {}}),
        ("VOLUME /a /b", "Volumes", {"/a": {}, "/b": {}}),
        ('VOLUME ["/a b"]', "Volumes", {"/a b": {}}),
        ("USER 1:2", "User", "1:2"),
        ("WORKDIR a/../b", "WorkingDir", "/b"),
        ("STOPSIGNAL SIGINT", "StopSignal", "SIGINT"),
        ("ONBUILD RUN x", "OnBuild", ["RUN x"]),
        ("HEALTHCHECK NONE", "Healthcheck", {"Test": ["NONE"]}),
        ("HEALTHCHECK --interval=1m30s --retries=3 CMD a b", "Healthcheck",
         {"Test": ["CMD-SHELL", "a b"], "Interval": 90_000_000_000, "Retries": 3}),
        ('HEALTHCHECK CMD ["a", "b"]', "Healthcheck", {"Test": ["CMD", "a", "b"]}),
    ],
)
def test_changes(line: str, key: str, value: object) -> None:
    assert apply({}, [line])[key] == value


@pytest.mark.parametrize("line", ["HEALTHCHECK", "HEALTHCHECK CMD", "HEALTHCHECK --foo=1 CMD x", "HEALTHCHECK --interval=x CMD x",
                                  "HEALTHCHECK --interval=1us CMD x", "HEALTHCHECK --retries=-1 CMD x", "HEALTHCHECK NONE x", "HEALTHCHECK x"])
def test_bad_health_checks(line: str) -> None:
    with pytest.raises(InvalidArgument, match="HEALTHCHECK"):
        apply({}, [line])


def test_changes_add_up_and_leave_the_old_alone() -> None:
    old = {"Env": ["A=1", "B=2"], "WorkingDir": "/x"}
    assert apply(old, ["# a comment", "", "ENV B=3", "WORKDIR y"]) == {"Env": ["A=1", "B=3"], "WorkingDir": "/x/y"}
    assert old == {"Env": ["A=1", "B=2"], "WorkingDir": "/x"}


@pytest.mark.parametrize(
    "line",
    ["RUN x", "COPY a b", "CMD", "ENV A", "ENV A=1 B", 'ENV A="x', "EXPOSE 0", "EXPOSE 70000", "EXPOSE x", "EXPOSE 5-3", "ONBUILD FROM x"],
)
def test_bad_changes(line: str) -> None:
    with pytest.raises(InvalidArgument):
        apply({}, [line])


@pytest.mark.parametrize(
    ("pattern", "ref", "fits"),
    [
        ("busybox", "busybox:1", True), ("busybox:1", "busybox:1", True), ("busybox:*", "busybox:1", True), ("busy*", "busybox:1", True),
        ("*", "a/b:1", False), ("*/*", "a/b:1", True), ("b?sybox", "busybox:1", True), ("b[a-u]sybox:[^2]", "busybox:1", True),
        ("docker.io/library/busybox", "busybox:1", False), ("busybox:2", "busybox:1", False),
    ],
)
def test_reference_filter(pattern: str, ref: str, fits: bool) -> None:
    assert familiar_match(pattern, parse(ref)) is fits


def test_times() -> None:
    assert seconds("1970-01-01T00:01:00.5Z") == 60.5 and seconds("1970-01-01T01:00:00.000000001+01:00") == pytest.approx(0, abs=1e-6)
    assert seconds("nonsense") == seconds("") == seconds("0001-01-01T00:00:00Z") == -62135596800
    assert seconds("1970-13-01T00:00:00Z") == -62135596800
