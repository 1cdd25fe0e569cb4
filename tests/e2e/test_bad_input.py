"""Bad requests get the right status, a message that helps, and change nothing."""

import http.client
import json

import pytest

from harness.api import Api
from harness.cli import Cli
from harness.external import external_host

BASE = {"Image": "busybox", "Cmd": ["true"]}


def test_unknown_names_are_404(api: Api) -> None:
    for method, path in [
        ("GET", "/containers/nobody/json"), ("POST", "/containers/nobody/start"), ("POST", "/containers/nobody/stop"),
        ("POST", "/containers/nobody/kill"), ("POST", "/containers/nobody/wait"), ("DELETE", "/containers/nobody"),
        ("GET", "/containers/nobody/logs?stdout=1"), ("GET", "/containers/nobody/top"), ("POST", "/containers/nobody/rename?name=xx"),
        ("POST", "/containers/nobody/pause"), ("POST", "/containers/nobody/resize?h=1&w=1"), ("GET", "/images/nothing/json"),
        ("DELETE", "/images/nothing"), ("GET", "/images/nothing/history"), ("POST", "/images/nothing/tag?repo=x"), ("GET", "/volumes/nothing"),
        ("DELETE", "/volumes/nothing"), ("GET", "/exec/nothing/json"), ("GET", "/no/such/page"), ("PATCH", "/containers/json"),
    ]:  # fmt: skip
        answer = api(method, path)
        assert answer.status == 404, (method, path, answer)
        assert answer.message
    created = api("POST", "/containers/create", {"Image": "no-such-image"})
    assert created.status == 404 and "no-such-image" in created.message
    execed = api("POST", "/containers/nobody/exec", {"Cmd": ["true"]})
    assert execed.status == 404


def test_name_conflict_is_409(api: Api, name: str) -> None:
    assert api("POST", f"/containers/create?name={name}", BASE).status == 201
    again = api("POST", f"/containers/create?name={name}", BASE)
    assert again.status == 409 and name in again.message


def test_conflicting_states_are_409(api: Api, name: str) -> None:
    api.ok("POST", f"/containers/create?name={name}", BASE)
    assert api("POST", f"/containers/{name}/kill").status == 409
    assert api("POST", f"/containers/{name}/pause").status == 409
    assert api("POST", f"/containers/{name}/exec", {"Cmd": ["true"]}).status == 409
    api.ok("POST", f"/containers/create?name={name}-2", {"Image": "busybox", "Cmd": ["sleep", "60"]})
    api.ok("POST", f"/containers/{name}-2/start")
    assert api("POST", f"/containers/{name}-2/start").status == 304
    assert api("DELETE", f"/containers/{name}-2").status == 409
    api.ok("POST", f"/containers/{name}-2/stop?t=0")
    assert api("POST", f"/containers/{name}-2/stop").status == 304


@pytest.mark.parametrize("bad", ["a", "-a", "a/b", "a b", "../../x", "a\n", "x" * 5000, "é", "%00"])
def test_bad_container_names(api: Api, bad: str) -> None:
    from urllib.parse import quote

    answer = api("POST", f"/containers/create?name={quote(bad) if bad != '%00' else bad}", BASE)
    if external_host() and len(bad) > 255:
        pytest.xfail("the reference sets no bound")
    assert answer.status == 400, answer


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**BASE, "Cmd": 5}, "Cmd"),
        ({**BASE, "Env": "A=b"}, "Env"),
        ({**BASE, "HostConfig": {"Memory": "64m"}}, "Memory"),
        ({**BASE, "HostConfig": {"RestartPolicy": {"MaximumRetryCount": "x"}}}, "MaximumRetryCount"),
        ({**BASE, "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": 80}]}}}, "HostPort"),
        ({**BASE, "Labels": ["a"]}, "Labels"),
    ],
)
def test_a_malformed_field_is_named(api: Api, body: dict[str, object], field: str) -> None:
    answer = api("POST", "/containers/create", body)
    assert answer.status == 400 and (field in answer.message or external_host()), answer


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff\xfe", b'{"Image":"busybox"} trailing', b'"text"', b"nul"])
def test_malformed_json(api: Api, raw: bytes) -> None:
    assert api("POST", "/containers/create", raw=raw).status == 400


def test_wrong_content_type(api: Api) -> None:
    assert api("POST", "/containers/create", raw=b"{}", Content_Type="text/plain").status == 400


@pytest.mark.parametrize("filters", ["{", '{"nosuch":["x"]}', "[]", '{"status":["no-such-status"]}'])
def test_bad_filters(api: Api, filters: str) -> None:
    from urllib.parse import quote

    assert api("GET", f"/containers/json?filters={quote(filters)}").status == 400


@pytest.mark.parametrize(
    "host",
    [
        {"Binds": ["rel/ative:/x"]}, {"Binds": ["/a:b"]}, {"NetworkMode": "container:"}, {"RestartPolicy": {"Name": "sometimes"}},
        {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}, {"Memory": 1}, {"Memory": 1 << 26, "MemorySwap": 1 << 25},
        {"PortBindings": {"80/tcp": [{"HostPort": "99999"}]}}, {"CapAdd": ["NO_SUCH_CAPABILITY"]}, {"PidMode": "nonsense"}, {"IpcMode": "nonsense"},
        {"AutoRemove": True, "RestartPolicy": {"Name": "always"}}, {"CpuPeriod": 5}, {"NanoCpus": -1}, {"OomScoreAdj": 5000},
        {"SecurityOpt": ["nonsense"]}, {"ShmSize": -1}, {"LogConfig": {"Type": "json-file", "Config": {"no-such": "x"}}}, {"Tmpfs": {"relative": ""}},
        {"UTSMode": "nonsense"},
    ],
    ids=lambda host: json.dumps(host)[:40],
)  # fmt: skip
def test_bad_host_config(api: Api, host: dict[str, object], name: str) -> None:
    """Refused at create, or at the latest at start, with an error of the client (not 500) and nothing left."""
    created = api("POST", f"/containers/create?name={name}", {**BASE, "HostConfig": host})
    answer = created if created.status >= 400 else api("POST", f"/containers/{name}/start")
    assert 400 <= answer.status < (501 if external_host() else 500), answer
    assert answer.message


def test_not_http_at_all(api: Api) -> None:
    with api.connection() as connection:
        connection.connect()
        connection.sock.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        answer = connection.sock.recv(4096)
        assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0]
    assert api("GET", "/_ping").status == 200


def test_oversized_body_is_refused(api: Api) -> None:
    with api.connection() as connection:
        connection.putrequest("POST", "/containers/create")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(1 << 40))
        connection.endheaders()
        try:
            status = connection.getresponse().status
        except (ConnectionError, http.client.HTTPException):
            status = 400
        except TimeoutError:
            pytest.fail("a body of 2**40 bytes is waited for")
    assert status in (400, 413)
    assert api("GET", "/_ping").status == 200


def test_versions(api: Api) -> None:
    assert api("GET", "/v1.24/version").status == 200
    assert api("GET", "/v1.10/version").status == 400
    assert api("GET", "/v9.99/version").status == 400
    assert api("GET", "/_ping").headers["api-version"]


def test_ambiguous_prefix(api: Api, name: str) -> None:
    made = [api.ok("POST", f"/containers/create?name={name}-{n}", BASE)["Id"] for n in range(17)]
    prefix = next(container[0] for container in made if sum(other[0] == container[0] for other in made) > 1)
    assert api("GET", f"/containers/{prefix}/json").status in (400, 404)


def test_known_flags_that_are_not_built_say_so(one: Cli) -> None:
    if external_host():
        pytest.xfail("the reference has built them")
    refused = one("run", "--rm", "--gpus", "all", "busybox", "true", code=125)
    assert "gpus" in refused.err.lower() or "devicerequests" in refused.err.lower()
