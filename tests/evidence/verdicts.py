"""Verdicts of a judge made up for a test, and what the evidence makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from proxy.evidence import Evidence
from proxy.model import Guard, Kind, Plan, PredictionSpec
from proxy.model.judged import Judged
from tests.evidence.streams import cut, make_plan

GUARD = Guard("min_win_rate", 0.45)
SPEC = PredictionSpec("openai", Kind.TEXT, judge="helpful")
WORDS = {"w": 1.0, "t": 0.0, "l": -1.0}


def plan_of(*guards: Guard, **fields: Any) -> Plan:
    return make_plan(*(guards or (GUARD,)), **{"prediction": SPEC, **fields})


def verdict(i: int, value: float, **fields: Any) -> Judged:
    base: dict[str, Any] = {
        "aspect": "", "id": f"r{i}", "key": i + 1_000_000, "worker": "w1", "stage": 0, "time": float(i), "value": value,
    }  # fmt: skip
    return Judged(**(base | fields))


def verdicts(text: str, n: int, **fields: Any) -> list[Judged]:
    """`n` verdicts: w, t and l of a text, over and over."""
    return [verdict(i, WORDS[text[i % len(text)]], **fields) for i in range(n)]


def drawn(rng: np.random.Generator, n: int, won: float, tied: float = 0.0) -> list[Judged]:
    """`n` verdicts of independent pairs."""
    values = rng.choice([1.0, 0.0, -1.0], size=n, p=[won, tied, 1.0 - won - tied])
    return [verdict(i, value) for i, value in enumerate(values.tolist())]


def told(plan: Plan, items: Sequence[Judged], sizes: tuple[int, ...] = (64,)) -> Evidence:
    evidence = Evidence.begin(plan, 7)
    evidence.enter_stage(0)
    for batch in cut(items, sizes):
        evidence.judged(batch)
    return evidence


def found(evidence: Evidence, segment: str | None = None) -> Any:
    every = evidence.assess(100.0).findings
    return next(one for one in every if one.guard == "min_win_rate" and one.segment == segment)
