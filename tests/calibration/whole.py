"""Rows on the real thing: readings through `Evidence`, for the promises that are about which pairs count."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proxy.evidence import Evidence
from proxy.evidence.process.budget import pool
from proxy.model import Guard, Kind, Plan, Reading, Verdict
from proxy.model.reasons import Reason
from tests.calibration.cases import ALPHA, Case, Row, most, runs_of, share_of
from tests.evidence.streams import cut, make_plan, make_reading

AT_LIMIT = (0.02 - 0.002) / 0.998
"""Share of answers that differ where failures, which count as differing, make up the rest of the 2 %."""

GUARDS = (Guard("max_disagreement", 0.02), Guard("max_extra_errors", 0.002))


def labels(rng: np.random.Generator, n: int, wrong: float, copies: int = 1, **fields: object) -> list[Reading]:
    """Labels of which a share differs, candidate failures at the limit's rate; each body comes `copies` times."""
    bodies = -(-n // copies)
    differs, failed = rng.random(bodies) < wrong, rng.random(bodies) < 0.002
    first = int(rng.integers(2**40))
    same, other, none = (
        make_reading(0, 1, label, kind=Kind.LABEL, fault=fault, **fields)
        for label, fault in ((1, Reason.NONE), (0, Reason.NONE), (1, Reason.STATUS_5XX))
    )
    whats = [none if f else other if d else same for d, f in zip(differs.tolist(), failed.tolist(), strict=True)]
    return [
        whats[i // copies]._replace(sequence=i, id=f"r{i}", time=float(i), request_hash=first + i // copies)
        for i in range(n)
    ]


def fails(plan: Plan, stream: list[Reading], seed: int) -> bool:
    """Whether any look, every 100 pairs, finds the budget crossed."""
    evidence = Evidence.begin(plan, seed)
    evidence.enter_stage(0)
    weights = [1.0 / len(plan.guards)] * len(plan.guards)
    for batch in cut(stream, (100,)):
        evidence.add(batch)
        if pool(evidence.log_e(), weights, plan.false_rollback_rate).crossed:
            return True
    return False


def bursts(copies: int) -> Case:
    """Every request comes several times in a row; the candidate is exactly at both limits."""

    def case(share: float) -> Row:
        n = runs_of(300 if copies < 10 else 200, share)
        plan = make_plan(*GUARDS, kind=Kind.LABEL)
        failed = sum(
            fails(plan, labels(np.random.default_rng([18, run]), 1000 * copies, AT_LIMIT, copies), run)
            for run in range(n)
        )
        text = f"fail {share_of(failed, n)} of {n} runs"
        return Row(
            f"bursts of {copies}, at the limit",
            "max_disagreement + max_extra_errors",
            f"fail ≤ {most(ALPHA, n):.2%}",
            "",
            text,
            failed / n <= most(ALPHA, n),
        )

    return case


def good_then_bad(share: float) -> Row:
    """Good for 4,000 pairs in shadow, 5 % wrong from the canary on: it must never be promoted."""
    n, promoted, delays = runs_of(200, share), 0, []
    plan = make_plan(GUARDS[0], kind=Kind.LABEL)
    for run in range(n):
        rng = np.random.default_rng([19, run])
        evidence = Evidence.begin(plan, run)
        evidence.enter_stage(0)
        for batch in cut(labels(rng, 4000, 0.005), (128,)):
            evidence.add(batch)
        evidence.enter_stage(1)
        for look, batch in enumerate(cut(labels(rng, 6000, 0.05, stage=1), (100,))):
            evidence.add(batch)
            verdict = evidence.assess().verdict
            promoted += verdict is Verdict.PASS and evidence.stage_pairs >= 1000
            if verdict is not Verdict.INCONCLUSIVE:
                delays.append((look + 1) * 100)
                break
    text = f"{promoted} of {n}; fail after {np.median(delays):,.0f} canary pairs"
    row = ("good for 4,000 pairs, then 5 % wrong", "max_disagreement: 2%", "never promoted")
    return Row(*row, text, "", promoted == 0)


def one_stream(share: float) -> Row:
    """merge(a, b), merge(b, a) and one stream, to the bit."""
    n, same = runs_of(20, share), 0
    plan = make_plan(*GUARDS, Guard("p99_latency", 1.2, relative=True), kind=Kind.LABEL)
    for run in range(n):
        stream = labels(np.random.default_rng([20, run]), 2500, 0.02)
        leader = Evidence.begin(plan, run)
        leader.add(stream)
        whole, a, b = leader.follower(), leader.follower(), leader.follower()
        side = np.random.default_rng(run).random(len(stream)) < 0.5
        whole.add(stream)
        a.add([r for r, s in zip(stream, side, strict=True) if s])
        b.add([r for r, s in zip(stream, side, strict=True) if not s])
        joined = a.merge(b)
        same += joined.dump() == b.merge(a).dump() and counted(joined) == counted(whole)
    return Row("merge(a, b), merge(b, a), one stream", "all", "identical to the bit", f"{same} of {n}", "", same == n)


def counted(evidence: Evidence) -> tuple[bytes, ...]:
    """All counts of pairs, and what the bursts sum; the blocks that bursts are cut into are those of each stream."""
    tally = evidence._state.tally
    bursts = tally.bursts.settled()
    counts = (tally.rows, tally.stage, tally.repeats, tally.segments, bursts.sums, bursts.squares)
    return tuple(part.tobytes() for part in counts)


def wholes() -> Iterator[Case]:
    """All of them."""
    yield bursts(3)
    yield bursts(50)
    yield good_then_bad
    yield one_stream
