"""Streams of readings for the tests of the evidence: small, seeded, with every field that matters as an argument."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

from proxy.model import Arm, Guard, Kind, Plan, Prediction, PredictionSpec, Reading, Segments, Stage, State
from proxy.model.reasons import Reason

ALL_GUARDS = (
    Guard("max_disagreement", 0.02),
    Guard("max_mean_shift", 0.01),
    Guard("max_ks", 0.05),
    Guard("max_psi", 0.2),
    Guard("max_big_change", 0.005, tolerance=0.3),
    Guard("max_spread_change", 0.1),
    Guard("p99_latency", 1.2, relative=True),
    Guard("median_latency", 1.2, relative=True),
    Guard("time_to_first_token", 0.25),
    Guard("max_extra_errors", 0.002),
)
"""Ten guards, for scores."""


def make_plan(*guards: Guard, kind: Kind = Kind.SCORE, **fields: Any) -> Plan:
    """A plan with these guards."""
    spec = fields.pop("prediction", PredictionSpec(protocol="json", kind=kind))
    return Plan(
        name="credit/v2",
        route="credit",
        live="v1",
        candidate="v2",
        version="2",
        stages=(Stage(State.SHADOW, 100.0),),
        guards=guards,
        prediction=spec,
        **{"warmup": 0, "latency_block": 0.0, **fields},
    )


def make_reading(sequence: int = 0, live: Any = 0.5, candidate: Any = 0.5, **fields: Any) -> Reading:
    """One reading. `live` and `candidate` are one row, or a list of rows; `None` for no prediction."""
    kind = fields.pop("kind", Kind.SCORE)
    base: dict[str, Any] = {
        "stage": 0,
        "worker": "w1",
        "sequence": sequence,
        "id": f"r{sequence}",
        "time": float(sequence),
        "served": Arm.LIVE,
        "live_fault": Reason.NONE,
        "fault": Reason.NONE,
        "live": predicted(kind, live),
        "candidate": predicted(kind, candidate),
        "again": predicted(kind, fields.pop("again", None)),
        "live_seconds": 0.01,
        "seconds": 0.01,
        "live_first": 0.005,
        "first": 0.005,
        "latency_slot": True,
        "hedged": False,
        "fell_back": False,
        "request_hash": sequence + 1_000_000,
    }
    base |= fields
    if base["fault"] is not Reason.NONE:
        base["candidate"] = None
    if base["live_fault"] is not Reason.NONE:
        base["live"] = None
    return Reading(**base)


def predicted(kind: Kind, rows: Any) -> Prediction | None:
    """A prediction of one row, or of a list of rows."""
    if rows is None:
        return None
    return Prediction(kind, tuple(rows) if isinstance(rows, list) else (rows,))


def score_stream(n: int, seed: int, *, wrong: float = 0.0, noise: float = 0.01, **fields: Any) -> list[Reading]:
    """Scores in [0, 1]; the candidate's differ by normal noise, and a share `wrong` is drawn anew. Lognormal times."""
    rng = np.random.default_rng(seed)
    live = rng.uniform(0.05, 0.95, n)
    candidate = np.clip(live + rng.normal(0.0, noise, n), 0.0, 1.0)
    redrawn = rng.random(n) < wrong
    candidate[redrawn] = rng.uniform(0.0, 1.0, int(redrawn.sum()))
    shared = rng.normal(-4.0, 0.5, n)
    times = np.exp(shared + rng.normal(0.0, 0.3, (2, n)))
    first = times * 0.5
    return [
        make_reading(
            i,
            float(live[i]),
            float(candidate[i]),
            live_seconds=float(times[0, i]),
            seconds=float(times[1, i]),
            live_first=float(first[0, i]),
            first=float(first[1, i]),
            **fields,
        )
        for i in range(n)
    ]


def cut(stream: Sequence[Any], sizes: Sequence[int]) -> list[Sequence[Any]]:
    """The stream in batches of these sizes, over and over."""
    batches, at, i = [], 0, 0
    while at < len(stream):
        size = max(1, sizes[i % len(sizes)])
        batches.append(stream[at : at + size])
        at, i = at + size, i + 1
    return batches


def segments(top: int = 20) -> Segments:
    """Segments by a header."""
    return Segments(header="x-tenant", top=top)


def deep_size(value: Any, seen: set[int] | None = None) -> int:
    """Bytes of a value and all that it alone holds; enumerations are everybody's and free."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, Enum) or value is None:
        return 0
    seen.add(id(value))
    inner = value if isinstance(value, tuple | list | deque) else value.values() if isinstance(value, dict) else ()
    return sys.getsizeof(value) + sum(deep_size(one, seen) for one in inner)
