"""Every field of a create request with a wrong JSON type, names that walk or overflow, JSON that is too deep or too large."""

import types
import typing
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from harness.api import Api
from harness.external import external_host
from wherry.model.config import Config, HostConfig, NetworkingConfig

BASE = {"Image": "busybox", "Cmd": ["true"]}
pytestmark = pytest.mark.own_daemon


def wrong_values(kind: Any) -> Iterator[tuple[str, Any]]:
    """(path below, value of a wrong type) for a type of the model."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        yield from wrong_values(next(one for one in args if one is not type(None)))
    elif origin is list:
        yield "", {"a": 1}
        for path, value in wrong_values(args[0]):
            yield f"[0]{path}", [value]
    elif origin is dict:
        yield "", 7
        for _path, value in wrong_values(args[1]):
            yield "[...]", {"key": value}
            break
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield "", "text"
        for field in msgspec.structs.fields(kind):
            for path, value in wrong_values(field.type):
                yield f".{field.encode_name}{path}", {field.encode_name: value}
    elif kind is str:
        yield "", 7
    elif kind is bool:
        yield "", "yes"
    elif kind is int:
        yield "", "7"
        yield "", 1.5
        yield "", 1 << 70
    elif kind is float:
        yield "", "1.5"


def cases() -> list[tuple[str, dict[str, Any]]]:
    found = [(path.removeprefix("."), {**BASE, **value}) for path, value in wrong_values(Config) if path]
    for name, kind in (("HostConfig", HostConfig), ("NetworkingConfig", NetworkingConfig)):
        found += [(f"{name}{path}", {**BASE, name: value}) for path, value in wrong_values(kind)]
    return found


def test_every_field_with_a_wrong_type(api: Api) -> None:
    """400 with the path of the field, for each of a few hundred."""
    walked, wrong = cases(), []
    assert len(walked) > 200
    for path, body in walked:
        answer = api("POST", "/containers/create", body)
        if answer.status != 400 or (not external_host() and path.split("[")[0] not in answer.message):
            wrong.append((path, answer))
    assert not wrong, f"{len(wrong)} of {len(walked)}: {wrong[:10]}"


NAMES = ["..", "../../etc/passwd", "%00", "a%00b", "%ff%fe", "x" * 5000, "a%2F..%2F..%2Fb", "%0a", "%2e%2e", "a%20b",
         "\\..", "-rf", "sha256:..", "%25s"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_names_in_paths(api: Api, name: str) -> None:
    """Of no object: 404, or 400 for what cannot be a name; never 500, never a file."""
    for method, path in [
        ("GET", "/containers/{}/json"), ("POST", "/containers/{}/start"), ("DELETE", "/containers/{}"), ("GET", "/containers/{}/logs?stdout=1"),
        ("GET", "/images/{}/json"), ("GET", "/images/{}/history"), ("DELETE", "/images/{}"), ("POST", "/images/{}/tag?repo=a&tag=b"),
        ("GET", "/images/{}/get"), ("GET", "/volumes/{}"), ("DELETE", "/volumes/{}"), ("GET", "/networks/{}"), ("GET", "/exec/{}/json"),
        ("POST", "/exec/{}/start"), ("POST", "/containers/{}/exec"), ("GET", "/containers/{}/top"), ("POST", "/containers/{}/wait"),
    ]:  # fmt: skip
        body = {"Cmd": ["true"]} if path.endswith("/exec") else {"Detach": True} if path.startswith("/exec") and method == "POST" else None
        answer = api(method, path.format(name), body)
        assert answer.status in (400, 404, 405, 301), (method, path, answer)


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "a\0b", "x" * 5000, "ü", "-x", "", ".", "a b", "a\nb"], ids=lambda name: ascii(name)[:20])
def test_names_of_new_things(api: Api, name: str) -> None:
    if name:
        assert api("POST", f"/containers/create?name={quote(name)}", BASE).status == 400
        assert api("POST", "/volumes/create", {"Name": name}).status == 400
        assert api("POST", "/containers/create", {**BASE, "HostConfig": {"Binds": [f"{name}:/x"]}}).status == 400
        mount = {"Type": "volume", "Source": name, "Target": "/x"}
        assert api("POST", "/containers/create", {**BASE, "HostConfig": {"Mounts": [mount]}}).status == 400
        assert api("POST", "/containers/create", {**BASE, "HostConfig": {"NetworkMode": name}}).status in (400, 404, 501)
    assert api("POST", "/containers/create", {**BASE, "Image": name}).status in (400, 404)
    if name != "a/b":
        assert api("POST", f"/images/busybox/tag?repo={quote(name)}&tag=x").status == 400
    if name:
        assert api("POST", f"/images/busybox/tag?repo=x1&tag={quote(name)}").status == 400


@pytest.mark.parametrize("raw", [
    b"[" * 100_000, b'{"a":' * 100_000, b'{"Image":"busybox","Cmd":' + b"[" * 5000 + b"]" * 5000 + b"}", b"\x00", b'{"Image":"busy\\u0000box"}',
    b'{"Image":"\xff"}', b'{"Image":"busybox","Cmd":["\\ud800"]}', b'{"Image":1e999}', b"{\"Image\":'x'}", b'{"Image":"busybox","HostConfig":NaN}',
], ids=range(10))  # fmt: skip
def test_hostile_json(api: Api, raw: bytes) -> None:
    assert api("POST", "/containers/create", raw=raw).status == 400


def test_duplicate_keys_are_one_value(api: Api, name: str) -> None:
    """The last one counts, as in Go, for what is checked as for what is executed (R9)."""
    raw = b'{"Image":"busybox","Cmd":["false"],"cmd":["true"],"HostConfig":{"Privileged":true,"Privileged":false}}'
    made = api("POST", f"/containers/create?name={name}", raw=raw)
    assert made.status == 201
    shown = api.ok("GET", f"/containers/{name}/json")
    assert shown["Config"]["Cmd"] == ["true"] and shown["HostConfig"]["Privileged"] is False


def test_a_large_body_is_413(api: Api) -> None:
    with api.connection() as connection:
        connection.putrequest("POST", "/containers/create")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(1 << 40))
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_wrong_methods_and_unknown_filters(api: Api) -> None:
    for request in ("PUT /containers/json", "DELETE /info", "POST /version", "GET /containers/create", "PATCH /volumes"):
        method, path = request.split()
        assert api(method, path).status in (404, 405), (method, path)
    for path in ("/containers/json", "/images/json", "/volumes", "/networks", "/events", "/containers/prune", "/images/prune", "/volumes/prune"):
        method = "POST" if path.endswith("prune") else "GET"
        unknown = [] if path == "/events" else ['{"no-such":["x"]}']  # events takes any key, as Docker's
        for filters in (*unknown, "{", '{"status":5}', "[1]"):
            answer = api(method, f"{path}?filters={quote(filters)}", timeout=5)
            assert answer.status == 400, (path, filters, answer)
    for query in ("limit=x", "all=maybe", "size=maybe"):
        answer = api("GET", f"/containers/json?{query}")
        assert answer.status in (200, 400), answer
