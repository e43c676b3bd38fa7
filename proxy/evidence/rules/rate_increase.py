"""`max_rate_increase`: is something more frequent in the candidate's answers than in live's, on the same requests?

An *event* is a label that the prediction names (`true`, unless `event:` says another), a score above its threshold, or
a text that is not valid (kind `json`).
Both answers to one request are asked for it, so what counts is the paired difference of two rates: +1 where only the
candidate has it, −1 where only live has it, 0 where both or neither. One-sided: a candidate that has it less often
passes sooner. `process.discordance` has the bets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.evidence.families.effort import Effort, discordance_pairs
from proxy.evidence.families.guard import GuardType, Question, below_one
from proxy.evidence.families.unit import SHARE
from proxy.evidence.input.batch import Batch, Placed
from proxy.evidence.process.discordance import (
    WEIGHTS,
    discordance_fail_bets,
    discordance_intervals,
    discordance_pass_bets,
)
from proxy.evidence.process.estimate import NOTHING, Estimate
from proxy.evidence.process.wealth import Counts, Floats, Ints, Numbers, block_gains, mixed, weakest
from proxy.model import Kind

NEITHER, MORE, LESS, FAILED = range(4)
MEASURE = "event_increase"


@dataclass(frozen=True, slots=True)
class RateIncrease:
    """The rule of `max_rate_increase`. Categories: [both or neither, only the candidate, only live, failed].

    A failed candidate counts as an answer that has the event where live's has not, for FAIL and for PASS.
    """

    width: int = 4
    shed_at: int | None = None
    worst_at: int | None = FAILED

    @property
    def measures(self) -> tuple[str, ...]:
        """What it reads of a batch."""
        return (MEASURE,)

    def place(self, batch: Batch, salt: int) -> Placed:
        """Category of each pair that gives evidence."""
        who, value = batch.measured(MEASURE)
        category = np.where(value > 0, MORE, np.where(value < 0, LESS, NEITHER)).astype(np.int64)
        if not len(batch.worst):
            return who, category
        return np.concatenate([who, batch.worst]), np.concatenate([category, np.full(len(batch.worst), FAILED)])

    def _three(self, counts: Numbers) -> Numbers:
        return np.stack([counts[..., NEITHER], counts[..., MORE] + counts[..., FAILED], counts[..., LESS]], axis=-1)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "at most `limit` more of the candidate's answers have it"; counts (…, 4) → (…)."""
        return mixed(self._three(counts), [discordance_fail_bets(limit)], WEIGHTS)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "at least `limit` more of the candidate's answers have it"; counts (…, 4) → (…)."""
        return weakest(self._three(counts), [discordance_pass_bets(limit)], WEIGHTS)

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (1, 1, bets); see `e_detector`."""
        return np.asarray(self._three(counts) @ discordance_fail_bets(limit))[None, None]

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (4, 2); see `pass_blocks`."""
        return block_gains(np.array([[0.0], [1.0], [-1.0], [1.0]]), np.ones(4), limit, 1.0)

    def burst_values(self) -> Ints:
        """The event at the candidate alone is 1, at live alone −1, (4, 1); see `bursts`."""
        return np.array([[0], [1], [-1], [1]])

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Differences of the rates, candidate minus live, with their intervals; counts (n, 4)."""
        cells = self._three(counts).astype(np.float64)
        low, high = discordance_intervals(cells)
        total, failed = cells.sum(-1).tolist(), counts[:, FAILED].tolist()
        values = ((cells[:, 1] - cells[:, 2]) / np.maximum(1.0, cells.sum(-1))).tolist()
        rows = zip(values, low, high, total, failed, strict=True)
        return [Estimate(v, a, b, int(n), f) if n else NOTHING for v, a, b, n, f in rows]


GUARDS = (
    GuardType(
        name="max_rate_increase",
        place=15,
        title="rate increase",
        about="How much more often than live's the candidate's answers may have the prediction's `event` or a score "
        "above\nits `threshold`, or be invalid (`json`), as a share of pairs.",
        question=Question.ACCURATE,
        unit=SHARE,
        rule=lambda _guard, _context: RateIncrease(),
        effort=Effort(discordance_pairs, events=True, at_least=True),
        kinds=frozenset({Kind.LABEL, Kind.SCORE, Kind.JSON}),
        compares=True,
        check=below_one,
        least=0.002,
        most=1.0,
    ),
)
