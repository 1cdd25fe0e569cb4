"""LogConfig: defaults of the daemon, checks, what the monitor is told."""

import pytest

from wherry.daemon.logconfig import settle, writer_of
from wherry.daemon.options import Options
from wherry.model.config import LogConfig
from wherry.model.errors import InvalidArgument

DAEMON = Options(log_opts={"max-size": "10k", "max-file": "2"})


def test_defaults_fill_what_is_not_asked() -> None:
    assert settle(LogConfig(), Options()) == LogConfig(type="json-file", config={})
    assert settle(LogConfig(type="json-file", config={"max-file": "5"}), DAEMON).config == {"max-size": "10k", "max-file": "5"}
    assert settle(LogConfig(type="none"), DAEMON) == LogConfig(type="none", config={})
    assert settle(LogConfig(), Options(log_driver="none")).type == "none"


@pytest.mark.parametrize(
    "config",
    [{"max-size": "x"}, {"max-size": "0"}, {"max-file": "0"}, {"max-size": "1k", "max-file": "-1"}, {"max-size": "1k", "max-file": "x"}, {"a": ""}],
)
def test_refused(config: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        settle(LogConfig(config=config), Options())


def test_none_has_no_options() -> None:
    with pytest.raises(InvalidArgument, match="max-size"):
        settle(LogConfig(type="none", config={"max-size": "1k"}), Options())


def test_what_the_monitor_is_told() -> None:
    assert writer_of("id", settle(LogConfig(), DAEMON)) == {"name": "id-json.log", "max_size": 10240, "max_file": 2}
    assert writer_of("id", LogConfig(type="json-file", config={"max-size": "-1"})) == {"name": "id-json.log", "max_size": None, "max_file": 1}
    assert writer_of("id", LogConfig(type="none")) is None
