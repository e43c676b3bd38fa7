"""Keeps the promise that worker counts merge by addition, and that a sum never falls when a worker dies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.controller.counting import MOST_LEDGERS, Tallies
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
