"""JSON through the C half of the standard library's codec alone.

`import json` compiles regular expressions and costs 3 to 7 ms; `_json` costs a quarter of one. The scanner and encoder here are the ones
`json` itself uses, set up with the same options, so the language accepted is the same (RFC 8259 plus NaN and Infinity).
"""

from _json import encode_basestring, make_encoder, make_scanner  # type: ignore[attr-defined, unused-ignore]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLANK = " \t\n\r"


class _Context:
    """The options that `_json.make_scanner` reads from its argument (see `json.decoder.JSONDecoder`)."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__
    memo: "dict[str, str]" = {}


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not JSON")


_scan = make_scanner(_Context())  # type: ignore[arg-type, unused-ignore]
_encode = make_encoder({}, _refuse, encode_basestring, None, ":", ",", False, False, True)


def _skip(text: str, index: int) -> int:
    while index < len(text) and text[index] in _BLANK:
        index += 1
    return index


def loads(data: "str | bytes") -> "Any":
    """The value of one JSON text; ValueError if it is none."""
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    try:
        value, end = _scan(text, _skip(text, 0))
    except StopIteration as stop:
        raise ValueError(f"no JSON value at character {stop.value}") from None
    if _skip(text, end) != len(text):
        raise ValueError(f"text after the JSON value at character {end}")
    return value


def dumps(value: object) -> str:
    """Compact JSON text; characters outside ASCII stay as they are."""
    return "".join(_encode(value, 0))
