"""The part of the tree that is about drift: `drift:` of a route, and what its words become.

drift:
  inputs: {amount: {pointer: /inputs/0/data/3, kind: number}, country: {header: x-country, kind: label}}
  predictions: true
  reference: {first: 10000}
  period: 24h
  alarms: 1 per 90d
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from proxy import units
from proxy.config.types import (
    Duration,
    FilePath,
    Flag,
    Header,
    Name,
    PointerText,
    Proportion,
    Reads,
    Section,
    one_of,
)
from proxy.predictions.request import MAX_NAME

_ALARMS = re.compile(r"([0-9]{1,6})\s+per\s+(\S+)")
_TEXT = r"^[0-9]{1,6}\s+per\s+[0-9]+(\.[0-9]+)?\s*(s|m|h|d)$"


def alarm_budget(value: Any) -> float:
    """`1 per 90d` as the seconds that one false alarm stands for on average; raises `Unfit`.

    >>> alarm_budget("2 per 90d") == 45 * 86400
    True
    """
    expected = "how many false alarms in how long, such as `1 per 90d`"
    match = _ALARMS.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or int(match[1]) < 1:
        raise units.Unfit(expected)
    try:
        time = units.seconds(match[2])
    except units.Unfit as unfit:
        raise units.Unfit(expected, unfit.hint) from None
    if time <= 0:
        raise units.Unfit(expected)
    return time / int(match[1])


def _written(seconds: float) -> str:
    return f"1 per {units.duration(seconds)}"


AlarmBudget = Annotated[
    float,
    Reads(alarm_budget, {"type": "string", "pattern": _TEXT, "examples": ["1 per 90d"]}, _written),
]
ObservationRate = Annotated[int, Field(strict=True, ge=1, le=1000)]
FirstRequests = Annotated[int, Field(strict=True, ge=100, le=1_000_000)]
Label = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Figure = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class DriftInput(Section):
    """One field of the requests. Counts are kept, not the values themselves."""

    model_config = ConfigDict(json_schema_extra=one_of("pointer", "header"))

    pointer: PointerText | None = None
    """A field of the request's JSON, by JSON pointer (`/inputs/0/data/3`)."""
    header: Header | None = None
    """A header of the request."""
    kind: Literal["number", "label", "vector"] = "number"
    """What it holds: a number, one of several labels, or a list of numbers of constant length (an embedding)."""
    missing: Proportion | None = None
    """Expectation: the share of requests without it, or with a value of another kind, is at most this."""
    min: Figure | None = None
    """Expectation on a `number`: at most the share `invalid` of its values is below this."""
    max: Figure | None = None
    """Expectation on a `number`: at most the share `invalid` of its values is above this."""
    labels: tuple[Label, ...] = ()
    """Expectation on a `label`: at most the share `invalid` of its values is none of these; those of the reference when
    absent."""
    invalid: Proportion = 0.001
    """The share of values that `min`, `max` and `labels` let through."""


class DriftReference(Section):
    """What is normal."""

    model_config = ConfigDict(json_schema_extra=one_of("first", "recording"))

    first: FirstRequests | None = None
    """The number of observations, from the first one on."""
    recording: FilePath | None = None
    """A recording of the route (`record:`), read when the controller starts and when it changes; one that
    could not be read, at every reload too."""


class DriftConfig(Section):
    """Whether live's requests and answers are still distributed as before. It does not affect rollouts."""

    inputs: dict[Name, DriftInput] = Field(default_factory=dict)
    """Fields of the requests, by names of your own."""
    predictions: Flag = True
    """Whether live's answers are compared too, as `prediction` reads them; where the route has none, as the protocol of
    its answers shows."""
    reference: DriftReference = DriftReference(first=10_000)
    """What is normal."""
    period: Duration | None = None
    """Length of a cycle that is no drift, such as `24h` or `7d`: each part of it is compared with the same part of the
    reference. None when absent."""
    alarms: AlarmBudget = 90 * 86400.0
    """How many false alarms there may be on average, over all fields together."""
    observations_per_second: ObservationRate = 10
    """The largest average number of observed requests, over all workers of a replica. They are drawn at random when
    they begin."""
