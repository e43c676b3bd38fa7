"""Rows on latency by blocks of all pairs, as shipped: restarts on, m from the blocks before, blocks of 100 ms.

Requests come as a Poisson stream, so that blocks differ in size; what is fixed is how many come in a block on average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from proxy.evidence.input.timings import TimedRule, Timings, log_fail, log_pass
from proxy.evidence.process.restarts import EVERY, Restarts
from tests.calibration.cases import ALPHA, ALPHA_PASS, MEDIAN, P99, SLACK, Case, Row, most, runs_of, share_of
from tests.calibration.harness import FAIL, PASS, Result
from tests.calibration.truths import Rng, batch

LOOK = 20
"""Blocks between two looks."""

Times = Callable[[Rng, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Live's and the candidate's seconds of every pair of blocks of these sizes, block after block."""


def lognormal(factor: float = 1.0, tail: float = 0.0, rho: float = 0.0) -> Times:
    """σ 0.5 that both arms share and 0.3 of their own, of which a share `rho` is the block's; the candidate's times a
    factor, a share `tail` of them five times as long."""

    def make(rng: Rng, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, block = int(sizes.sum()), np.repeat(np.arange(len(sizes)), sizes)
        shared = rng.normal(-4.0, 0.5, n)
        together = np.sqrt(rho) * rng.normal(0.0, 0.3, (2, len(sizes)))[:, block]
        own = together + np.sqrt(1.0 - rho) * rng.normal(0.0, 0.3, (2, n))
        slow = np.where(rng.random(n) < tail, 5.0, 1.0)
        return np.exp(shared + own[0]), np.exp(shared + own[1]) * factor * slow

    return make


def stalled(live: float, candidate: float, factor: float = 1.0) -> Times:
    """Whole blocks stall for a second, these shares of them in each arm, independently; then the candidate's times a
    factor."""

    def make(rng: Rng, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        block = np.repeat(np.arange(len(sizes)), sizes)
        ours, theirs = lognormal()(rng, sizes)
        stalls = rng.random((2, len(sizes))) < np.array([[live], [candidate]])
        return ours + stalls[0][block], (theirs + stalls[1][block]) * factor

    return make


@dataclass
class Breaking:
    """Equal arms for so many blocks; from then on 3 % of the candidate's times are eight times as long."""

    good: int
    seen: int = 0

    def __call__(self, rng: Rng, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        live, candidate = lognormal()(rng, sizes)
        if self.seen >= self.good:
            candidate = candidate * np.where(rng.random(len(candidate)) < 0.03, 8.0, 1.0)
        self.seen += LOOK
        return live, candidate


@dataclass
class Across:
    """Equal arms that stall by themselves for so many pairs, at any moment: half of the stalls lie in two blocks."""

    length: int
    share: float = 0.012
    left: list[int] = field(default_factory=lambda: [0, 0])

    def __call__(self, rng: Rng, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        arms, n = list(lognormal()(rng, sizes)), int(sizes.sum())
        for i, arm in enumerate(arms):
            begins = rng.random(n) < self.share / self.length
            stall = np.convolve(begins, np.ones(self.length)) > 0
            stall[: self.left[i]] = True
            self.left[i] = int(stall[n:].sum())
            arms[i] = arm + stall[:n]
        return arms[0], arms[1]


def by_blocks(
    rule: TimedRule, times: Times, each: float, blocks: int, runs: int, seed: int, *, stop_at_pass: bool = True
) -> Result:
    """Runs of a single guard at weight 1, a look every 20 blocks, until a verdict; first looks in blocks."""
    fails, passes = np.full(runs, np.inf), np.full(runs, np.inf)
    for run in range(runs):
        rng, pairs = np.random.default_rng([seed, run]), 0
        timings, restarts = Timings.empty([rule]), Restarts()
        for look in range(LOOK, blocks + 1, LOOK):
            sizes = rng.poisson(each, LOOK)
            sizes = sizes[sizes > 0]
            starts = np.append(0, np.cumsum(sizes)).astype(np.int64)
            live, candidate = times(rng, sizes)
            # Pairs are in the order of their keys inside a block.
            order = np.lexsort((rng.random(len(live)), np.repeat(np.arange(len(sizes)), sizes)))
            columns = batch(rng, len(live), live_seconds=live[order], seconds=candidate[order])
            timings.count([rule], restarts.row, starts, columns, np.ones(len(live), bool))
            pairs += len(live)
            while pairs >= (restarts.total + 1) * EVERY:
                timings.pour([rule], restarts, [0])
                restarts = restarts.start(timings.fails)
            if np.isinf(fails[run]) and log_fail(rule, timings.fails, restarts, 0) >= FAIL:
                fails[run] = look
            if np.isinf(passes[run]) and float(log_pass(rule, timings.passes[0])) >= PASS:
                passes[run] = look
            if np.isfinite(fails[run]) or (stop_at_pass and np.isfinite(passes[run])):
                break
    return Result(fails, passes)


def fair(truth: str, name: str, rule: TimedRule, times: Callable[[], Times], *, blocks: int = 2500) -> Case:
    """A truth exactly at the limit, or within it for FAIL and beyond it for PASS where the row says so."""

    def case(share: float) -> Row:
        n = runs_of(400, share)
        found = by_blocks(rule, times(), 10.0, blocks, n, seed=41)
        bounds = most(ALPHA, n), most(ALPHA_PASS, n)
        fails, passes = (share_of(round(rate * n), n) for rate in (found.fail_rate, found.pass_rate))
        ok = found.fail_rate <= bounds[0] and found.pass_rate <= bounds[1]
        goal = f"fail ≤ {bounds[0]:.2%}, pass ≤ {bounds[1]:.2%}"
        return Row(truth, name, goal, f"fail {fails}, pass {passes} of {n} runs of {blocks:,} blocks", "", ok)

    return case


def harmless(truth: str, name: str, rule: TimedRule, times: Callable[[], Times]) -> Case:
    """Equal arms with stalls: a FAIL at most α of the time; a PASS is right."""

    def case(share: float) -> Row:
        n = runs_of(400, share)
        found = by_blocks(rule, times(), 10.0, 2500, n, seed=42)
        bound, fails = most(ALPHA, n), share_of(round(found.fail_rate * n), n)
        measured = f"fail {fails}, pass {found.pass_rate:.0%} of {n} runs of 2,500 blocks"
        return Row(truth, name, f"fail ≤ {bound:.2%}", measured, "", found.fail_rate <= bound)

    return case


def within(truth: str, name: str, rule: TimedRule, times: Times, each: float, *, fail: int = 0, pass_: int = 0) -> Case:
    """Median blocks until the verdict, and what that is in seconds of blocks of 100 ms."""
    target, side = (fail, "fail") if fail else (pass_, "pass")

    def case(share: float) -> Row:
        n = runs_of(100, share)
        found = by_blocks(rule, times, each, 4 * target, n, seed=43)
        median, wrong = (found.fail_median, found.pass_rate) if fail else (found.pass_median, found.fail_rate)
        most = ALPHA_PASS + 0.7 / np.sqrt(n) if n > 4 else 0.0
        ok = median <= (SLACK if share < 1.0 else 1.0) * target and wrong <= most
        measured = f"{side} {median:,.0f} blocks, {median / 10:.0f} s ({n} runs)"
        return Row(f"{truth}, {each:g} pairs a block", name, f"{side} by {target:,} blocks", measured, "", ok)

    return case


def late(good: int, each: float, most: int, runs: int) -> Case:
    """A p99 that breaks after so many good blocks: what was never seen in them has been refuted long ago. Many pairs a
    block begin many restarts in a block."""

    def case(share: float) -> Row:
        n = runs_of(runs, share, 3)
        found = [
            by_blocks(P99, Breaking(good), each, good + 5 * most, 1, seed=44 + run, stop_at_pass=False)
            for run in range(n)
        ]
        median = float(np.median([one.fails[0] for one in found])) - good
        truth, goal = f"p99 × 3 after {good:,} good blocks, {each:g} pairs a block", f"fail within {most} blocks"
        measured = f"fail {median:,.0f} blocks after, {median / 10:.0f} s ({n} runs)"
        return Row(truth, "p99_latency: 1.2x", goal, measured, "", 0 < median <= most)

    return case


def blocks() -> Iterator[Case]:
    """All rows on latency by blocks."""
    p99, median = "p99_latency: 1.2x", "median_latency: 1.2x"
    yield fair("blocks: at the limit exactly", p99, P99, lambda: lognormal(1.2))
    yield fair("blocks: at the limit, 1.2 % of blocks stall", p99, P99, lambda: stalled(0.012, 0.012, 1.2))
    yield fair("blocks: at the limit exactly", median, MEDIAN, lambda: lognormal(1.2), blocks=1000)
    yield fair("blocks: half of the noise is the block's, at the limit", p99, P99, lambda: lognormal(1.2, rho=0.5))
    yield harmless("blocks: 1.2 % of blocks stall, equal arms", p99, P99, lambda: stalled(0.012, 0.012))
    yield harmless("blocks: stalls of 5 pairs across blocks of 10", p99, P99, lambda: Across(5))
    yield harmless("blocks: stalls of 10 pairs across blocks of 10", p99, P99, lambda: Across(10))
    yield within("p99 × 1.5", p99, P99, lognormal(1.5), 10.0, fail=1200)
    yield within("p99 × 1.5", p99, P99, lognormal(1.5), 50.0, fail=1150)
    yield late(3000, 10.0, 300, runs=60)
    yield late(600, 500.0, 200, runs=20)
    yield within("p99 × 2", p99, P99, lognormal(2.0), 10.0, fail=800)
    yield within("3 % of requests × 5", p99, P99, lognormal(tail=0.03), 10.0, fail=1150)
    yield within("equal times", p99, P99, lognormal(), 10.0, pass_=1020)
    yield within("equal times", p99, P99, lognormal(), 50.0, pass_=800)
    yield within("uniformly × 1.5", median, MEDIAN, lognormal(1.5), 10.0, fail=40)
    yield within("uniformly × 1.5", median, MEDIAN, lognormal(1.5), 0.7, fail=160)
