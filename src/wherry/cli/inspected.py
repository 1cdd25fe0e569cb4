"""The answers of inspect as templates see them. JSON does not tell Go's maps from its structs, nor a nil list from a nil pointer; the names
of the fields do (https://docs.docker.com/reference/api/engine/)."""

from wherry.cli.govalues import Map, NilList, NilMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAPS = frozenset(
    (
        *("Labels", "Annotations", "Options", "DriverOpts", "Volumes", "ExposedPorts", "Sysctls", "Tmpfs", "StorageOpt", "PortBindings"),
        *("Ports", "Networks", "Containers", "Data", "AuxiliaryAddresses", "AuxAddress", "Status", "Config"),
    )
)
POINTERS = frozenset(
    (
        *("Health", "Healthcheck", "Init", "OomKillDisable", "MemorySwappiness", "PidsLimit", "StopTimeout", "SizeRw", "SizeRootFs"),
        *("IPAMConfig", "UsageData", "BindOptions", "VolumeOptions", "TmpfsOptions", "ImageManifestDescriptor", "Descriptor"),
    )
)
# Fields that the daemon leaves out when they are empty, and what a template finds then.
ABSENT: "dict[str, Any]" = {
    **dict.fromkeys(("Health", "Healthcheck", "Init", "StopTimeout", "SizeRw", "SizeRootFs", "UsageData", "ImageManifestDescriptor"), None),
    **dict.fromkeys(("StopSignal", "MacAddress", "Name", "Author", "Comment", "Container", "DockerVersion", "Variant", "OsVersion"), ""),
    **dict.fromkeys(("Annotations", "ExposedPorts", "Sysctls", "Tmpfs", "StorageOpt"), NilMap()),
    **dict.fromkeys(("Mounts", "Shell", "Manifests"), NilList()),
    "NetworkDisabled": False,
    "ArgsEscaped": False,
    "EnableIPv4": False,
}
# Go's names of fields whose JSON has another one.
GO_NAMES = {
    "ID": "Id",
    "DNS": "Dns",
    "DNSOptions": "DnsOptions",
    "DNSSearch": "DnsSearch",
    "CPUShares": "CpuShares",
    "CPUPeriod": "CpuPeriod",
    "CPUQuota": "CpuQuota",
    "CPURealtimePeriod": "CpuRealtimePeriod",
    "CPURealtimeRuntime": "CpuRealtimeRuntime",
    "NanoCPUs": "NanoCpus",
    "CPUCount": "CpuCount",
    "CPUPercent": "CpuPercent",
}


class Object(dict):  # type: ignore[type-arg]
    """A struct: printed as the values of its fields in braces; `lookup` knows Go's names and the fields that are left out."""

    go_type = "struct"

    def lookup(self, name: str) -> "tuple[bool, Any]":
        """Whether the struct has this field, which is not in the JSON under this name, and its value."""
        alias = GO_NAMES.get(name, "")
        if alias in self:
            return True, self[alias]
        if name == "Status" and "Mountpoint" in self:  # of a volume; a container's status is never absent
            return True, NilMap()
        return name in ABSENT, ABSENT.get(name)


def is_map(value: "dict[str, Any]", name: str) -> bool:
    """Whether the dict in the field `name` is a map. `Config` is a struct in a container or image, a map in a network."""
    return name in MAPS and not (name == "Config" and ("Image" in value or "Cmd" in value))


def in_order(value: "Any", name: str = "") -> "Any":
    """The value with its maps sorted, as Go writes them."""
    if isinstance(value, dict):
        keys = sorted(value) if is_map(value, name) else value
        return {key: in_order(value[key], key) for key in keys}
    return [in_order(item) for item in value] if isinstance(value, list) else value


def typed(value: "Any", name: str = "") -> "Any":
    """The value with its dicts and nulls turned into what they are in Go; `name` is the field that it stands in."""
    if isinstance(value, dict):
        if is_map(value, name):
            return Map({key: typed(item, "" if isinstance(item, dict) else key) for key, item in value.items()})
        return Object({key: typed(item, key) for key, item in value.items()})
    if isinstance(value, list):
        return [typed(item) for item in value]
    if value is None and name not in POINTERS and name:
        return NilMap() if name in MAPS else NilList()
    return value
