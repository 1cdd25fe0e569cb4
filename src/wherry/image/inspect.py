"""What `image inspect` and `history` show (Engine API 1.51, ImageInspect and ImageHistory)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from wherry.graphdriver import Driver
from wherry.image.config import Image
from wherry.image.listing import seconds

if TYPE_CHECKING:
    from wherry.image.store import ImageStore

# Always shown, whether the image has them or not.
_CONFIG: dict[str, Any] = {"User": "", "WorkingDir": "", **dict.fromkeys(("Env", "Cmd", "Entrypoint", "Labels", "OnBuild", "Volumes"))}
_NEVER = "0001-01-01T00:00:00Z"


def inspect(store: ImageStore, image: Image) -> dict[str, Any]:
    """See `ImageStore.inspect`; what depends on the API version is left to the route."""
    config = image.config
    shown = {
        "Id": image.id,
        "RepoTags": store.tags_of(image.id),
        "RepoDigests": store.digests_of(image.id),
        "Parent": image.parent,
        "Comment": config.get("comment") or (image.history[-1].get("comment") if image.history else "") or "",
        "Created": image.created,
        "DockerVersion": config.get("docker_version") or "",
        "Author": config.get("author") or "",
        "Config": {**_CONFIG, **image.run_config},
        "Architecture": config.get("architecture") or "",
        "Os": config.get("os") or "linux",
        "Size": image.size,
        "GraphDriver": {"Name": store.driver.name, "Data": graph_data(store.driver, image.top_layer)},
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": store.tags.last_tag_time(image.id) or _NEVER},
    }
    for key, name in (("variant", "Variant"), ("os.version", "OsVersion")):
        if config.get(key):
            shown[name] = config[key]
    return shown


def graph_data(driver: Driver, layer: str | None) -> dict[str, str] | None:
    """`GraphDriver.Data` of an image's or a container's layer."""
    if layer is None or not driver.exists(layer) or driver.name != "overlay":
        return None
    spec = driver.mount_spec(layer)
    upper = spec.upper or spec.lowers[0]
    data = {"UpperDir": os.fspath(upper), "WorkDir": os.fspath(upper.with_name("work")), "MergedDir": os.fspath(upper.with_name("merged"))}
    if spec.upper is not None:
        data["LowerDir"] = ":".join(os.fspath(one) for one in spec.lowers)
    return data


def history(store: ImageStore, image: Image) -> list[dict[str, Any]]:
    """See `ImageStore.history`: newest first; the newest bears the image's ID and names."""
    sizes = iter([store.layers.get(chain).size for chain in image.chain_ids])
    rows = []
    for entry in image.history:
        rows.append({
            "Id": "<missing>",
            "Created": int(seconds(entry.get("created") or "")),
            "CreatedBy": entry.get("created_by") or "",
            "Tags": None,
            "Size": 0 if entry.get("empty_layer") else next(sizes, 0),
            "Comment": entry.get("comment") or "",
        })
    for size in sizes:  # layers that the history does not tell of
        rows.append({"Id": "<missing>", "Created": int(seconds(image.created)), "CreatedBy": "", "Tags": None, "Size": size, "Comment": ""})
    rows.reverse()
    if rows:
        rows[0]["Id"] = image.id
        rows[0]["Tags"] = store.tags_of(image.id) or None
    return rows
