from __future__ import annotations

from typing import Any

import pytest

from wherry.api.decode import convert, decode
from wherry.api.query import Query
from wherry.model.config import Config, HostConfig, NetworkingConfig
from wherry.model.errors import InvalidArgument
from wherry.model.filters import Filters, parse_filters


@pytest.mark.parametrize(("text", "value"), [("", False), ("a", False), ("a=", False), ("a=0", False), ("a=No", False), ("a=%20FALSE", False),
                                             ("a=none", False), ("a=1", True), ("a=True", True), ("a=off", True), ("a=2", True)])
def test_loose_booleans(text: str, value: bool) -> None:
    assert Query(text).flag("a") is value


def test_other_parameters() -> None:
    query = Query("n=-5&n=3&junk=x1&s=T&h=4294967295&w=-1&x=4294967296")
    assert query.integer("n") == -5 and query.integer("absent", 7) == 7 and query.texts("n") == ["-5", "3"]
    assert query.strict_flag("s") and query.size("h") == 2**32 - 1
    for call in (lambda: query.integer("junk"), lambda: query.strict_flag("junk"), lambda: query.size("w"), lambda: query.size("x"),
                 lambda: query.needed("absent"), lambda: Query("a=%ff")):
        with pytest.raises(InvalidArgument):
            call()


@pytest.mark.parametrize(("text", "wanted"), [
    ("", {}), ("{}", {}), ("null", {}), ('{"a":{"x":true,"y":true}}', {"a": ("x", "y")}), ('{"a":["x"]}', {"a": ("x",)}), ('{"a":[]}', {"a": ()}),
])
def test_filters(text: str, wanted: dict[str, tuple[str, ...]]) -> None:
    filters = parse_filters(text)
    assert set(filters.keys()) == set(wanted) and all(filters.get(key) == value for key, value in wanted.items())


@pytest.mark.parametrize("text", ["x", "[]", '{"a":1}', '{"a":[1]}', '{"a":{"x":1}}', '"a"'])
def test_bad_filters(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_filters(text)


def test_filter_values() -> None:
    filters = Filters({"d": ["1", "true"], "e": ["true", "0"], "f": ["yes"], "label": ["a", "b=2"]})
    assert filters.flag("d", False) and filters.flag("absent", True)
    unwanted = Filters({"label!": ["a", "b=2"]})
    assert unwanted.labels_match({"a": "", "b": "1"}) and not unwanted.labels_match({"a": "", "b": "2"})
    assert filters.labels_match({"a": "", "b": "2", "c": ""}) and not filters.labels_match({"a": "", "b": "1"})
    for key in ("e", "f"):
        with pytest.raises(InvalidArgument):
            filters.flag(key, False)
    with pytest.raises(InvalidArgument):
        filters.one("d")
    with pytest.raises(InvalidArgument):
        Query('filters={"z":["1"]}').filters(frozenset({"a"}))


def test_decode_follows_go() -> None:
    host = decode(b'{"BINDS":["a:b"],"portbindings":{"80/tcp":[{"hostport":"1"},null],"81/tcp":null},"restartPolicy":{"NAME":"always"},'
                  b'"MemorySwappiness":null,"ulimits":[null],"ConsoleSize":[1,2],"Extra":{}}', HostConfig)
    assert host.binds == ["a:b"] and host.restart_policy.name == "always" and host.memory_swappiness is None and host.console_size == (1, 2)
    assert host.port_bindings is not None and host.port_bindings["81/tcp"] is None
    assert [b.host_port for b in host.port_bindings["80/tcp"] or []] == ["1", ""]
    assert host.ulimits is not None and host.ulimits[0].name == ""
    config = decode(b'{"Cmd":"one two","entrypoint":["x"],"ExposedPorts":{"1/tcp":null},"Labels":{"a":null}}', Config)
    assert (config.cmd, config.entrypoint, config.exposed_ports, config.labels) == (["one two"], ["x"], {"1/tcp": {}}, {"a": ""})
    net = decode(b'{"EndpointsConfig":{"a":null,"b":{"IPAMConfig":{"ipv4address":"1.2.3.4"}}}}', NetworkingConfig)
    assert net.endpoints_config is not None and net.endpoints_config["a"] is None


@pytest.mark.parametrize(("value", "kind", "path"), [
    ({"Ulimits": [{"Name": "a"}, {"Soft": "x"}]}, HostConfig, "Ulimits[1].Soft"),
    ({"cmd": [1]}, Config, "Cmd[0]"),
    ({"Env": "a=b"}, Config, "Env"),
    ({"ConsoleSize": [1]}, HostConfig, "ConsoleSize"),
    ({"PortBindings": {"80/tcp": {"HostPort": 1}}}, HostConfig, "PortBindings"),
])
def test_errors_name_the_field(value: Any, kind: type, path: str) -> None:
    with pytest.raises(InvalidArgument, match="(?s)") as caught:
        convert(value, kind)
    assert path in str(caught.value)
