"""Promise: there is never more evidence than its ceiling, so that whether the budget has crossed is known at once."""

from __future__ import annotations

import random

import numpy as np
import pytest

from proxy.evidence import Evidence
from proxy.evidence.process.budget import pool
from proxy.model import Arm, Guard, Kind, Plan, Reading
from proxy.model.reasons import Reason
from tests.evidence.streams import ALL_GUARDS, make_plan, make_reading

VECTORS = (Guard("max_mean_shift", 0.2), Guard("min_similarity", 0.9), Guard("p99_latency", 1.5, relative=True))
LABELS = (Guard("max_quality_drop", 0.02), Guard("max_disagreement", 0.05), Guard("max_response_mismatch", 0.01))


def stream(kind: Kind, seed: int, bad: float, pairs: int) -> list[Reading]:
    """Pairs that differ the more the larger `bad` is, and from the middle on three times as much."""
    rng, readings = random.Random(seed), list[Reading]()
    for n in range(pairs):
        worse = bad * (3.0 if n > pairs // 2 else 1.0)
        live = rng.random()
        candidate = min(1.0, max(0.0, live + rng.gauss(0.1, 0.1) * worse)) if rng.random() < 0.7 else live
        rows = {
            Kind.SCORE: (live, candidate),
            Kind.LABEL: (int(live * 4), int(candidate * 4)),
            Kind.VECTOR: ((live, 1.0, 0.5, -live), (candidate, 1.0, 0.5, -live)),
        }[kind]
        fails = rng.random() < 0.02 * worse
        readings.append(
            make_reading(
                n,
                rows[0],
                None if fails else rows[1],
                kind=kind,
                fault=Reason.STATUS_5XX if fails else Reason.NONE,
                time=1000.0 + n / 60,
                served=Arm.CANDIDATE if n % 3 == 0 else Arm.LIVE,
                live_seconds=rng.lognormvariate(-3.0, 0.4),
                seconds=rng.lognormvariate(-3.0 + worse / 3, 0.4),
                request_hash=n if n % 20 else 7,
            )
        )
    return readings


def reckoned(evidence: Evidence, plan: Plan) -> bool:
    """Whether the budget has crossed, without any ceiling."""
    return pool(evidence.log_e(), evidence._state.weights, plan.false_rollback_rate).crossed


@pytest.mark.parametrize(
    ("block", "bad"),
    [
        *[(0.0, 0.0), (0.0, 0.3), (0.1, 0.1), (0.1, 1.0)],  # each share and each block once, all pairs in `test-all`
        *[pytest.param(*both, marks=pytest.mark.slow) for both in [(0.0, 0.1), (0.0, 1.0), (0.1, 0.0), (0.1, 0.3)]],
    ],
)
@pytest.mark.parametrize(
    ("kind", "guards"),
    [(Kind.SCORE, ALL_GUARDS), (Kind.VECTOR, VECTORS), (Kind.LABEL, LABELS)],
    ids=lambda x: str(x)[:6],
)
def test_evidence_is_below_its_ceiling_through_restarts(
    kind: Kind, guards: tuple[Guard, ...], block: float, bad: float
) -> None:
    plan = make_plan(*guards, kind=kind, latency_block=block)
    evidence, rng, at = Evidence.begin(plan, 3), random.Random(5), 0
    tally, known, readings = evidence._state.tally, 0, stream(kind, 11, bad, 4000)
    while at < len(readings):
        size = rng.choice([1, 7, 60, 128, 300])
        evidence.add(readings[at : at + size])
        at += size
        if kind is Kind.LABEL and rng.random() < 0.7:
            for reading in readings[at - size : at : 3]:
                evidence.outcome(reading.id, int(rng.random() * 4))
        if evidence._ceiling is not None and evidence._ceiling.fits(tally):
            known += 1
            evidence._state.close_blocks()
            logs = evidence._ceiling.logs(tally)
            assert all(tally.log_whole(i, 1.0) <= log for i, log in enumerate(logs))
        assert evidence.crossed() == reckoned(evidence, plan)
    assert known > 30
    assert evidence._state.restarted >= 3


def test_a_ceiling_is_not_kept_where_something_else_counts() -> None:
    plan = make_plan(*ALL_GUARDS, latency_block=0.1)
    changed = make_plan(*ALL_GUARDS[1:], latency_block=0.1)
    evidence, readings = Evidence.begin(plan, 3), stream(Kind.SCORE, 2, 1.0, 4000)
    for n, act in enumerate(
        (
            lambda: evidence.enter_stage(1),
            lambda: evidence.change_limits(changed),
            lambda: evidence.enter_stage(2, promoted=True),
        )
    ):
        evidence.add(readings[n * 1000 : n * 1000 + 400])
        evidence.crossed()
        act()
        assert evidence._ceiling is None or not evidence._ceiling.fits(evidence._state.tally)


def test_asking_changes_nothing() -> None:
    plan = make_plan(*ALL_GUARDS, latency_block=0.1)
    asked, silent = Evidence.begin(plan, 3), Evidence.begin(plan, 3)
    readings = stream(Kind.SCORE, 4, 0.1, 5000)
    for at in range(0, len(readings), 100):
        asked.add(readings[at : at + 100])
        silent.add(readings[at : at + 100])
        asked.crossed()
    assert asked.assess(100.0) == silent.assess(100.0)
    assert np.array_equal(asked.log_e(), silent.log_e())
    assert asked.dump() == silent.dump()
