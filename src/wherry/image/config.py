"""Image configs: read with every type checked, because image data is data and not to be trusted (R7).

OCI Image Specification 1.1, config.md; the fields that Docker adds (Healthcheck, OnBuild, Shell ...) are kept as they are.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from wherry.image.reference import is_digest
from wherry.model.errors import InvalidArgument

MAX_CONFIG = 8 << 20  # bytes
MAX_LAYERS = 500  # of an image here; how many can be started is C3's affair

_TEXTS = ("User", "WorkingDir", "StopSignal", "Hostname", "Domainname", "Image", "MacAddress")
_LISTS = ("Env", "Cmd", "Entrypoint", "OnBuild", "Shell")
_MAPS = ("Labels", "ExposedPorts", "Volumes")


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the store. `layers` are graph driver layers, lowest first; `size` is the bytes of content of all of them."""

    id: str
    config: dict[str, Any]
    diff_ids: tuple[str, ...]
    chain_ids: tuple[str, ...]
    layers: tuple[str, ...]
    size: int

    @property
    def top_layer(self) -> str | None:
        return self.layers[-1] if self.layers else None

    @property
    def run_config(self) -> dict[str, Any]:
        """The `config` part: Env, Cmd, Entrypoint, User and so on, never None."""
        return self.config.get("config") or {}

    @property
    def created(self) -> str:
        return self.config.get("created") or "0001-01-01T00:00:00Z"

    @property
    def parent(self) -> str:
        """ID of the image this one was committed from; empty for a loaded one."""
        return ""

    @property
    def labels(self) -> dict[str, str]:
        return self.run_config.get("Labels") or {}

    @property
    def history(self) -> list[dict[str, Any]]:
        return self.config.get("history") or []


def image_id(raw: bytes) -> str:
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def chain_ids(diff_ids: tuple[str, ...]) -> tuple[str, ...]:
    """ID of each layer together with those below; OCI config.md, "Layer ChainID"."""
    found: list[str] = []
    for diff_id in diff_ids:
        found.append(diff_id if not found else "sha256:" + hashlib.sha256(f"{found[-1]} {diff_id}".encode()).hexdigest())
    return tuple(found)


def parse_config(raw: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The config and its diff IDs; InvalidArgument names the field that is wrong."""
    if len(raw) > MAX_CONFIG:
        raise InvalidArgument(f"image config of {len(raw)} bytes, at most {MAX_CONFIG} are allowed")
    document = parse_json(raw, "image config")
    if not isinstance(document, dict):
        raise InvalidArgument("image config: not a JSON object")
    if any(key in document for key in ("manifests", "layers")):
        raise InvalidArgument("image config: this is a manifest or an index")  # CVE-2021-41190: one document, one reading
    rootfs = document.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if diff_ids is None:
        diff_ids = []
    if not isinstance(diff_ids, list) or not all(isinstance(one, str) and is_digest(one) for one in diff_ids):
        raise InvalidArgument("image config: rootfs.diff_ids must be a list of sha256 digests")
    if len(diff_ids) > MAX_LAYERS:
        raise InvalidArgument(f"image config: {len(diff_ids)} layers, at most {MAX_LAYERS} are allowed")
    system = document.get("os") or "linux"
    if system != "linux":
        raise InvalidArgument(f"image operating system {system!r} cannot be used on this platform: linux")
    _check_run_config(document.get("config"))
    _check_rest(document)
    return document, tuple(diff_ids)


def parse_json(raw: bytes, what: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what}: not valid JSON: {error}") from None


def _check_run_config(config: Any) -> None:
    if config is None:
        return
    if not isinstance(config, dict):
        raise InvalidArgument("image config: config must be an object")
    for key in _TEXTS:
        _need(config.get(key) is None or isinstance(config[key], str), f"config.{key}", "text")
    for key in _LISTS:
        value = config.get(key)
        _need(value is None or (isinstance(value, list) and all(isinstance(one, str) for one in value)), f"config.{key}", "a list of texts")
    for key in _MAPS:
        _need(config.get(key) is None or isinstance(config[key], dict), f"config.{key}", "an object")
    _need(all(isinstance(value, str) for value in (config.get("Labels") or {}).values()), "config.Labels", "an object of texts")
    for entry in config.get("Env") or ():
        # An entry without a value would be filled in from somebody's environment (CVE-2026-57231).
        _need("=" in entry and not entry.startswith("=") and "\0" not in entry, "config.Env", f"a list of NAME=VALUE, not {entry[:64]!r}")


def _check_rest(document: dict[str, Any]) -> None:
    for key in ("created", "author", "architecture", "variant", "os.version", "docker_version", "comment"):
        _need(document.get(key) is None or isinstance(document[key], str), key, "text")
    history = document.get("history")
    _need(history is None or (isinstance(history, list) and len(history) <= 10_000 and all(isinstance(one, dict) for one in history)),
          "history", "a list of objects")
    for one in history or ():
        for key in ("created", "created_by", "author", "comment"):
            _need(one.get(key) is None or isinstance(one[key], str), f"history.{key}", "text")


def _need(good: bool, field: str, what: str) -> None:
    if not good:
        raise InvalidArgument(f"image config: {field} must be {what}")
