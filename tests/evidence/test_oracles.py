"""Promise: the numbers agree with other people's code: ville (betting tests), scipy (distances, the split test).

ville knows nothing of ours, and scipy is what everybody checks against. savvi, which brings much with it, is asked in
`test_savvi.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy

from proxy.evidence.divergences import jensen_shannon, wasserstein
from proxy.evidence.process.discordance import discordance_fail_bets as discordance_fail
from proxy.evidence.process.means import BINS, above_bets, below_bets, bins
from proxy.evidence.process.normal import log_cdf
from proxy.evidence.process.rates import rate_fail_bets, rate_pass_bets
from proxy.evidence.rules.ks import BINS as KS_BINS
from proxy.evidence.rules.ks import Ks
from proxy.evidence.rules.psi import psi_estimate
from proxy.evidence.sample_ratio import PRIOR, log_bayes_factor


@pytest.fixture
def ville() -> Any:
    """The package, where it is installed; the other oracles do not wait for it."""
    return pytest.importorskip("ville")


@pytest.mark.parametrize(("mean", "m", "rejects"), [(0.6, 0.5, True), (0.5, 0.5, False), (0.4, 0.5, False)])
def test_we_and_ville_reject_the_same_means(ville: Any, mean: float, m: float, rejects: bool) -> None:
    rng = np.random.default_rng(1)
    values = np.clip(rng.normal(mean, 0.15, 1500), 0.0, 1.0)
    test = ville.BettingTest(m, bounds=(0.0, 1.0), alternative="greater", alpha=0.01)
    test.fit(values)
    counts = np.bincount(bins(values, rng.random(1500), 0.0, 1.0), minlength=BINS)
    ours = float(np.log(np.exp(counts @ above_bets(0.0, 1.0, m)[:BINS]).mean()))
    below = float(np.log(np.exp(counts @ below_bets(0.0, 1.0, m)[:BINS]).mean()))
    assert (ours >= np.log(100)) == bool(test.rejected_) == rejects
    assert (below >= np.log(100)) == (mean < m)


@pytest.mark.parametrize(("p", "rejects"), [(0.05, True), (0.02, False)])
def test_we_and_ville_reject_the_same_rates(ville: Any, p: float, rejects: bool) -> None:
    rng = np.random.default_rng(2)
    events = rng.random(3000) < p
    test = ville.BernoulliTest(0.02, alpha=0.01)
    test.fit(events.astype(float))
    counts = np.array([(~events).sum(), events.sum()])
    ours = float(np.log(np.exp(counts @ rate_fail_bets(0.02)).mean()))
    assert (ours >= np.log(100)) == bool(test.rejected_) == rejects


def test_likelihood_ratios_are_scipys() -> None:
    counts = np.array([970, 30])
    for bets in (rate_fail_bets(0.02), rate_pass_bets(0.02)):
        p1 = 0.02 * np.exp(bets[1])
        expected = scipy.stats.binom.logpmf(30, 1000, p1) - scipy.stats.binom.logpmf(30, 1000, 0.02)
        np.testing.assert_allclose(counts @ bets, expected, rtol=1e-9)


def test_without_a_margin_discordance_is_a_sign_test() -> None:
    """With ε = 0 concordant pairs say nothing: the bets are those of McNemar's test on the discordant ones."""
    bets = discordance_fail(0.0)
    np.testing.assert_allclose(bets[0], 0.0)
    np.testing.assert_allclose(np.exp(bets[1]) + np.exp(bets[2]), 2.0)


def test_the_normal_distribution_is_scipys() -> None:
    x = np.linspace(-60.0, 9.0, 400)
    np.testing.assert_allclose(log_cdf(x), scipy.stats.norm.logcdf(x), rtol=1e-8, atol=1e-16)


def test_psi_without_its_bias_is_the_textbooks() -> None:
    rng = np.random.default_rng(3)
    p, q = rng.dirichlet(np.full(10, 5.0)), rng.dirichlet(np.full(10, 5.0))
    table = np.outer(p, q) * 1e7
    estimate, sd, n = psi_estimate(table, 10)
    assert float(estimate) == pytest.approx(float(((q - p) * np.log(q / p)).sum()), rel=1e-4)
    assert float(n) == pytest.approx(1e7)
    assert 0.0 < float(sd) < 10.0


@pytest.mark.parametrize("paired", [0.0, 0.9])
def test_debiased_divergences_of_equal_arms_are_zero_on_average(paired: float) -> None:
    """The plug-in values are not: that is the whole point."""
    rng, n, found, plain = np.random.default_rng(4), 400, [], []
    for _ in range(300):
        ours = rng.integers(0, 10, n)
        c = np.where(rng.random(n) < paired, ours, rng.integers(0, 10, n))
        table = np.zeros((10, 10))
        np.add.at(table, (ours, c), 1)
        joint = (table + 0.05) / (n + 5)
        p, q = joint.sum(1), joint.sum(0)
        found.append(float(psi_estimate(table, 10)[0]))
        plain.append(float(((q - p) * np.log(q / p)).sum()))
    error = np.std(found) / np.sqrt(300)
    assert abs(np.mean(found)) < 4 * error + 5e-4
    assert np.mean(plain) > 8 * error


def test_jensen_shannon_is_scipys() -> None:
    rng = np.random.default_rng(5)
    p, q = rng.dirichlet(np.full(8, 3.0)), rng.dirichlet(np.full(8, 3.0))
    value, _ = jensen_shannon(np.outer(p, q), 1e12)
    assert value == pytest.approx(float(scipy.spatial.distance.jensenshannon(p, q)) ** 2, rel=1e-6)


def test_wasserstein_is_scipys_on_a_grid() -> None:
    rng = np.random.default_rng(6)
    live, candidate = rng.normal(0.0, 1.0, 20_000), rng.normal(0.5, 1.2, 20_000)
    grid = np.linspace(-6.0, 7.0, 800)
    at_most_c, at_most_l = candidate[:, None] <= grid, live[:, None] <= grid
    below = np.stack([(at_most_c & ~at_most_l).sum(0), (at_most_l & ~at_most_c).sum(0)], axis=1).astype(float)
    value, _ = wasserstein(below, 20_000.0, np.full(800, grid[1] - grid[0]))
    assert value == pytest.approx(scipy.stats.wasserstein_distance(live, candidate), rel=0.02)


def test_ks_at_its_thresholds_is_scipys() -> None:
    rng = np.random.default_rng(7)
    live, candidate = rng.normal(0.0, 1.0, 3000), rng.normal(0.2, 1.0, 3000)
    thresholds = tuple(np.quantile(live, np.arange(1, 32) / 32).tolist())
    rule = Ks(thresholds)
    counts = np.zeros(rule.width, np.int64)
    c, ours = np.searchsorted(thresholds, candidate), np.searchsorted(thresholds, live)
    np.add.at(counts, np.concatenate([c, KS_BINS + ours, 2 * KS_BINS + np.maximum(c, ours)]), 1)
    value = rule.estimates(counts[None], 0.05)[0].value
    assert value is not None
    sup = float(scipy.stats.ks_2samp(live, candidate).statistic)
    assert sup - 1 / 32 <= value <= sup + 1e-12


@pytest.mark.parametrize(("candidate", "live", "expected"), [(80, 920, 0.05), (3, 1, 0.5), (0, 500, 0.01)])
def test_the_sample_ratio_is_scipys_beta_binomial(candidate: int, live: int, expected: float) -> None:
    n, a, b = candidate + live, PRIOR * expected, PRIOR * (1 - expected)
    theirs = scipy.stats.betabinom.logpmf(candidate, n, a, b) - scipy.stats.binom.logpmf(candidate, n, expected)
    assert log_bayes_factor(candidate, live, expected) == pytest.approx(theirs, rel=1e-9)
