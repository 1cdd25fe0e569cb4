"""JSON of a request into records, by Go's rules: keys match in any case, unknown ones are ignored, null equals absent.

Per type one function is built, at its first use, that brings decoded JSON into the form that `msgspec.convert` takes.
"""

from __future__ import annotations

import re
import threading
import types
import typing
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

import msgspec

from wherry.model.errors import InvalidArgument

T = TypeVar("T")
Normalise = Callable[[Any], Any]

#: Fields that may be one text in place of a list of them (Docker's StrSlice).
ONE_OR_MANY = frozenset({"Cmd", "Entrypoint", "Shell"})

_known: set[Any] = set()
_learning = threading.Lock()
_WHERE = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)


def decode(raw: bytes, kind: type[T]) -> T:
    """`raw` as a `kind`. Raises InvalidArgument with the path of the field that is wrong."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidArgument(f"the request's body is not JSON: {error}") from None
    return convert({} if value is None else value, kind)


def convert(value: Any, kind: type[T]) -> T:
    """Decoded JSON as a `kind`. Raises InvalidArgument."""
    try:
        return msgspec.convert(_prepared(typing.cast(Any, kind))(value), kind)
    except msgspec.ValidationError as error:
        found = _WHERE.fullmatch(str(error))
        if found and found[2]:
            raise InvalidArgument(f"invalid value for {found[2]}: {_decapitalise(found[1])}") from None
        raise InvalidArgument(f"invalid request: {_decapitalise(str(error))}") from None


def _prepared(kind: Any) -> Normalise:
    """The normaliser of `kind`, once msgspec knows the type: it learns a struct at the first use, and threads that do so at the same
    time make it crash (seen with 0.22.0: segmentation fault in convert)."""
    if kind not in _known:
        with _learning:
            normaliser(kind)
            with suppress(msgspec.ValidationError):
                msgspec.convert({}, kind)
            _known.add(kind)
    return normaliser(kind)


def _decapitalise(text: str) -> str:
    return text[:1].lower() + text[1:]


@cache
def normaliser(kind: Any) -> Normalise:
    """The function that brings decoded JSON into the form of `kind`; what has a wrong form is left for convert to complain about."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return normaliser(next(arg for arg in typing.get_args(kind) if arg is not type(None)))
    if origin is dict:
        return _of_dict(typing.get_args(kind)[1])
    if origin is list:
        return _of_list(typing.get_args(kind)[0])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _of_struct(kind)
    return _int64 if kind is int else _same


def _int64(value: Any) -> Any:
    """Go's int64: a whole number beyond it is as wrong as text."""
    return value if not isinstance(value, int) or -(1 << 63) <= value < 1 << 63 else f"the number {value} of more than 64 bits"


def _same(value: Any) -> Any:
    return value


def _of_struct(kind: type[msgspec.Struct]) -> Normalise:
    fields: dict[str, tuple[str, Normalise]] = {}
    for field in msgspec.structs.fields(kind):
        inner = normaliser(field.type)
        if field.encode_name in ONE_OR_MANY:
            inner = _one_or_many
        fields[field.encode_name] = (field.encode_name, inner)
        fields[field.encode_name.lower()] = (field.encode_name, inner)

    def normalise(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        result = {}
        for key, item in value.items():
            field = fields.get(key) or fields.get(key.lower())
            if field is not None and item is not None:
                result[field[0]] = field[1](item)
        return result

    return normalise


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _of_dict(kind: Any) -> Normalise:
    inner, zero = normaliser(kind), _zero(kind)

    def normalise(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: zero() if item is None else inner(item) for key, item in value.items()}

    return normalise


def _of_list(kind: Any) -> Normalise:
    inner, zero = normaliser(kind), _zero(kind)

    def normalise(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [zero() if item is None else inner(item) for item in value]

    return normalise


def _zero(kind: Any) -> Callable[[], Any]:
    """What null stands for as an element: null itself where the type has it, else the type's empty value."""
    origin = typing.get_origin(kind) or kind
    if origin in (typing.Union, types.UnionType, typing.Any):
        return lambda: None
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        return dict
    return typing.cast(Callable[[], Any], origin)
