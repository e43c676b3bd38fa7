"""Promise: with `cluster_by` a user's requests of a window are one block, of which one request counts, drawn beforehand
so that a user weighs as many requests as it sent; a hundred users give a verdict within thousands of pairs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from proxy.evidence import Evidence
from proxy.evidence.input.clusters import WINDOW, Clusters
from proxy.model import Guard, Kind, Plan, Reading, Verdict
from tests.evidence.streams import cut, make_plan, make_reading


def plan() -> Plan:
    return make_plan(Guard("max_disagreement", 0.02), kind=Kind.LABEL, cluster_by="x-user")


def requests(n: int, users: int, wrong: int) -> list[Reading]:
    """So many users in any order; the candidate is always wrong for some of them."""
    who = np.random.default_rng(4).integers(0, users, n).tolist()
    return [make_reading(i, 1, int(u >= wrong), kind=Kind.LABEL, cluster=f"u{u}") for i, u in enumerate(who)]


def until(evidence: Evidence, stream: list[Reading]) -> tuple[Verdict, int]:
    """The verdict, and the pairs until it came."""
    for number, batch in enumerate(cut(stream, (100,)), 1):
        evidence.add(batch)
        verdict = evidence.assess(forecast=False).verdict
        if verdict is not Verdict.INCONCLUSIVE:
            return verdict, 100 * number
    return Verdict.INCONCLUSIVE, len(stream)


@pytest.mark.parametrize(("wrong", "verdict", "within"), [(0, Verdict.PASS, 5000), (8, Verdict.FAIL, 5000)])
def test_a_hundred_users_give_a_verdict_within_thousands_of_pairs(wrong: int, verdict: Verdict, within: int) -> None:
    found, pairs = until(Evidence.begin(plan(), 1), requests(8000, 100, wrong))
    assert found is verdict
    assert pairs <= within


def test_one_request_of_a_user_counts_in_a_window_in_proportion_to_how_many_it_sent() -> None:
    rng, counted, sent = np.random.default_rng(5), Counter[int](), Counter[int]()
    clusters = Clusters()
    users = rng.integers(0, 2**63, 30).tolist()
    weights = np.r_[np.full(10, 1), np.full(10, 2), np.full(10, 4)] / 70
    for window in range(400):
        who = rng.choice(30, WINDOW, p=weights).tolist()
        chosen = clusters.chosen([users[u] for u in who])
        found = Counter(u for u, one in zip(who, chosen, strict=True) if one)
        assert max(found.values(), default=0) <= 1
        if window:  # m is known from the second on
            counted.update(found)
            sent.update(who)
    shares = [sum(counted[u] / sent[u] for u in range(at, at + 10)) for at in (0, 10, 20)]
    assert shares == pytest.approx([np.mean(shares)] * 3, rel=0.1)


def test_what_counts_is_known_before_it_is_answered_and_survives_cuts_and_restarts() -> None:
    stream = requests(3000, 40, 4)
    whole = Evidence.begin(plan(), 9)
    whole.add(stream)
    parts = Evidence.begin(plan(), 9)
    for batch in cut(stream, (333, 70)):
        parts.add(batch)
        parts = Evidence.load(plan(), parts.dump())
    assert (parts.counts == whole.counts).all()
    assert 40 < whole.counts.sum() < 300
    other = [reading._replace(candidate=reading.live) for reading in stream]
    good = Evidence.begin(plan(), 9)
    good.add(other)
    assert good.counts.sum() == whole.counts.sum()


def test_requests_without_a_user_all_count() -> None:
    evidence = Evidence.begin(plan(), 1)
    evidence.add([make_reading(i, 1, 1, kind=Kind.LABEL) for i in range(500)])
    assert evidence.counts.sum() == 500


def test_windows_join_in_either_order() -> None:
    a, b = Clusters(), Clusters()
    a.chosen([1, 2, 2, 3] * 100)
    b.chosen([2, 5] * 300)
    assert a.merge(b).entries == b.merge(a).entries
    assert len(a.merge(b).entries[3]) == 4
    heavy = Clusters()
    heavy.chosen([7] * WINDOW)
    heavy.chosen(list(range(WINDOW)) * 2)
    assert heavy.entries[2] == 500  # half of what it was: one heavy window is forgotten in time
