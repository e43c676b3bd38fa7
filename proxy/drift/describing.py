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


@dataclass(frozen=True, slots=True)
class Moved:
    """What a channel did since it began to differ: over `n` values, `apart` is the sum of differences from the expected
    mean, `values` the sum in the field's own unit. `unsure` is the variance of the expected mean; `first` mean and
    deviation of the reference in the field's own unit, where it has one."""

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
    half = math.sqrt(radius(variance * moved.bursts, moved.n) ** 2 + 4.0 * variance * moved.unsure)
    low, high = effect - half, effect + half
    before: float | None = moved.expected
    if moved.rate:
        low, high = max(low, -moved.expected), min(high, 1.0 - moved.expected)
    else:
        before, after = (
            (moved.first[0], moved.values / moved.n) if moved.first and moved.what == "level" else (None, None)
        )
    drifts = moved.state is not DriftState.STEADY
    return DriftFinding(
        moved.field, moved.state, moved.what, moved.detail, effect, low, high, "share" if moved.rate else "sd",
        before, after, moved.since if drifts else None, moved.evidence, round(moved.n), moved.bursts,
        _words(moved, effect, (low, high), (before, after)) if drifts else "as expected",
    )  # fmt: skip


def _words(moved: Moved, effect: float, interval: tuple[float, float], means: tuple[float | None, float | None]) -> str:
    name = f"{moved.what} {moved.detail}".strip()
    before, after = means
    if moved.rate and before is not None and after is not None:
        low, high = (max(0.0, before + end) for end in interval)
        return f"{name} {_percent(before)} → {_percent(after)} ({_percent(low)} to {_percent(high)})"
    low, high = interval
    text = f"{name} {effect:+.3g} sd ({significant(low, 3)} to {significant(high, 3)})"
    if before is None or after is None:
        return text
    text += f": mean {significant(before, 4)} → {significant(after, 4)}"
    ratio = after / before if before * after > 0.0 else 1.0
    return text + (f" (× {significant(ratio, 3)})" if not 0.5 < ratio < 2.0 else "")


def _percent(share: float) -> str:
    return f"{significant(100.0 * max(0.0, share), 3)} %"
