"""Evidence of streams made up for a test: gathered at once or in pieces, with what one asks of it."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.evidence import Evidence
from proxy.model import Arm, Guard, Kind, Plan, Reading
from proxy.model.reasons import Reason
from tests.evidence.streams import cut, make_reading, score_stream

DISAGREEMENT = Guard("max_disagreement", 0.02)


ERRORS = Guard("max_extra_errors", 0.01)


SHIFT = Guard("max_mean_shift", 0.01)


P99 = Guard("p99_latency", 1.2, relative=True)


def gather(plan: Plan, stream: list[Reading], sizes: tuple[int, ...] = (128,), seed: int = 7) -> Evidence:
    evidence = Evidence.begin(plan, seed)
    evidence.enter_stage(0)
    for batch in cut(stream, sizes):
        evidence.add(batch)
    return evidence


def labels(n: int, wrong: int, **fields: Any) -> list[Reading]:
    """`n` labels of which every `n / wrong`-th differs."""
    every = n // wrong if wrong else n + 1
    return [make_reading(i, 1, 0 if i % every == 0 else 1, kind=Kind.LABEL, **fields) for i in range(n)]


def finding(evidence: Evidence, guard: str, segment: str | None = None) -> Any:
    found = evidence.assess(100.0).findings
    return next(f for f in found if f.guard == guard and f.segment == segment)


@pytest.fixture(scope="module")
def stream() -> list[Reading]:
    readings = score_stream(2600, seed=1, wrong=0.01)
    for i in range(0, 2600, 97):
        readings[i] = readings[i]._replace(fault=Reason.STATUS_5XX, candidate=None)
    for i in range(50, 2600, 211):
        readings[i] = readings[i]._replace(live_fault=Reason.TIMEOUT, live=None)
    for i in range(3, 2600, 5):
        readings[i] = readings[i]._replace(served=Arm.CANDIDATE, hedged=i % 3 == 0, segment=f"t{i % 7}")
    for i in range(100, 2600, 40):
        readings[i] = readings[i]._replace(request_hash=readings[i - 30].request_hash)
    return readings
