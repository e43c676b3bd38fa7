"""Promise: a rollout may go on for long and through any number of controllers: what is known of it is the same as with
one controller, and neither its memory nor what the store holds of it grows with its pairs."""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from enum import Enum
from types import FunctionType, ModuleType

import numpy as np

from proxy.controller.rollout_run import RolloutRun, fresh_evidence
from proxy.evidence import Evidence
from proxy.model import Arm, Guard, Kind, Outcome, Pair, Plan, PredictionSpec, State
from proxy.pairs.ledger import PairLedger
from proxy.rollout.machine import begin
from tests.evidence.streams import make_plan

SHIFT, PAIRS, SHIFTS = 1800.0, 700, 8
"""Seconds that a controller lives, its pairs, and how many controllers there are."""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
ASKED = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\n\r\n"
GUARDS = (
    Guard("max_mean_shift", 0.05),
    Guard("max_ks", 0.2),
    Guard("max_disagreement", 0.1),
    Guard("p99_latency", 1.5, relative=True),
    Guard("max_extra_errors", 0.02),
)


def arm(rng: np.random.Generator, score: float) -> Outcome:
    body = b'{"outputs":[{"name":"y","shape":[1],"datatype":"FP64","data":[%.6f]}]}' % score
    return Outcome(200, head=HEAD, body=body, seconds=float(rng.lognormal(-4.0, 0.3)), first=0.01)


def pairs_of(shift: int, rng: np.random.Generator) -> list[Pair]:
    """The requests of a shift, each with a body of its own and now and then a failure of the candidate's."""
    found = []
    for number in range(shift * PAIRS, (shift + 1) * PAIRS):
        time, score = number / PAIRS * SHIFT, float(rng.uniform(0.1, 0.9))
        candidate = arm(rng, score + float(rng.normal(0.0, 0.01)))
        candidate = candidate._replace(status=503) if rng.random() < 0.002 else candidate
        found.append(
            Pair("t", 0, "w", number, f"i{number}", time, Arm.LIVE, ASKED, b"%d" % number, arm(rng, score), candidate,
                 latency_slot=True)
        )  # fmt: skip
    return found


def held(*roots: object) -> int:
    """Bytes of these and of all that can be reached from them, but for code."""
    seen, waiting = set[int](), list(roots)
    total = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | FunctionType | ModuleType | Enum):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    return total


def taken_up(run: RolloutRun, plan: Plan) -> RolloutRun:
    """The same rollout at another controller, which has nothing but what the store holds."""
    run.flush()
    evidence = Evidence.load(plan, run.evidence.dump())
    again = RolloutRun(plan, run.rollout, evidence, PairLedger.load(run.pair_ledger.dump()))
    again.readings.mark("w", run.pair_ledger.account("w").arrived)  # the worker says what is settled
    return again


def live_through(run: RolloutRun, pairs: list[Pair]) -> None:
    for pair in pairs:
        assert run.place(pair, run.reader.read(pair)) is None
        if len(run.readings.ready) >= 100:
            run.flush()
    run.flush()


def test_a_long_life_through_many_controllers_leaves_no_trace() -> None:
    plan = make_plan(*GUARDS, prediction=PredictionSpec(protocol="v2", kind=Kind.SCORE), latency_block=0.1)
    first = fresh_evidence(plan)
    one = RolloutRun(plan, begin(plan, 0.0)[0], first, PairLedger())
    many = RolloutRun(plan, one.rollout, Evidence.load(plan, first.dump()), PairLedger())
    rng, sizes, saved = np.random.default_rng(8), [], []
    for shift in range(SHIFTS):
        if shift == SHIFTS // 2:  # it is promoted, and watched from here on
            for run in (one, many):
                run.rollout = replace(run.rollout, state=State.PROMOTED, entry=1)
                run.entered()
        pairs = pairs_of(shift, rng)
        live_through(one, pairs)
        live_through(many, pairs)
        many = taken_up(many, plan)
        assert many.evidence.log_e() == one.evidence.log_e(), shift
        assert many.evidence.dump() == one.evidence.dump(), shift
        assert many.ledger == one.ledger
        sizes.append(held(one.evidence, one.pair_ledger, one.readings, one.charts, one.sample_pairs))
        saved.append(len(one.evidence.dump()) + len(repr(one.pair_ledger.dump())))
    assert many.evidence.compared == SHIFTS * PAIRS
    assert one.look(SHIFTS * SHIFT, None).assessment == many.look(SHIFTS * SHIFT, None).assessment
    assert sizes[-1] <= 1.1 * sizes[SHIFTS // 2 + 1], sizes  # when all windows were full
    assert max(saved) < 256 << 10, saved  # counts that were 0 take less room once they are packed
