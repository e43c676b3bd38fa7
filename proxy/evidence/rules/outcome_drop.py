"""`max_outcome_drop`: how much less the candidate's users do afterwards (conversions, revenue) than live's.

It counts users, not pairs: `input.units` says who is one and when. A user i is on the candidate with a probability p_i
that is known before (the weight of the stage, by a keyed hash of its sticky key), whatever it would do on either arm.
With A_i for "is on the candidate", Y_i in [0, 1] what it did and c_i any number known beforehand (the mean of live's
users so far, which makes the variance small),

    x = −(A − p)(Y − c),    E[x] = p(1 − p)(mean of live − mean of candidate)       the drop, whatever c is
    h = p(1 − p)                                     for a drop in points or in the outcome's unit
    h = p(1 − A)Y,  E[h] = p(1 − p)(mean of live)    for one relative to live's mean

so a drop of d is E[x − d·h] = 0 in both cases. FAIL: H0 E[x − d·h] ≤ 0; PASS: H0 E[x − d·h] ≥ 0, with the bets of
`process.means`. It is a design-based test (Ham, Bojinov, Lindon, Tingley, arXiv 2210.08639), exact at any time by
betting instead of asymptotic: what randomises is the hash, the unit is the user, and nothing is assumed of what users
do or of when they do it, only that one user's arm does not change what another does. Its weights p(1 − p) are those by
which stages of different weights add up with the least variance.

Outcomes without a bound are cut at a bound (`input.units`), which is then 1. Under a limit relative to live's mean
the candidate's are cut at 1 less that limit, so that values that are lower by it throughout lie exactly at the limit,
cut or not (as in `cost`). What is promised is about cut values; a PASS asks for more: that the drop of the whole
values, as far as they were seen, is within the limit too.

Categories: for each of 4 values of h 513 bins of x; then what lay beyond the bound, live's and the candidate's, by
powers of 2. A value between two goes to either with the probability that keeps its mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf, log
from typing import Any

import numpy as np

from proxy import outcome_units, units
from proxy.evidence.families.effort import GRID, Effort
from proxy.evidence.families.guard import GuardType, LimitProblem, Question
from proxy.evidence.families.late import Late
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.unit import Unit, Value, share_in_percent
from proxy.evidence.input.units import UnitBatch
from proxy.evidence.process.estimate import Estimate, intervals
from proxy.evidence.process.means import BETS, BINS, EXCESS, POWERS, WEIGHTS, bins, centres, power_of_2
from proxy.evidence.process.prf import key_of, mix, uniforms
from proxy.evidence.process.wealth import CERTAIN, Bools, Counts, Floats, Ints, Numbers, log_mean_exp, mixed
from proxy.model import Guard, Kind
from proxy.significant import significant

CELLS = np.array([0.0, 1.0 / 32.0, 0.25, 1.0])
"""Values of h that are told apart."""
LIVE_AT = len(CELLS) * BINS
CANDIDATE_AT = LIVE_AT + POWERS
WIDTH = CANDIDATE_AT + POWERS
_X, _H = np.tile(centres(-1.0, 1.0), len(CELLS)), np.repeat(CELLS, BINS)
_FARTHEST = 8.0
"""A candidate that is so many times as good, or as bad, is off the scale of an interval."""


@dataclass(frozen=True, slots=True)
class OutcomeDrop(Late):
    """Users of both arms; `relative` to live's mean, or in units of `scale`, which is the most that one counts for.
    The candidate's values are cut at `kept` bounds."""

    relative: bool
    scale: float = 1.0
    kept: float = 1.0
    width: int = WIDTH
    shed_at: int | None = None
    worst_at: int | None = None

    def places(self, units: UnitBatch, seed: int, salt: int) -> tuple[Ints, Bools]:
        """Categories of units (n,), as many or more, and which of these are of the present stage; `seed` is the
        trial's, `salt` the key of the guard's roundings."""
        keys = mix(units.numbers.astype(np.uint64) ^ np.uint64(key_of(seed, "unit")))
        most = np.where(units.candidate, self.kept, 1.0)
        p, value = units.share, units.value / most
        cut = np.minimum(value, 1.0) * most
        x = (p - units.candidate) * (cut - units.centre)
        h = np.where(units.candidate, 0.0, p * cut) if self.relative else p * (1.0 - p)
        cell = np.minimum(np.searchsorted(CELLS, h, side="right") - 1, len(CELLS) - 2)
        up = uniforms(keys, key_of(salt, "cell")) < (h - CELLS[cell]) / (CELLS[cell + 1] - CELLS[cell])
        main = (cell + up) * BINS + bins(x, uniforms(keys, salt), -1.0, 1.0)
        part = np.where(units.candidate, 1.0 - p, p)
        who = np.flatnonzero((value > 1.0) & (uniforms(keys, key_of(salt, "whether")) < part))
        start = np.where(units.candidate[who], CANDIDATE_AT, LIVE_AT)
        beyond = start + power_of_2(value[who], uniforms(keys[who], key_of(salt, "beyond")))
        return np.concatenate([main, beyond]), np.concatenate([units.current, units.current[who]])

    def burst_of(self, place: int) -> int:
        """Nothing: whose arm is whose was drawn user by user, so no two users hang together."""
        return 0

    def burst_values(self) -> Ints:
        """No columns: users come with nothing that `CountStore.count` sees."""
        return np.zeros((WIDTH, 0), np.int64)

    def pass_gains(self, limit: float) -> Floats:
        """No direction: users are independent by the draw, not pairs that come in clumps."""
        return np.ones((WIDTH, 1))

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the drop is within the limit"; counts (…, width) → (…)."""
        return mixed(counts[..., :LIVE_AT], [_bets(limit / self.scale, 1.0)], WEIGHTS)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the drop is at the limit or beyond"; none where that of the whole values is."""
        logs = mixed(counts[..., :LIVE_AT], [_bets(limit / self.scale, -1.0)], WEIGHTS)
        return np.where(self.beyond(counts, limit) > 0.0, -CERTAIN, logs)

    def beyond(self, counts: Numbers, limit: float) -> Floats:
        """The sum of x − d·h with nothing cut, where something was; (…, width) → (…)."""
        live, candidate = counts[..., LIVE_AT:CANDIDATE_AT] @ EXCESS, counts[..., CANDIDATE_AT:] @ EXCESS
        drop, asked = limit / self.scale, 1.0 - limit if self.relative else 1.0
        whole = counts[..., :LIVE_AT] @ (_X - drop * _H) + asked * live - self.kept * candidate
        return np.where((live > 0.0) | (candidate > 0.0), whole, 0.0)

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (1, 1, bets); see `e_detector`."""
        return np.asarray(counts[..., :LIVE_AT] @ _bets(limit / self.scale, 1.0))[None, None]

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Drops with their intervals, over users; counts (n, width)."""
        return [self._estimate(row, limit) for row in counts]

    def _estimate(self, counts: Counts, limit: float) -> Estimate:
        main, at = counts[:LIVE_AT], np.flatnonzero(counts[:LIVE_AT])
        users, n = int(main.sum()), main[at].astype(np.float64)
        x, h = _X[at], _H[at]
        if not users or float(n @ h) <= 0.0:
            return Estimate(None, None, None, users)

        def wealth(limits: Floats, side: float) -> Floats:
            return np.array([float(log_mean_exp(n @ _logs(x, h, one, side), WEIGHTS)) for one in limits.tolist()])

        value = float(n @ x) / float(n @ h)
        (low,), (high,) = intervals(
            lambda m: wealth(m, 1.0), lambda m: wealth(m, -1.0), np.array([value]), -_FARTHEST, _FARTHEST
        )
        low, high = max(low, -inf if self.relative else -1.0), min(high, 1.0)
        return Estimate(value * self.scale, low * self.scale, high * self.scale, users, note=self._note(counts, limit))

    def _note(self, counts: Counts, limit: float) -> str:
        """What was cut, and what that keeps from passing."""
        if not counts[LIVE_AT:].any():
            return ""
        cut = "value and range are of values cut at a bound"
        if float(self.beyond(counts, limit)) > 0.0:
            return f"no pass while the drop of the whole values, nothing cut, is beyond the limit; {cut}"
        return cut


def _logs(x: Floats, h: Floats, drop: float, side: float) -> Floats:
    """Log factors (n, bets) of bets that the drop is more (`side` 1) or less (−1) than this: what a bet loses is less
    than its stake whatever x and h are."""
    return np.asarray(np.log1p((side * (x - drop * h))[:, None] * (BETS / (1.0 + abs(drop)))))


@lru_cache(maxsize=64)
def _bets(drop: float, side: float) -> Floats:
    """Log factors (4 · 513, 10) of all categories."""
    return _logs(_X, _H, drop, side)


# --- how it is written -----------------------------------------------------------------------------------------------


def _guard(name: str, value: Mapping[str, Any]) -> Guard:
    drop, most = value["drop"], value["most"]
    bound = 1.0 if drop.in_points else (most or 0.0)
    asked = {"outcome": value["name"], "within": value["within"], "in_points": drop.in_points}
    return Guard(name, drop.size, drop.relative, bound, **asked)


def _drop_of(guard: Guard) -> outcome_units.Drop:
    return outcome_units.Drop(guard.limit, guard.relative, in_points=guard.in_points)


def _written(guard: Guard) -> str:
    most = f", most: {guard.tolerance:g}" if guard.tolerance and not guard.in_points else ""
    return f"{{name: {guard.outcome}, drop: {_drop_of(guard)}, within: {units.duration(guard.within)}{most}}}"


def _number(guard: Guard, value: float) -> str:
    """A drop in a sentence.

    >>> points, unit = Guard("max_outcome_drop", 0.01, False, 1.0, in_points=True), Guard("", 0.5, False, 1.0)
    >>> _number(points, 0.0042), _number(unit, 0.0042)
    ('0.42 pp', '0.0042')
    """
    if guard.relative:
        return share_in_percent(guard, value)
    return f"{significant(100 * value, 3)} pp" if guard.in_points else significant(value, 3)


OUTCOME_DROP = Unit(
    guard=_guard,
    written=_written,
    said=lambda guard: f"{_drop_of(guard)} of {guard.outcome} within {units.duration(guard.within)}",
    number=_number,
    chart=lambda guard: "percent" if guard.relative else "points" if guard.in_points else "number",
    about="How much less of an outcome the candidate's users may have than live's ([outcomes](outcomes.md)).",
    fields={
        "name": Value(
            outcome_units.outcome_name,
            {"type": "string", "pattern": outcome_units.OUTCOME_NAME, "examples": ["conversion"]},
            str,
            "What outcomes are posted as.",
        ),
        "drop": Value(
            outcome_units.drop,
            {
                "anyOf": [
                    {"type": "string", "pattern": outcome_units.DROP_POINTS_TEXT, "examples": ["1pp"]},
                    {"type": "string", "pattern": units.PERCENT_TEXT, "examples": ["2%"]},
                    {"type": "number", "exclusiveMinimum": 0},
                ]
            },
            str,
            "Largest drop of the share of users with the outcome, in points (`1pp`: values are 0 or 1); or of the mean "
            "per user,\nrelative to live's (`2%`) or in its own unit (`0.5`, with `most`).",
        ),
        "within": Value(
            outcome_units.positive_duration,
            {"type": "string", "pattern": outcome_units.DURATION_TEXT, "examples": ["7d"]},
            units.duration,
            "How long after a user's first request in a stage its outcomes count; a user counts when it has passed.",
            default=86400.0,
        ),
        "most": Value(
            outcome_units.above_zero,
            {"type": "number", "exclusiveMinimum": 0, "examples": [200]},
            lambda value: f"{value:g}",
            "The most that one user counts for; where it is absent a bound is learned from the first users.",
            default=None,
        ),
    },
)
"""A drop of an outcome: `{name: conversion, drop: 1pp}`."""

RARE, SPREAD = 0.05, 0.02
"""Assumed share of users that convert, and variance of a value in bounds, for planning."""


def users_to_pass(guard: Guard, false_promotion_rate: float, weight: float = 0.5) -> float:
    """Users of both arms until a limit passes for a candidate that is like live, at this weight.

    >>> round(users_to_pass(Guard("max_outcome_drop", 0.01, False, 1.0, in_points=True), 0.05), -2)
    20700.0
    """
    if guard.limit <= 0.0:
        return inf
    p, drop = weight * (1.0 - weight), guard.limit * RARE if guard.relative else guard.limit / (guard.tolerance or 1.0)
    mean, square = p * drop, p * (RARE * (1.0 - RARE) if guard.in_points else SPREAD)
    growth = max(bet * mean - 0.5 * bet**2 * square for bet in BETS.tolist())
    return (log(1 / false_promotion_rate) + GRID) / growth if growth > 0 else inf


def check(guard: Guard, _kind: Kind) -> LimitProblem | None:
    """What no limit can be."""
    if guard.relative and guard.limit >= 1.0:
        return LimitProblem("a drop of 100% can never fail", key="drop")
    if not guard.relative and not guard.tolerance:
        return LimitProblem(
            "in the outcome's own unit needs the most that one user counts for", "write `most`, or a drop in %", "drop"
        )
    if not guard.relative and guard.limit >= guard.tolerance:
        return LimitProblem("is as much as one user counts for: it can never fail", key="drop")
    return None


def rule(guard: Guard, _context: Context) -> Rule:
    """Users of both arms."""
    if guard.relative:
        return OutcomeDrop(relative=True, kept=1.0 - guard.limit)
    return OutcomeDrop(relative=False, scale=guard.tolerance or 1.0)


def gap(_guard: Guard) -> str:
    """Why there is no figure yet."""
    return "no user counts yet: each counts once `within` has passed since its first request of the stage"


GUARDS = (
    GuardType(
        name="max_outcome_drop",
        place=160,
        title="outcome drop",
        about="What users do after they were served, such as conversions or revenue, between both arms of a canary.",
        question=Question.ACCURATE,
        unit=OUTCOME_DROP,
        rule=rule,
        effort=Effort(users_to_pass, reach=None),
        check=check,
        gap=gap,
        by_users=True,
        most=1.0,
    ),
)
