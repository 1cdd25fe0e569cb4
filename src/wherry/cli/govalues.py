"""Values of a template as Go sees and prints them (https://pkg.go.dev/fmt, verb %v)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _NoValue:
    """A key that a map does not have."""


NO_VALUE = _NoValue()


class Struct(dict):  # type: ignore[type-arg]
    """A dict that stands for a Go struct: an unknown field is an error that names the type."""

    go_type = "struct"
    zeros: "dict[str, Any]" = {}  # fields that the daemon leaves out, with the values they have then


class Map(dict):  # type: ignore[type-arg]
    """A dict that is a Go map even where other dicts are structs: a missing key has no value."""


class NilMap(Map):
    """A Go map that is nil: empty, `null` in JSON."""


class NilList(list):  # type: ignore[type-arg]
    """A Go slice that is nil: empty, `null` in JSON."""


def truth(value: "Any") -> bool:
    """Go's truth: false, 0, nil and empty texts, lists and maps are false; a struct is true."""
    if isinstance(value, Struct) or hasattr(value, "lookup"):
        return True
    return value is not NO_VALUE and bool(value)


def kind(value: "Any") -> str:
    """The name of the Go type."""
    if value is None or value is NO_VALUE:
        return "nil"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "[]string" if all(isinstance(item, str) for item in value) else "[]interface {}"
    return str(getattr(value, "go_type", "map[string]interface {}"))


def text_of(value: "Any") -> str:
    """A value as the whole of an action: {{.X}}."""
    return "<no value>" if value is NO_VALUE else inner_text(value)


def inner_text(value: "Any") -> str:
    """A value as %v prints it."""
    if isinstance(value, str):
        return value
    if value is None or value is NO_VALUE:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, Struct) or hasattr(value, "lookup"):
        return "{" + " ".join(inner_text(item) for item in value.values()) + "}"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{inner_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(inner_text, value)) + "]"
    return str(value)


def float_text(value: float) -> str:
    """Go's %v of a float64: the shortest text, with an exponent below 1e-4 and from 1e6 on."""
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    if mark:
        return f"{mantissa}e{exponent[0] if exponent[0] in '+-' else '+'}{exponent.lstrip('+-').rjust(2, '0')}"
    if abs(value) < 1e6:
        return text.removesuffix(".0")
    digits = text.removesuffix(".0").replace(".", "")
    power = len(str(int(abs(value)))) - 1
    sign, digits = ("-", digits[1:]) if digits[0] == "-" else ("", digits)
    digits = digits.rstrip("0")
    return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e+{power:02d}"


def plain(value: "Any") -> "Any":
    """The value as JSON has it: nil lists and maps are null, rows are objects of their fields."""
    if isinstance(value, (NilMap, NilList)) or value is NO_VALUE:
        return None
    if isinstance(value, dict):
        keys = sorted(value) if isinstance(value, Map) else value
        return {key: plain(value[key]) for key in keys}
    if isinstance(value, list):
        return [plain(item) for item in value]
    fields = getattr(value, "fields", None)
    return fields() if fields else value
