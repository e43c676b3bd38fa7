"""`min_win_rate`: how often a judge prefers the candidate's answer to live's, a tie being half of a win.

The win rate is wins + ½ ties over judged pairs; two equal models have 50 %. Under `mirror.noise_floor` live's second
answer is judged against its first too, and what counts is the difference of the two rates: what a judge makes of two
answers of one model is no fault of the candidate. A candidate that failed where live did not has lost.
`process.paired_scores` has the bets.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log

import numpy as np

from proxy.evidence.families.effort import GRID, Effort, Scale
from proxy.evidence.families.guard import EVERY, GuardType, LimitProblem, Question
from proxy.evidence.families.late import ByVerdicts
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.unit import WIN_RATE
from proxy.evidence.process.estimate import NOTHING, Estimate
from proxy.evidence.process.paired_scores import BETS, WEIGHTS, score_fail_bets, score_intervals, score_pass_bets
from proxy.evidence.process.wealth import Counts, Floats, Ints, Numbers, block_gains, mixed, weakest
from proxy.model import Guard, Kind
from proxy.model.judged import Judged

EVEN = 0.5
"""The win rate of two equal models."""
LEAST = 0.25
"""Limits below are slips: a candidate that loses three of four is not meant to pass."""
VALUES = (0.0, 0.5, -0.5)
"""What the candidate falls short by: [tie, lost, won]."""
FLOOR_VALUES = (0.0, 0.5, -0.5, 1.0, -1.0)
"""The same less what live's second answer falls short of its first by."""
TIES = 0.3
"""Assumed share of ties between two good models."""


@dataclass(frozen=True, slots=True)
class WinRate(ByVerdicts):
    """The rule of `min_win_rate`. Categories: those of `values`, what the candidate falls short by on a pair."""

    values: tuple[float, ...] = VALUES
    shed_at: int | None = None
    worst_at: int | None = None

    @property
    def width(self) -> int:
        """Categories."""
        return len(self.values)

    @property
    def floor(self) -> bool:
        """Whether it is live's win rate against itself that the candidate's is compared with."""
        return len(self.values) > len(VALUES)

    def verdict_at(self, judged: Judged, salt: int) -> int | None:
        """The category of one verdict."""
        short = -_sign(judged.value)
        if self.floor:
            if judged.floor is None:
                return None
            short += _sign(judged.floor)
        return self.values.index(0.5 * short)

    def burst_values(self) -> Ints:
        """No columns: verdicts come with nothing that `CountStore.count` sees."""
        return np.zeros((self.width, 0), np.int64)

    def burst_of(self, place: int) -> int:
        """A loss is 1 and a win −1, less those of live with itself; see `bursts`."""
        return round(2 * self.values[place])

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the win rate is at least the limit"; counts (…, width) → (…)."""
        return mixed(counts, [score_fail_bets(self.values, EVEN - limit)], WEIGHTS)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the win rate is at most the limit"; counts (…, width) → (…)."""
        return weakest(counts, [score_pass_bets(self.values, EVEN - limit)], WEIGHTS)

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (1, 1, bets); see `e_detector`."""
        return np.asarray(counts @ score_fail_bets(self.values, EVEN - limit))[None, None]

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (width, 2); see `pass_blocks`."""
        return block_gains(np.array(self.values)[:, None], np.ones(self.width), EVEN - limit, max(self.values))

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Win rates with their intervals; counts (n, width). With a noise floor the rate that it would be if live had
        50 % against itself."""
        short = counts @ np.array(self.values) / np.maximum(1, counts.sum(-1))
        low, high = score_intervals(self.values, counts.astype(np.float64))
        rows = zip(short.tolist(), low, high, counts.tolist(), strict=True)
        return [
            Estimate(EVEN - x, EVEN - b, EVEN - a, sum(row), 0, self._note(row)) if sum(row) else NOTHING
            for x, a, b, row in rows
        ]

    def _note(self, row: list[int]) -> str:
        if self.floor:
            return "beyond live's win rate against itself, which counts as 50 %"
        tied, lost, won = row
        return f"{won:,} won, {tied:,} tied, {lost:,} lost"


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def rule(_guard: Guard, context: Context) -> Rule:
    """The win rate, or with a noise floor its difference from live's with itself."""
    return WinRate(FLOOR_VALUES if context.noise_floor else VALUES)


def check(guard: Guard, _kind: Kind) -> LimitProblem | None:
    """A win rate that nothing reaches, or that a bad candidate has.

    >>> check(Guard("min_win_rate", 0.05), Kind.TEXT).hint
    'for at most 5 points below an even 50%, write `-5pp`'
    """
    if guard.limit >= 1:
        return LimitProblem("a limit of 100% or more can never pass")
    if guard.limit < LEAST:
        hint = f"for at most {100 * guard.limit:g} points below an even 50%, write `-{100 * guard.limit:g}pp`"
        return LimitProblem(f"a limit below {100 * LEAST:g}% lets a candidate pass that loses three of four", hint)
    return None


def win_pairs(guard: Guard, false_promotion_rate: float) -> float:
    """Judged pairs until a candidate that wins as often as it loses passes, when `TIES` of the pairs are ties.

    >>> round(win_pairs(Guard("min_win_rate", 0.4), 0.05), -1), win_pairs(Guard("min_win_rate", 0.5), 0.05)
    (190.0, inf)
    """
    margin = EVEN - guard.limit
    if margin <= 0:
        return inf
    bets = [bet / (EVEN - margin) for bet in BETS.tolist()]
    each = (1 - TIES) / 2
    growth = max(
        TIES * log(1 + bet * margin) + each * (log(1 - bet * (0.5 - margin)) + log(1 + bet * (0.5 + margin)))
        for bet in bets
    )
    return (log(1 / false_promotion_rate) + GRID) / growth


def gap(_guard: Guard) -> str:
    """Why there is no figure yet."""
    return "no verdict of the judge counts yet"


GUARDS = (
    GuardType(
        name="min_win_rate",
        place=75,
        title="win rate",
        about="How often the prediction's `judge` prefers the candidate's answer, a tie being half: `-5pp` is 5 points "
        "below\nan even 50%, the same as `45%`. Relative to live's against itself under `mirror.noise_floor`.",
        question=Question.ACCURATE,
        unit=WIN_RATE,
        rule=rule,
        effort=Effort(win_pairs, reach=lambda _kind: 0.5),
        kinds=EVERY,
        check=check,
        gap=gap,
        noise_floor=True,
        judged=True,
        scale=Scale(lambda value, _: max(0.0, EVEN - value), lambda distance, _: round(EVEN - distance, 6)),
        most=EVEN - LEAST,
    ),
)
