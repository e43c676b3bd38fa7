"""Promise: latency evidence from all pairs of a block is fair whatever hangs together inside it, by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from proxy.evidence.families.ratio import Ratio
from proxy.evidence.input.timings import ORDERS, Timings, log_fail, log_pass
from proxy.evidence.process.restarts import Restarts, log_rest
from proxy.evidence.process.stakes import FAIL_MANY, FAIL_ONE, PASS_MANY, PASS_ONE, UNIT, Stakes, gains, share_stakes
from proxy.model import Guard
from tests.calibration.truths import batch
from tests.evidence.test_timings import MEDIAN, P99

MOST = 1.0 + 1e-9


LATENCY = (P99, MEDIAN, Guard("time_to_first_token", 0.25), Guard("p99_latency", 0.25))


ONE, MANY = share_stakes(0.5)[0]


GRIDS = [(FAIL_ONE, True), (FAIL_MANY, True), (PASS_ONE, False), (PASS_MANY, False)]


GRIDS += [(stakes, fail) for pair, fail in zip(share_stakes(0.25), (True, False), strict=True) for stakes in pair]


def blocks_of(m: int) -> list[tuple[int, int, int]]:
    """All that can come of a block of at most m pairs, some of which may be missing: pairs, beyond in c, in live."""
    return [(n, c, live) for n in range(m + 1) for c in range(n + 1) for live in range(n + 1)]


def fair_laws(m: int, p: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Laws of a block in which each pair that is there lies beyond with chance p in either arm, and that is all: the
    pairs, the arms, and how many there are may hang together in any way."""
    outcomes = blocks_of(m)
    together = [{(m, 0, 0): 1 - p, (m, m, m): p}, {(m, m, 0): p, (m, 0, m): p, (m, 0, 0): 1 - 2 * p}]
    if 1 < m <= 1 / p:
        together.append({(m, m, 1): p, (m, 0, 1): p * (m - 1), (m, 0, 0): 1 - p * m})
    if m > 1:
        together.append({(1, 0, 0): (1 - p) / 2, (1, 1, 1): p / 2, (m, m, m): p / 2, (m, 0, 0): (1 - p) / 2})
    laws = [np.array([law.get(outcome, 0.0) for outcome in outcomes]) for law in together]
    for _ in range(20):  # at random: n, then a fair law of both arms given n, by mixing two points for each arm
        chances = np.zeros(len(outcomes))
        for n, weight in enumerate(rng.dirichlet(np.ones(m + 1))):
            pick = []
            for _ in range(2):
                low = int(rng.integers(0, int(np.floor(p * n)) + 1))
                high = int(rng.integers(int(np.floor(p * n)) + 1, n + 1)) if n else 0
                share = (p * n - low) / (high - low) if high > low else 0.0
                pick.append(((low, 1 - share), (high, share)))
            both = rng.uniform(max(0.0, pick[0][1][1] + pick[1][1][1] - 1), min(pick[0][1][1], pick[1][1][1]))
            joint = {(1, 1): both, (1, 0): pick[0][1][1] - both, (0, 1): pick[1][1][1] - both}
            joint[0, 0] = 1 - sum(joint.values())
            for (i, j), chance in joint.items():
                chances[outcomes.index((n, pick[0][i][0], pick[1][j][0]))] += weight * chance
        laws.append(chances)
    return laws


@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("p", [0.01, 0.25])
@pytest.mark.parametrize("grid", range(len(GRIDS)))
def test_no_bet_wins_on_average_whatever_hangs_together_in_a_block(m: int, p: float, grid: int) -> None:
    """Two blocks in a row, m known before each, by every outcome: given the past, each factor's mean is at most 1."""
    stakes, fail = GRIDS[grid]
    n, c, live = (np.array(column, float) for column in zip(*blocks_of(m), strict=True))
    factors = np.exp(gains(stakes, p, c, live, n, np.full(len(n), float(m)), fail=fail) / UNIT)
    assert (factors > 0).all()
    for law in fair_laws(m, p, np.random.default_rng(m)):
        assert law.sum() == pytest.approx(1.0)
        assert law.min() >= -1e-12
        each = law @ factors
        assert (each <= MOST).all()
        assert (each @ stakes.weights) <= MOST


def law_of_two_arms(p: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Every outcome of `length` blocks of two pairs, each quick or slow in either arm, with its chance: an arm is slow
    with chance p, half of the time in both pairs at once, half of that with the other arm."""
    kinds = list(itertools.product((0, 1), repeat=4))  # c, c, live, live
    stalls = {(0, 0): 1 - 1.5 * p, (1, 1): p / 2, (1, 0): p / 2, (0, 1): p / 2}
    alone = {(0, 0): (1 - p) ** 2, (1, 1): p * p, (1, 0): p * (1 - p), (0, 1): p * (1 - p)}
    chances = []
    for a, b, x, y in kinds:
        stalled = stalls[a, x] if (a, x) == (b, y) else 0.0
        chances.append(0.5 * stalled + 0.5 * alone[a, x] * alone[b, y])
    assert sum(chances) == pytest.approx(1.0)
    runs = list(itertools.product(range(16), repeat=length))
    return np.array(kinds)[np.array(runs)], np.array([np.prod([chances[i] for i in run]) for run in runs])


@pytest.mark.parametrize("restart", [None, 1])
def test_the_whole_way_from_times_to_evidence_is_fair(restart: int | None) -> None:
    """At live's own quantile and at the limit: every outcome of two blocks through `Timings`, with restarts. The mean
    is at most 1 there, and as good as 1, so nothing is given away; the least edge can only have less."""
    p, rule = 0.2, Ratio.at("whole", 1.2, 0.2)
    outcomes, chances = law_of_two_arms(p, 2)
    means, least, at = np.zeros((2, 2)), np.zeros((2, 2)), int(np.searchsorted(rule.edges, 0.03))
    for outcome, chance in zip(outcomes, chances, strict=True):
        timings, restarts = Timings.empty([rule]), Restarts()
        for k, (a, b, x, y) in enumerate(outcome):
            if k == restart:
                restarts = restarts.start(timings.fails)
            seconds = np.where(np.array([a, b]), 0.1, 0.01)
            one = batch(np.random.default_rng(0), 2, seconds=seconds, live_seconds=np.where([x, y], 0.1, 0.01) / 1.2)
            timings.count([rule], restarts.row, np.array([0, 2]), one, np.ones(2, bool))
            least[0, k] += chance * np.exp(log_fail(rule, timings.fails, restarts, 0))
            least[1, k] += chance * np.exp(float(log_pass(rule, timings.passes[0])))
            since, rows = restarts.since(timings.fails)
            won = since.reshape(len(rows), 2, rule.cells, 8)[:, 0, at] / UNIT
            mixture = np.exp(rows) @ np.exp(won) @ FAIL_MANY.weights + np.exp(log_rest(restarts.total))
            means[0, k] += chance * mixture
            passing = timings.passes[0][:-2].reshape(2, rule.cells, 8)[0, at] / UNIT
            means[1, k] += chance * float(np.exp(passing) @ PASS_MANY.weights)
    assert (means <= MOST).all()
    assert (means >= 1.0 - 1e-4).all()
    assert (least <= MOST).all()


def test_a_restart_that_makes_room_goes_on_in_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for four rows, evidence after thirty restarts is that of all thirty: only rounding is lost."""
    rng, rule = np.random.default_rng(6), Ratio.at("whole", 1.2, 0.2)
    sums = []
    for rows in (4, 40):
        monkeypatch.setattr("proxy.evidence.process.restarts.ROWS", rows)
        rng, timings, restarts = np.random.default_rng(6), Timings.empty([rule]), Restarts()
        timings.fails = np.zeros((rows, timings.fails.shape[1]), np.int64)
        for k in range(60):
            if k % 2:
                timings.pour([rule], restarts, [5])
                restarts = restarts.start(timings.fails)
            live, seconds = np.exp(rng.normal(-4.0, 1.0, (2, 20)))
            one = batch(rng, 20, seconds=seconds * (3 if k > 40 else 1), live_seconds=live)
            if restarts.total >= 5:  # an epoch begins with the fifth
                timings.count([rule], restarts.row, np.array([0, 10, 20]), one, np.ones(20, bool))
            if k % 10 == 9:
                sums.append(log_fail(rule, timings.fails, restarts, 5))
    assert sums[:6] == pytest.approx(sums[6:], abs=1e-4)
    assert sums[5] > 0.5


def test_evidence_whose_restarts_make_room_is_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every outcome of four blocks with a restart before each of them and room for two: the mean is 1, or a little less
    for rounding. What has been poured into other sums twice, or with too much weight, would show above 1."""
    monkeypatch.setattr("proxy.evidence.process.restarts.ROWS", 3)
    p, rule = 0.2, Ratio.at("whole", 1.2, 0.2)
    at, means = int(np.searchsorted(rule.edges, 0.03)), np.zeros(4)
    beyond = np.array(list(itertools.product((0, 1), repeat=8))).reshape(-1, 4, 2)
    for outcome in beyond:
        chance = float(np.prod(np.where(outcome, p, 1.0 - p)))
        timings, restarts = Timings.empty([rule]), Restarts()
        timings.fails = np.zeros((3, timings.fails.shape[1]), np.int64)
        for k, (c, live) in enumerate(outcome):
            if k:
                timings.pour([rule], restarts, [0])
                restarts = restarts.start(timings.fails)
            times = {"seconds": np.array([0.1 if c else 0.01]), "live_seconds": np.array([0.1 if live else 0.01]) / 1.2}
            one = batch(np.random.default_rng(0), 1, **times)
            timings.count([rule], restarts.row, np.array([0, 1]), one, np.ones(1, bool))
            won = restarts.since(timings.fails)[0].reshape(-1, 2, rule.cells, 8)[:, 0, at] / UNIT
            mixture = np.exp(restarts.shares()) @ np.exp(won) @ FAIL_MANY.weights
            means[k] += chance * (mixture + np.exp(log_rest(restarts.total)))
    assert (means <= MOST).all()
    assert (means >= 1.0 - 1e-4).all()


def test_sums_of_blocks_are_what_the_bets_say_edge_by_edge() -> None:
    """The short way (equal edges once, single pairs by counting) against each block and edge by itself."""
    rng = np.random.default_rng(4)
    rule = Ratio.at("whole", 1.2, 0.01)
    sizes = rng.integers(1, 9, 30)
    starts = np.append(0, np.cumsum(sizes))
    n = int(starts[-1])
    live, seconds = np.exp(rng.normal(-4.0, 1.0, (2, n)))
    seconds[3] = np.inf
    pairs = batch(rng, n, live_seconds=live, seconds=seconds, candidate_first=rng.random(n) < 0.3)
    timings = Timings.empty([rule])
    timings.count([rule], 0, starts, pairs, np.ones(n, bool))
    _, c_fail, c_pass, ours = rule.beyond(pairs)
    edges = np.arange(rule.cells)
    expected = {True: np.zeros((2, rule.cells, 8)), False: np.zeros((2, rule.cells, 8))}
    for order in (0, 1):
        seen, blocks = 0, 0
        for a, b in itertools.pairwise(starts):
            m = max(1, seen // max(1, blocks))
            here = np.flatnonzero(pairs.candidate_first[a:b] == bool(order)) + a
            seen, blocks = seen + len(here), blocks + bool(len(here))
            here = here[:m]
            for fail, c, grids in ((True, c_fail, (FAIL_ONE, FAIL_MANY)), (False, c_pass, (PASS_ONE, PASS_MANY))):
                beyond = [(bins[here][:, None] > edges).sum(0).astype(float) for bins in (c, ours)]
                counted = np.full(rule.cells, float(len(here)))
                won = gains(grids[m > 1], 0.01, *beyond, counted, np.full(rule.cells, float(m)), fail=fail)
                expected[fail][order] += won
    assert np.array_equal(timings.fails[0].reshape(2, rule.cells, 8), expected[True])
    assert np.array_equal(timings.passes[0][:-2].reshape(2, rule.cells, 8), expected[False])
    assert np.array_equal(timings.passes[0], timings.passes[1])
    whole = [log_fail(rule, timings.fails, Restarts(), 0), float(log_pass(rule, timings.passes[0]))]
    weighed = [np.log(FAIL_MANY.weights), np.log(PASS_MANY.weights)]
    least = [
        np.logaddexp.reduce(x / UNIT + w, axis=-1).min(-1) for x, w in zip(expected.values(), weighed, strict=True)
    ]
    mixed = [np.logaddexp(x + np.log(0.5), np.log(0.5)) for x in least[0]]
    assert whole[0] == pytest.approx(np.logaddexp(*(np.log(ORDERS) + mixed)))
    assert whole[1] == pytest.approx(least[1][0])


def test_a_stake_is_never_all_on_a_block() -> None:
    for stakes in (
        FAIL_ONE,
        FAIL_MANY,
        PASS_ONE,
        PASS_MANY,
        *(s for p in (0.5, 0.01) for g in share_stakes(p) for s in g),
    ):
        assert stakes.weights.sum() == pytest.approx(1.0)
        assert ((stakes.candidate + stakes.live) < 1.0).all()
        assert isinstance(stakes, Stakes)
