"""The units of limits: how one is written in the file, read into a `Guard`, and shown in sentences and charts.

A limit is one value (`2%`), or a mapping with a value under each key (`{tolerance: 0.3, rate: 1%}`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from proxy import units
from proxy.model import Guard
from proxy.money import MULTIPLE_TEXT, multiple
from proxy.significant import significant
from proxy.units import (
    PERCENT_TEXT,
    RANGES_TEXT,
    LatencyLimit,
    Tolerance,
    duration,
    percent_text,
    points_text,
    ratio_text,
)


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a limit: `read` takes what YAML gave and raises `Unfit`, `schema` is the JSON Schema of what it
    takes, `write` gives the text again, `about` says what it is where it has a key of its own, which may be left out
    where it has a `default`."""

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    write: Callable[[Any], str] | None = None
    about: str = ""
    default: Any = ...


@dataclass(frozen=True, slots=True)
class Unit:
    """How limits are written and values shown. `guard` makes the guard of a name and a value read, or `None` for one
    that is off; where the limit is a mapping, of `fields` by key, it gets these as a mapping. `written` is the limit as
    in the file, `said` as in a sentence, `number` a value in a sentence, `chart` one of `percent`, `points` (percentage
    points), `times`, `seconds`, `number`, which says the same."""

    guard: Callable[[str, Any], Guard | None]
    written: Callable[[Guard], str]
    number: Callable[[Guard, float], str]
    chart: Callable[[Guard], str]
    value: Value | None = None
    fields: Mapping[str, Value] = field(default_factory=dict)
    about: str = ""  # of a mapping: what it is
    said: Callable[[Guard], str] | None = None

    def limit(self, guard: Guard) -> str:
        """A guard's limit in a sentence."""
        return (self.said or self.written)(guard)


def plain(_guard: Guard, value: float) -> str:
    """Three digits.

    >>> plain(Guard("max_ks", 0.05), 0.01234)
    '0.0123'
    """
    return significant(value, 3)


def share_in_percent(_guard: Guard, value: float) -> str:
    """A share of 1 in percent.

    >>> share_in_percent(Guard("max_disagreement", 0.02), 0.0131)
    '1.31 %'
    """
    return f"{significant(100 * value, 3)} %"


def _limited(name: str, value: float) -> Guard:
    return Guard(name, value)


def _unless_off(name: str, value: Any) -> Guard | None:
    return None if value == "off" else Guard(name, value)


_PERCENT = {"type": "string", "pattern": PERCENT_TEXT}
_A_PERCENTAGE = {**_PERCENT, "examples": ["1%"]}
_FIVE_PERCENT = {**_PERCENT, "examples": ["5%"]}

SHARE = Unit(
    guard=_limited,
    written=lambda guard: percent_text(100 * guard.limit),
    number=share_in_percent,
    chart=lambda _guard: "percent",
    value=Value(units.ratio, _A_PERCENTAGE, ratio_text),
)
"""A share of the pairs: `2%`."""

WIN_RATE = replace(
    SHARE,
    written=lambda guard: points_text(guard.limit),
    value=Value(
        units.win_rate,
        {
            "anyOf": [
                {"type": "string", "pattern": units.POINTS_TEXT, "examples": ["-5pp"]},
                {**_PERCENT, "examples": ["45%"]},
            ]
        },
        points_text,
    ),
)
"""A share of the judged pairs that is won, in points from an even one, `-5pp`, or as it is, `45%`."""

SHARE_OR_OFF = replace(
    SHARE,
    guard=_unless_off,
    value=Value(
        units.ratio_or_off,
        {"anyOf": [{"const": "off"}, _A_PERCENTAGE]},
        lambda value: value if isinstance(value, str) else ratio_text(value),
    ),
)
"""A share, or `off` for a guard that is in force where nothing is said of it."""

NUMBER = Unit(
    guard=_limited,
    written=lambda guard: f"{guard.limit:g}",
    number=plain,
    chart=lambda _guard: "number",
    value=Value(units.number, {"anyOf": [{"type": "number", "minimum": 0}, _FIVE_PERCENT]}),
)
"""A number of at least 0, or a percentage of 1."""


def _beyond(name: str, value: Mapping[str, Any]) -> Guard:
    return Guard(name, value["rate"], value["tolerance"].in_ranges, value["tolerance"].size)


def _tolerance(guard: Guard) -> Tolerance:
    return Tolerance(guard.tolerance, guard.relative)


SHARE_BEYOND = Unit(
    guard=_beyond,
    written=lambda guard: f"{{tolerance: {_tolerance(guard)}, rate: {percent_text(100 * guard.limit)}}}",
    said=lambda guard: f"{guard.limit * 100:g}% beyond {_tolerance(guard)}",
    number=share_in_percent,
    chart=lambda _guard: "percent",
    about="How many answers may change by more than a tolerance.",
    fields={
        "tolerance": Value(
            units.tolerance,
            {
                "anyOf": [
                    {"type": "number", "exclusiveMinimum": 0},
                    _FIVE_PERCENT,
                    {"type": "string", "pattern": RANGES_TEXT, "examples": ["2iqr"]},
                ]
            },
            str,
            "What counts as big: in the prediction's own unit (`0.3`), or for scores and numbers in live's "
            "interquartile\nranges (`2iqr`), taken from its first 500 answers. Of labels, vectors, rankings, texts and "
            "probabilities it is a\ndistance from 0 to 1.",
        ),
        "rate": Value(units.ratio, _A_PERCENTAGE, ratio_text, "Share of pairs that may change that much."),
    },
)
"""A share of the pairs that differ by more than a tolerance: `{tolerance: 0.3, rate: 1%}`."""


def _latency(name: str, value: LatencyLimit) -> Guard:
    return Guard(name, value.limit, relative=value.relative)


def _time(guard: Guard, value: float) -> str:
    """A latency in a sentence.

    >>> _time(Guard("p99_latency", 0.25), 0.2501), _time(Guard("p99_latency", 1.2, relative=True), 1.304)
    ('250 ms', '1.30 x')
    """
    if guard.relative:
        return f"{value:.2f} x"
    return f"{significant(value, 3)} s" if value >= 1.0 else f"{significant(1000 * value, 3)} ms"


def _multiple(name: str, value: float) -> Guard:
    return Guard(name, value, relative=True)


TIMES_LIVE = Unit(
    guard=_multiple,
    written=lambda guard: f"{guard.limit:g}x",
    number=lambda _guard, value: f"{value:.2f} x",
    chart=lambda _guard: "times",
    value=Value(
        multiple,
        {"type": "string", "pattern": MULTIPLE_TEXT, "examples": ["1.3x"]},
        lambda value: f"{value:g}x",
    ),
)
"""A multiple of live's: `1.3x`."""

LATENCY = Unit(
    guard=_latency,
    written=lambda guard: f"{guard.limit:g}x" if guard.relative else duration(guard.limit),
    number=_time,
    chart=lambda guard: "times" if guard.relative else "seconds",
    value=Value(units.latency, {"type": "string", "pattern": units.LATENCY_TEXT, "examples": ["1.2x", "250ms"]}, str),
)
"""A multiple of live's time, `1.2x`, or a time, `250ms`."""
