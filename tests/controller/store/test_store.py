"""Keeps the promises that every store keeps, whatever it is kept in: a change is saved whole or not at all and survives
a restart, and the journal only grows."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from proxy.controller.store.interface import KEPT, DriftChange, RolloutStore, SavedDrift
from proxy.controller.webhooks.policy import WebhookEvent
from proxy.errors import StoreError
from proxy.model import State
from tests.controller.store.stores import Kind, change, saved


async def test_a_change_survives_a_restart_whole(kind: Kind, store: RolloutStore) -> None:
    await store.save(change(7, "http://a", evidence=b"\x00\xff"))
    again = await kind.open()
    contents = await again.load()
    assert contents.rollouts == [replace(change(7, evidence=b"\x00\xff").saved)]
    assert contents.table == 7
    assert contents.identity == (await again.load()).identity
    delivery = await again.next_delivery("http://a", 7.0, urgent=False)
    assert delivery is not None
    head = await again.head()
    told = {"rollout": "r/c", "journal": {"number": head.number, "hash": head.hash}}
    event = change(7).event
    assert event is not None
    assert (delivery.event, delivery.attempts) == (replace(event, data=told), 0)


async def test_a_change_that_fails_at_its_last_row_leaves_nothing(store: RolloutStore) -> None:
    await store.save(change(1, "http://a"))
    twice = replace(change(2), endpoints=("http://a", None))  # type: ignore[arg-type]  # no endpoint: the row is refused
    with pytest.raises(StoreError):
        await store.save(twice)
    contents = await store.load()
    assert (contents.table, [s.rollout.change for s in contents.rollouts]) == (1, [1])
    assert [entry["reason"] for entry in await store.journal("r/c", 9)] == ["why 1"]
    assert (store.failures, bool(store.error)) == (1, True)
    await store.save(change(3, "http://a"))
    assert (store.failures, store.error) == (1, "")


async def test_a_change_saved_again_because_nobody_knew_is_saved_once(store: RolloutStore) -> None:
    one = change(1, "http://a")
    await store.save(one)
    await store.save(one)
    assert len(await store.journal("r/c", 9)) == 1
    await store.save(replace(one, token="another decision of the same change"))
    assert await store.delivery_counts("http://a") == {"waiting": 1}


async def test_the_journal_pages_newest_first_and_refuses_updates(kind: Kind, store: RolloutStore) -> None:
    for number in range(1, 6):
        await store.save(change(number, evidence=b"x" * number))
    await store.save(change(6, name="r/other"))
    page = await store.journal("r/c", 2)
    assert [(e["number"], e["evidence_bytes"], e["detail"]) for e in page] == [(5, 5, {"n": 5}), (4, 4, {"n": 4})]
    assert [e["number"] for e in await store.journal("r/c", 9, before=4)] == [3, 2, 1]
    with pytest.raises(AssertionError, match="only grows"):
        kind.ask("UPDATE journal SET reason = 'nicer'")


async def test_retention_takes_the_oldest_entries_of_each_rollout(kind: Kind) -> None:
    store = await kind.open(replace(KEPT, entries=2))
    for number in range(1, 6):
        await store.save(change(number))
    await store.save(change(6, name="r/other"))
    assert await store.retain(0.0, ["r/c"]) == 3
    assert [e["number"] for e in await store.journal("r/c", 9)] == [5, 4]
    assert [e["number"] for e in await store.journal("r/other", 9)] == [6]


async def test_a_snapshot_replaces_evidence_but_not_that_of_a_newer_trial(store: RolloutStore) -> None:
    await store.save(change(1))
    await store.snapshot([saved(b"later")], 2.0)
    assert (await store.load()).rollouts[0].evidence == b"later"
    await store.snapshot([saved(b"of an old trial", trial="old")], 3.0)
    assert (await store.load()).rollouts[0].evidence == b"later"


async def many_names(store: RolloutStore, names: int, size: int) -> None:
    """Rollouts that came, were rolled back and left the file one after the other, as years of candidates do."""
    for number in range(names):
        name = f"r/c{number}"
        await store.save(change(number, name=name, evidence=os.urandom(size)))
        one = change(number, name=name, evidence=os.urandom(size))
        cause = "removed" if number % 2 else "fail"
        state = replace(one.saved.rollout, state=State.ROLLED_BACK, weight=0, cause=cause)
        await store.save(replace(one, saved=replace(one.saved, rollout=state)))


async def test_names_that_left_the_file_fill_neither_the_disk_nor_the_memory(kind: Kind) -> None:
    store = await kind.open(replace(KEPT, ended=5, names=50, let_go=7))
    await many_names(store, 80, 3_000)
    await store.save(change(99, name="r/at-work"))
    await store.retain(100.0, ["r/c3"])
    contents = await store.load(["r/c3"])
    assert {s.rollout.name for s in contents.rollouts} == {
        "r/at-work", "r/c3", "r/c75", "r/c76", "r/c77", "r/c78", "r/c79"
    }  # fmt: skip
    assert all(s.evidence for s in contents.rollouts)
    old = (await store.rollouts(["r/c60"])).get("r/c60")
    assert old is not None
    assert (old.rollout.state, old.rollout.cause, old.evidence) == (State.ROLLED_BACK, "fail", b"")
    assert await store.rollouts(["r/c20"]) == {}
    assert [len(await store.journal(name, 9)) for name in ("r/c79", "r/c3", "r/c60", "r/c20")] == [2, 2, 0, 0]


async def test_the_journal_and_the_past_of_one_name_are_bounded_in_bytes(kind: Kind) -> None:
    store = await kind.open(replace(KEPT, journal=25_000, past=25_000))
    for number in range(1, 11):
        one = change(number, evidence=os.urandom(10_000))
        rollout = replace(one.saved.rollout, trial=f"t{number}")
        await store.save(replace(one, saved=replace(one.saved, rollout=rollout)))
    await store.retain(100.0, ["r/c"])
    assert [entry["detail"]["n"] for entry in await store.journal("r/c", 20)] == [10, 9]
    past = [await store.past("r/c", f"t{number}") for number in range(1, 10)]
    assert [bool(one and one.evidence) for one in past] == [False] * 7 + [True] * 2, (
        "all are known, the last ones whole"
    )
    await store.save(change(11, evidence=os.urandom(100_000)))
    await store.retain(100.0, ["r/c"])
    assert len(await store.journal("r/c", 20)) == 1, "the last entry is kept, however large"


# --- outbox ----------------------------------------------------------------------------------------------------------


async def test_the_outbox_gives_fresh_events_before_retries_and_then_the_next_due(store: RolloutStore) -> None:
    for number in (1, 2):
        await store.save(change(number, "http://a", "http://b"))
    first = await store.next_delivery("http://a", 5.0, urgent=False)
    assert first is not None
    await store.record_attempt(first, 5.0, "500", "retry", 6.0)
    second = await store.next_delivery("http://a", 10.0, urgent=False)
    assert second is not None
    assert (first.event.id, second.event.id) == ("evt_1", "evt_2")
    await store.record_attempt(second, 10.0, "200", "delivered", None)
    late = await store.next_delivery("http://a", 5.5, urgent=False)
    assert late is not None
    assert (late.event.id, late.attempts, late.due) == ("evt_1", 1, 6.0)
    assert await store.delivery_counts("http://a") == {"waiting": 1, "delivered": 1}
    assert await store.delivery_counts("http://b") == {"waiting": 2}


async def test_an_ended_subscription_gets_no_new_rows(store: RolloutStore) -> None:
    await store.save(change(1, "http://a"))
    await store.end_subscription("http://a", "t1", 2.0)
    await store.save(change(2, "http://a", "http://b"))
    assert await store.is_ended("http://a")
    assert await store.next_delivery("http://a", 9.0, urgent=False) is None
    assert await store.delivery_counts("http://a") == {"ended": 1}
    assert await store.delivery_counts("http://b") == {"waiting": 1}


async def test_only_configured_endpoints_are_waited_for_and_ended_ones_begin_anew_under_other_terms(
    store: RolloutStore,
) -> None:
    await store.save(change(1, "http://a", "http://b", "http://c"))
    await store.end_subscription("http://a", "t1", 2.0)
    assert await store.keep_endpoints({"http://a": "t1", "http://b": "t"}, 3.0) == {"http://c": 1}
    assert await store.delivery_counts("http://c") == {"removed": 1}
    assert await store.delivery_counts("http://b") == {"waiting": 1}
    assert await store.is_ended("http://a")
    assert await store.keep_endpoints({"http://a": "t2", "http://b": "t"}, 4.0) == {}
    assert not await store.is_ended("http://a")
    await store.end_subscription("http://a", "t2", 5.0)
    await store.keep_endpoints({"http://b": "t"}, 6.0)
    assert not await store.is_ended("http://a"), "it was taken out of the file"
    assert await store.delivery_counts("http://a") == {"ended": 1}


async def test_a_row_that_nobody_tries_is_given_up(store: RolloutStore) -> None:
    await store.save(change(1, "http://a"))
    await store.retain(1.0 + 7 * 86400.0, ["r/c"])
    assert await store.delivery_counts("http://a") == {"waiting": 1}
    await store.retain(2.0 + 8 * 86400.0, ["r/c"])
    assert await store.delivery_counts("http://a") == {"gave_up": 1}


async def test_a_text_with_every_letter_comes_back(store: RolloutStore) -> None:
    odd = "zero \0, quote ' \" $1 %s {}, é 漢 🦉, line\nbreak"
    await store.save(replace(change(1), actor=odd, reason=odd, detail={"n": odd}))
    [entry] = await store.journal("r/c", 1)
    assert entry["detail"] == {"n": odd}
    assert entry["reason"].replace("\ufffd", "\0") == odd


async def test_exposures_come_back_in_order_and_go_with_their_trial(store: RolloutStore) -> None:
    await store.save(change(1))
    trial = saved().rollout.trial
    for number, data in ((2, b"b"), (1, b"\0a"), (3, b"doubted"), (3, b"c")):
        await store.put_exposures(trial, number, data)
    await store.put_exposures("gone", 1, b"x")
    assert await store.exposures(trial) == [(1, b"\0a"), (2, b"b"), (3, b"c")]
    await store.sum_up_exposures(trial, 4, b"abc")
    await store.put_exposures(trial, 5, b"d")
    assert await store.exposures(trial) == [(4, b"abc"), (5, b"d")]
    assert await store.exposures("gone") == [(1, b"x")]
    await store.retain(1.0, {saved().rollout.name})
    assert await store.exposures("gone") == []
    assert len(await store.exposures(trial)) == 2


async def test_charts_come_back_and_go_with_their_trial(store: RolloutStore) -> None:
    await store.save(change(1))
    trial = change(1).saved.rollout.trial
    await store.keep_charts({trial: {"points": [1, 2.5, None]}, "gone": {}})
    await store.keep_charts({trial: {"points": [3]}})
    assert await store.charts() == {trial: {"points": [3]}, "gone": {}}
    await store.retain(1.0, ["r/c"])
    assert await store.charts() == {trial: {"points": [3]}}


async def test_what_registries_said_comes_back(kind: Kind, store: RolloutStore) -> None:
    assert await store.registry() == {}
    await store.keep_registry({"versions": {}, "deliveries": {"a": 1.0}})
    said = {"versions": {"m": {"lineage": None, "seen": "7", "at": 0.5, "file": "é"}}, "deliveries": {}}
    await store.keep_registry(said)
    assert await store.registry() == said
    assert await (await kind.open()).registry() == said


async def test_the_first_delivery_is_the_oldest_event_however_often_it_failed(store: RolloutStore) -> None:
    await store.save(change(5, "registry:m"))
    await store.save(change(9, "registry:m"))
    first = await store.first_delivery("registry:m")
    assert first is not None
    for n in range(3):
        await store.record_attempt(first, 10.0 + n, "no answer", "retry", 1000.0)
        again = await store.first_delivery("registry:m")
        assert again is not None
        assert (again.event.id, again.due) == (first.event.id, 1000.0), "nothing passes it"
    await store.record_attempt(first, 20.0, "200", "delivered", None)
    second = await store.first_delivery("registry:m")
    assert second is not None
    assert second.event.time == 9.0
    await store.record_attempt(second, 21.0, "200", "delivered", None)
    assert await store.first_delivery("registry:m") is None


async def test_what_judges_have_spent_comes_back(kind: Kind, store: RolloutStore) -> None:
    assert await store.judges() == {}
    await store.keep_judges({"helpful": {"spending": [20_787, 1.5]}})
    await store.keep_judges({"helpful": {"spending": [20_788, 0.25], "verdicts": [["00", "tie", "odd \0 é"]]}})
    kept = await store.judges()
    assert kept == {"helpful": {"spending": [20_788, 0.25], "verdicts": [["00", "tie", "odd \0 é"]]}}


def drifted(data: bytes = b"known", *endpoints: str) -> DriftChange:
    event = WebhookEvent("evt_drift", "drift.detected", 5.0, {"route": "r"})
    return DriftChange(SavedDrift("r", data), 5.0, "drift_detected", "understudy", "why \0", {"n": 1}, event, endpoints)


async def test_a_change_of_drift_is_saved_once_with_its_entry_and_its_deliveries(
    kind: Kind, store: RolloutStore
) -> None:
    assert await store.drift() == {}
    one = drifted(b"known \0", "http://a")
    for _ in range(2):  # it may be tried again when nobody knows whether it was saved
        await store.save_drift(one)
    again = await kind.open()
    assert await again.drift() == {"r": SavedDrift("r", b"known \0")}
    (entry,) = await again.journal("r", 9)
    assert (entry["kind"], entry["actor"], entry["detail"]) == ("drift_detected", "understudy", {"n": 1})
    delivery = await again.next_delivery("http://a", 9.0, urgent=False)
    assert delivery is not None
    told = {"number": entry["number"], "hash": entry["hash"]}
    assert (delivery.event.type, delivery.event.data) == ("drift.detected", {"route": "r", "journal": told})


async def test_what_is_known_of_drift_is_kept_until_nothing_comes_any_more(kind: Kind, store: RolloutStore) -> None:
    await store.keep_drift(SavedDrift("old", b"1"), 1.0)
    await store.keep_drift(SavedDrift("new", b"2"), 1.0)
    await store.keep_drift(SavedDrift("new", b"3"), KEPT.drift)
    await store.retain(KEPT.drift + 2.0, ())
    assert await (await kind.open()).drift() == {"new": SavedDrift("new", b"3")}


async def test_a_snapshot_of_what_the_store_does_not_know_is_kept_with_the_secret(
    kind: Kind, store: RolloutStore
) -> None:
    await store.snapshot([saved(b"all of it")], 2.0, "5e")
    contents = await (await kind.open()).load()
    assert (contents.rollouts, contents.secret) == ([saved(b"all of it")], "5e")


async def test_a_secret_and_an_identity_stay_for_as_long_as_the_store_lives(kind: Kind) -> None:
    first = await (await kind.open()).load()
    again = await (await kind.open()).load()
    assert (again.secret, again.identity) == (first.secret, first.identity)
    assert len(bytes.fromhex(first.secret)) == 32
    assert again.lost == ""


async def test_a_trial_that_comes_back_is_known_by_its_latest_end(store: RolloutStore) -> None:
    for number, trial in enumerate(("t1", "t2", "t1", "t3"), 1):
        one = change(number, evidence=b"%d" % number)
        await store.save(replace(one, saved=replace(one.saved, rollout=replace(one.saved.rollout, trial=trial))))
    ended = await store.past("r/c", "t1")
    assert ended is not None
    assert (ended.rollout.change, ended.evidence) == (3, b"3")
    before = await store.past("r/c", "t2")
    assert before is not None
    assert before.evidence == b"2"
    assert [one.rollout.trial for one in await store.trials("r/c", 9)] == ["t1", "t2"], "the newest first"
    assert [one.evidence for one in await store.trials("r/c", 1)] == [b""]
    assert await store.trials("r/x", 9) == []
    assert await store.past("r/c", "t") is None
    assert await store.past("r/x", "t1") is None


async def test_calls_after_the_end_are_refused(store: RolloutStore) -> None:
    await store.close()
    for call in (store.save(change(1)), store.load(), store.check()):
        with pytest.raises(StoreError):
            await call
