"""wherryd's flags and daemon.json."""

import json
from pathlib import Path

import pytest

from wherry.daemon import options as module
from wherry.daemon.options import Options, parse
from wherry.model.errors import InvalidArgument, Unimplemented


@pytest.fixture(autouse=True)
def no_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIG_FILE", tmp_path / "none.json")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "daemon.json"


def test_defaults_follow_the_exec_root() -> None:
    assert parse([]) == Options()
    options = parse(["--exec-root", "/run/other"])
    assert options.hosts == ("unix:///run/other/wherry.sock",) and options.pidfile == Path("/run/other/wherryd.pid")
    assert options.live_restore and options.data_root == Path("/var/lib/wherry")


def test_every_flag() -> None:
    options = parse([
        "--data-root=/d", "-H", "unix:///a", "-Hunix:///b", "--host=fd://", "-p", "/p", "-b", "br7", "--bip", "10.9.0.1/24", "--ip-forward=false",
        "--iptables=false", "--icc=0", "--mtu=1400", "--dns", "1.1.1.1", "--dns=8.8.8.8", "--dns-search", "x.org", "--dns-opt", "ndots:2",
        "--storage-driver", "vfs", "-l", "warn", "--log-driver", "json-file", "--log-opt", "max-size=10m", "--log-opt", "max-file=3",
        "--default-ulimit", "nofile=1024:2048", "--default-ulimit=core=-1", "--live-restore=false", "--init", "--init-path", "/tini",
        "--default-shm-size", "1.5g", "--shutdown-timeout", "3", "--ready-fd", "7",
    ])  # fmt: skip
    assert options == Options(
        data_root=Path("/d"), hosts=("unix:///a", "unix:///b", "fd://"), pidfile=Path("/p"), bridge="br7", bip="10.9.0.1/24", ip_forward=False,
        iptables=False, icc=False, mtu=1400, dns=("1.1.1.1", "8.8.8.8"), dns_search=("x.org",), dns_options=("ndots:2",), storage_driver="vfs",
        log_level="warn", log_opts={"max-size": "10m", "max-file": "3"}, default_ulimits={"nofile": (1024, 2048), "core": (-1, -1)},
        live_restore=False, init=True, init_path="/tini", default_shm_size=3 << 29, shutdown_timeout=3, ready_fd=7,
    )  # fmt: skip
    assert parse(["-D"]).log_level == "debug"


def test_every_key_of_the_file(config: Path) -> None:
    config.write_text(json.dumps({
        "data-root": "/d", "exec-root": "/e", "hosts": ["unix:///a"], "bridge": "br7", "mtu": 1400, "icc": False, "dns": ["1.1.1.1"],
        "dns-opts": ["ndots:2"], "dns-search": ["x"], "log-opts": {"max-size": "1k"}, "debug": True, "default-shm-size": "1m",
        "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1, "Hard": 2}}, "live-restore": False, "init": True, "shutdown-timeout": 1,
    }))  # fmt: skip
    options = parse(["--config-file", str(config)])
    assert options == Options(
        data_root=Path("/d"), exec_root=Path("/e"), hosts=("unix:///a",), pidfile=Path("/e/wherryd.pid"), config_file=config, bridge="br7", mtu=1400,
        icc=False, dns=("1.1.1.1",), dns_options=("ndots:2",), dns_search=("x",), log_opts={"max-size": "1k"}, log_level="debug",
        default_shm_size=1 << 20, default_ulimits={"nofile": (1, 2)}, live_restore=False, init=True, shutdown_timeout=1,
    )  # fmt: skip
    assert set(module._BY_KEY) >= set(json.loads(config.read_text()))


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--nope"], "unknown flag: --nope"), (["-x"], "unknown shorthand flag: 'x' in -x"), (["extra"], "accepts no arguments, but 'extra'"),
        (["--mtu"], "flag needs an argument: --mtu"), (["--mtu", "x"], "invalid value 'x' for --mtu"), (["--mtu=5"], "from 68 to 65535"),
        (["--icc=maybe"], "for --icc"), (["--data-root", "rel"], "an absolute path"), (["--default-shm-size", "1x"], "a size such as 64m"),
        (["--default-ulimit", "foo=1"], "invalid ulimit type: foo"), (["--default-ulimit", "nofile=5:1"], "less than or equal to hard limit"),
        (["--default-ulimit", "nofile"], "name=soft"), (["--log-level", "loud"], "one of debug"), (["--log-opt", "x"], "key=value"),
        (["--log-opt", "foo=1"], "unknown log opt 'foo' for json-file log driver"), (["--log-opt", "max-size=foo"], "a size such as"),
        (["--log-opt=max-size=1k", "--log-opt=max-file=0"], "a positive whole number"),
        (["--log-driver", "foo"], "json-file or none is needed"),
        (["--config-file", "/no/such"], "no such file"), (["--icc", "false"], "no arguments"),
    ],
)  # fmt: skip
def test_refused(argv: list[str], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(argv)
    assert text in str(caught.value)


@pytest.mark.parametrize("argv", [["--userns-remap=x"], ["--tls"], ["-G", "x"], ["--log-driver=syslog"], ["--bridge=none"], ["--seccomp-profile=x"]])
def test_known_but_unbuilt(argv: list[str]) -> None:
    with pytest.raises(Unimplemented, match="not built yet"):
        parse(argv)


@pytest.mark.parametrize(
    ("content", "argv", "error", "text"),
    [
        ('{"foo":1,"debug":true}', [], InvalidArgument, "the following directives don't match any configuration option: foo"),
        ('{"runtimes":{}}', [], Unimplemented, "known but not built yet: runtimes"),
        ('{"data-root":"/x"}', ["--data-root", "/y"], InvalidArgument,
         "specified both as a flag and in the configuration file: data-root: (from flag: /y, from file: /x)"),
        ('{"hosts":["unix:///x"]}', ["-H", "unix:///y"], InvalidArgument, "hosts: (from flag: [unix:///y], from file: [unix:///x])"),
        ('{"dns":"x", ', [], InvalidArgument, "invalid JSON"), ("[]", [], InvalidArgument, "an object is needed"),
        ('{"mtu":"x"}', [], InvalidArgument, "invalid value 'x' for mtu: a whole number"), ('{"icc":1}', [], InvalidArgument, "for icc"),
        ('{"dns":"x"}', [], InvalidArgument, "a list of texts"), ('{"log-opts":{"max-size":1}}', [], InvalidArgument, "an object of texts"),
        ('{"default-ulimits":{"nofile":5}}', [], InvalidArgument, "default-ulimits.nofile"), ('{"ready-fd":1}', [], InvalidArgument, "ready-fd"),
    ],
)  # fmt: skip
def test_file_refused(config: Path, content: str, argv: list[str], error: type[Exception], text: str) -> None:
    config.write_text(content)
    with pytest.raises(error) as caught:
        parse(["--config-file", str(config), *argv])
    assert text in str(caught.value) and str(config) in str(caught.value)


def test_default_file_is_read_if_it_exists(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    monkeypatch.setattr(module, "CONFIG_FILE", config)
    config.write_text("")
    assert parse([]).mtu == 0
    config.write_text('{"mtu": 1400}')
    assert parse([]).mtu == 1400


def test_help_version_validate(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, text in ((["--help"], "--shutdown-timeout int"), (["-v"], "wherryd version "), (["--validate", "--mtu=1400"], "configuration OK")):
        with pytest.raises(SystemExit) as caught:
            parse(argv)
        assert caught.value.code == 0 and text in capsys.readouterr().out
