"""Rows that try to break the stated error rates: traffic that is not what the proofs would like.

All run readings through `Evidence` (and `ReorderBuffer`), at the limit exactly or just within it, so that nothing but
the promise keeps the candidate from failing. Two rows show beside their figure what happens where a condition of
docs/statistics.md does not hold.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import numpy as np

from proxy.evidence import Evidence, ReorderBuffer
from proxy.evidence.process.wealth import log_sum
from proxy.model import Guard, Kind, Plan, Reading
from proxy.model.reasons import Reason
from tests.calibration.cases import ALPHA, ALPHA_PASS, Case, Row, most, runs_of, share_of
from tests.calibration.whole import AT_LIMIT, GUARDS, labels
from tests.evidence.streams import cut, make_plan, make_reading

LOOK = 100


class Run:
    """Evidence looked at every 100 readings: did it ever fail, did it ever pass?"""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.plan = plan
        self.evidence = Evidence.begin(plan, seed)
        self.evidence.enter_stage(0)
        self.failed = self.passed = False
        self.held = 0

    def add(self, stream: list[Reading]) -> None:
        for batch in cut(stream, (LOOK,)):
            self.evidence.add(batch)
            self.look()

    def look(self) -> None:
        logs = [log - np.log(len(self.plan.guards)) for log in self.evidence.log_e()]
        self.failed |= log_sum(logs) >= np.log(1 / ALPHA)
        tally = self.evidence._state.tally
        slots = [(s, tally.carried(s).copy(), tally.since_stage(s).copy()) for s in tally.slots]
        for slot, *both in slots:
            for counts in both:
                counts[slot.rule.worst_at] += self.held
        self.passed |= all(
            float(s.rule.log_pass(c, s.guard.limit)) >= np.log(1 / ALPHA_PASS) for s, *both in slots for c in both
        )


def hostile(truth: str, guard: str, full: int, one: Callable[[int], Run]) -> Case:
    """A row: the share of runs that failed, and that passed, against what is promised at the limit."""

    def case(share: float) -> Row:
        n = runs_of(full, share)
        runs = [one(number) for number in range(n)]
        fails, passes = (sum(getattr(r, end) for r in runs) for end in ("failed", "passed"))
        ok = fails / n <= most(ALPHA, n) and passes / n <= most(ALPHA_PASS, n)
        target = f"fail ≤ {most(ALPHA, n):.2%}, pass ≤ {most(ALPHA_PASS, n):.2%}"
        text = f"fail {share_of(fails, n)}, pass {share_of(passes, n)} of {n} runs"
        return Row(truth, guard, target, "", text, ok)

    return case


def priced(truth: str, guard: str, full: int, one: Callable[[int, bool], Run], without: str) -> Case:
    """A row on FAIL alone, with what it comes to where the condition does not hold."""

    def case(share: float) -> Row:
        n, m = runs_of(full, share), runs_of(full // 4, share)
        fails = sum(one(number, True).failed for number in range(n))
        worse = sum(one(number, False).failed for number in range(m))
        text = f"fail {share_of(fails, n)} of {n} runs ({without}: {worse / m:.0%})"
        return Row(truth, guard, f"fail ≤ {most(ALPHA, n):.2%}", "", text, fails / n <= most(ALPHA, n))

    return case


def sessions(number: int, clustered: bool) -> Run:
    """Users come for 20 near-equal requests in a row; the candidate fails 2 % of the *users*, always."""
    plan = make_plan(GUARDS[0], kind=Kind.LABEL, cluster_by="x-user-id" if clustered else "")
    rng, run = np.random.default_rng([21, number]), Run(plan, number)
    fooled = rng.random(400) < 0.02
    users = [f"u{i // 20}" for i in range(8_000)]
    right = [1 - int(fooled[i // 20]) for i in range(8_000)]
    run.add([make_reading(i, 1, right[i], kind=Kind.LABEL, cluster=user) for i, user in enumerate(users)])
    return run


def stages(number: int) -> Run:
    """A stage begins every 700 pairs, with half of its requests answered by the candidate from the second on."""
    rng, run = np.random.default_rng([22, number]), Run(make_plan(*GUARDS, kind=Kind.LABEL), number)
    for stage in range(6):
        run.evidence.enter_stage(stage)
        run.add(labels(rng, 700, AT_LIMIT, stage=stage))
    return run


def restarts_of_the_controller(number: int) -> Run:
    """The controller dies at random moments: what it had saved a second (50 pairs) before is all that is left."""
    rng, run = np.random.default_rng([23, number]), Run(make_plan(*GUARDS, kind=Kind.LABEL), number)
    saved = run.evidence.dump()
    for batch in cut(labels(rng, 4000, AT_LIMIT), (50,)):
        run.evidence.add(batch)
        run.look()
        if rng.random() < 0.1:
            run.evidence = Evidence.load(run.plan, saved)
        else:
            saved = run.evidence.dump()
    return run


def out_of_order(number: int) -> Run:
    """Eight workers; the pairs that disagree are the slow ones, by a hundred requests, so that at every look the pairs
    that have not arrived are the bad ones. In request order within a worker, they hold back what came after them."""
    rng, run = np.random.default_rng([24, number]), Run(make_plan(GUARDS[0], kind=Kind.LABEL), number)
    orders = [ReorderBuffer() for _ in range(8)]
    arrivals: list[tuple[float, int, Reading]] = []
    for i in range(4000):
        worker = i % 8
        bad = bool(rng.random() < 0.02)
        reading = make_reading(i // 8, 1, 0 if bad else 1, kind=Kind.LABEL, worker=f"w{worker}", request_hash=i)
        heapq.heappush(arrivals, (i + (100.0 if bad else rng.random()), i, reading))
    batch: list[Reading] = []
    while arrivals:
        _, i, reading = heapq.heappop(arrivals)
        batch += orders[i % 8].add(reading)
        if len(batch) >= 20:
            run.evidence.add(batch)
            run.held = sum(1 for order in orders if len(order))
            run.look()
            batch = []
    return run


def failures(number: int, single: bool) -> Run:
    """Live fails on 1 % of requests, the candidate on 2.9 % where 3 % are allowed; one by one, or in clumps of three
    on average, as in short outages."""
    plan = make_plan(Guard("max_extra_errors", 0.02), kind=Kind.LABEL)
    rng, run, size = np.random.default_rng([25, number]), Run(plan, number), 1 if single else 3
    fault = np.full((2, 6000), Reason.NONE, dtype=object)
    for arm, rate in ((0, 0.01), (1, 0.029)):
        for at in np.flatnonzero(rng.random(6000) < rate / size):
            fault[arm, at : at + (1 if single else rng.geometric(1 / size))] = Reason.STATUS_5XX
    faults = fault.tolist()
    pairs = zip(*faults, strict=True)
    run.add([make_reading(i, 1, 1, kind=Kind.LABEL, live_fault=a, fault=b) for i, (a, b) in enumerate(pairs)])
    return run


def hostiles() -> Iterator[Case]:
    """All of them."""
    name = "users come for 20 requests each, 2 % of users at the limit"
    yield priced(name, "max_disagreement, cluster_by", 160, sessions, "without cluster_by")
    yield hostile("a stage every 700 pairs, at the limit", "max_disagreement + max_extra_errors", 300, stages)
    name = "the controller dies every 500 pairs"
    yield hostile(name, "max_disagreement + max_extra_errors", 200, restarts_of_the_controller)
    yield hostile("8 workers, bad pairs arrive 100 later", "max_disagreement: 2%", 250, out_of_order)
    yield priced("failures just within the limit", "max_extra_errors: 2%", 300, failures, "in clumps of three")
