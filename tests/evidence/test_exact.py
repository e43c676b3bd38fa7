"""Promise: under the limit no guard's e-value has a mean above 1, by enumeration of every outcome, not by simulation.

`Σ P0(outcome) · E(outcome) ≤ 1` over all outcomes of n ≤ 12 pairs: at the limit and inside it for FAIL, at the limit
and beyond it for PASS. Because the state is counts, outcomes are enumerated as counts with multinomial weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import factorial, prod

import numpy as np
import pytest

from proxy.evidence.families.mean import Mean
from proxy.evidence.families.projections import Projections
from proxy.evidence.families.rate import Rate
from proxy.evidence.families.ratio import Ratio, ratio_bets
from proxy.evidence.families.slower import Slower
from proxy.evidence.input.batch import Batch, columns
from proxy.evidence.input.projections import PROJECTIONS
from proxy.evidence.input.timings import ORDERS
from proxy.evidence.process.discordance import BETS as ERROR_BETS
from proxy.evidence.process.discordance import WEIGHTS as ERROR_WEIGHTS
from proxy.evidence.process.means import BETS, BINS, WEIGHTS
from proxy.evidence.process.restarts import ROWS, Restarts
from proxy.evidence.process.stakes import FAIL_ONE, PASS_ONE
from proxy.evidence.process.wealth import log_mean_exp
from proxy.evidence.rules.extra_errors import ExtraErrors
from proxy.evidence.rules.ks import BINS as KS_BINS
from proxy.evidence.rules.ks import Ks
from proxy.evidence.rules.psi import Psi, asymptotic_log_e
from proxy.evidence.rules.rate_increase import RateIncrease
from proxy.evidence.rules.response_mismatch import Mismatched
from proxy.evidence.rules.similarity import Similarity
from proxy.evidence.rules.win_rate import FLOOR_VALUES, VALUES, WinRate
from proxy.model import Arm
from tests.evidence.streams import make_reading

MOST = 1.0 + 1e-9


def compositions(n: int, cells: int) -> Iterator[tuple[int, ...]]:
    """All ways to put n pairs in the cells."""
    if cells == 1:
        yield (n,)
        return
    for first in range(n + 1):
        for rest in compositions(n - first, cells - 1):
            yield (first, *rest)


def expected(counts: np.ndarray, log_e: np.ndarray, chances: np.ndarray) -> float:
    """Σ P·E over outcomes given as counts (m, cells)."""
    n = int(counts[0].sum())
    ways = np.array([factorial(n) / prod(factorial(int(c)) for c in row) for row in counts])
    with np.errstate(divide="ignore"):
        logs = np.where(counts > 0, counts * np.log(np.where(chances > 0, chances, 1.0)), 0.0).sum(-1)
    possible = ~((counts > 0) & (chances == 0)).any(-1)
    return float((ways * np.exp(logs) * np.exp(np.minimum(log_e, 700.0)) * possible).sum())


@pytest.mark.parametrize("n", [1, 2, 5, 12])
@pytest.mark.parametrize("limit", [0.005, 0.02, 0.3, 0.7])
def test_rate(n: int, limit: float) -> None:
    counts = np.array([(n - k, k, 0) for k in range(n + 1)])
    rule = Rate("differs")
    for p in (limit, limit * 0.7, limit * 0.1):
        assert expected(counts[:, :2], rule.log_fail(counts, limit), np.array([1 - p, p])) <= MOST
    for p in (limit, min(1.0, limit * 1.4)):
        assert expected(counts[:, :2], rule.log_pass(counts, limit), np.array([1 - p, p])) <= MOST


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("limit", [0.005, 0.01, 0.3])
def test_mismatches(n: int, limit: float) -> None:
    """Whatever the words are by which the answers differ: it is the share of all of them together that counts."""
    counts, rule = np.array(list(compositions(n, 5))), Mismatched()
    for words in ((0.25, 0.25, 0.25, 0.25), (1.0, 0.0, 0.0, 0.0), (0.0, 0.7, 0.1, 0.2)):
        for p in (limit, limit * 0.3):
            chances = np.array([1 - p, *(p * word for word in words)])
            assert expected(counts, rule.log_fail(counts, limit), chances) <= MOST
        for p in (limit, min(1.0, limit * 1.5)):
            chances = np.array([1 - p, *(p * word for word in words)])
            assert expected(counts, rule.log_pass(counts, limit), chances) <= MOST


@pytest.mark.parametrize("n", [1, 4, 8])
@pytest.mark.parametrize("margin", [0.0, 0.002, 0.1])
def test_discordance(n: int, margin: float) -> None:
    counts = np.array([(*c, 0) for c in compositions(n, 3)])
    rule = ExtraErrors()
    for discordant in (margin, margin + 0.1, margin + 0.5):
        worse, better = (discordant + margin) / 2, (discordant - margin) / 2
        at_limit = np.array([1 - discordant, worse, better])
        assert expected(counts[:, :3], rule.log_fail(counts, margin), at_limit) <= MOST
        assert expected(counts[:, :3], rule.log_pass(counts, margin), at_limit) <= MOST
        assert expected(counts[:, :3], rule.log_fail(counts, margin), at_limit[[0, 2, 1]]) <= MOST


@pytest.mark.parametrize("n", [1, 4, 8])
@pytest.mark.parametrize("margin", [0.0, 0.005, 0.1])
def test_rate_increase(n: int, margin: float) -> None:
    """At the limit and on either side of it, whatever part of the events of the candidate are failed answers."""
    counts, rule = np.array(list(compositions(n, 4))), RateIncrease()
    for discordant in (margin, margin + 0.1, margin + 0.5):
        for failed in (0.0, 0.3, 1.0):
            more, less = (discordant + margin) / 2, (discordant - margin) / 2
            at_limit = np.array([1 - discordant, more * (1 - failed), less, more * failed])
            assert expected(counts, rule.log_fail(counts, margin), at_limit) <= MOST
            assert expected(counts, rule.log_pass(counts, margin), at_limit) <= MOST
            fewer = np.array([1 - discordant, less * (1 - failed), more, less * failed])
            assert expected(counts, rule.log_fail(counts, margin), fewer) <= MOST
            if margin:
                beyond = np.array([1 - discordant, discordant * (1 - failed), 0.0, discordant * failed])
                assert expected(counts, rule.log_pass(counts, margin), beyond) <= MOST


@pytest.mark.parametrize("limit", [0.3, 0.4, 0.45, 0.5, 0.6])
@pytest.mark.parametrize(("values", "n"), [(VALUES, 1), (VALUES, 5), (VALUES, 9), (FLOOR_VALUES, 1), (FLOOR_VALUES, 5)])
def test_win_rate(values: tuple[float, ...], n: int, limit: float) -> None:
    """At the limit and on either side of it, whatever part of the pairs are ties."""
    counts, rule, x = np.array(list(compositions(n, len(values)))), WinRate(values), np.array(values)
    for mean in (0.5 - limit, 0.45 - limit, 0.3 - limit):  # of what the candidate falls short by
        for chances in _laws(x, mean):
            assert expected(counts, rule.log_fail(counts, limit), chances) <= MOST
    for mean in (0.5 - limit, 0.55 - limit, min(0.49, 0.7 - limit)):
        for chances in _laws(x, mean):
            assert expected(counts, rule.log_pass(counts, limit), chances) <= MOST


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("limit", [0.0, 0.01, 0.2])
def test_mean(two_sided: bool, limit: float) -> None:
    rule = Mean("shift", -1.0, 1.0, two_sided)
    at = [0, 200, 256, 300, 512]  # bins of five values, three of them inside
    values = np.array([-1.0 + i / 256 for i in at])
    cells = np.array(list(compositions(8, len(at))))
    counts = np.zeros((len(cells), BINS + 1), np.int64)
    counts[:, at] = cells
    for mean in (limit, -limit) if two_sided else (limit,):
        for chances in _laws(values, mean):
            assert expected(cells, rule.log_fail(counts, limit), chances) <= MOST
            assert expected(cells, rule.log_pass(counts, limit), chances) <= MOST


def _laws(values: np.ndarray, mean: float) -> Iterator[np.ndarray]:
    """Some distributions on the values with exactly this mean."""
    for low, high in itertools.product(values[values < mean], values[values > mean]):
        share = (mean - low) / (high - low)
        yield np.where(values == low, 1 - share, 0.0) + np.where(values == high, share, 0.0)


def test_similarity_is_a_mean_of_the_distance() -> None:
    rule = Similarity("distance", 0.0, 1.0, two_sided=False)
    cells = np.array([(12 - k, k) for k in range(13)])
    counts = np.zeros((13, BINS + 1), np.int64)
    counts[:, [0, 512]] = cells
    for log_e in (rule.log_fail(counts, 0.9), rule.log_pass(counts, 0.9)):
        assert expected(cells, log_e, np.array([0.9, 0.1])) <= MOST


@pytest.mark.parametrize("limit", [0.05, 0.5])
def test_projections(limit: float) -> None:
    """Two of the projections move by the limit, in opposite directions; all of them see the same pairs."""
    rule = Projections()
    at = [240, 256, 272]
    values = np.array([-8.0 + i / 32 for i in at])
    cells = np.array(list(compositions(8, 3)))
    counts = np.zeros((len(cells), rule.width), np.int64)
    for number in range(PROJECTIONS):
        index = [number * BINS + i for i in (at if number % 2 else at[::-1])]
        counts[:, index] = cells
    for chances in _laws(values, limit):
        assert expected(cells, rule.log_fail(counts, limit), chances) <= MOST
        assert expected(cells, rule.log_pass(counts, limit), chances) <= MOST


@pytest.mark.parametrize("limit", [0.02, 0.1])
def test_ks(limit: float) -> None:
    """Three bins for each arm: nine joint cells, whose differences at both thresholds are exactly at the margin."""
    rule = Ks((0.0, 1.0))
    joint = list(itertools.product(range(3), repeat=2))
    cells = np.array(list(compositions(4, 9)))
    counts = np.zeros((len(cells), rule.width), np.int64)
    for column, (c, ours) in enumerate(joint):
        counts[:, c] += cells[:, column]
        counts[:, KS_BINS + ours] += cells[:, column]
        counts[:, 2 * KS_BINS + max(c, ours)] += cells[:, column]
    live = np.array([0.3, 0.4, 0.3])
    for moved in (np.array([limit, 0.0, -limit]), np.array([limit, -limit, 0.0]), np.array([-limit, limit, 0.0])):
        candidate = live + moved  # F_c − F_l is ±limit at a threshold, at most that at the other
        chances = np.array([candidate[c] * live[ours] for c, ours in joint])
        assert expected(cells, rule.log_fail(counts, limit), chances) <= MOST
        assert expected(cells, rule.log_pass(counts, limit), chances) <= MOST


def test_latency_quantile_ratio() -> None:
    """The bets at live's quantile: P(l > q) = p exactly, and the candidate's scaled time beyond q as often, or more."""
    p = 0.01
    fail, passing = ratio_bets(p)
    cells = np.array(list(compositions(12, 4)))  # neither, c only, l only, both beyond q
    for both in (0.0, 0.004, 0.01):
        chances = np.array([1 - 2 * p + both, p - both, p - both, both])
        for bets, weights in ((fail, FAIL_ONE.weights), (passing, PASS_ONE.weights)):
            log_e = log_mean_exp(cells @ bets, weights)
            assert expected(cells, log_e, chances) <= MOST


QUICK, SLOW = 0.01, 0.1
HEDGED = Ratio.at("whole", 1.2, 0.25), Ratio.at("first", 1.2, 0.25), Slower.at("whole", 1.2, 0.5, relative=True)


@pytest.mark.parametrize("rule", HEDGED)
@pytest.mark.parametrize("dependence", [0.0, 0.25, 0.6, 1.0])
def test_live_is_asked_only_where_the_candidate_is_slow(rule: Ratio | Slower, dependence: float) -> None:
    """Readings of dependent arms through the whole way to the counts, at the limit: every slow candidate is hedged, so
    whether live was asked in its place says what its time is like. At 1 both arms are slow together or not at all."""
    outcomes = list(itertools.product((QUICK, SLOW), repeat=2))  # the candidate, live
    each = np.zeros((4, rule.width), np.int64)
    for counts, (c, ours) in zip(each, outcomes, strict=True):
        np.add.at(counts, rule.place(hedged(c, ours), 0)[1], 1)
    cells = np.array(list(compositions(10, 4)))
    if isinstance(rule, Ratio):  # each arm is slow with probability p
        both = rule.p**2 + dependence * (rule.p - rule.p**2)
        chances = np.array([1 - 2 * rule.p + both, rule.p - both, rule.p - both, both])
    else:  # only the candidate is, with probability p0; else both are, or neither
        chances = np.array([(1 - rule.p0) * (1 - dependence), 0.0, rule.p0, (1 - rule.p0) * dependence])
    assert expected(cells, rule.log_fail(cells @ each, rule.limit), chances) <= MOST
    assert expected(cells, rule.log_pass(cells @ each, rule.limit), chances) <= MOST
    assert float(rule.log_fail(np.array([0, 0, 60, 0]) @ each, rule.limit)) > 5.0  # a slow candidate is found


def hedged(candidate: float, live: float) -> Batch:
    """One pair that the candidate served, with live asked too if it was slow."""
    times = {"seconds": candidate, "first": candidate, "live_seconds": live, "live_first": live}
    one = make_reading(served=Arm.CANDIDATE, hedged=candidate > QUICK, **times)
    yes = np.ones(1, bool)
    return columns({name: [value] for name, value in one._asdict().items()}, 0, yes, yes)


@pytest.mark.parametrize("relative", [True, False])
def test_share_beyond_a_latency_limit(relative: bool) -> None:
    rule = Slower.at("whole", 1.2, 0.5, relative=relative)
    cells = np.array([(12 - k, k) for k in range(13)])
    counts = np.zeros((13, rule.width), np.int64)
    counts[:, 0], counts[:, len(rule.edges)] = cells[:, 0], cells[:, 1]
    for log_e in (rule.log_fail(counts, 1.2), rule.log_pass(counts, 1.2)):
        # One of two order arrays is empty for a relative limit: FAIL is then half of 1 and half of the evidence.
        assert expected(cells, log_e, np.array([0.5, 0.5])) <= MOST


@pytest.mark.parametrize("restarts_at", [(), (2,), (1, 4), (0, 2, 5)])
def test_restarts(restarts_at: tuple[int, ...]) -> None:
    """Every sequence of 8 outcomes with restarts inside: the mixture's mean is at most 1 at every moment."""
    rule, p, n = Rate("differs"), 0.3, 8
    totals = np.zeros(n + 1)
    for outcome in itertools.product((0, 1), repeat=n):
        rows, restarts, chance = np.zeros((ROWS, 3), np.int64), Restarts(), 1.0
        chance_all = p ** sum(outcome) * (1 - p) ** (n - sum(outcome))
        for i, event in enumerate(outcome):
            if i in restarts_at:
                restarts = restarts.start(rows)
            rows[restarts.row, event] += 1
            since, logs = restarts.since(rows)
            chance = float(np.exp(restarts.mixture(rule.log_fail(since, p), logs)))
            totals[i + 1] += chance_all * chance
    assert (totals[1:] <= MOST).all()
    assert totals[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("weights", [(BETS, WEIGHTS), (ERROR_BETS, ERROR_WEIGHTS)])
def test_bets_cannot_lose_all_and_their_weights_sum_to_one(weights: tuple[np.ndarray, np.ndarray]) -> None:
    bets, shares = weights
    assert len(bets) == len(shares)
    assert shares.sum() == pytest.approx(1.0, abs=1e-12)
    assert 0.0 < bets.min() <= bets.max() < 1.0


def test_a_break_after_a_billion_good_pairs_is_found_within_two_thousand() -> None:
    """5 % of answers are other ones where 2 % may be; the restarts before were a million."""
    rule, rows = Rate("differs"), np.zeros((ROWS, 3), np.int64)
    rows[0] = 995_000_000, 5_000_000, 0
    restarts, pairs, log_e = Restarts((10**6,), 10**6), 0, 0.0
    while log_e < np.log(100.0):
        rows[restarts.row] += (19, 1, 0)
        pairs += 20
        if pairs % 1000 == 0:
            restarts = restarts.start(rows)
        since, logs = restarts.since(rows)
        log_e = restarts.mixture(rule.log_fail(since, 0.02), logs)
    assert pairs <= 2000


def test_a_failure_multiplies_each_bets_own_worst_factor() -> None:
    """Whatever value a failed pair would have had, FAIL evidence would not have been larger, nor PASS smaller."""
    for rule, limit in ((Mean("shift", -1.0, 1.0, True), 0.01), (Mean("distance", 0.0, 1.0, False), 0.1)):
        seen = np.zeros(rule.width, np.int64)
        seen[[10, 250, 400]] = 3, 50, 7
        failed = seen.copy()
        failed[-1] = 1
        for bin_ in range(0, BINS, 8):
            valued = seen.copy()
            valued[bin_] += 1
            assert rule.log_fail(valued, limit) <= rule.log_fail(failed, limit) + 1e-12
            assert rule.log_pass(valued, limit) >= rule.log_pass(failed, limit) - 1e-12


@pytest.mark.parametrize("limit", [0.02, 0.3])
def test_a_failure_is_the_worst_for_every_threshold_and_every_sign(limit: float) -> None:
    rule = Ks((0.0, 1.0))

    def counts(pairs: list[tuple[int, int]], failed: int) -> np.ndarray:
        found = np.zeros(rule.width, np.int64)
        for c, ours in pairs:
            found[[c, KS_BINS + ours, 2 * KS_BINS + max(c, ours)]] += 1
        found[-1] = failed
        return found

    seen = [(0, 0), (1, 1), (2, 2), (0, 1), (1, 0)] * 4
    for one in itertools.product(range(3), repeat=2):
        valued, failed = counts([*seen, one], 0), counts(seen, 1)
        assert rule.log_fail(valued, limit) <= rule.log_fail(failed, limit) + 1e-12
        assert rule.log_pass(valued, limit) >= rule.log_pass(failed, limit) - 1e-12


def test_the_asymptotic_e_value_says_nothing_before_its_asymptotics() -> None:
    rule, counts = Psi(tuple(range(9))), np.zeros((2, 101), np.int64)
    counts[:, 9] = 499, 500  # live always in the first bin, the candidate in the last
    assert float(rule.log_fail(counts[0], 0.2)) == float(rule.log_pass(counts[0], 0.2)) == 0.0
    assert float(rule.log_fail(counts[1], 0.2)) > 5.0


def test_a_pass_of_the_index_takes_the_deviation_that_it_has_at_the_limit() -> None:
    """Where chance makes the estimate small it makes the deviation small too: up to 11 % passed at the limit."""
    n, sd = np.array(2000.0), np.array(0.4)
    own = float(asymptotic_log_e(np.array(0.1), sd, n, -0.1, 1.0))  # the same distance, the deviation as it is
    at_limit = float(asymptotic_log_e(np.array(0.1), sd * np.sqrt(3.0), n, -0.1, 1.0))
    passing = float(asymptotic_log_e(np.array(0.1), sd, n, 0.3, -1.0))
    assert passing == pytest.approx(at_limit)
    assert passing < own - 1.0
    far = float(asymptotic_log_e(np.array(0.01), sd, n, 0.21, -1.0))  # at most twice the deviation
    assert far == pytest.approx(float(asymptotic_log_e(np.array(0.01), 2.0 * sd, n, -0.19, 1.0)))
    above = [float(asymptotic_log_e(np.array(0.4), sd, n, 0.3, sign)) for sign in (1.0, -1.0)]
    assert above[1] < 0.0 < above[0]


def test_zero_tolerance_fails_at_the_first_event_and_never_passes() -> None:
    rule = Rate("differs")
    assert float(rule.log_pass(np.array([10_000_000, 0, 0]), 0.0)) <= 0.0
    assert float(rule.log_fail(np.array([10_000_000, 0, 0]), 0.0)) == 0.0
    assert float(rule.log_fail(np.array([10_000_000, 1, 0]), 0.0)) > 1e9


def test_the_least_edge_is_found_without_looking_at_all() -> None:
    rng = np.random.default_rng(3)
    rule = Ratio.at("whole", 1.2, 0.01)
    counts = np.zeros(rule.width, np.int64)
    bins = len(rule.edges) + 1
    for part in range(4):
        np.add.at(counts, part * bins + np.clip(rng.normal(300, 25, 3000), 0, bins - 1).astype(int), 1)
    cells = rule._cells(counts[: rule.width // 2], rule.steps + 1, 2)
    bets = ratio_bets(0.01)[0]
    logs = cells @ bets
    full = log_mean_exp(logs, FAIL_ONE.weights).min()
    both = np.logaddexp.reduce(np.log(ORDERS) + np.array([full, 0.0]))  # the candidate-first array is empty: E = 1
    assert float(rule.log_fail(counts, 1.2)) == pytest.approx(both)
