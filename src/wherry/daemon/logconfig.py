"""Which log a container has: LogConfig with the daemon's defaults filled in, checked, and as the monitor is told."""

from __future__ import annotations

from typing import Any

from wherry.daemon.options import Options, check_log_opts, parse_bytes
from wherry.model.config import LogConfig
from wherry.model.errors import InvalidArgument


def settle(asked: LogConfig, options: Options) -> LogConfig:
    """The log of a new container. The daemon's log options apply where its driver does, as in Docker. InvalidArgument."""
    driver = asked.type or options.log_driver
    defaults = options.log_opts if driver == options.log_driver else {}
    config = {**defaults, **(asked.config or {})}
    if driver == "none":
        if config:
            raise InvalidArgument(f"the log driver none has no options, but {', '.join(sorted(config))} was given")
    else:
        check_log_opts(config)
    return LogConfig(type=driver, config=config)


def writer_of(identifier: str, config: LogConfig) -> dict[str, Any] | None:
    """What the monitor needs to write the log; None where nothing is kept."""
    if config.type == "none":
        return None
    options = config.config or {}
    size = options.get("max-size", "-1")
    return {
        "name": f"{identifier}-json.log", "max_size": None if size == "-1" else parse_bytes("max-size", size),
        "max_file": int(options.get("max-file", "1")),
    }  # fmt: skip
