"""A field's finding in figures and words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from proxy.drift.finding import DriftFinding, DriftState
from proxy.significant import significant

SOON: Final = 100.0
"""Values at which the interval is narrowest for its level."""
ALPHA: Final = 0.05
NEAR: Final = {"level": 0.8, "spread": 1.3}
"""Standard deviations, or their ratio, beyond which scores, of which none is more than three, only say the least that
an effect can be."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a channel did since it began to differ: over `n` values, `apart` is the sum of differences from the expected
    mean, `values` the sum in the field's own unit. `unsure` is the variance of the expected mean; `first` mean and
    deviation of the reference in the field's own unit, where it has one; `square` is what a spread was multiplied
    by."""

    field: str
    state: DriftState
    what: str
    detail: str
    rate: bool
    expected: float
    unsure: float
    n: float
    apart: float
    values: float
    bursts: float
    since: float
    evidence: float
    first: tuple[float, float] | None = None
    square: float = 0.0


def radius(variance: float, n: float) -> float:
    """Half the width of the 95 % interval of a mean of n values that holds at any time: the asymptotic confidence
    sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (arXiv 2103.06476).

    >>> round(radius(1.0, 1000.0), 3)
    0.101
    """
    rho = 2.0 * math.log(1.0 / ALPHA) / SOON
    root = n * rho + 1.0
    return math.sqrt(variance * 2.0 * root / (n * n * rho) * math.log(math.sqrt(root) / ALPHA)) if n > 0 else math.inf


def describe_drift(moved: Moved) -> DriftFinding:
    """The finding of a field whose channel `moved`.

    >>> sums = dict(expected=0.0, unsure=0.0, n=400.0, apart=84.0, values=4400.0, bursts=1.0)
    >>> told = dict(field="amount", what="level", detail="", rate=False, since=0.0, evidence=1.0, first=(10.0, 5.0))
    >>> describe_drift(Moved(state=DriftState.DRIFTING, **told, **sums)).words
    'level +0.21 sd (0.0551 to 0.365): mean 10 → 11'
    """
    if moved.n <= 0.0:
        return DriftFinding(moved.field, moved.state, evidence=moved.evidence, bursts=moved.bursts, words="as expected")
    effect = moved.apart / moved.n
    after: float | None = moved.expected + effect
    variance = max((moved.expected + effect) * (1.0 - moved.expected - effect), 1.0 / moved.n) if moved.rate else 1.0
    half = math.sqrt(radius(variance * moved.bursts, moved.n) ** 2 + 4.0 * moved.unsure)
    low, high = effect - half, effect + half
    before: float | None = moved.expected
    if moved.rate:
        low, high = max(low, -moved.expected), min(high, 1.0 - moved.expected)
    else:
        before, after = (moved.first[0], moved.values / moved.n) if moved.first else (None, None)
    unit = "share" if moved.rate else "sd"
    if moved.square:
        effect, low, high = (_ratio(moved, x) for x in (effect, low, high))
        unit = "ratio"
    drifts = moved.state is not DriftState.STEADY
    bounds = (low, high) if moved.rate else _open(moved.what, effect, low, high)
    return DriftFinding(
        moved.field, moved.state, moved.what, moved.detail, effect, *bounds, unit,
        before, after, moved.since if drifts else None, moved.evidence, round(moved.n), moved.bursts,
        _words(moved, effect, bounds) if drifts else "as expected",
    )  # fmt: skip


def _open(what: str, effect: float, low: float, high: float) -> tuple[float | None, float | None]:
    """The interval without the bound that scores cannot give.

    >>> _open("level", 2.5, 2.2, 2.8), _open("level", -2.5, -2.8, -2.2), _open("level", 0.5, 0.4, 0.6)
    ((2.2, None), (None, -2.2), (0.4, 0.6))
    """
    if abs(effect) < NEAR[what]:
        return low, high
    return (low, None) if effect > 0.0 else (None, high)


def _ratio(moved: Moved, effect: float) -> float:
    """The ratio of standard deviations that a difference of mean squares is."""
    return math.sqrt(max(0.0, moved.expected + effect) / max(moved.expected, 1e-9))


def _words(moved: Moved, effect: float, interval: tuple[float | None, float | None]) -> str:
    name, (low, high) = f"{moved.what} {moved.detail}".strip(), interval
    if moved.square and high is None:
        return f"{name} × {significant(effect, 3)} or more ({significant(low or 0.0, 3)} at least)"
    if moved.square:
        return f"{name} × {significant(effect, 3)} ({significant(low or 0.0, 3)} to {significant(high or 0.0, 3)})"
    if not moved.rate and (low is None or high is None):
        least = high if low is None else low
        return f"{name} {effect:+.3g} sd or more ({significant(least or 0.0, 3)} at least){_mean(moved)}"
    low, high = low or 0.0, high or 0.0
    if not moved.rate:
        return f"{name} {effect:+.3g} sd ({significant(low, 3)} to {significant(high, 3)}){_mean(moved)}"
    before, after = moved.expected, moved.expected + effect
    shares = f"{_percent(before + low)} to {_percent(before + high)}"
    return f"{name} {_percent(before)} → {_percent(after)} ({shares}){_mean(moved) if moved.what == 'far' else ''}"


def _mean(moved: Moved) -> str:
    """What became of the mean in the field's own unit, where it has one."""
    if moved.first is None or moved.what not in ("level", "far"):
        return ""
    before, after = moved.first[0], moved.values / moved.n
    ratio = after / before if before * after > 0.0 else 1.0
    times = f" (× {significant(ratio, 3)})" if not 0.5 < ratio < 2.0 else ""
    return f": mean {significant(before, 4)} → {significant(after, 4)}{times}"


def _percent(share: float) -> str:
    return f"{significant(100.0 * max(0.0, round(share, 9)), 3)} %"
