"""What no test can undercut, and what each promise of ours costs on top: the second table of docs/power.md.

A test that may be wrong with probability α whenever it is looked at needs ln(1/α) nats of evidence, and a pair gives at
most g on average: the growth of the best bet, known beforehand, against the mean or the rate at the limit. So no test
takes fewer than ln(1/α)/g pairs on average (Wald). Three promises cost more:

- restarts: half of the stake lies on breaks later than now, ln 2 nats;
- the grid: nobody knows the best bet beforehand, measured;
- bursts: evidence is divided by how bursty the differences *look*, which for independent pairs is a little more than 1
  too, because few blocks are a noisy measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proxy.evidence.process.bursts import Bursts
from proxy.evidence.process.restarts import log_weights

NEEDED = float(np.log(100.0))
"""Nats for a false rollback rate of 1 %."""
LATE = 10**6
"""Restarts before the late break: 10⁹ good pairs."""


@dataclass(frozen=True)
class Bound:
    """One missed row: `values` a pair has with `chances`, a mean up to `m` in [`low`, ∞) is allowed; `target` in pairs,
    `shipped` what docs/power.md and docs/calibration.md measure, `nats` what is to be paid before ln(1/α)."""

    what: str
    guard: str
    values: np.ndarray
    chances: np.ndarray
    m: float
    low: float
    target: int
    shipped: int
    nats: float = float(np.log(2.0))

    @cached_property
    def growth(self) -> float:
        """Nats per pair of the best bet 1 + λ(x − m) that can never lose more than its stake.

        >>> coin = Bound("", "", np.array([0.0, 1.0]), np.array([0.95, 0.05]), 0.02, 0.0, 0, 0)
        >>> round(coin.growth, 5)  # the divergence of 5 % from 2 %
        0.01628
        """
        bets = np.linspace(0.0, 1.0 / (self.m - self.low), 1001)[1:-1]
        return float((np.log1p(bets[:, None] * (self.values - self.m)) @ self.chances).max())

    @property
    def least(self) -> float:
        """Pairs of a test that knows the best bet, and promises nothing but its error rate."""
        return NEEDED / self.growth

    @property
    def restarted(self) -> float:
        """The same with restarts."""
        return (NEEDED + self.nats) / self.growth

    def looks_bursty(self, runs: int = 100) -> float:
        """Median size of the bursts that so many independent pairs as it takes seem to have: 1 if it were known."""
        rng, found = np.random.default_rng(71), []
        unit = max(abs(self.values).max() / 1000.0, 1e-3)
        for _ in range(runs):
            drawn = rng.choice(self.values, int(self.restarted), p=self.chances)
            bursts = Bursts.empty(1)
            bursts.add(np.round(drawn / unit)[None].astype(np.int16))
            found.append(float(bursts.sizes()[0]))
        return float(np.median(found))


def normal(mean: float, sd: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of a normal difference, with their chances."""
    z = np.linspace(-4.0, 4.0, 161)
    chances = np.exp(-0.5 * z**2)
    return mean + sd * z, chances / chances.sum()


def either(rate: float) -> tuple[np.ndarray, np.ndarray]:
    """An event at this rate, or none."""
    return np.array([0.0, 1.0]), np.array([1.0 - rate, rate])


def missed() -> list[Bound]:
    """The rows of the power table that miss their target."""
    more, less = 0.011 * 0.999, 0.989 * 0.001  # only the candidate fails, only live does
    errors = np.array([-1.0, 0.0, 1.0]), np.array([less, 1.0 - more - less, more])
    late = float(-log_weights(np.array([float(LATE)]))[0])
    return [
        Bound("5 % wrong", "max_disagreement: 2%", *either(0.05), 0.02, 0.0, 450, 600),
        Bound("shift 0.02", "max_mean_shift: 0.01", *normal(0.02, 0.09 * 2**0.5), 0.01, -1.0, 2300, 2350),
        Bound("number, shift 0.2", "max_mean_shift: 0.1", *normal(0.2, 0.2), 0.1, -8.0, 600, 800),
        Bound("errors + 1 point", "max_extra_errors: 0.2%", *errors, 0.002, -1.0, 1900, 2300),
        Bound("5 % wrong after 10⁹ good pairs", "max_disagreement: 2%", *either(0.05), 0.02, 0.0, 900, 1950, late),
    ]


HEAD = """
## Lower bounds

The minimum for any test, and the cost of each promise of Understudy, computed by `tests/calibration/bounds.py`:

- *Best*: the best single bet, known beforehand, with 1 % at any number of looks as the only promise: ln 100
  nats, divided by the mean gain of a pair.
- *With restarts*: half of the wealth is reserved for models that break later.
- *Burst size*: the burst size that so many independent pairs show by chance. Evidence is divided by it.
- *Bound*: the product of the last two. *Shipped* is larger: the best bet is unknown, and a grid shares the wealth.

| truth | guard | best | with restarts | burst size | bound | shipped | target |
|---|---|---|---|---|---|---|---|
"""

TAIL = """
- *5 % wrong*, *errors + 1 point*: without the burst size the target would be met. But a candidate at half its limit,
  whose different answers come in bursts of five, would then be rolled back in 42 % of trials.
- *number, shift 0.2*: a difference can be as low as −8 interquartile ranges, so a bet can risk only an eighth of its
  wealth per pair. A test with an estimated variance is faster, because it assumes that such a pair never comes.
- *Median × 1.5*: the target was 80 pairs. The table has a look every 100 pairs; with one every 5 it takes 70 (median of
  40 runs).
- *After 10⁹ good pairs*: the break may be at any of a million restarts, which share the 1 %. Even a test that
  knew this number and weighted all equally would need {equal:,.0f} pairs, so 900 is impossible.
"""


def table() -> str:
    """The section of docs/power.md."""
    lines = []
    for one in missed():
        size = one.looks_bursty()
        whole = size * one.restarted
        lines.append(
            f"| {one.what} | `{one.guard}` | {one.least:,.0f} | {one.restarted:,.0f} | {size:.2f} | {whole:,.0f} "
            f"| {one.shipped:,} | {one.target:,} |"
        )
    late = missed()[-1]
    equal = (NEEDED + float(np.log(LATE))) / late.growth
    return HEAD + "\n".join(lines) + "\n" + TAIL.format(equal=equal)
