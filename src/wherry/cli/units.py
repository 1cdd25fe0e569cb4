"""Values as people write them on a command line: sizes, durations, booleans, whole numbers. Every function raises ValueError with a text
that completes the sentence `invalid argument "x" for "--flag" flag: ...`."""

_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_NANOSECONDS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


def size(text: str) -> int:
    """Bytes of `512`, `64k`, `1.5g`, `10MB`, `1GiB`: powers of 1024, any case, a trailing b or ib is allowed."""
    number = text.rstrip("bBiIkKmMgGtTpP").rstrip(" ") if not text.endswith(" ") else ""
    unit = text[len(number) :].strip().lower()
    if unit not in ("b", "") and unit.endswith("ib"):
        unit = unit[:-2] or "?"
    elif len(unit) == 2 and unit.endswith("b"):
        unit = unit[0]
    try:
        amount = _decimal(number)
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None
    if unit not in _SIZES or amount < 0:
        raise ValueError(f"invalid size: '{text}'")
    return int(amount * _SIZES[unit])


def _decimal(text: str) -> float:
    """A plain decimal number; Python's own `float` also takes `inf`, `1_0` and blanks."""
    if not text or text.strip("0123456789.+-") or text.count(".") > 1:
        raise ValueError
    return float(text)


def swap(text: str) -> int:
    """As `size`, and -1 for no limit."""
    return -1 if text == "-1" else size(text)


def boolean(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError('strconv.ParseBool: parsing "' + text + '": invalid syntax')


def integer(text: str, low: int = -(1 << 63), high: int = (1 << 63) - 1) -> int:
    """A whole number: decimal, or 0x, 0o and 0b forms as Go reads them."""
    call = "strconv.ParseInt" if low < 0 else "strconv.ParseUint"
    bare = text[1:] if text[:1] in "+-" else text
    try:
        if not bare or not bare[0].isdigit() or not bare.isalnum() or not bare.isascii():
            raise ValueError
        value = int(text, 8) if len(bare) > 1 and bare[0] == "0" and bare.isdigit() else int(text, 0)
    except ValueError:
        raise ValueError(f'{call}: parsing "' + text + '": invalid syntax') from None
    if not low <= value <= high:
        raise ValueError(f'{call}: parsing "' + text + '": value out of range')
    return value


def duration(text: str) -> int:
    """Nanoseconds of `1h30m`, `1.5s`, `-200ms`, `0` (Go's duration syntax)."""
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    total = 0
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        letters = len(rest) - len(rest.lstrip("nuµμmsh"))
        unit, rest = rest[:letters], rest[letters:]
        if not number.strip(".") or number.count(".") > 1:
            raise ValueError(f'time: invalid duration "{text}"')
        if unit not in _NANOSECONDS:
            raise ValueError(f'time: {"unknown unit" if unit else "missing unit in duration"} "{unit or text}"')
        whole, _, fraction = number.partition(".")
        scale = _NANOSECONDS[unit]
        total += int(whole or "0") * scale + int(fraction or "0") * scale // 10 ** len(fraction)
    return sign * total


def nano_cpus(text: str) -> int:
    """Billionths of a CPU of a decimal such as `1.5`; more than nine decimals are refused."""
    try:
        if "/" in text or _decimal(text) < 0:
            raise ValueError
    except ValueError:
        raise ValueError(f"failed to parse {text} as a rational number") from None
    whole, _, fraction = text.partition(".")
    if len(fraction.rstrip("0")) > 9:
        raise ValueError("value is too precise")
    return int(whole or "0") * 10**9 + int((fraction + "000000000")[:9])
