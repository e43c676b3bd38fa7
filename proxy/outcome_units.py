"""How `max_outcome_drop` is written, read into plain values: see `units`, whose readers these are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from proxy.units import Unfit, percent_text, ratio, seconds

DROP_POINTS_TEXT = r"^[0-9]+(\.[0-9]+)?\s*pp$"
DURATION_TEXT = r"^[0-9]+(\.[0-9]+)?\s*(us|ms|s|m|h|d)$"
OUTCOME_NAME = r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$"
"""The same as patterns of the JSON Schema."""

_POINTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*pp")


@dataclass(frozen=True, slots=True)
class Drop:
    """How much less: of live's mean when `relative`, else in points of users (`in_points`) or in the outcome's unit."""

    size: float
    relative: bool
    in_points: bool

    def __str__(self) -> str:
        """As it would be written in the file.

        >>> str(Drop(0.01, False, True)), str(Drop(0.02, True, False)), str(Drop(0.5, False, False))
        ('1pp', '2%', '0.5')
        """
        if self.relative:
            return percent_text(100 * self.size)
        return f"{100 * self.size:.10g}pp" if self.in_points else f"{self.size:g}"


def drop(value: Any) -> Drop:
    """A drop: `1pp` (of users), `2%` (of live's mean) or `0.5` (in the outcome's own unit); raises `Unfit`.

    >>> drop("1pp").size, drop("2%").relative, drop(0.5).in_points
    (0.01, True, False)
    """
    match = _POINTS.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None and 0 < float(match[1]) < 100:
        return Drop(round(float(match[1]) / 100, 12), relative=False, in_points=True)
    if isinstance(value, str) and value.strip().endswith("%") and (size := ratio(value)) > 0:
        return Drop(size, relative=True, in_points=False)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return Drop(float(value), relative=False, in_points=False)
    raise Unfit("how much less, in points of users such as 1pp, of live's mean such as 2%, or as a number above 0")


def outcome_name(value: Any) -> str:
    """What an outcome is called; raises `Unfit`.

    >>> outcome_name("conversion")
    'conversion'
    """
    if isinstance(value, str) and re.fullmatch(OUTCOME_NAME, value):
        return value
    raise Unfit("a name that begins with a letter, of up to 64 letters, digits, `_`, `.` and `-`")


def positive_duration(value: Any) -> float:
    """A duration of at least a second; raises `Unfit`.

    >>> positive_duration("7d")
    604800.0
    """
    found = seconds(value)
    if found < 1.0:
        raise Unfit("a duration of at least 1s, such as 7d")
    return found


def above_zero(value: Any) -> float | None:
    """A number above 0; raises `Unfit`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise Unfit("a number above 0, such as 200")
    return float(value)
