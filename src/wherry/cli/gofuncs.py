"""The functions of a template: Go's own (https://pkg.go.dev/text/template#hdr-Functions) and docker's (json, split, join, title, lower, upper,
pad, truncate)."""

from wherry.cli import jsonlite
from wherry.cli.goparse import TemplateError
from wherry.cli.goquote import quote
from wherry.cli.govalues import NO_VALUE, NilList, Struct, inner_text, kind, plain, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _text(value: "Any") -> str:
    if not isinstance(value, str):
        raise TemplateError(f"expected string; found {kind(value)}")
    return value


def to_json(value: "Any") -> str:
    return escape_html(jsonlite.dumps(plain(value))) if hasattr(value, "fields") else jsonlite.dumps(plain(value))


def escape_html(text: str) -> str:
    """JSON text with `<`, `>` and `&` escaped, as Go's encoder does where it is not told otherwise."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _split(text: "Any", separator: "Any") -> "list[str]":
    return _text(text).split(separator) if separator else list(_text(text))


def _join(items: "Any", separator: "Any") -> str:
    return _text(separator).join(_text(item) for item in items or ())


def _title(text: "Any") -> str:
    """The first letter of each word in upper case; the others as they are."""
    before, result = " ", []
    for char in _text(text):
        result.append(char if before.isalnum() or before in "_'" else char.upper())
        before = char
    return "".join(result)


def _pad(text: "Any", before: int, after: int) -> str:
    return " " * before + _text(text) + " " * after if text else ""


def _truncate(text: "Any", count: int) -> str:
    return _text(text).encode("utf-8", "surrogateescape")[:count].decode("utf-8", "replace") if len(_text(text)) >= count else text


def _index(value: "Any", *keys: "Any") -> "Any":
    for key in keys:
        if isinstance(value, dict) and not isinstance(value, Struct):
            if not isinstance(key, str):
                raise TemplateError(f"value has type {kind(key)}; should be string")
            value = value[key] if key in value else zero_of(value)
        elif value is None or value is NO_VALUE or isinstance(value, NilList):
            raise TemplateError("index of untyped nil")
        elif isinstance(value, (list, str)):
            if not isinstance(key, int) or isinstance(key, bool):
                raise TemplateError(f"cannot index slice/array with type {kind(key)}")
            if not 0 <= key < len(value):
                raise TemplateError(f"index out of range: {key}")
            value = value[key] if isinstance(value, list) else value.encode()[key]
        else:
            raise TemplateError(f"can't index item of type {kind(value)}")
    return value


def zero_of(values: "dict[str, Any]") -> "Any":
    """The zero value of the map's items, as `index` gives it for a key that is not there; told from the items that are."""
    for item in values.values():
        if isinstance(item, list):
            return NilList()
        if isinstance(item, dict):
            return None
        if isinstance(item, (int, float)):
            return type(item)(0)
    return ""


def _slice(value: "Any", *bounds: int) -> "Any":
    low = bounds[0] if bounds else 0
    high = bounds[1] if len(bounds) > 1 else len(value)
    if not 0 <= low <= high <= len(value):
        raise TemplateError(f"index out of range: {high if high > len(value) else low}")
    return value[low:high]


def _len(value: "Any") -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, (list, dict)) and not isinstance(value, Struct):
        return len(value)
    if value is None or value is NO_VALUE:
        raise TemplateError("len of nil pointer")
    raise TemplateError(f"len of type {kind(value)}")


def _basic(value: "Any") -> str:
    """Values of the same basic kind can be compared; others cannot."""
    if value is None or value is NO_VALUE:
        return "nil"
    if isinstance(value, (dict, list)):
        raise TemplateError("non-comparable type " + f"{inner_text(value)}: {kind(value)}")
    return kind(value)


def _eq(first: "Any", *others: "Any") -> bool:
    if not others:
        raise TemplateError("missing argument for comparison")
    for other in others:
        one, two = _basic(first), _basic(other)
        if one != two and "nil" not in (one, two):
            raise TemplateError("incompatible types for comparison")
        if one == two and (one == "nil" or first == other):
            return True
    return False


def _less(first: "Any", second: "Any") -> bool:
    one, two = _basic(first), _basic(second)
    if one != two:
        raise TemplateError("incompatible types for comparison")
    if one not in ("int", "float64", "string"):
        raise TemplateError("invalid type for comparison")
    return bool(first < second)


def _print(*values: "Any") -> str:
    """Blanks only between two values that are both no text."""
    result = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            result += " "
        result += inner_text(value)
    return result


def _println(*values: "Any") -> str:
    return " ".join(map(inner_text, values)) + "\n"




def printf(form: str, *values: "Any") -> str:
    """Go's Printf for the verbs v s q d t x X o b c U f e g T %, with flags, width and precision."""
    result, at, used = [], 0, 0
    while at < len(form):
        mark = form.find("%", at)
        if mark < 0:
            break
        result.append(form[at:mark])
        at = mark + 1
        while at < len(form) and form[at] in "+-# 0123456789.":
            at += 1
        options, verb = form[mark + 1 : at], form[at : at + 1]
        at += 1
        if verb == "*" and used < len(values):  # the width is the next value
            form = f"{form[:mark]}%{options}{values[used]}{form[at:]}"
            at, used = mark, used + 1
            continue
        if verb == "%":
            result.append("%")
        elif not verb:
            result.append("%!(NOVERB)")
        elif used >= len(values):
            result.append(f"%!{verb}(MISSING)")
        else:
            result.append(_verb(verb, options, values[used]))
            used += 1
    result.append(form[at:])
    if used < len(values):
        result.append("%!(EXTRA " + ", ".join(f"{kind(value)}={inner_text(value)}" for value in values[used:]) + ")")
    return "".join(result)


def _verb(verb: str, options: str, value: "Any") -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = number and isinstance(value, int)
    if verb == "v" and number:
        verb = "d" if whole else "g"
    if verb == "T":
        return kind(value)
    if verb in "dxXo" and whole:
        return str(f"%{options}{verb}" % value)
    if verb in "bcU" and whole:
        return f"%{options.replace('0', '')}s" % {"b": f"{value:b}", "c": chr(value), "U": f"U+{value:04X}"}[verb]
    if verb in "feEgG" and number and not whole:
        text = inner_text(value) if verb in "gG" and "." not in options else ""
        text = text.upper() if verb == "G" else text
        return str(f"%{options}s" % text if text else f"%{options}{verb}" % value)
    if verb == "q" and not number:
        return f"%{options}s" % (quote(value) if isinstance(value, str) else "[" + " ".join(map(quote, value)) + "]")
    if verb in "xX" and isinstance(value, str):
        return f"%{options}s" % (value.encode().hex() if verb == "x" else value.encode().hex().upper())
    if verb == "v" or (verb == "s" and not number and not isinstance(value, bool)) or (verb == "t" and isinstance(value, bool)):
        return f"%{options.replace('0', '') if options[:1] == '0' else options}s" % inner_text(value)
    return f"%!{verb}({kind(value)}={inner_text(value)})"


def _html(*values: "Any") -> str:
    text = _print(*values)
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(char, entity)
    return text


def _js(*values: "Any") -> str:
    text = _print(*values)
    for char in "\\'\"<>&=\n\r\t":
        text = text.replace(char, f"\\{char}" if char in "\\'\"" else f"\\u{ord(char):04X}")
    return text


def _call(*_: "Any") -> str:
    raise TemplateError("non-function: no value here is a function")


def _urlquery(*values: "Any") -> str:
    from wherry.cli.http1 import quote as percent

    return percent(_print(*values), b" ").replace(" ", "+")


FUNCTIONS: "dict[str, Callable[..., Any]]" = {
    "call": _call,
    "eq": _eq,
    "ge": lambda first, second: not _less(first, second),
    "gt": lambda first, second: _less(second, first),
    "html": _html,
    "index": _index,
    "join": _join,
    "js": _js,
    "json": to_json,
    "le": lambda first, second: not _less(second, first),
    "len": _len,
    "lower": lambda text: _text(text).lower(),
    "lt": _less,
    "ne": lambda first, second: not _eq(first, second),
    "not": lambda value: not truth(value),
    "pad": _pad,
    "print": _print,
    "printf": printf,
    "println": _println,
    "slice": _slice,
    "split": _split,
    "title": _title,
    "truncate": _truncate,
    "upper": lambda text: _text(text).upper(),
    "urlquery": _urlquery,
}


# What the parameters of some functions must be: s text, l list of texts, i whole number.
PARAMETERS = {"split": "ss", "join": "ls", "title": "s", "lower": "s", "upper": "s", "pad": "sii", "truncate": "si", "printf": "s"}
TYPES: "dict[str, tuple[type, str]]" = {"s": (str, "string"), "l": (list, "[]string"), "i": (int, "int")}


def _same(value: "Any", *_: "Any") -> "Any":
    return value


# In the header of a table the functions leave the column's name as it is.
HEADER_FUNCTIONS: "dict[str, Callable[..., Any]]" = dict.fromkeys(("json", "split", "join", "title", "lower", "upper", "truncate"), _same)
