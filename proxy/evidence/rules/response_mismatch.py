"""`max_response_mismatch`: how often two answers differ as answers, whatever is read in them.

A rate with both directions counted alike (`process.rates` has the e-processes), except for who may say something: every
pair with a fresh body of which both arms answered, a 404 of live's included, which elsewhere makes a pair live's
failure. An answer that never came, a 5xx, 408 and 429 say nothing, neither for FAIL nor for PASS: `max_extra_errors`
counts them. Counted here too they would roll back a candidate that keeps a wider limit on errors, or that fails as
often as live.

Categories: [alike, then one for each word of `Mismatch`]. Which word it was matters for the sentence alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxy.evidence.families.effort import Effort, clean_pairs
from proxy.evidence.families.guard import GuardType, LimitProblem, Question, below_one
from proxy.evidence.families.rate import EventShare
from proxy.evidence.families.unit import SHARE_OR_OFF
from proxy.evidence.input.batch import MISMATCHES, Batch, Placed
from proxy.evidence.process.estimate import NOTHING, Estimate
from proxy.evidence.process.rates import rate_intervals
from proxy.evidence.process.wealth import Counts, Floats, Ints, block_gains
from proxy.model import Guard, Kind


@dataclass(frozen=True, slots=True)
class Mismatched(EventShare):
    """A rule on the share of pairs whose answers differ as answers."""

    width: int = len(MISMATCHES)
    shed_at: int | None = None
    worst_at: int | None = 1

    @property
    def measures(self) -> tuple[str, ...]:
        """What it reads of a batch."""
        return ()

    def place(self, batch: Batch, salt: int) -> Placed:
        """Category of each pair with a fresh body and two answers."""
        who = np.flatnonzero(batch.fresh & (batch.mismatch >= 0))
        return who, batch.mismatch[who]

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (5, 2); see `pass_blocks`."""
        return block_gains(np.minimum(np.arange(self.width), 1.0)[:, None], np.ones(self.width), limit, 1.0)

    def burst_values(self) -> Ints:
        """Any mismatch is 1, (5, 1); see `bursts`."""
        return np.minimum(np.arange(self.width), 1)[:, None]

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Shares of answers that differ with their intervals, and in what they do; counts (n, 5)."""
        two = self._two(counts).astype(np.float64)
        low, high = rate_intervals(two[:, 0], two[:, 1])
        total = two.sum(-1)
        shares = (two[:, 1] / np.maximum(1.0, total)).tolist()
        rows = zip(shares, low, high, total.tolist(), counts.tolist(), strict=True)
        return [Estimate(v, a, b, int(n), note=_note(row)) if n else NOTHING for v, a, b, n, row in rows]


def _note(counts: Sequence[int]) -> str:
    """In what answers differed, and what an owner does who meant that.

    >>> _note([97, 0, 3, 0, 0])
    '3 by status class (intended? raise `max_response_mismatch`, or set it to `off`)'
    """
    found = [f"{n} by {word.replace('_', ' ')}" for word, n in zip(MISMATCHES[1:], counts[1:], strict=True) if n]
    return f"{', '.join(found)} (intended? raise `max_response_mismatch`, or set it to `off`)" if found else ""


def gap(_guard: Guard) -> str:
    """Why there is no figure yet."""
    return "no request yet that both answered"


def check(guard: Guard, kind: Kind) -> LimitProblem | None:
    """A limit that can never fail is written `off`."""
    return LimitProblem("a limit of 100% can never fail", "`off`, if intended") if below_one(guard, kind) else None


GUARDS = (
    GuardType(
        name="max_response_mismatch",
        place=140,
        title="response mismatch",
        about="Share of requests answered with another class of status, by a refusal, empty or in another media type, "
        "either\nway; 1% when absent and no guard compares answers, `off` for none.",
        question=Question.COMPATIBLE,
        unit=SHARE_OR_OFF,
        rule=lambda _guard, _context: Mismatched(),
        effort=Effort(clean_pairs, events=True),
        default="1%",
        implied=True,
        check=check,
        gap=gap,
        least=0.002,
        most=1.0,
        generous=lambda _kind: Guard("max_response_mismatch", 0.5),
    ),
)
