"""Rows of `max_cost`: costs with tails of Pareto's, at the limit and away from it, alone and through `Evidence`.

Costs of a pair are a factor that both share (how long the request makes any answer) times one of each arm's own, the
candidate's times its ratio: at a ratio that is the limit c / r and l may be exchanged, so that the cut means are equal
wherever the bound happens to lie.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proxy.evidence import Evidence
from proxy.evidence.input.batch import Batch
from proxy.evidence.input.costs import ANSWERS, bound_of
from proxy.evidence.rules.cost import CostRatio
from proxy.model import Guard, Kind, Verdict
from tests.calibration.cases import ALPHA, ALPHA_PASS, Case, Row, at_limit, delay, most, runs_of, share_of
from tests.calibration.truths import Rng, Truth, batch
from tests.evidence.streams import cut, make_plan, make_reading

LIMIT = 1.3
RULE = CostRatio(LIMIT)
NAME = "max_cost: 1.3x"
GUARD = Guard("max_cost", LIMIT, relative=True)
TAILS = {"Pareto 1.2": 1.2, "Pareto 1.5": 1.5, "Pareto 2.5": 2.5, "lognormal σ 1": 0.0}


def drawn(rng: Rng, n: int, tail: float, ratio: float, shared: bool) -> np.ndarray:
    """Costs of both arms, (2, n), with a Pareto tail (0: lognormal); `shared` by both or of each by itself."""
    shape = (1 if shared else 2, n)
    heavy = np.exp(rng.normal(0.0, 1.0, shape)) if tail == 0.0 else 1.0 + rng.pareto(tail, shape)
    own = np.exp(rng.normal(0.0, 0.3, (2, n)))
    found: np.ndarray = heavy * own * np.array([[1.0], [ratio]])
    return found


def costs(tail: float, ratio: float, *, shared: bool = False) -> Truth:
    """Pairs whose bound was frozen from costs before them."""

    def make(rng: Rng, n: int) -> Batch:
        found = drawn(rng, n + ANSWERS, tail, ratio, shared)
        made = batch(rng, n)
        made.costs = found[:, ANSWERS:] / bound_of(found[0, :ANSWERS])
        return made

    return make


def cost_limits() -> Iterator[Case]:
    """Exactly at the limit."""
    for name, tail in TAILS.items():
        yield at_limit(f"{NAME}, {name}", RULE, LIMIT, costs(tail, LIMIT))
    yield at_limit(f"{NAME}, Pareto 1.5 shared", RULE, LIMIT, costs(1.5, LIMIT, shared=True))


def cost_delays() -> Iterator[Case]:
    """How long it takes at equal costs, and at twice live's."""
    for (name, tail), passing, failing in zip(TAILS.items(), (1700, 750, 300, 550), (850, 400, 200, 300), strict=True):
        yield delay(f"equal costs, {name}", NAME, RULE, LIMIT, costs(tail, 1.0), pass_=passing, runs=200)
        yield delay(f"costs × 2, {name}", NAME, RULE, LIMIT, costs(tail, 2.0), fail=failing, runs=200)
    yield delay("costs × 1.6, Pareto 1.5", NAME, RULE, LIMIT, costs(1.5, 1.6), fail=1500, runs=200)
    shared = costs(1.5, 1.0, shared=True)
    yield delay("equal costs, Pareto 1.5 shared", NAME, RULE, LIMIT, shared, pass_=500, runs=200)


def verdicts(tail: float, ratio: float, runs: int, pairs: int) -> tuple[list[float], list[float]]:
    """First looks, every 100 pairs, at which `Evidence` of readings fails, and passes; infinite where it never does."""
    fails, passes = [], []
    plan = make_plan(GUARD, kind=Kind.LABEL)
    for run in range(runs):
        live, candidate = drawn(np.random.default_rng([31, run]), pairs, tail, ratio, shared=False).tolist()
        stream = [
            make_reading(i, 1, 1, kind=Kind.LABEL, live_cost=a, cost=b)
            for i, (a, b) in enumerate(zip(live, candidate, strict=True))
        ]
        evidence = Evidence.begin(plan, run)
        evidence.enter_stage(0)
        failed = passed = float("inf")
        for at, part in enumerate(cut(stream, (100,)), 1):
            evidence.add(part)
            verdict = evidence.assess(forecast=False).verdict
            failed = min(failed, 100.0 * at if verdict is Verdict.FAIL else np.inf)
            passed = min(passed, 100.0 * at if verdict is Verdict.PASS else np.inf)
        fails.append(failed)
        passes.append(passed)
    return fails, passes


def through(share: float) -> Row:
    """At the limit, bound learned on the way."""
    n = runs_of(400, share)
    fails, passes = verdicts(1.5, LIMIT, n, 4000)
    failed, passed = int(np.isfinite(fails).sum()), int(np.isfinite(passes).sum())
    goal = f"fail ≤ {most(ALPHA, n):.2%}, pass ≤ {most(ALPHA_PASS, n):.2%}"
    text = f"fail {share_of(failed, n)}, pass {share_of(passed, n)} of {n} runs"
    ok = failed / n <= most(ALPHA, n) and passed / n <= most(ALPHA_PASS, n)
    return Row("at the limit, bound learned on the way, Pareto 1.5", NAME, goal, "", text, ok)


def through_delays() -> Iterator[Case]:
    """The same away from the limit: the first 200 answers included."""

    def case(what: str, ratio: float, target: int, *, fail: bool) -> Case:
        def run(share: float) -> Row:
            n = runs_of(60, share)
            found = verdicts(1.5, ratio, n, 2 * target)
            median, side = float(np.median(found[not fail])), "fail" if fail else "pass"
            row = (f"{what}, bound learned on the way, Pareto 1.5", NAME, f"{side} by {target:,}")
            return Row(*row, "", f"{side} {median:,.0f} ({n} runs)", median <= 1.25 * target)

        return run

    yield case("costs × 2", 2.0, 800, fail=True)
    yield case("equal costs", 1.0, 1000, fail=False)


def cost_rows() -> Iterator[Case]:
    """Those through `Evidence`."""
    yield through
    yield from through_delays()
