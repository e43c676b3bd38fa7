"""Keeps the store's promises: a change is saved whole or not at all and survives a restart, the journal only grows, and
whatever the disk does is a `StoreError` after which the next call works again."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from proxy.controller.store import database
from proxy.controller.store import store as module
from proxy.controller.store.schema import MIGRATIONS
from proxy.controller.store.store import Change, RolloutStore, Saved
from proxy.controller.webhooks.policy import WebhookEvent
from proxy.errors import StoreError
from proxy.model import Guard, Kind, Plan, PredictionSpec, Segments, Stage, State
from proxy.rollout.events import RolloutState

PLAN = Plan(
    "r/c", "r", "l", "c", "1",
    (Stage(State.SHADOW, 100.0), Stage(State.CANARY, 5.0, max_time=60.0)),
    (Guard("max_disagreement", 0.02), Guard("p99_latency", 1.2, relative=True)),
    prediction=PredictionSpec("v2", Kind.SCORE, "y", ignore=("/id",)),
    segments=Segments("x-tenant"),
)  # fmt: skip
ROLLOUT = RolloutState("r/c", PLAN.trial, 1.0, State.CANARY, stage=1, entry=2, weight=500, change=3, blocked_by="r/b")


def saved(evidence: bytes = b"e", name: str = "r/c", **fields: object) -> Saved:
    return Saved(replace(ROLLOUT, name=name, **fields), replace(PLAN, name=name), evidence, {"n": 1})  # type: ignore[arg-type]


def change(number: int = 1, *endpoints: str, name: str = "r/c", evidence: bytes = b"e") -> Change:
    event = WebhookEvent(f"evt_{number}", "rollout.advanced", float(number), {"rollout": name})
    one = saved(evidence, name, change=number)
    return Change(one, number, float(number), "advanced", "ann", f"why {number}", {"n": number}, event, endpoints)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RolloutStore]:
    one = RolloutStore(tmp_path / "state" / "u.db")
    yield one
    await one.close()


async def reopened(store: RolloutStore) -> RolloutStore:
    await store.close()
    return RolloutStore(store.path)


async def test_a_change_survives_a_restart_whole(store: RolloutStore) -> None:
    await store.save(change(7, "http://a", evidence=b"\x00\xff"))
    again = await reopened(store)
    contents = await again.load()
    assert contents.rollouts == [replace(change(7, evidence=b"\x00\xff").saved)]
    assert contents.table == 7
    assert contents.identity == (await again.load()).identity
    delivery = await again.next_delivery("http://a", 7.0, urgent=False)
    assert delivery is not None
    assert (delivery.event, delivery.attempts) == (change(7).event, 0)
    await again.close()


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


async def test_the_journal_pages_newest_first_and_refuses_updates(store: RolloutStore) -> None:
    for number in range(1, 6):
        await store.save(change(number, evidence=b"x" * number))
    await store.save(change(6, name="r/other"))
    page = await store.journal("r/c", 2)
    assert [(e["number"], e["evidence_bytes"], e["detail"]) for e in page] == [(5, 5, {"n": 5}), (4, 4, {"n": 4})]
    assert [e["number"] for e in await store.journal("r/c", 9, before=4)] == [3, 2, 1]
    with sqlite3.connect(store.path) as other, pytest.raises(sqlite3.IntegrityError, match="only grows"):
        other.execute("UPDATE journal SET reason = 'nicer'")
    other.close()


async def test_retention_takes_the_oldest_entries_of_each_rollout(
    store: RolloutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_ENTRIES", 2)
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


async def test_names_that_left_the_file_fill_neither_the_disk_nor_the_memory(
    store: RolloutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_ENDED", 5)
    monkeypatch.setattr(module, "KEEP_NAMES", 50)
    monkeypatch.setattr(module, "LET_GO", 7)
    monkeypatch.setattr(database, "SHRINKS_FROM", 1 << 20)
    await many_names(store, 80, 30_000)
    await store.save(change(99, name="r/at-work"))
    assert size_of(store.path) > 4 << 20
    await store.retain(100.0, ["r/c3"])
    assert size_of(store.path) < 1 << 20
    contents = await store.load(["r/c3"])
    assert {s.rollout.name for s in contents.rollouts} == {
        "r/at-work", "r/c3", "r/c75", "r/c76", "r/c77", "r/c78", "r/c79"
    }  # fmt: skip
    assert all(s.evidence for s in contents.rollouts)
    old = await store.rollout("r/c60")
    assert old is not None
    assert (old.rollout.state, old.rollout.cause, old.evidence) == (State.ROLLED_BACK, "fail", b"")
    assert await store.rollout("r/c20") is None
    assert [len(await store.journal(name, 9)) for name in ("r/c79", "r/c3", "r/c60", "r/c20")] == [2, 2, 0, 0]


def size_of(path: Path) -> int:
    return sum(Path(f"{path}{part}").stat().st_size for part in ("", "-wal"))


async def test_the_journal_and_the_past_of_one_name_are_bounded_in_bytes(
    store: RolloutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_JOURNAL", 25_000)
    monkeypatch.setattr(module, "KEEP_PAST", 25_000)
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
    await store.retain(1.0 + 86400.0, ["r/c"])
    assert await store.delivery_counts("http://a") == {"waiting": 1}
    await store.retain(2.0 + 2 * 86400.0, ["r/c"])
    assert await store.delivery_counts("http://a") == {"gave_up": 1}


async def test_a_file_of_each_older_version_is_brought_up_to_this_one(tmp_path: Path) -> None:
    for version in range(1, len(MIGRATIONS)):
        path = tmp_path / f"{version}.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as old:
            for script in MIGRATIONS[:version]:
                old.executescript(script)
            old.execute(f"PRAGMA user_version = {version}")
            old.execute("INSERT INTO meta VALUES ('identity', 'me'), ('table', 7)")
            old.execute("INSERT INTO ended (endpoint, time) VALUES ('http://a', 1.0)")
        store = RolloutStore(path)
        contents = await store.load()
        assert (contents.identity, contents.table) == ("me", 7)
        assert await store.is_ended("http://a")
        await store.save(change(1, "http://a"))
        assert await store.delivery_counts("http://a") == {}
        await store.close()
        with closing(sqlite3.connect(path)) as now:
            assert now.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


async def test_a_store_is_one_controllers_at_a_time(store: RolloutStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.load()
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    other = RolloutStore(store.path)
    with pytest.raises(StoreError, match="another Understudy"):
        await other.load()
    monkeypatch.setattr(database, "PATIENCE", 10.0)
    waits = asyncio.ensure_future(other.load())  # as after a supervisor was killed: the old one is on its way out
    await store.save(change(5))
    await store.close()
    assert [one.rollout.change for one in (await waits).rollouts] == [5]
    await other.close()


async def test_a_store_has_a_secret_of_its_own_for_as_long_as_it_lives(store: RolloutStore, tmp_path: Path) -> None:
    secret = (await store.load()).secret
    again = await reopened(store)
    assert (await again.load()).secret == secret
    await again.close()
    with closing(sqlite3.connect(store.path)) as connection:  # as one from before there was any
        connection.execute("DELETE FROM meta WHERE key = 'split_secret'")
        connection.commit()
    for path in (store.path, tmp_path / "other.db"):
        other = RolloutStore(path)
        assert len(bytes.fromhex((await other.load()).secret)) == 32
        assert (await other.load()).secret != secret
        await other.close()


# --- bad disks -------------------------------------------------------------------------------------------------------


async def test_a_file_that_is_no_database_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "u.db"
    path.write_bytes(b"not a database at all" * 500)
    store = RolloutStore(path)
    assert (await store.load()).rollouts == []
    (aside,) = store.set_aside
    assert aside.read_bytes().startswith(b"not a database")
    await store.save(change(1))
    await store.close()


async def test_a_torn_page_is_found_at_the_start(store: RolloutStore) -> None:
    for number in range(1, 50):
        await store.save(change(number, evidence=os.urandom(5000)))
    await store.close()
    size = store.path.stat().st_size
    with store.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size // 2))
    again = RolloutStore(store.path)
    assert (await again.load()).rollouts == []
    assert again.set_aside
    await again.close()


async def test_a_full_disk_is_a_store_error_and_passes(store: RolloutStore) -> None:
    await store.save(change(1))

    def limit(connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")

    await store.run(limit)
    with pytest.raises(StoreError, match="full"):
        await store.save(change(2, evidence=b"x" * 100_000))
    await store.save(change(3, evidence=b"x" * 100_000))  # opened anew, without the limit
    assert [s.rollout.change for s in (await store.load()).rollouts] == [3]


async def test_a_folder_that_cannot_be_written_still_gives_what_was_saved(store: RolloutStore, tmp_path: Path) -> None:
    await store.save(change(1))
    state = store.path.parent
    copy = tmp_path / "frozen"
    shutil.copytree(state, copy)  # with the log, as a killed process leaves it
    frozen = RolloutStore(copy / "u.db")

    def refuse(*_: object, **__: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    frozen._connect = refuse  # type: ignore[method-assign]
    assert [s.rollout.change for s in (await frozen.load()).rollouts] == [1]
    with pytest.raises(StoreError, match="readonly"):
        await frozen.save(change(2))
    await frozen.close()


async def test_a_place_that_cannot_be_is_a_store_error_not_a_fresh_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = RolloutStore(tmp_path / "file" / "u.db")
    with pytest.raises(StoreError):
        await store.load()
    await store.close()


async def test_a_file_of_a_newer_version_is_refused_untouched(store: RolloutStore) -> None:
    await store.save(change(1))
    await store.close()
    connection = sqlite3.connect(store.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    again = RolloutStore(store.path)
    with pytest.raises(StoreError, match="newer"):
        await again.load()
    assert not again.set_aside
    await again.close()


async def test_calls_beyond_the_bound_are_refused_while_the_disk_hangs(
    store: RolloutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    monkeypatch.setattr(database, "MAX_WAITING", 2)
    hang = threading.Event()
    stuck = asyncio.ensure_future(store.run(lambda _: hang.wait() and None))
    queued = asyncio.ensure_future(store.save(change(1)))
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="wait for the disk"):
        await store.save(change(2))
    hang.set()
    await asyncio.gather(stuck, queued)
    assert [s.rollout.change for s in (await store.load()).rollouts] == [1]


async def test_what_is_urgent_and_the_rest_are_two_queues(store: RolloutStore) -> None:
    for number, kind in enumerate(("rollout.advanced", "rollout.rolled_back", "rollout.promoted"), 1):
        told = change(number, "http://a")
        assert told.event is not None
        await store.save(replace(told, event=replace(told.event, type=kind)))
    urgent = await store.next_delivery("http://a", 9.0, urgent=True)
    first = await store.next_delivery("http://a", 9.0, urgent=False)
    assert urgent is not None
    assert first is not None
    assert (urgent.event.type, first.event.type) == ("rollout.rolled_back", "rollout.advanced")


# --- a file that is gone ---------------------------------------------------------------------------------------------


def remove_all(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def remove_database(path: Path) -> None:
    path.unlink()


def remove_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def remove_lock(path: Path) -> None:
    Path(f"{path}.lock").unlink()


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def replace_by_another(path: Path) -> None:
    with closing(sqlite3.connect(path.with_name("other"))) as other:
        other.execute("CREATE TABLE theirs (n)")
    path.with_name("other").rename(path)


def replace_by_rubbish(path: Path) -> None:
    path.with_name("other").write_text("rubbish")
    path.with_name("other").rename(path)


REMOVALS = [
    remove_all, remove_database, remove_log, remove_lock, remove_folder, move_folder, replace_by_another,
    replace_by_rubbish,
]  # fmt: skip


@pytest.mark.parametrize("removed", REMOVALS)
@pytest.mark.parametrize("noticed_by", ["check", "close"])
async def test_a_file_that_is_taken_away_is_written_anew_with_all_that_was_in_it(
    store: RolloutStore, removed: Callable[[Path], None], noticed_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    await store.load()
    await store.save(change(1, "http://a"))
    await store.save(change(2, "http://a", name="r/d"))
    removed(store.path)
    await getattr(store, noticed_by)()
    assert store.renewed == 1
    assert [r.message for r in caplog.records] == ["store.renewed"]
    again = await reopened(store)
    contents = await again.load()
    assert (contents.lost, contents.table) == ("", 2)
    assert {s.rollout.name for s in contents.rollouts} == {"r/c", "r/d"}
    assert len(await again.journal("r/c", 10)) == 1
    assert await again.delivery_counts("http://a") == {"waiting": 2}
    await again.close()
    for aside in store.path.parent.glob("*.replaced-*"):
        assert aside.read_bytes() == b"rubbish" or b"theirs" in aside.read_bytes()


async def test_a_file_is_noticed_once_and_works_on(store: RolloutStore) -> None:
    await store.load()
    for number in range(1, 4):
        remove_all(store.path)
        await store.save(change(number))
        await store.check()
        assert store.renewed == number
    assert [s.rollout.change for s in (await store.load()).rollouts] == [3]
    assert len(await store.journal("r/c", 10)) == 3


async def test_a_file_that_cannot_be_written_anew_is_said_and_kept_open_until_it_can(store: RolloutStore) -> None:
    await store.load()
    await store.save(change(1))
    folder = store.path.parent
    shutil.rmtree(folder)
    folder.write_text("a file in the way")
    for _ in range(2):
        with pytest.raises(StoreError):
            await store.check()
    assert str(store.path) in store.trouble
    folder.unlink()
    await store.save(change(2))
    assert store.trouble == ""
    assert len(await store.journal("r/c", 10)) == 2


async def test_another_understudy_that_has_taken_the_place_keeps_it(store: RolloutStore) -> None:
    await store.load()
    await store.save(change(1))
    shutil.rmtree(store.path.parent)
    other = RolloutStore(store.path)
    await other.load()
    with pytest.raises(StoreError, match="another Understudy"):
        await store.save(change(2))
    assert (await other.load()).rollouts == []
    await other.close()
    await store.save(change(2))
    assert len(await store.journal("r/c", 10)) == 2


async def test_a_first_start_and_a_store_that_was_there_before_are_told_apart(store: RolloutStore) -> None:
    assert (await store.load()).lost == ""
    await store.save(change(1))
    await store.close()
    store.path.unlink()
    again = RolloutStore(store.path)
    assert "is gone" in (await again.load()).lost
    await again.close()
    once_more = RolloutStore(store.path)
    assert (await once_more.load()).lost == "", "it has been said, and what came of it is saved"
    await once_more.close()
    store.path.write_bytes(b"")
    emptied = RolloutStore(store.path)
    assert "is gone" in (await emptied.load()).lost
    await emptied.close()
    store.path.write_bytes(b"rubbish" * 1000)
    unsound = RolloutStore(store.path)
    assert "no sound database" in (await unsound.load()).lost
    await unsound.close()


async def test_whoever_holds_a_store_is_named_at_once_when_it_is_to_stay(store: RolloutStore) -> None:
    await store.load()
    supervisor = await asyncio.create_subprocess_exec("sleep", "60")  # it runs, and is not ours
    assert holder_becomes(store.path, 4711, supervisor.pid) == os.getpid()
    other = RolloutStore(store.path)
    with pytest.raises(StoreError, match=r"u\.db: another Understudy uses this store \(process 4711 on "):
        await asyncio.wait_for(other.load(), 5)
    await other.close()
    supervisor.kill()
    await supervisor.wait()


async def test_a_link_to_a_store_is_that_store(store: RolloutStore) -> None:
    await store.load()
    link = store.path.with_name("link.db")
    link.symlink_to(store.path)
    supervisor = await asyncio.create_subprocess_exec("sleep", "60")  # it runs, and is not ours
    holder_becomes(store.path, 4711, supervisor.pid)
    other = RolloutStore(link)
    with pytest.raises(StoreError, match=r"u\.db: another Understudy uses this store \(process 4711 on "):
        await asyncio.wait_for(other.load(), 5)
    await other.close()
    supervisor.kill()
    await supervisor.wait()
    await store.close()
    through = RolloutStore(link)
    assert (await through.load()).lost == ""
    store.path.unlink()
    await through.snapshot([], 1.0)  # a change that is written where the link leads, into a new file
    await through.close()
    assert link.is_symlink()
    assert store.path.exists()


def holder_becomes(path: Path, pid: int, parent: int) -> int:
    """Write another holder into the lock; who it was."""
    lock = Path(f"{path}.lock")
    note = orjson.loads(lock.read_bytes())
    lock.write_bytes(orjson.dumps({**note, "pid": pid, "parent": parent}))
    return int(note["pid"])
