"""Rows about differences that come together: bursts, clumps, and one body that comes again and again.

All run readings through `Evidence` as shipped, a look every 100 pairs; beside each figure stands what the same runs
come to by pairs alone, as if each were independent of the others. Rates of requests matter for blocks of 100 ms: 500/s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from proxy.evidence import Evidence
from proxy.evidence.e_detector import ALARM
from proxy.model import Guard, Kind, Plan, Reading, Verdict
from proxy.model.reasons import Reason
from tests.calibration.cases import ALPHA, ALPHA_PASS, Case, Row, most, runs_of, share_of
from tests.evidence.streams import cut, make_plan, make_reading

LOOK, RATE = 100, 500.0
DISAGREEMENT, ERRORS, SHIFT = (
    Guard("max_disagreement", 0.02),
    Guard("max_extra_errors", 0.02),
    Guard("max_mean_shift", 0.01),
)
FAIL, PASS = np.log(1 / ALPHA), np.log(1 / ALPHA_PASS)
Rng = np.random.Generator
Stream = Callable[[Rng], list[Reading]]


def bursts(rng: Rng, n: int, rate: float, length: int) -> np.ndarray:
    """0 and 1 (n,): a share `rate` of ones, in bursts of geometric lengths with this mean."""
    x = np.zeros(n, int)
    for start in np.flatnonzero(rng.random(n) < rate / length).tolist():
        x[start : start + rng.geometric(1.0 / length)] = 1
    return x


def clumps(rng: Rng, n: int, rate: float, size: int) -> np.ndarray:
    """The same in clumps of exactly this size."""
    x = np.zeros(n + size, int)
    for start in np.flatnonzero(rng.random(n) < rate / size).tolist():
        x[start : start + size] = 1
    return x[:n]


def wrong(x: np.ndarray, body: np.ndarray | None = None) -> list[Reading]:
    """Labels, another one where `x` is 1; `body` (n,) are the requests' bodies."""
    hashes = (body if body is not None else np.arange(len(x)) + 10**6).tolist()
    return [
        make_reading(i, 1, 1 - one, kind=Kind.LABEL, time=i / RATE, request_hash=h)
        for i, (one, h) in enumerate(zip(x.tolist(), hashes, strict=True))
    ]


def failing(x: np.ndarray, body: np.ndarray | None = None) -> list[Reading]:
    """Labels that agree, no answer of the candidate where `x` is 1."""
    stream = wrong(0 * x, body)
    for i in np.flatnonzero(x).tolist():
        stream[i] = stream[i]._replace(fault=Reason.STATUS_5XX, candidate=None)
    return stream


def moving(rng: Rng, n: int, rho: float) -> list[Reading]:
    """Scores whose differences are an AR(1) of sd 0.09 around 0: no shift, and long runs of one sign."""
    noise, d = rng.normal(0.0, 0.09 * np.sqrt(1.0 - rho**2), n), np.zeros(n)
    for i in range(1, n):
        d[i] = rho * d[i - 1] + noise[i]
    live = rng.uniform(0.4, 0.6, n)
    return [
        make_reading(i, a, a + b, time=i / RATE) for i, (a, b) in enumerate(zip(live.tolist(), d.tolist(), strict=True))
    ]


def hot(rng: Rng, n: int, bodies: int) -> tuple[np.ndarray, np.ndarray]:
    """Requests (n,) of which 30 % have one of so many bodies; and all bodies."""
    often = rng.random(n) < 0.3
    return often.astype(int), np.where(often, rng.integers(bodies, size=n), np.arange(n) + 10**6)


class Run:
    """One run: when it failed and passed, and when it would have by pairs alone; infinite for never."""

    def __init__(self, plan: Plan, stream: list[Reading], seed: int, stop: str = "never") -> None:
        evidence = Evidence.begin(plan, seed)
        evidence.enter_stage(0)
        self.failed = self.passed = self.failed_alone = self.passed_alone = np.inf
        for at, batch in enumerate(cut(stream, (LOOK,)), 1):
            evidence.add(batch)
            tally = evidence._state.tally
            slot = tally.slots[0]
            alone = float(slot.rule.log_pass(tally.carried(slot), slot.guard.limit))
            marks = {
                "failed": evidence.crossed(),
                "passed": alone >= PASS and evidence.assess(forecast=False).verdict is Verdict.PASS,
                "failed_alone": tally.log_fail(0) >= FAIL,
                "passed_alone": alone >= PASS,
            }
            for name, now in marks.items():
                if now and getattr(self, name) == np.inf:
                    setattr(self, name, at * LOOK)
            if stop != "never" and getattr(self, stop) < np.inf:
                break


def runs(guard: Guard, stream: Stream, count: int, seed: int, *, stop: str = "never", block: float = 0.1) -> list[Run]:
    """So many runs; a look at a FAIL ends with the run, one at a PASS as it is said."""
    kind = Kind.SCORE if guard is SHIFT else Kind.LABEL
    plan = make_plan(guard, kind=kind, latency_block=block)
    return [Run(plan, stream(np.random.default_rng([seed, k])), k, stop) for k in range(count)]


def rate(truth: str, guard: Guard, stream: Stream, full: int, seed: int, what: str, nominal: float) -> Case:
    """A row on how often runs fail or pass, beside what they do by pairs alone."""

    def case(share: float) -> Row:
        n = runs_of(full, share)
        found = runs(guard, stream, n, seed)
        hits, alone = (sum(getattr(r, f"{what}ed{how}") < np.inf for r in found) for how in ("", "_alone"))
        text = f"{what} {share_of(hits, n)} of {n} runs (by pairs alone: {alone / n:.0%})"
        target = f"{what} ≤ {most(nominal, n):.2%}"
        return Row(truth, f"{guard.name}: {guard.limit:.3g}", target, "", text, hits / n <= most(nominal, n))

    return case


def delay(truth: str, guard: Guard, stream: Stream, full: int, seed: int, least: int, goal: int) -> Case:
    """A row on the median pairs to a FAIL after the first `least`, beside those by pairs alone."""

    def case(share: float) -> Row:
        n = max(5, runs_of(full, share))
        found = runs(guard, stream, n, seed, stop="failed")
        median, alone = (
            float(np.median([getattr(r, name) for r in found])) - least for name in ("failed", "failed_alone")
        )
        text = f"fail {median:,.0f} (by pairs alone: {alone:,.0f}), {n} runs"
        return Row(truth, f"{guard.name}: {guard.limit:.3g}", f"fail ≤ {goal:,}", "", text, median <= goal)

    return case


def hot_body(truth: str, guard: Guard, make: Callable[..., list[Reading]], bodies: int) -> Case:
    """A row on candidates that go wrong on each request of a few bodies: do they pass?"""
    return rate(truth, guard, lambda g: make(*hot(g, 3000, bodies)), 40, 60 + bodies, "pass", 0.0)


def perfect(share: float) -> Row:
    """A perfect candidate with a hot body passes with its distinct requests, no later."""
    n = runs_of(40, share)

    def stream(rng: Rng) -> list[Reading]:
        often, body = hot(rng, 1500, 1)
        return wrong(0 * often, body)

    found = runs(DISAGREEMENT, stream, n, 65, stop="passed", block=0.0)
    late = max(r.passed - r.passed_alone for r in found)
    text = f"pass {np.median([r.passed for r in found]):,.0f} pairs, {late:.0f} after the distinct requests, {n} runs"
    return Row("perfect, one body is 30 % of requests", "max_disagreement: 0.02", "pass no later", "", text, late <= 0)


def watched(share: float) -> Row:
    """Minutes of 300 pairs after promotion at half the limit, in bursts of five: one alarm may be in 129,600."""
    minutes, runs_, alarms, alone = 40, runs_of(100, share), 0, 0
    plan = make_plan(DISAGREEMENT, kind=Kind.LABEL)
    for k in range(runs_):
        stream = wrong(bursts(np.random.default_rng([66, k]), 3000 + minutes * 300, 0.01, 5))
        evidence = Evidence.begin(plan, k)
        evidence.enter_stage(0)
        evidence.add(stream[:3000])
        evidence.enter_stage(1, promoted=True)
        done = [False, False]
        for i, batch in enumerate(cut(stream[3000:], (300,))):
            evidence.add([r._replace(stage=1, time=1e6 + 60.0 * i + 0.1 * j) for j, r in enumerate(batch)])
            watch = evidence._state.watch
            if watch is not None and (logs := watch.logs.get("max_disagreement")) is not None:
                done[0] |= watch.log_m(evidence._state.tally.slots[0]) >= ALARM
                done[1] |= float(np.log(np.mean(np.exp(logs[0])))) >= ALARM
        alarms, alone = alarms + done[0], alone + done[1]
    text = f"{alarms} alarms in {runs_ * minutes:,} minutes (by pairs alone: {alone})"
    return Row("promoted, half the limit, bursts of 5", "max_disagreement: 0.02", "no alarm", "", text, alarms == 0)


def clumped(share: float, size: int) -> Stream:
    """Failures in clumps of this size."""
    return lambda rng: failing(clumps(rng, 8000, share, size))


def together_rows() -> Iterator[Case]:
    """All of them."""
    yield hot_body("fails on one body, 30 % of requests", ERRORS, failing, 1)
    yield hot_body("wrong on one body, 30 % of requests", DISAGREEMENT, wrong, 1)
    yield hot_body("wrong on five bodies, 30 % of requests", DISAGREEMENT, wrong, 5)
    yield perfect
    half = "half the limit"
    yield rate(f"{half}, bursts of 5", DISAGREEMENT, lambda g: wrong(bursts(g, 8000, 0.01, 5)), 400, 71, "fail", ALPHA)
    yield rate(f"{half}, bursts of 20", DISAGREEMENT, lambda g: wrong(bursts(g, 8000, 0.01, 20)), 400, 72, "fail", 0.08)
    yield rate(f"{half}, clumps of 10", ERRORS, lambda g: failing(clumps(g, 6000, 0.01, 10)), 400, 73, "fail", ALPHA)
    yield rate("no shift, AR(1) of 0.9", SHIFT, lambda g: moving(g, 8000, 0.9), 200, 74, "fail", ALPHA)
    for size in (3, 10):
        for truth, share in (("at the limit", 0.02), ("just beyond it (2.15 %)", 0.0215)):
            yield rate(f"{truth}, clumps of {size}", ERRORS, clumped(share, size), 200, 75, "pass", ALPHA_PASS)
    yield watched
    yield delay("5 % wrong", DISAGREEMENT, lambda g: wrong(bursts(g, 2000, 0.05, 1)), 60, 81, 0, 600)
    yield delay("7 % fail", ERRORS, lambda g: failing(bursts(g, 2000, 0.07, 1)), 60, 82, 0, 400)
    late = lambda g: wrong(np.append(bursts(g, 5000, 0.005, 1), bursts(g, 3000, 0.05, 1)))  # noqa: E731
    yield delay("0.5 % wrong, from pair 5,000 on 5 %", DISAGREEMENT, late, 60, 83, 5000, 1100)
    total = lambda g: wrong(np.append(bursts(g, 5000, 0.005, 1), np.ones(1000, int)))  # noqa: E731
    yield delay("0.5 % wrong, from pair 5,000 on all", DISAGREEMENT, total, 60, 84, 5000, 400)
