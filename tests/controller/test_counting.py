"""Keeps the promise that worker counts merge by addition, and that a sum never falls when a worker dies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.controller.counting import MOST_LEDGERS, MOST_REPLICAS, Tallies
from proxy.pairs.link import BOUNDS

buckets = st.lists(st.integers(0, 9), min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1)
names, codes = st.sampled_from(["a", "b"]), st.sampled_from(["200", "timeout"])
payloads = st.fixed_dictionaries(
    {
        "requests": st.lists(st.tuples(names, names, st.just("served"), codes, st.integers(0, 9))),
        "durations": st.lists(st.tuples(names, names, st.just("copy"), buckets, st.floats(0, 9)), max_size=3),
        "overhead": st.lists(st.tuples(names, buckets, st.floats(0, 9)), max_size=3),
        "fallbacks": st.lists(st.tuples(names, st.just("timeout"), st.integers(0, 9)), max_size=3),
        "lookups": st.lists(st.tuples(names, st.integers(0, 9)), max_size=3),
        "refused_tables": st.integers(0, 3),
        "unhashed": st.lists(st.tuples(names, st.integers(0, 9)), max_size=3),
        "not_rewritten": st.lists(st.tuples(names, st.just("not_json"), st.integers(0, 9)), max_size=3),
        "paths": st.lists(st.tuples(names, st.integers(0, 9)), max_size=3),
        "endpoints": st.lists(
            st.tuples(names, names, st.sampled_from(["up", "ejected"]), st.integers(0, 9), st.just(1), st.just(0)),
            max_size=3,
        ),
        "connections": st.lists(st.tuples(names, st.just("idle"), st.integers(0, 9)), max_size=3),
    }
)  # fmt: skip


@given(st.lists(payloads, max_size=4), st.integers(0, 3))
def test_the_dead_stay_in_the_sum_but_for_their_connections(reports: list[dict[str, object]], died: int) -> None:
    tallies = Tallies()
    for number, report in enumerate(reports):
        tallies.report(f"w{number}", report)
    before = tallies.merged()
    tallies.gone(f"w{died}")
    after = tallies.merged()
    assert (after.requests, after.fallbacks, after.lookups) == (before.requests, before.fallbacks, before.lookups)
    assert {key: counts for key, (counts, _) in after.durations.items()} == {
        key: counts for key, (counts, _) in before.durations.items()
    }
    assert {key: counts for key, (counts, _) in after.overhead.items()} == {
        key: counts for key, (counts, _) in before.overhead.items()
    }
    assert (after.unhashed, after.not_rewritten) == (before.unhashed, before.not_rewritten)
    assert after.refused_tables == before.refused_tables == sum(r["refused_tables"] for r in reports)  # type: ignore[misc]
    for key, row in after.endpoints.items():
        assert row[2:] == before.endpoints[key][2:]
        assert row[0] <= before.endpoints[key][0]
    assert sum(after.connections.values()) <= sum(before.connections.values())
    assert sum(before.requests.values()) == sum(n for r in reports for *_, n in r["requests"])  # type: ignore[attr-defined]


def test_a_report_replaces_the_last_one_of_its_worker() -> None:
    tallies = Tallies()
    for count in (3, 5):
        tallies.report("w", {"requests": [["r", "u", "served", "200", count]]})
    assert tallies.merged().requests == {("r", "u", "served", "200"): 5}
    tallies.merged().requests.clear()  # a fresh value each time
    assert tallies.merged().requests != {}


def test_what_was_said_of_a_trial_at_last_is_known_when_it_is_not_repeated() -> None:
    tallies = Tallies()
    tallies.report("w0", {"ledger": {"a": {"sampled": 3}, "b": {"sampled": 1}}})
    tallies.report("w1", {"ledger": {"a": {"sampled": 4}}})
    tallies.report("w0", {"ledger": {"b": {"sampled": 2}}})
    assert tallies.ledgers("a") == {"w0": {"sampled": 3}, "w1": {"sampled": 4}}
    assert tallies.ledgers("b") == {"w0": {"sampled": 2}}
    tallies.gone("w0")
    assert tallies.ledgers("a") == {"w1": {"sampled": 4}}
    for number in range(MOST_LEDGERS + 5):
        tallies.report("w1", {"ledger": {f"t{number}": {"sampled": 1}}})
    assert tallies.ledgers("a") == tallies.ledgers("t3") == {}
    assert tallies.ledgers("t5") == {"w1": {"sampled": 1}}


def test_addresses_that_no_worker_knows_any_more_leave() -> None:
    tallies = Tallies()
    tallies.report("w0", {"endpoints": [["u", "a", "up", 5, 1, 0], ["u", "b", "up", 2, 0, 0]], "unhashed": [["u", 2]]})
    tallies.report("w1", {"endpoints": [["u", "b", "ejected", 3, 3, 1]]})
    assert tallies.merged().endpoints == {("u", "a"): [1, 1, 5, 1, 0], ("u", "b"): [2, 1, 5, 3, 1]}
    tallies.gone("w0")
    assert tallies.merged().endpoints == {("u", "b"): [1, 0, 5, 3, 1]}
    assert tallies.merged().unhashed == {"u": 2}


def said(count: int, address: str = "a:1") -> dict[str, object]:
    endpoints = [["u", address, "up", count, 0, 0]]
    return {"requests": [["r", "u", "served", "200", count]], "endpoints": endpoints, "connections": [["u", "idle", 1]]}


def test_each_replica_has_a_sum_of_its_own_and_keeps_its_dead() -> None:
    key, now = ("r", "u", "served", "200"), 100.0
    tallies = Tallies("here:1/", lambda: now)
    tallies.report("here:1/w0", said(1))
    tallies.report("there:1/w0", said(10))
    tallies.report("there:1/w1", said(20))
    now = 103.0
    assert (tallies.merged().requests[key], tallies.merged("there:1").requests[key]) == (1, 30)
    assert (tallies.age(), tallies.age("there:1"), tallies.age("nowhere:1")) == (3.0, 3.0, float("inf"))
    tallies.gone("there:1/w0")
    tallies.report("there:1/w2", said(5))
    there = tallies.merged("there:1")
    assert (there.requests[key], there.endpoints["u", "a:1"], there.connections) == (
        35,
        [2, 2, 35, 0, 0],
        {("u", "idle"): 2},
    )
    assert tallies.merged("nowhere:1").requests == {}


def test_who_leads_no_more_forgets_the_others_alone() -> None:
    tallies = Tallies("here:1/")
    for worker in ("here:1/w0", "here:1/w1", "there:1/w0", "there:1/w1"):
        tallies.report(worker, {**said(2), "ledger": {"t": {"sampled": 1}}})
    tallies.gone("here:1/w1")
    tallies.gone("there:1/w1")
    tallies.forget_others()
    assert sum(tallies.merged().requests.values()) == 4
    assert tallies.merged("there:1").requests == {}
    assert tallies.age("there:1") == float("inf")
    assert list(tallies.ledgers("t")) == ["here:1/w0"]


def test_replicas_that_come_and_go_are_kept_up_to_a_bound() -> None:
    tallies = Tallies("here:1/")
    for n in range(MOST_REPLICAS + 20):
        tallies.report(f"pod-{n}:1/w0", said(1))
        tallies.gone(f"pod-{n}:1/w0")
    assert (len(tallies._dead), len(tallies._heard)) == (MOST_REPLICAS, MOST_REPLICAS)
    assert tallies.merged("pod-0:1").requests == {}
    assert sum(tallies.merged(f"pod-{MOST_REPLICAS}:1").requests.values()) == 1
