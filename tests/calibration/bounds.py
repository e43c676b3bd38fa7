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
## Why some take longer than wished

What no test can undercut, and what our promises cost on top, reckoned by `tests/calibration/bounds.py`. *Best*: the one
right bet, known beforehand, and nothing promised but 1 % at any number of looks: ln 100 nats, divided by what a pair
gives on average. *Restarts*: half of the stake is kept for models that break later. *Bursts*: how bursty that many
independent pairs look by chance; evidence is divided by it. What remains between their product and *shipped* is that
nobody knows the best bet, so a grid of bets shares the stake.

| truth | guard | best | with restarts | size of bursts | bound for us | shipped | wished |
|---|---|---|---|---|---|---|---|
"""

TAIL = """
- *5 % wrong*, *errors + 1 point*: without dividing by bursts the wish would be met. But then a candidate at half its
  limit, whose other answers come in bursts of five, would be rolled back in 42 % of trials. We keep the division.
- *number, shift 0.2*: a difference may be as low as −8 ranges, and a bet that survives that can stake at most an eighth
  a pair. A test that plugs in the variance is faster, because it assumes that such a pair never comes.
- *Median × 1.5* was to fail within 80 pairs. The table looks every 100; looked at every 5 the median of 40 runs is 70.
- *After 10⁹ good pairs* there were a million moments at which the model might have broken, and all of them share 1 %.
  Even a test that knew in advance that there are a million, and weighed them equally, would need {equal:,.0f} pairs;
  900 cannot be had.
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
