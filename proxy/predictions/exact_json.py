"""JSON read and written without rounding a whole number: the slow way, for where orjson's 64 bits are not enough.

orjson reads whole numbers beyond 64 bits as doubles and refuses `NaN` and `Infinity`, which Python servers and
TensorFlow Serving write. The standard library takes both; what it takes beyond JSON (UTF-16, half surrogate pairs) is
refused here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

LEAST, MOST = -(2**63), 2**64 - 1
"""The whole numbers that orjson reads and writes as they are."""

MAX_DIGITS = 310
"""Digits of a whole number that is kept; a double ends before that, and turning digits into a number is quadratic."""

_WIDE = re.compile(rb"[0-9]{19}")


def has_wide(data: bytes) -> bool:
    """Whether a text has digits enough for a whole number beyond 64 bits.

    >>> has_wide(b"[1234567890123456789]"), has_wide(b"[123456789012345678]")
    (True, False)
    """
    return _WIDE.search(data) is not None


def wants_it(data: bytes) -> bool:
    """Whether orjson may round or refuse a text that `loads` reads as it is; false only when it does neither.

    >>> wants_it(b'{"a": 123}'), wants_it(b"[123456789012345678901]"), wants_it(b"[NaN]")
    (False, True, True)
    """
    return has_wide(data) or b"NaN" in data or b"Infinity" in data


def fits_64_bits(number: int) -> bool:
    """Whether a whole number has at most 64 bits, signed or not.

    >>> fits_64_bits(2**64 - 1), fits_64_bits(2**64), fits_64_bits(-(2**63) - 1)
    (True, False, False)
    """
    return LEAST <= number <= MOST


def as_orjson(text: str) -> int | float:
    """A whole number as orjson reads it: exact within 64 bits, beyond them a double.

    >>> as_orjson("1790000000000000001"), as_orjson("-9223372036854775809"), as_orjson("18446744073709551616")
    (1790000000000000001, -9.223372036854776e+18, 1.8446744073709552e+19)
    """
    if len(text) < 19:
        return int(text)
    if len(text) > 20 or not fits_64_bits(int(text)):
        return float(text)
    return int(text)


def exact_whole(text: str) -> int | float:
    """A whole number as it is, whatever its size; with more digits than a double can have it is infinite.

    >>> exact_whole("123456789012345678901")
    123456789012345678901
    """
    return int(text) if len(text) <= MAX_DIGITS else float(text)


def whole_from_63_bits(text: str) -> int | float:
    """A number with a point or an exponent: from 2^63 on, where every double is whole, as the whole number that it is.

    >>> whole_from_63_bits("0.5"), whole_from_63_bits("1e20")
    (0.5, 100000000000000000000)
    """
    value = float(text)
    return int(value) if abs(value) >= -LEAST and value - value == 0.0 else value


_Parse = Callable[[str], int | float]


def loads(data: bytes, parse_int: _Parse = exact_whole, parse_float: _Parse = float) -> Any:
    """The JSON value of a text, `NaN` and `Infinity` included.

    Raises `ValueError` (`UnicodeError` for what is no text) and `RecursionError`.

    >>> loads(b'[123456789012345678901, NaN]')
    [123456789012345678901, nan]
    """
    text = data.decode()  # by itself `json.loads` would take UTF-16 and half surrogate pairs too
    value = json.loads(text, parse_int=parse_int, parse_float=parse_float)
    if "\\ud" in text.lower():  # half a surrogate pair, escaped: nobody could write it again
        json.dumps(value, ensure_ascii=False).encode()
    return value


def dumps(value: Any, *, sort_keys: bool = False) -> bytes:
    """A value as compact JSON with every whole number exact; raises `ValueError` and `RecursionError`.

    >>> dumps({"b": 2**70, "a": "é"}, sort_keys=True).decode()
    '{"a":"é","b":1180591620717411303424}'
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys).encode()
