"""`min_similarity`: how alike the two answers are on average.

A mean (`families.mean`) of distances in [0, 1], of which the limit is the other end; with a noise floor of the loss of
similarity beyond that of live with itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from proxy.evidence.families.effort import SIMILARITY, TABLE
from proxy.evidence.families.guard import EVERY, GuardType, LimitProblem, Question
from proxy.evidence.families.late import ByVerdicts
from proxy.evidence.families.mean import Mean
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.unit import NUMBER
from proxy.evidence.process.estimate import Estimate
from proxy.evidence.process.means import STEPS, WEIGHTS, above_bets, below_bets, bins
from proxy.evidence.process.prf import uniforms
from proxy.evidence.process.wealth import Counts, Floats, Ints, Numbers, mixed, weakest
from proxy.model import Guard, Kind
from proxy.model.judged import Judged

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Similarity(Mean):
    """The rule of `min_similarity`: the mean similarity 1 − d of a distance d in [0, 1] is at least the limit."""

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the mean similarity is at least the limit"."""
        return mixed(counts, [above_bets(self.lo, self.hi, 1.0 - limit)], WEIGHTS)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the mean similarity is at most the limit"."""
        return weakest(counts, [below_bets(self.lo, self.hi, 1.0 - limit)], WEIGHTS)

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (514, 2); see `pass_blocks`."""
        return Mean.pass_gains(self, 1.0 - limit)

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (1, 1, bets); see `e_detector`."""
        return np.asarray(counts @ above_bets(self.lo, self.hi, 1.0 - limit))[None, None]

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Mean similarities with their intervals."""
        return [
            far
            if far.value is None or far.low is None or far.high is None
            else Estimate(1.0 - far.value, 1.0 - far.high, 1.0 - far.low, far.pairs, far.failed, far.note)
            for far in Mean.estimates(self, counts, limit)
        ]


@dataclass(frozen=True, slots=True)
class EmbeddedSimilarity(ByVerdicts, Similarity):
    """The same of similarities that come later than their pairs, from embeddings."""

    worst_at: int | None = None

    def burst_values(self) -> Ints:
        """No columns: they come with nothing that `CountStore.count` sees."""
        return np.zeros((self.width, 0), np.int64)

    def burst_of(self, place: int) -> int:
        """The distance in bins; see `bursts`."""
        return place - round(-self.lo / (self.hi - self.lo) * STEPS)

    def verdict_at(self, judged: Judged, salt: int) -> int | None:
        """The bin of the distance, or of what it exceeds live's with itself by."""
        far = 1.0 - judged.value
        if self.lo < 0:
            if judged.floor is None:
                return None
            far = judged.floor - judged.value
        uniform = uniforms(np.array([judged.key & _MASK], dtype=np.uint64), salt)
        return int(bins(np.array([far]), uniform, self.lo, self.hi)[0])


def rule(_guard: Guard, context: Context) -> Rule:
    """The mean similarity, or the loss of it beyond live's with itself."""
    if context.spec.embedded:
        return EmbeddedSimilarity("", -1.0 if context.noise_floor else 0.0, 1.0, two_sided=False)
    if context.noise_floor:
        return Similarity("excess", -1.0, 1.0, two_sided=False)
    return Similarity("distance", 0.0, 1.0, two_sided=False)


def check(guard: Guard, _kind: Kind) -> LimitProblem | None:
    """A similarity that there is not."""
    return LimitProblem("a similarity is at most 1") if guard.limit > 1 else None


GUARDS = (
    GuardType(
        name="min_similarity",
        place=70,
        title="similarity",
        about="Mean similarity of the two answers, 0 to 1; relative to live's with itself under `mirror.noise_floor`.",
        question=Question.ACCURATE,
        unit=NUMBER,
        rule=rule,
        effort=replace(TABLE, kept=0.25),
        kinds=EVERY,
        compares=True,
        check=check,
        noise_floor=True,
        embeds=True,
        scale=SIMILARITY,
        most=1.0,
        generous=lambda _kind: Guard("min_similarity", 0.1),
    ),
)
