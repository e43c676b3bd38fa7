"""Promise: the README's first two lines hold through the whole controller, fed by workers over their links, in traffic
that is not independent: a candidate within its limits is rarely rolled back, one beyond them rarely taken further.

Each row is a truth at or just beyond a limit. The quick tests see a handful of rollouts of each, the slow ones a
hundred, against the stated rates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy

from proxy.model import Arm
from tests.controller.rollouts_at_once import Decided, Said, Traffic, decided

pytestmark = pytest.mark.usefixtures("quick")

Stream = Callable[[int], Sequence[Said]]
N = 2560


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng([13, seed])


def labels(wrong: Sequence[bool], **more: Sequence[object]) -> list[Said]:
    """Requests of which live says 1, and the candidate 0 where it is wrong."""
    rows = [dict(zip(more, values, strict=True)) for values in zip(*more.values(), strict=True)] or [{}] * len(wrong)
    return [Said(1, 1 - int(bad), i, **row) for i, (bad, row) in enumerate(zip(wrong, rows, strict=True))]  # type: ignore[arg-type]


def times(at: float, factor: float, workers: int = 1) -> Stream:
    """Lognormal times with correlation 0.9, the candidate's times `factor`. It serves half of the requests, and live is
    hedged there beyond this quantile of its own time."""

    def stream(seed: int) -> list[Said]:
        rng = rng_of(seed)
        ours = rng.standard_normal(N)
        theirs = 0.9 * ours + np.sqrt(1 - 0.81) * rng.standard_normal(N)
        live, candidate = np.exp(-4.0 + 0.5 * ours), np.exp(-4.0 + 0.5 * theirs) * factor
        serves, slow = rng.random(N) < 0.5, candidate > np.exp(-4.0 + 0.5 * scipy.special.ndtri(at))
        return [
            Said(1, 1, i, live[i], candidate[i], served=Arm.CANDIDATE if serves[i] else Arm.LIVE,
                 hedged=bool(serves[i] and slow[i]), worker=i % workers, late=20 * (i % workers))
            for i in range(N)
        ]  # fmt: skip

    return stream


def clumps(share: float, size: int) -> Stream:
    """Wrong answers on distinct requests, so many in a row."""
    return lambda seed: labels(np.repeat(rng_of(seed).random(-(-N // size)) < share, size)[:N].tolist())


def hot_body(seed: int) -> list[Said]:
    """A third of the requests have one body, on which the candidate is always wrong."""
    hot = rng_of(seed).random(N) < 0.35
    return [replace(one, body=-1) if bad else one for one, bad in zip(labels(hot.tolist()), hot, strict=True)]


def late_truth(seed: int) -> list[Said]:
    """3 % are frauds, known 1,000 requests later and told with the next batch, none of which the candidate finds; all
    else is known at once."""
    fraud = rng_of(seed).random(N) < 0.03
    return [Said(int(y), 0, i, truth=int(y), truth_late=1000 if y else 0) for i, y in enumerate(fraud)]


def found_late(seed: int) -> list[Said]:
    """The same, with a candidate that finds all of them."""
    return [replace(one, candidate=one.live) for one in late_truth(seed)]


def same(seed: int) -> list[Said]:
    """Live stays as it is, and the candidate says the same."""
    return [Said(float(x), float(x), i) for i, x in enumerate(rng_of(seed).normal(0.0, 1.0, N))]


def moved(seed: int) -> list[Said]:
    """Live narrows and moves after the answers from which thresholds are chosen, and the candidate lies further."""
    live = rng_of(seed).normal(0.0, 1.0, N)
    live[500:] = (6.0 if seed % 2 else 1.2) + 0.05 * live[500:]
    return [Said(float(x), float(x) + 0.025 * (i >= 500), i) for i, x in enumerate(live)]


def users(seed: int) -> list[Said]:
    """One user sends 2 % of the requests and is always answered wrongly; nobody else comes twice."""
    wrong = rng_of(seed).random(N) < 0.02
    return labels(wrong.tolist(), user=[0 if bad else i + 1 for i, bad in enumerate(wrong)])


def lagging(share: float) -> Stream:
    """Four workers, one request in turn each; the pairs with a wrong answer are told a hundred requests late."""

    def stream(seed: int) -> list[Said]:
        wrong = (rng_of(seed).random(N) < share).tolist()
        return labels(wrong, worker=[i % 4 for i in range(N)], late=[100 * bad for bad in wrong])

    return stream


GOOD, RATE = 15.0, 500.0
"""Seconds before a candidate breaks, and its requests a second: those of `loadtests/bench_rollback.py`."""


def broken_tail(seed: int) -> list[Said]:
    """3 % of requests take eight times as long once it breaks: that makes p99 three times as long, the median the
    same."""
    rng, count = rng_of(seed), int((GOOD + 60.0) * RATE)
    shared, *own = 0.35 * rng.standard_normal((3, count))
    live, candidate = (0.005 * np.exp(shared + one) for one in own)
    slow = (np.arange(count) >= GOOD * RATE) & (rng.random(count) < 0.03)
    return [
        Said(1, 1, i, a, b) for i, (a, b) in enumerate(zip(live, candidate * np.where(slow, 8.0, 1.0), strict=True))
    ]


P99, MEDIAN = "p99_latency: 1.2x", "median_latency: 1.2x, max_response_mismatch: 5%"
WRONG = "max_disagreement: 2%"
DELAY, NUMBER = "kind: label, label_delay: 1300s", "kind: number"

WITHIN = {
    "hedged at live's p95, identical models": Traffic(f"{P99}, {MEDIAN}", times(0.95, 1.0)),
    "four workers, each 20 later than the last, identical models": Traffic(
        f"{P99}, {MEDIAN}", times(0.9, 1.0, 4), workers=4
    ),
    "wrong answers in bursts of 5, half the limit": Traffic(WRONG, clumps(0.01, 5)),
    "four workers, wrong pairs 100 later, half the limit": Traffic(WRONG, lagging(0.01), workers=4),
    "one user always wrong, at the limit": Traffic(WRONG, users, plan="cluster_by: {header: x-user}"),
}
"""Candidates within their limits: rolled back in at most 1 % of the trials."""

BEYOND = {
    "hedged at live's p95, 1.2 times as slow": Traffic(MEDIAN, times(0.95, 1.2)),
    "always wrong on a body that is a third": Traffic(WRONG, hot_body),
    "wrong answers in clumps of 3, at the limit": Traffic(WRONG, clumps(0.02, 3)),
    "wrong answers in clumps of 10, at the limit": Traffic(WRONG, clumps(0.02, 10)),
    "a class whose truth comes later, drop of 3 %": Traffic("max_quality_drop: 2%", late_truth, DELAY, rate=1.0),
    "live leaves the thresholds, KS of 0.2": Traffic("max_ks: 0.05", moved, NUMBER),
    "four workers, wrong pairs 100 later, at the limit": Traffic(WRONG, lagging(0.02), workers=4),
}
"""Candidates at or beyond a limit: taken further in at most 5 % of the trials."""


PERFECT = {
    "hedged at live's p95, identical models": Traffic(MEDIAN, times(0.95, 1.0)),
    "never wrong": Traffic(WRONG, clumps(0.0, 1)),
    "four workers, each 20 later than the last, never wrong": Traffic(MEDIAN, times(0.95, 1.0, 4), workers=4),
    "truth that comes later for one class, all found": Traffic("max_quality_drop: 2%", found_late, DELAY, rate=1.0),
    "live stays, the same answers": Traffic("max_ks: 0.05", same, NUMBER),
}
"""Candidates that differ in nothing: taken further, so that what the others are kept back by is what they do."""


def most(rate: float, runs: int) -> int:
    """More of the runs than this come with a chance of one in a hundred at most where the rate is exactly this."""
    return int(scipy.stats.binom.ppf(0.99, runs, rate))


async def many(folder: Path, traffic: Traffic, runs: int) -> Decided:
    return await decided(folder, traffic, range(runs))


@pytest.mark.parametrize("name", WITHIN)
async def test_a_candidate_within_its_limits_is_kept(name: str, tmp_path: Path) -> None:
    found = await many(tmp_path, WITHIN[name], 3)
    assert found.rolled_back <= most(0.01, 3), found.reasons


@pytest.mark.parametrize("name", BEYOND)
async def test_a_candidate_beyond_its_limit_is_not_taken_further(name: str, tmp_path: Path) -> None:
    found = await many(tmp_path, BEYOND[name], 3)
    assert found.advanced <= most(0.05, 3), found.reasons


@pytest.mark.parametrize("name", PERFECT)
async def test_a_candidate_without_a_difference_is_taken_further(name: str, tmp_path: Path) -> None:
    found = await many(tmp_path, PERFECT[name], 2)
    assert (found.advanced, found.rolled_back) == (2, 0), found.reasons


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHIN)
async def test_a_hundred_within_their_limits(name: str, tmp_path: Path) -> None:
    found = await many(tmp_path, WITHIN[name], 100)
    assert found.rolled_back <= most(0.01, 100), found.reasons


@pytest.mark.slow
@pytest.mark.parametrize("name", BEYOND)
async def test_a_hundred_beyond_their_limits(name: str, tmp_path: Path) -> None:
    found = await many(tmp_path, BEYOND[name], 100)
    assert found.advanced <= most(0.05, 100), found.reasons


@pytest.mark.slow
async def test_a_p99_three_times_as_long_is_out_within_45_seconds_of_requests(tmp_path: Path) -> None:
    """With the guards of the documentation, by the times of the requests, which a busy machine does not change."""
    guards = f"{WRONG}, p99_latency: 1.2x, median_latency: 1.2x, max_extra_errors: 0.2%"
    found = await many(tmp_path, Traffic(guards, broken_tail, rate=RATE, min_pairs=10**8), 5)
    assert found.rolled_back == 5
    assert sorted(asked / RATE - GOOD for asked in found.asked)[2] <= 45.0
