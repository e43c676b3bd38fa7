"""Rows of `max_outcome_drop`: conversions and revenue of users who send 20 requests each, at the limit and away from
it; through exposures where stages, returning users and outcomes that come days later for one arm have a part.

A user's requests hang together: each has an outcome with the user's own probability, drawn from a beta distribution. A
test that took them for independent would be wrong by a factor of five in its variance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from proxy.evidence import Evidence
from proxy.evidence.input.exposures import ExposureBook
from proxy.evidence.input.units import UnitBatch, UnitTotals
from proxy.evidence.rules.outcome_drop import WIDTH, OutcomeDrop
from proxy.model import BUCKETS, Guard, Verdict
from tests.calibration.cases import ALPHA, ALPHA_PASS, Case, Row, most, runs_of, share_of
from tests.calibration.truths import Rng
from tests.evidence.streams import make_plan

REQUESTS = 20
"""Requests of a user."""
LOOK = 1000
"""Users between two looks."""
Values = Callable[[Rng, int], tuple[np.ndarray, np.ndarray]]
"""What each of n users does on live, and on the candidate, (n,) each."""


@dataclass(frozen=True)
class Trial:
    """A guard, and users of whom `share` have the candidate; `bound` 0 has it learned."""

    guard: str
    rule: OutcomeDrop
    limit: float
    bound: float
    values: Values
    share: float
    users: int


def requests_of(rng: Rng, n: int, rate: float) -> np.ndarray:
    """How many of its 20 requests a user converts on, (n,)."""
    own = rng.beta(0.05, 0.05 * (1 - rate) / rate, n)
    found: np.ndarray = rng.binomial(REQUESTS, own)
    return found


def conversions(live: float, candidate: float) -> Values:
    """Whether a user converts: with these shares of users."""

    def draw(rng: Rng, n: int) -> tuple[np.ndarray, np.ndarray]:
        who = rng.random(n)  # who converts on the worse arm does on the better one too
        return (who < live).astype(float), (who < candidate).astype(float)

    return draw


def revenue(ratio: float, tail: float) -> Values:
    """What users spend over their requests, each with a Pareto tail; the candidate's is lower by a ratio."""

    def draw(rng: Rng, n: int) -> tuple[np.ndarray, np.ndarray]:
        bought = requests_of(rng, n, 0.05)
        spent = np.zeros(n)
        for i in range(REQUESTS):
            spent += (bought > i) * (1.0 + rng.pareto(tail, n))
        return spent, ratio * spent

    return draw


def looks(trial: Trial, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Log evidence to fail and to pass at each look."""
    n = trial.users
    on = rng.random(n) < trial.share
    live, candidate = trial.values(rng, n)
    ones = np.ones(n, dtype=bool)
    units = UnitBatch(np.arange(n), on, np.full(n, trial.share), np.where(on, candidate, live), ones)
    counted = UnitTotals().take(units, trial.bound)
    places, _ = trial.rule.places(counted, int(rng.integers(1 << 62)), int(rng.integers(1 << 62)))
    counts, fails, passes = np.zeros(WIDTH, np.int64), [], []
    main, beyond = places[: len(counted)], places[len(counted) :]
    per_look = np.array_split(beyond, max(1, len(main) // LOOK))  # in order, whatever their exact look
    for i in range(len(main) // LOOK):
        np.add.at(counts, main[i * LOOK : (i + 1) * LOOK], 1)
        np.add.at(counts, per_look[i], 1)
        fails.append(float(trial.rule.log_fail(counts, trial.limit)))
        passes.append(float(trial.rule.log_pass(counts, trial.limit)))
    return np.array(fails), np.array(passes)


def first(logs: np.ndarray, rate: float) -> float:
    """Users until the evidence is enough, infinite when it never is."""
    at = np.flatnonzero(logs >= -np.log(rate))
    return float((at[0] + 1) * LOOK) if len(at) else float("inf")


def verdicts(trial: Trial, runs: int, seed: int) -> tuple[list[float], list[float]]:
    """Users until each run fails, and passes."""
    found = [looks(trial, np.random.default_rng([seed, run])) for run in range(runs)]
    return [first(fail, ALPHA) for fail, _ in found], [first(passed, ALPHA_PASS) for _, passed in found]


def at_limit_of_users(truth: str, trial: Trial, runs: int = 2000) -> Case:
    """Exactly at the limit: neither verdict, but for the error rates."""

    def run(share: float) -> Row:
        n = runs_of(runs, share)
        fails, passes = verdicts(trial, n, 41)
        failed, passed = int(np.isfinite(fails).sum()), int(np.isfinite(passes).sum())
        goal = f"fail ≤ {most(ALPHA, n):.2%}, pass ≤ {most(ALPHA_PASS, n):.2%}"
        text = f"fail {share_of(failed, n)}, pass {share_of(passed, n)} of {n} runs"
        ok = failed / n <= most(ALPHA, n) and passed / n <= most(ALPHA_PASS, n)
        return Row(f"at the limit, {truth}", trial.guard, goal, text, "", ok)

    return run


def delay_of_users(truth: str, trial: Trial, target: int, *, fail: bool, runs: int = 100) -> Case:
    """Median users until a verdict."""

    def run(share: float) -> Row:
        n = runs_of(runs, share, 4)
        median = float(np.median(verdicts(trial, n, 43)[not fail]))
        side = "fail" if fail else "pass"
        row = (truth, trial.guard, f"{side} by {target:,} users")
        return Row(*row, f"{side} {median:,.0f} ({n} runs)", "", median <= 1.25 * target)

    return run


POINT, PART = "max_outcome_drop: 1pp", "max_outcome_drop: 5%"
POINTS, RELATIVE = OutcomeDrop(relative=False), OutcomeDrop(relative=True, kept=0.95)


def points(live: float, candidate: float, share: float = 0.5, users: int = 40_000) -> Trial:
    """Conversions under a limit of a point."""
    return Trial(POINT, POINTS, 0.01, 1.0, conversions(live, candidate), share, users)


def spending(ratio: float, tail: float = 1.5, share: float = 0.5, users: int = 40_000) -> Trial:
    """Revenue under a limit of 5 %, with a bound that is learned on the way."""
    return Trial(PART, RELATIVE, 0.05, 0.0, revenue(ratio, tail), share, users)


def outcome_limits() -> Iterator[Case]:
    """Exactly at the limit."""
    for share in (0.05, 0.5):
        yield at_limit_of_users(f"users at a weight of {share:.0%}, 5 % convert", points(0.05, 0.04, share))
    yield at_limit_of_users("users of whom half convert", points(0.5, 0.49, 0.2))
    for tail in (1.2, 1.5, 2.5):
        yield at_limit_of_users(f"users with 20 requests, Pareto {tail} revenue", spending(0.95, tail, 0.2))


def outcome_delays() -> Iterator[Case]:
    """How long it takes away from the limit."""
    yield delay_of_users("users, 5 % convert on both arms", points(0.05, 0.05), 18_000, fail=False)
    yield delay_of_users("users, 2 % convert instead of 5 %", points(0.05, 0.02), 4_500, fail=True)
    yield delay_of_users("users, 2 % instead of 5 %, weight 5 %", points(0.05, 0.02, 0.05), 20_000, fail=True)
    yield delay_of_users("users, Pareto 1.5 revenue × 0.5", spending(0.5), 4_500, fail=True)


# --- through exposures -----------------------------------------------------------------------------------------------

DAY = 86_400.0
WITHIN = 7 * DAY
GUARD = Guard("max_outcome_drop", 0.02, relative=False, tolerance=1.0, outcome="c", within=WITHIN, in_points=True)


@dataclass(frozen=True)
class Days:
    """Users who come on a day of 40, and come back; `late` is how many days later than live's the candidate's outcomes
    come. From day 20 on the weight is 40 % instead of 10 %. A user comes again on 0.08 of the six days after its first,
    so that 5 % a visit are 7.26 % within a week, and 3.6 % are 5.25 %: two points less."""

    live: float
    candidate: float
    late: float
    a_day: int = 800

    def verdict(self, rng: Rng, seed: int) -> Verdict:
        """The last verdict of a trial through `Evidence`."""
        plan = make_plan(GUARD)
        evidence, book = Evidence.begin(plan, seed), ExposureBook(WITHIN, points=True)
        evidence.enter_stage(1)
        everyone = rng.integers(0, 1 << 63, 10_000)
        posts: list[tuple[float, int]] = []
        verdict = Verdict.INCONCLUSIVE
        for day in range(40):
            entry, weight = (1, 1000) if day < 20 else (2, 4000)
            if day == 20:
                evidence.count_units(book.settle(day * DAY, 1, serving=True))
                evidence.enter_stage(2)
            now = day * DAY
            evidence.count_units(book.settle(now, entry, serving=True))
            for time, user in [one for one in posts if one[0] <= now]:
                book.post(user, 1.0, time)
            posts = [one for one in posts if one[0] > now]
            came = rng.choice(everyone, self.a_day, replace=False).tolist()
            for user in came:
                on = user % BUCKETS < weight
                if rng.random() < (self.candidate if on else self.live):
                    posts.append((now + rng.random() * DAY + self.late * DAY * on, user))
            for _ in range(2):  # whoever tells it, a second time changes nothing
                book.expose(entry, weight, [(user, 0) for user in came], now)
            found = evidence.assess(forecast=False, serving=True).verdict
            verdict = found if verdict is Verdict.INCONCLUSIVE else verdict
        return verdict


def through_exposures(truth: str, days: Days, runs: int = 200) -> Case:
    """False rollbacks of a candidate within its limit."""

    def run(share: float) -> Row:
        n = runs_of(runs, share)
        found = [days.verdict(np.random.default_rng([47, i]), i) for i in range(n)]
        failed = found.count(Verdict.FAIL)
        goal, text = f"fail ≤ {most(ALPHA, n):.2%}", f"fail {share_of(failed, n)} of {n} runs"
        return Row(truth, "max_outcome_drop: 2pp", goal, "", text, failed / n <= most(ALPHA, n))

    return run


def outcome_rows() -> Iterator[Case]:
    """Those through exposures: what an ITT of users has to stand."""
    yield through_exposures("at the limit, users who come back, two stages", Days(0.05, 0.036, 0.0))
    yield through_exposures("users, outcomes 4 days later for one arm", Days(0.05, 0.05, 4.0))
