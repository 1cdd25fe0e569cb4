"""The runconfig merge (C4): the request's Config over the image's. Pure functions.

Rules: moby's documentation of `docker run` ("Overriding image defaults") and the OCI image spec, config.md.
"""

from __future__ import annotations

from typing import Any

import msgspec

from wherry.model.config import Config, HealthConfig
from wherry.model.errors import InvalidArgument


def merge(image: dict[str, Any], asked: Config) -> Config:
    """The container's Config. `image` is the `config` object of the image's JSON."""
    entrypoint, cmd = asked.entrypoint, asked.cmd
    if not entrypoint:
        if not cmd:
            cmd = image.get("Cmd")
        if entrypoint is None:
            entrypoint = image.get("Entrypoint")
    if entrypoint == [""]:
        entrypoint = None
    return msgspec.structs.replace(
        asked,
        user=asked.user or image.get("User") or "",
        exposed_ports={**(image.get("ExposedPorts") or {}), **(asked.exposed_ports or {})} or None,
        env=merge_env(image.get("Env") or [], asked.env or []),
        entrypoint=entrypoint,
        cmd=cmd,
        working_dir=asked.working_dir or image.get("WorkingDir") or "",
        labels={**(image.get("Labels") or {}), **(asked.labels or {})},
        volumes={**(image.get("Volumes") or {}), **(asked.volumes or {})} or None,
        stop_signal=asked.stop_signal or image.get("StopSignal") or "",
        shell=asked.shell or image.get("Shell"),
        healthcheck=_merge_health(image.get("Healthcheck"), asked.healthcheck),
        on_build=None,
    )


def merge_env(image: list[str], asked: list[str]) -> list[str]:
    """The image's variables, each replaced where the request has its key. An entry of the image without `=` is refused (R7); one of the
    request stays, for the start to remove the variable."""
    for entry in image:
        if "=" not in entry:
            raise InvalidArgument(f"the image's environment has an entry without '=': {entry!r}")
    keys = {entry.partition("=")[0] for entry in asked}
    return [*asked, *(entry for entry in image if entry.partition("=")[0] not in keys)]


def _merge_health(image: dict[str, Any] | None, asked: HealthConfig | None) -> HealthConfig | None:
    if image is None:
        return asked
    base = msgspec.convert(image, HealthConfig)
    if asked is None:
        return base
    return HealthConfig(
        test=asked.test or base.test, interval=asked.interval or base.interval, timeout=asked.timeout or base.timeout,
        start_period=asked.start_period or base.start_period, start_interval=asked.start_interval or base.start_interval,
        retries=asked.retries or base.retries,
    )


def argv_of(config: Config) -> list[str]:
    """What is executed: entrypoint and command. InvalidArgument where there is none."""
    argv = [*(config.entrypoint or []), *(config.cmd or [])]
    if not argv or (config.entrypoint == [""] and not config.cmd):
        raise InvalidArgument("no command specified")
    return argv
