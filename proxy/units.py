"""Words of the configuration file that carry a unit, read into plain numbers.

A number without its unit is refused rather than guessed: `timeout: 2` could be seconds or milliseconds, and a wrong
guess is found in production. Each reader takes what YAML gave and returns a value or raises `Unfit`, which says what
would have been right and never repeats what was found (that may be a secret; whoever reports decides).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

TIME = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
}  # fmt: skip
LONGEST, LARGEST = 36_500 * 86_400.0, 1 << 50
"""A century and a pebibyte: what is beyond is a slip, and timers, files and integers of 64 bits could not take it."""

_SPELLINGS = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "hr": "h", "hour": "h", "hours": "h", "day": "d", "days": "d", "msec": "ms", "millis": "ms", "milliseconds": "ms",
    "µs": "us", "usec": "us", "k": "KiB", "kb": "KB", "kib": "KiB", "m": "MiB", "mb": "MB", "mib": "MiB", "g": "GiB",
    "gb": "GB", "gib": "GiB", "b": "B", "bytes": "B",
}  # fmt: skip

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_WITH_UNIT = re.compile(_NUMBER + r"\s*([A-Za-zµ]*)")
_PERCENT = re.compile(_NUMBER + r"\s*%")
_RANGES = re.compile(_NUMBER + r"\s*iqr")
_MULTIPLE = re.compile(_NUMBER + r"\s*x")
_POINTS = re.compile(r"([+-]?)" + _NUMBER + r"\s*pp")

PERCENT_TEXT = r"^[0-9]+(\.[0-9]+)?\s*%$"
RANGES_TEXT = r"^[0-9]+(\.[0-9]+)?\s*iqr$"
POINTS_TEXT = r"^([+-][0-9]+(\.[0-9]+)?|0)\s*pp$"
LATENCY_TEXT = r"^[0-9]+(\.[0-9]+)?\s*(x|us|ms|s|m)$"
"""The same as patterns of the JSON Schema."""


class Unfit(ValueError):  # noqa: N818 - reads as what it says of a value
    """A value that does not fit: `expected` in words, and a `hint` that may quote the value."""

    def __init__(self, expected: str, hint: str = "") -> None:
        self.expected = expected
        self.hint = hint
        super().__init__(expected)


def _with_unit(value: Any, units: dict[str, float], expected: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise Unfit(expected, "a unit is missing")
    match = _WITH_UNIT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise Unfit(expected)
    if match[2] not in units:
        if not match[2]:
            raise Unfit(expected, "a unit is missing")
        likely = _SPELLINGS.get(match[2].lower(), "")
        hint = f"did you mean `{match[1]}{likely}`?" if likely in units else f"known units: {', '.join(units)}"
        raise Unfit(expected, hint)
    return float(match[1]) * units[match[2]]


def seconds(value: Any) -> float:
    """Seconds of a duration such as `250ms`; raises `Unfit`.

    >>> seconds("250ms"), seconds("10m"), seconds("0s")
    (0.25, 600.0, 0.0)
    """
    found = _with_unit(value, TIME, "a duration such as 250ms, 10s or 3d")
    if found > LONGEST:
        raise Unfit(f"a duration of at most {duration(LONGEST)}")
    return found


def size(value: Any) -> int:
    """Bytes of a size such as `1MiB`; raises `Unfit`.

    >>> size("1MiB"), size("1.5KiB")
    (1048576, 1536)
    """
    found = _with_unit(value, dict(SIZE), "a size such as 32KiB or 1MiB")
    if found > LARGEST:
        raise Unfit(f"a size of at most {bytes_text(LARGEST)}")
    return int(found)


def rate(value: Any) -> int:
    """Bytes per second of a rate such as `1KiB/s`, at least 1; raises `Unfit`.

    >>> rate("1KiB/s")
    1024
    """
    expected = "a rate such as 1KiB/s"
    if not isinstance(value, str) or not value.rstrip().endswith("/s"):
        raise Unfit(expected, "`/s` is missing" if isinstance(value, str) else "")
    found = _with_unit(value.rstrip()[:-2], dict(SIZE), expected)
    if not 1 <= found <= LARGEST:
        raise Unfit(f"a rate from 1B/s to {bytes_text(LARGEST)}/s")
    return int(found)


def rate_text(value: int) -> str:
    """A rate as it would be written in the file.

    >>> rate_text(1024)
    '1KiB/s'
    """
    return f"{bytes_text(value)}/s"


def percent(value: Any) -> float:
    """The number before a percent sign, 0 to 100; raises `Unfit`.

    >>> percent("0.5%")
    0.5
    """
    expected = "a percentage from 0% to 100%"
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise Unfit(expected, _percent_hint(value))
    if float(match[1]) > 100:
        raise Unfit(expected)
    return float(match[1])


def _percent_hint(value: Any) -> str:
    """What a bare number most likely means: below 1 it is a fraction, above 1 a percentage, and 1 may be either.

    >>> _percent_hint(0.05), _percent_hint("25"), _percent_hint(1)
    ('did you mean `5%`?', 'did you mean `25%`?', 'did you mean `1%` or `100%`?')
    """
    bare = value.strip() if isinstance(value, str) else "" if isinstance(value, bool) else str(value)
    try:
        found = float(bare)
    except ValueError:
        return ""
    if not 0 <= found <= 100:
        return ""
    if found == 1:
        return "did you mean `1%` or `100%`?"
    return f"did you mean `{percent_text(found * 100 if found < 1 else found)}`?"


def ratio(value: Any) -> float:
    """0 to 1, written as a percentage; raises `Unfit`.

    >>> ratio("2%")
    0.02
    """
    return percent(value) / 100


def ratio_or_off(value: Any) -> float | Literal["off"]:
    """0 to 1, written as a percentage, or `off`; raises `Unfit`.

    >>> ratio_or_off("2%"), ratio_or_off("off")
    (0.02, 'off')
    """
    if value == "off":
        return "off"
    try:
        return ratio(value)
    except Unfit as unfit:
        hint = "did you mean `off`?" if value is False else unfit.hint
        raise Unfit("a percentage from 0% to 100%, or `off`", hint) from None


def win_rate(value: Any) -> float:
    """A win rate, 0 to 1: `45%`, or in points from an even 50 % `-5pp`; raises `Unfit`.

    >>> win_rate("-5pp"), win_rate("45%"), win_rate("+2.5pp")
    (0.45, 0.45, 0.525)
    """
    expected = "a win rate in points from an even 50%, such as -5pp, or as a percentage, such as 45%"
    match = _POINTS.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        try:
            return ratio(value)
        except Unfit:
            raise Unfit(expected, _points_hint(value)) from None
    found = float(match[2])
    if found and not match[1]:
        raise Unfit(expected, f"its sign is missing: `-{found:g}pp` or `+{found:g}pp`")
    if found > 50:
        raise Unfit("a win rate from -50pp to +50pp")
    return round(0.5 + (found if match[1] == "+" else -found) / 100, 12)


def _points_hint(value: Any) -> str:
    """The points that a negative share or percentage stands for.

    >>> _points_hint("-5%"), _points_hint(-0.05), _points_hint(0.45)
    ('did you mean `-5pp`?', 'did you mean `-5pp`?', 'did you mean `45%`?')
    """
    text = str(value).strip().removesuffix("%").rstrip()
    try:
        found = -float(text)
    except ValueError:
        return ""
    if isinstance(value, bool) or not 0 < found <= 50:
        return _percent_hint(value)
    return f"did you mean `-{(found * 100 if found < 1 else found):.10g}pp`?"


def points_text(value: float) -> str:
    """A win rate in points from an even 50 %, as it would be written in the file.

    >>> points_text(0.45), points_text(0.525), points_text(0.5)
    ('-5pp', '+2.5pp', '0pp')
    """
    points = round(100 * (value - 0.5), 10)
    return f"{points:+.10g}pp" if points else "0pp"


def number(value: Any) -> float:
    """A number of at least 0, or a percentage of 1; raises `Unfit`.

    >>> number(0.05), number("5%")
    (0.05, 0.05)
    """
    if isinstance(value, str) and value.strip().endswith("%"):
        return ratio(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise Unfit("a number of at least 0, such as 0.05")
    return float(value)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far is far: in the prediction's own unit, or in live's interquartile ranges when `in_ranges`."""

    size: float
    in_ranges: bool

    def __str__(self) -> str:
        return f"{self.size:g}" + "iqr" * self.in_ranges


def tolerance(value: Any) -> Tolerance:
    """A tolerance, `0.3` (the prediction's own unit) or `2iqr` (live's interquartile ranges); raises `Unfit`.

    >>> tolerance(0.3), str(tolerance("2iqr"))
    (Tolerance(size=0.3, in_ranges=False), '2iqr')
    """
    match = _RANGES.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        found = Tolerance(float(match[1]), True) if match is not None else Tolerance(number(value), False)
    except Unfit as unfit:
        raise Unfit("a number such as 0.3, or live's interquartile ranges such as 2iqr", unfit.hint) from None
    if found.size <= 0:
        raise Unfit("more than 0")
    return found


@dataclass(frozen=True, slots=True)
class LatencyLimit:
    """A limit on a latency: a multiple of live's when `relative`, else seconds."""

    limit: float
    relative: bool

    def __str__(self) -> str:
        return f"{self.limit:g}x" if self.relative else duration(self.limit)


def latency(value: Any) -> LatencyLimit:
    """A latency limit, `1.2x` (of live) or `250ms` (absolute); raises `Unfit`.

    >>> latency("1.2x"), latency("250ms")
    (LatencyLimit(limit=1.2, relative=True), LatencyLimit(limit=0.25, relative=False))
    """
    match = _MULTIPLE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        return LatencyLimit(float(match[1]), True)
    try:
        return LatencyLimit(seconds(value), False)
    except Unfit as unfit:
        hint = multiple_hint(value) or unfit.hint
        raise Unfit("a multiple of live such as 1.2x, or a duration such as 250ms", hint) from None


def multiple_hint(value: Any) -> str:
    """The multiple that a percentage stands for: 20% more than live, or 120% of it.

    >>> multiple_hint("20%"), multiple_hint("120%")
    ('did you mean `1.2x`?', 'did you mean `1.2x`?')
    """
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return ""
    found = float(match[1]) / 100
    return f"did you mean `{found + (found < 1):g}x`?"


def after(value: Any) -> float | Literal["auto", "off"]:
    """When live is asked too because the candidate is slow: a duration, `auto` or `off`; raises `Unfit`.

    >>> after("auto"), after("250ms")
    ('auto', 0.25)
    """
    if value in ("auto", "off"):
        return "auto" if value == "auto" else "off"
    try:
        return seconds(value)
    except Unfit as unfit:
        raise Unfit("`auto`, `off`, or a duration such as 250ms", unfit.hint) from None


def workers(value: Any) -> int | Literal["auto"]:
    """A number of worker processes, 1 to 256, or `auto`; raises `Unfit`.

    >>> workers("auto"), workers(2)
    ('auto', 2)
    """
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 256:
        raise Unfit("`auto` or a whole number from 1 to 256")
    return value


def pair_rate(value: Any) -> int | Literal["auto"]:
    """A number of pairs a second, or `auto`; raises `Unfit`.

    >>> pair_rate("auto"), pair_rate(500)
    ('auto', 500)
    """
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**12:
        raise Unfit("`auto` or a whole number of pairs a second, at least 1")
    return value


def moment(value: Any) -> float:
    """Epoch seconds of an RFC 3339 time with its offset; raises `Unfit`.

    >>> moment("2026-11-18T09:00:00Z")
    1794992400.0
    """
    expected = "a time with its offset, such as 2026-11-18T09:00:00Z"
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Unfit(expected) from None
    if time.tzinfo is None:
        raise Unfit(expected, "the offset is missing")
    return time.timestamp()


def duration(value: float) -> str:
    """A duration in the largest unit that keeps it short, as it would be written in the file.

    >>> duration(0.25), duration(600), duration(86400), duration(5400), duration(0)
    ('250ms', '10m', '1d', '90m', '0s')
    """
    if value == 0:
        return "0s"
    for unit in ("d", "h", "m", "s", "ms"):
        amount = value / TIME[unit]
        if amount >= 1 and abs(amount - round(amount)) < 1e-9 * amount:
            return f"{round(amount)}{unit}"
    return f"{value:g}s" if value >= 1 else f"{value * 1000:g}ms"


def bytes_text(value: int) -> str:
    """A size in the largest binary unit that divides it, as it would be written in the file.

    >>> bytes_text(1 << 20), bytes_text(1000)
    ('1MiB', '1000B')
    """
    unit = next(unit for unit in ("GiB", "MiB", "KiB", "B") if value % SIZE[unit] == 0)
    return f"{value // SIZE[unit]}{unit}"


def percent_text(value: float) -> str:
    """A percentage as it would be written in the file.

    >>> percent_text(0.5)
    '0.5%'
    """
    return f"{value:.10g}%"


def ratio_text(value: float) -> str:
    """A ratio as a percentage.

    >>> ratio_text(0.02)
    '2%'
    """
    return percent_text(value * 100)
