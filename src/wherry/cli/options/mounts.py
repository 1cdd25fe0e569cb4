"""-v, --mount, --tmpfs: what is mounted into the container."""

import os

from wherry.cli import units
from wherry.cli.options.process import bad, invalid, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# key of --mount -> (the type it belongs to, the field it fills in that type's options)
_KEYS = {
    "bind-propagation": ("bind", "Propagation"),
    "bind-nonrecursive": ("bind", "NonRecursive"),
    "bind-recursive": ("bind", ""),
    "volume-subpath": ("volume", "Subpath"),
    "volume-nocopy": ("volume", "NoCopy"),
    "volume-label": ("volume", "Labels"),
    "volume-driver": ("volume", "DriverConfig.Name"),
    "volume-opt": ("volume", "DriverConfig.Options"),
    "image-subpath": ("image", "Subpath"),
    "tmpfs-size": ("tmpfs", "SizeBytes"),
    "tmpfs-mode": ("tmpfs", "Mode"),
}
_FLAGS = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive")
_OPTIONS = {"bind": "BindOptions", "volume": "VolumeOptions", "tmpfs": "TmpfsOptions", "image": "ImageOptions"}


def volumes(specs: "list[str]") -> "tuple[list[str], dict[str, dict[str, str]]]":
    """HostConfig.Binds and Config.Volumes of all -v. A source that starts with a dot is made absolute; a target alone is anonymous."""
    binds: list[str] = []
    anonymous: dict[str, dict[str, str]] = {}
    for spec in specs:
        source, colon, rest = spec.partition(":")
        if not spec:
            raise bad("invalid empty volume spec")
        if colon and not (source and rest):
            raise bad(f"invalid spec: {spec}: empty section between colons")
        if not colon:
            anonymous[spec] = {}
            continue
        if source.startswith("."):
            source = os.path.abspath(source)
        binds.append(f"{source}:{rest}")
    return list(dict.fromkeys(binds)), anonymous


def tmpfs(specs: "list[str]") -> "dict[str, str]":
    result = {}
    for spec in specs:
        path, _, options = spec.partition(":")
        result[path] = options
    return result


def csv_fields(text: str) -> "list[str]":
    """The fields of one line of CSV (RFC 4180): a field in double quotes may hold commas, and quotes doubled."""
    fields, field, index, quoted = [], "", 0, False
    while index < len(text):
        char = text[index]
        if quoted and text[index : index + 2] == '""':
            field += '"'
            index += 1
        elif char == '"' and (quoted or not field):
            quoted = not quoted
        elif char == '"':
            raise ValueError('bare " in non-quoted field')
        elif char == "," and not quoted:
            fields.append(field)
            field = ""
        else:
            field += char
        index += 1
    if quoted:
        raise ValueError('extraneous or missing " in quoted field')
    return [*fields, field]


def mounts(specs: "list[str]") -> "list[dict[str, Any]]":
    """HostConfig.Mounts of all --mount."""
    result = []
    for spec in specs:
        try:
            result.append(_mount(spec))
        except ValueError as error:
            raise invalid("--mount", spec, str(error)) from None
    return result


def _mount(spec: str) -> "dict[str, Any]":
    if not spec.strip():
        raise ValueError("value is empty")
    mount: dict[str, Any] = {"Type": "volume"}
    extra: dict[str, list[str]] = {}
    for field in csv_fields(spec):
        key, equals, value = field.partition("=")
        key = key.lower().strip()
        if not equals and key not in _FLAGS:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if key == "type":
            mount["Type"] = value.lower()
        elif key in ("source", "src"):
            mount["Source"] = os.path.abspath(value) if value.startswith(".") else value
        elif key in ("target", "dst", "destination"):
            mount["Target"] = value
        elif key in ("readonly", "ro"):
            mount["ReadOnly"] = _switch(key, value if equals else "true")
        elif key == "consistency":
            mount["Consistency"] = value.lower()
        elif key in _KEYS:
            extra.setdefault(key, []).append(value if equals else "true")
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    kind = mount["Type"]
    if not mount.get("Target"):
        raise ValueError("target is required")
    options = _type_options(mount, extra)
    if options:
        mount[_OPTIONS[kind]] = options
    return mount


def _switch(key: str, value: str) -> bool:
    try:
        return units.boolean(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _type_options(mount: "dict[str, Any]", extra: "dict[str, list[str]]") -> "dict[str, Any]":
    """The options of the mount's own type; keys of another type are an error."""
    options: dict[str, Any] = {}
    for key, values in sorted(extra.items()):  # bind-propagation comes before bind-recursive, which looks at it
        kind, field = _KEYS[key]
        if kind != mount["Type"]:
            raise ValueError(f"cannot mix '{kind}-*' options with mount type '{mount['Type']}'")
        if key == "bind-recursive":
            _recursive(mount, options, values[-1])
        elif key == "volume-label":
            options[field] = pairs(values)
        elif key == "volume-opt":
            options.setdefault("DriverConfig", {})["Options"] = pairs(values)
        elif key == "volume-driver":
            options.setdefault("DriverConfig", {})["Name"] = values[-1]
        else:
            options[field] = _option(key, values[-1])
    return options


def _option(key: str, value: str) -> "str | int | bool":
    if key in _FLAGS:
        return _switch(key, value)
    if key == "bind-propagation":
        return value.lower()
    if key == "tmpfs-size":
        try:
            return units.size(value)
        except ValueError:
            raise ValueError(f"invalid value for {key}: {value}") from None
    if key == "tmpfs-mode":
        if not value or value.strip("01234567"):
            raise ValueError(f"invalid value for {key}: {value}")
        return int(value, 8)
    return value


def _recursive(mount: "dict[str, Any]", options: "dict[str, Any]", value: str) -> None:
    """bind-recursive: how submounts of a bind and its read-only state go together."""
    readonly, propagation = mount.get("ReadOnly", False), options.get("Propagation", "")
    if value == "enabled":
        return
    if value == "disabled":
        options["NonRecursive"] = True
    elif value == "writable":
        if not readonly:
            raise ValueError("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
        options["ReadOnlyNonRecursive"] = True
    elif value == "readonly":
        if not readonly:
            raise ValueError("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
        if propagation != "rprivate":
            raise ValueError("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")
        options["ReadOnlyForceRecursive"] = True
    else:
        raise ValueError(f'invalid value for bind-recursive: {value} (must be "enabled", "disabled", "writable", or "readonly")')
