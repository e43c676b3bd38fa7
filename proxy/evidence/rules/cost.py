"""`max_cost`: does an answer of the candidate's cost more than `limit` times what live's costs?

The ratio of the two arms' mean costs over the same requests, E[c] against r·E[l]. Costs have heavy tails (a few answers
are a hundred times as long as the median), and no test that may be looked at at any time can bound a mean of which
nothing is known beyond (Bahadur & Savage, Annals of Mathematical Statistics 27(4), 1956); those for heavy tails (Wang &
Ramdas, arXiv 2202.01250) ask for a bound on the variance, which nobody can give and a Pareto tail below 2 has not. So
costs are cut at a bound B that is frozen from live's first answers (`input.costs`): live's at B, the candidate's at
r·B, so that a candidate whose costs are r times live's throughout lies exactly at the limit, cut or not.

    d = min(c / r, B) − min(l, B), in [−B, B];   FAIL: H0 E[d] ≤ 0;   PASS: H0 E[d] ≥ 0

with the bets of `process.means`. What is promised is about cut costs. A PASS asks for more: that the mean of the whole
costs is within the limit too, as far as they were seen, and that live has not moved beyond the bound. What was cut of
each arm is said in the finding.

Categories: 513 bins of d; 513 of live's cut cost, for the ratio; then what was beyond the bound, live's and the
candidate's, by powers of 2 of the bound. A value between two powers goes to either, so that sums keep their mean. A
candidate's failure says nothing: it costs less, or nobody knows what, and `max_extra_errors` counts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from proxy.evidence.families.effort import GRID, TIMES, Effort
from proxy.evidence.families.guard import GuardType, LimitProblem, Question
from proxy.evidence.families.unit import TIMES_LIVE
from proxy.evidence.input.batch import NOBODY, Batch, Placed
from proxy.evidence.process.estimate import Estimate
from proxy.evidence.process.means import (
    BETS,
    BINS,
    EXCESS,
    POWERS,
    STEPS,
    WEIGHTS,
    above_bets,
    below_bets,
    bins,
    centres,
    mean_intervals,
    power_of_2,
)
from proxy.evidence.process.prf import key_of, uniforms
from proxy.evidence.process.wealth import CERTAIN, Bools, Counts, Floats, Ints, Numbers, block_gains, mixed, weakest
from proxy.model import Guard, Kind
from proxy.significant import significant

MOST_BEYOND = 0.02
"""Share of live's answers that may lie beyond the bound: as many as lay beyond a quarter of it when it was chosen."""
LIVE_AT, CANDIDATE_AT = 2 * BINS, 2 * BINS + POWERS
WIDTH = 2 * BINS + 2 * POWERS
ENDS = float(np.log(80.0))
"""Level of each end of the intervals of two means that are put together: half of an interval's own error."""


@dataclass(frozen=True, slots=True)
class CostRatio:
    """The candidate's mean cost against `times` live's."""

    times: float
    width: int = WIDTH
    shed_at: int | None = None
    worst_at: int | None = BINS - 1

    @property
    def measures(self) -> tuple[str, ...]:
        """No measure of the answers."""
        return ()

    def place(self, batch: Batch, salt: int) -> Placed:
        """Bins of each pair that both answered and whose costs are known."""
        if batch.costs is None:
            return NOBODY
        who = batch.valued[np.isfinite(batch.costs[:, batch.valued]).all(axis=0)]
        live, candidate = batch.costs[0, who], batch.costs[1, who] / self.times
        keys = batch.keys[who]
        cut = np.minimum(live, 1.0)
        where = [
            bins(np.minimum(candidate, 1.0) - cut, uniforms(keys, salt), -1.0, 1.0),
            BINS + bins(cut, uniforms(keys, key_of(salt, "live")), 0.0, 1.0),
        ]
        placed = [who, who]
        for costs, start in ((live, LIVE_AT), (candidate, CANDIDATE_AT)):
            beyond = np.flatnonzero(costs > 1.0)
            placed.append(who[beyond])
            where.append(start + power_of_2(costs[beyond], uniforms(keys[beyond], key_of(salt, "beyond", str(start)))))
        return np.concatenate(placed), np.concatenate(where)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the cut means are within the limit"; counts (…, width) → (…)."""
        return mixed(counts[..., :BINS], [_FAIL], WEIGHTS)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the cut means are at the limit or beyond"; none where the whole means are beyond it, or
        live has moved."""
        logs = weakest(counts[..., :BINS], [_PASS], WEIGHTS)
        return np.where((self.whole(counts) > 0.0) | self._moved(counts), -CERTAIN, logs)

    def whole(self, counts: Numbers) -> Floats:
        """The sum of c / r − l over all pairs, nothing cut, in bounds; (…, width) → (…)."""
        beyond = counts[..., CANDIDATE_AT:] - counts[..., LIVE_AT:CANDIDATE_AT]
        return np.asarray(counts[..., :BINS] @ _D + beyond @ EXCESS)

    def _moved(self, counts: Numbers) -> Bools:
        beyond = counts[..., LIVE_AT:CANDIDATE_AT].sum(-1)
        return np.asarray(beyond > MOST_BEYOND * counts[..., :BINS].sum(-1))

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (1, 1, bets); see `e_detector`."""
        return np.asarray(counts[..., :BINS] @ _FAIL)[None, None]

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (width, 2); see `pass_blocks`."""
        x, unit = np.zeros((WIDTH, 1)), np.zeros(WIDTH)
        x[:BINS, 0], unit[:BINS] = _D, 1.0
        return block_gains(x, unit, 0.0, 1.0)

    def burst_values(self) -> Ints:
        """The difference in bins, (width, 1); see `bursts`."""
        values = np.zeros((WIDTH, 1), np.int64)
        values[:BINS, 0] = np.arange(BINS) - STEPS // 2
        return values

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Ratios of the cut means with their intervals, and what lay beyond the bound; counts (n, width)."""
        differences, lives = counts[:, :BINS], counts[:, BINS:LIVE_AT]
        totals = differences.sum(-1)
        n = np.maximum(1, totals)
        d, live = differences @ _D / n, lives @ _L / n
        low_d, high_d = (np.array(end) for end in mean_intervals(differences, d, -1.0, 1.0, ENDS))
        low_l, high_l = (np.array(end) for end in mean_intervals(lives, live, 0.0, 1.0, ENDS))
        with np.errstate(divide="ignore", invalid="ignore"):
            value = self.times * (1.0 + d / live)
            low = np.maximum(0.0, self.times * (1.0 + low_d / np.where(low_d < 0.0, low_l, high_l)))
            high = self.times * (1.0 + high_d / np.where(high_d < 0.0, high_l, low_l))
        rows = zip(value.tolist(), low.tolist(), high.tolist(), totals.tolist(), strict=True)
        notes = [self._note(row) for row in counts]
        return [
            Estimate(v, a, b, m, note=note) if m else Estimate(None, None, None, 0)
            for (v, a, b, m), note in zip(rows, notes, strict=True)
        ]

    def _note(self, counts: Counts) -> str:
        """What was cut of each arm, and what that keeps from passing."""
        pairs = max(1, int(counts[:BINS].sum()))
        beyond = counts[LIVE_AT:CANDIDATE_AT], counts[CANDIDATE_AT:]
        if not (beyond[0].any() or beyond[1].any()):
            return ""
        live = float(counts[BINS:LIVE_AT] @ _L)
        sums = live, float(counts[:BINS] @ _D) + live
        said = [
            f"{significant(100 * own.sum() / pairs, 2)} % of {name} ({_share(float(own @ EXCESS), kept)} of their cost)"
            for own, kept, name in zip(beyond, sums, ("live's answers", "the candidate's"), strict=True)
            if own.any()
        ]
        cut = f"value and range are of cut costs: cut was what lies beyond the bound, in {' and '.join(said)}"
        if self._moved(counts):
            return f"no pass: live's costs have moved, `restart` chooses a bound anew; {cut}"
        if float(self.whole(counts)) > 0.0:
            return f"no pass while the ratio of the whole costs, nothing cut, is beyond the limit; {cut}"
        return cut


def _share(beyond: float, kept: float) -> str:
    """The part of a sum that lay beyond the bound.

    >>> _share(1.0, 3.0)
    '25 %'
    >>> _share(999.0, 1.0)
    '100 %'
    """
    return f"{significant(100 * beyond / (beyond + kept), 2)} %"


_D, _L = centres(-1.0, 1.0), centres(0.0, 1.0)
_FAIL, _PASS = above_bets(-1.0, 1.0, 0.0)[:BINS], below_bets(-1.0, 1.0, 0.0)[:BINS]

MEAN_BELOW, SQUARES = 18.0, 2.5
"""The bound in means of live's cost, and the mean of a squared cost in squared means, of costs that are like
exponential ones; with heavier tails it takes longer."""


def cost_pairs(guard: Guard, false_promotion_rate: float) -> float:
    """Pairs until a limit passes for a candidate that costs what live does, or of a limit below live's cost three
    quarters of it.

    >>> [round(cost_pairs(Guard("max_cost", limit, True), 0.05), -1) for limit in (1.1, 1.3, 2.0, 0.5)]
    [3640.0, 590.0, 220.0, 530.0]
    """
    if guard.limit <= 0:
        return float("inf")
    ratio = min(1.0, 0.75 * guard.limit) if guard.limit <= 1.0 else 1.0
    mean = (1.0 - ratio / guard.limit) / MEAN_BELOW
    square = SQUARES * (1.0 + (ratio / guard.limit) ** 2 - 2 * ratio / guard.limit / SQUARES) / MEAN_BELOW**2
    growth = max(bet * mean - 0.5 * bet**2 * square for bet in BETS.tolist())
    return (log(1 / false_promotion_rate) + GRID) / growth if growth > 0 else float("inf")


def check(guard: Guard, _kind: Kind) -> LimitProblem | None:
    """A cost that no answer can keep."""
    return LimitProblem("must be more than 0") if guard.limit <= 0 else None


def gap(_guard: Guard) -> str:
    """Why there is no figure yet."""
    return "the bound of costs is being learned from live's first answers"


GUARDS = (
    GuardType(
        name="max_cost",
        place=150,
        title="cost",
        about="Mean cost of an answer, a multiple of live's over the same requests; both upstreams have a `price`.",
        question=Question.CHEAP,
        unit=TIMES_LIVE,
        rule=lambda guard, _context: CostRatio(guard.limit),
        effort=Effort(cost_pairs, reach=lambda _kind: MEAN_BELOW, learned=200),
        check=check,
        gap=gap,
        priced=True,
        scale=TIMES,
        least=0.1,
        generous=lambda _kind: Guard("max_cost", 5.0, relative=True),
    ),
)
