"""The flag parser against the rules of pflag, and the values it reads."""

import pytest

from wherry.cli import units
from wherry.cli.flags import FlagError, Flags, parse

TABLE = (
    ("interactive", "i", "bool", "", "x"),
    ("tty", "t", "bool", "", "x"),
    ("detach", "d", "bool", "", "x"),
    ("sig-proxy", "", "bool", "true", "x"),
    ("env", "e", "list", "", "x"),
    ("publish", "p", "list", "", "x"),
    ("name", "", "string", "", "x"),
    ("memory", "m", "bytes", "", "x"),
    ("timeout", "", "int", "7", "x"),
    ("weight", "", "uint16", "0", "x"),
)


def read(*argv: str, interspersed: bool = True) -> tuple[Flags, list[str]]:
    flags = Flags(TABLE)
    return flags, parse(flags, list(argv), interspersed)


def test_bundles_values_and_defaults() -> None:
    flags, args = read(
        "-itd", "-e", "A=1", "-eB=2", "-e=C=3", "--env=D=4", "--env", "E", "--name=x y", "-m2g", "a", "--sig-proxy=false", "b"
    )
    assert args == ["a", "b"]
    assert flags.on("interactive") and flags.on("tty") and flags.on("detach") and not flags.on("sig-proxy")
    assert flags.items("env") == ["A=1", "B=2", "C=3", "D=4", "E"]
    assert flags.text("name") == "x y" and flags.number("memory") == 2 << 30
    assert flags.number("timeout") == 7 and not flags.given("timeout") and flags.given("name")


def test_flags_end_at_the_image() -> None:
    flags, args = read("-i", "busybox", "sh", "-c", "-t", "--nosuch", interspersed=False)
    assert args == ["busybox", "sh", "-c", "-t", "--nosuch"]
    assert not flags.on("tty")


def test_double_dash_ends_flags_and_a_lone_dash_is_an_argument() -> None:
    assert read("-i", "-", "--", "-t", "--")[1] == ["-", "-t", "--"]
    assert read("--", "-t", "x", interspersed=False)[1] == ["-t", "x"]


def test_bool_short_with_a_value_in_the_bundle() -> None:
    flags, _ = read("-t=false", "-di=true")
    assert not flags.on("tty") and flags.on("detach") and flags.on("interactive")


def test_a_bool_takes_no_separate_value() -> None:
    flags, args = read("--tty", "false")
    assert flags.on("tty") and args == ["false"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["--foo=1"], "unknown flag: --foo"),
        (["-ix"], "unknown shorthand flag: 'x' in -x"),
        (["--name"], "flag needs an argument: --name"),
        (["-ie"], "flag needs an argument: 'e' in -e"),
        (["---x"], "bad flag syntax: ---x"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-m", "x"], 'invalid argument "x" for "-m, --memory" flag: invalid size: \'x\''),
        (["--tty=maybe"], 'invalid argument "maybe" for "-t, --tty" flag: strconv.ParseBool: parsing "maybe": invalid syntax'),
        (["--timeout", "1s"], 'invalid argument "1s" for "--timeout" flag: strconv.ParseInt: parsing "1s": invalid syntax'),
        (["--weight", "65536"], 'invalid argument "65536" for "--weight" flag: strconv.ParseUint: parsing "65536": value out of range'),
    ],
)
def test_errors_are_125(argv: list[str], message: str) -> None:
    with pytest.raises(FlagError) as caught:
        read(*argv)
    assert caught.value.message == message
    assert caught.value.code == 125


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("10", 10),
        ("10b", 10),
        ("1k", 1024),
        ("64KB", 65536),
        ("1.5g", 3 << 29),
        ("2GiB", 2 << 30),
        ("1m", 1 << 20),
        ("3 mb", 3 << 20),
    ],
)
def test_size(text: str, value: int) -> None:
    assert units.size(text) == value


@pytest.mark.parametrize("text", ["", "x", "k", "-1", "1kk", "1x", "1.2.3", "1e3", "0x10", "inf", "1_0", "1i"])
def test_bad_size(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        units.size(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1s", 10**9),
        ("1h30m", 5400 * 10**9),
        ("1.5s", 1_500_000_000),
        ("200ms", 2 * 10**8),
        ("-3us", -3000),
        ("1m0.5s", 60_500_000_000),
    ],
)
def test_duration(text: str, value: int) -> None:
    assert units.duration(text) == value


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1h 30m", "-", ".s", "1..2s"])
def test_bad_duration(text: str) -> None:
    with pytest.raises(ValueError, match="time: "):
        units.duration(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1", 10**9), ("1.5", 15 * 10**8), (".01", 10**7), ("0.123456789", 123456789), ("2.0", 2 * 10**9)]
)
def test_nano_cpus(text: str, value: int) -> None:
    assert units.nano_cpus(text) == value


@pytest.mark.parametrize("text", ["", "x", "-1", "0.0000000001", "1,5"])
def test_bad_nano_cpus(text: str) -> None:
    with pytest.raises(ValueError):
        units.nano_cpus(text)


@pytest.mark.parametrize(("text", "value"), [("10", 10), ("-5", -5), ("0x10", 16), ("010", 8), ("0o10", 8), ("+3", 3)])
def test_integer(text: str, value: int) -> None:
    assert units.integer(text) == value


@pytest.mark.parametrize("text", ["", "-", "1.5", " 1", "1 ", "٣", "9223372036854775808"])
def test_bad_integer(text: str) -> None:
    with pytest.raises(ValueError, match="parsing"):
        units.integer(text)
