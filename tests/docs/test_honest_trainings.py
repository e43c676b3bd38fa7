"""Promise: the figures that docs/guards.md gives for honest trainings of a boosted classifier are what comes out."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.evidence import Evidence
from proxy.model import Guard
from tests.evidence.streams import make_plan, make_reading

Scores = np.ndarray


@pytest.fixture(scope="module")
def trained() -> tuple[Scores, list[Scores], list[float]]:
    """Live's scores, those of six honest candidates, and how often all seven are right."""
    datasets, ensemble = pytest.importorskip("sklearn.datasets"), pytest.importorskip("sklearn.ensemble")
    x, y = datasets.make_classification(8000, 20, n_informative=8, flip_y=0.02, random_state=1)

    def fit(seed: int) -> Scores:
        rows = np.random.default_rng(seed).choice(1000, 900)
        model = ensemble.HistGradientBoostingClassifier(max_iter=100, random_state=seed).fit(x[rows], y[rows])
        return np.asarray(model.predict_proba(x[1000:])[:, 1])

    live, *others = [fit(seed) for seed in (100, 0, 1, 2, 3, 4, 5)]
    return live, others, [float(((scores > 0.5) == y[1000:]).mean()) for scores in (live, *others)]


def out_after(guard: Guard, live: Scores, other: Scores, seed: int) -> int | None:
    """Pairs after which a candidate is rolled back by one guard of three."""
    plan = make_plan(guard, Guard("max_extra_errors", 0.01), Guard("p99_latency", 1.2, relative=True))
    evidence, order = Evidence.begin(plan, seed), np.random.default_rng(seed).permutation(len(live)).tolist()
    for at in range(0, len(order), 100):
        batch = enumerate(order[at : at + 100], at)
        evidence.add([make_reading(i, float(live[j]), float(other[j])) for i, j in batch])
        if evidence.crossed():
            return at + 100
    return None


@pytest.mark.slow
def test_honest_trainings_are_rolled_back_by_the_wrong_guard(trained: tuple[Scores, list[Scores], list[float]]) -> None:
    live, others, right = trained
    assert 0.84 < min(right) <= max(right) < 0.87
    assert all(0.08 < float(((c > 0.5) != (live > 0.5)).mean()) < 0.11 for c in others)
    assert all(abs(float((c - live).mean())) < 0.021 for c in others)
    by_label = [out_after(Guard("max_disagreement", 0.02), live, c, seed) for seed, c in enumerate(others)]
    assert all(pairs is not None and pairs <= 600 for pairs in by_label)
    by_ks = [out_after(Guard("max_ks", 0.02), live, c, seed) for seed, c in enumerate(others)]
    assert 2 <= sum(pairs is not None for pairs in by_ks) <= 4
    assert [out_after(Guard("max_mean_shift", 0.04), live, c, seed) for seed, c in enumerate(others)] == [None] * 6
