"""Promise: an entry of the journal that was changed, removed or moved is found, wherever it stands; what retention took
away is not taken for that. In both kinds of store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.controller.store.chain import ChainCheck, ChainedEntry, ChainHead, SignedOff, digest_of, sign_off
from proxy.controller.store.interface import KEPT, RolloutStore
from proxy.controller.store.journals import checked_chain
from tests.controller.store.stores import FileKind, Kind, change
from tests.controller.store.test_journals import opened


@pytest.fixture
def files(tmp_path: Path) -> FileKind:
    return FileKind(tmp_path / "state" / "u.db")


async def faults(kind: Kind, noted: ChainHead | None = None) -> list[str]:
    journal = await opened(kind)
    try:
        return (await checked_chain(journal, noted)).faults
    finally:
        await journal.close()


async def written(store: RolloutStore, count: int = 9) -> None:
    for number in range(1, count + 1):
        await store.save(change(number, name="r/c" if number % 2 else "r/other", evidence=b"x" * number))


def tamper(kind: Kind, sql: str) -> None:
    """As somebody does who may write to the database, and knows of the trigger."""
    if isinstance(kind, FileKind):
        kind.ask("DROP TRIGGER IF EXISTS journal_grows")
        for one in sql.split(";"):
            kind.ask(one)
    else:
        kind.ask(f"ALTER TABLE journal DISABLE TRIGGER journal_grows; {sql}")


async def test_a_journal_as_it_was_written_holds(kind: Kind, store: RolloutStore) -> None:
    assert (await store.head()).number == 0
    assert await faults(kind) == []
    await written(store)
    assert await faults(kind) == []
    head = await store.head()
    assert head.number == 9
    assert (await store.journal("r/c", 1))[0]["hash"] == head.hash
    await kind.open()
    assert await faults(kind, head) == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE journal SET actor = 'bob' WHERE number = 4", "entry 4 (advanced of r/other) was changed"),
        ("UPDATE journal SET reason = 'fine' WHERE number = 9", "entry 9 (advanced of r/c) was changed"),
        ("UPDATE journal SET time = time + 1 WHERE number = 1", "entry 1 (advanced of r/c) was changed"),
        ("UPDATE journal SET detail = '{\"n\": 5}' WHERE number = 5", "entry 5 (advanced of r/c) was changed"),
        ("UPDATE journal SET hash = previous WHERE number = 6", "entry 6 (advanced of r/other) was changed"),
        ("DELETE FROM journal WHERE number = 4", "entry 4 is missing"),
        ("DELETE FROM journal WHERE number BETWEEN 3 AND 6", "entries 3 to 6 are missing"),
        ("DELETE FROM journal WHERE number = 1", "entry 1 is missing"),
        ("DELETE FROM journal WHERE number > 7", "entries 8 to 9 are missing"),
        ("DELETE FROM journal", "entries 1 to 9 are missing"),
        ("UPDATE journal SET number = 99 WHERE number = 4; UPDATE journal SET number = 4 WHERE number = 5;"
         "UPDATE journal SET number = 5 WHERE number = 99", "entry 4 (advanced of r/c) was changed"),
        ("UPDATE meta SET value = '8:' || (SELECT hash FROM journal WHERE number = 8) WHERE key = 'head'",
         "entries 9 to 9 stand behind the head, 8"),
        ("INSERT INTO signed_off SELECT 4, 4, previous, hash FROM journal WHERE number = 4",
         "entry 4 is there, though retention says that it was taken away"),
    ],
)  # fmt: skip
async def test_what_was_tampered_with_is_found(kind: Kind, store: RolloutStore, sql: str, said: str) -> None:
    await written(store)
    await kind.close()
    tamper(kind, sql)
    assert said in await faults(kind)


LAST = ("DELETE FROM journal WHERE number > 7;"
        "UPDATE meta SET value = '7:' || (SELECT hash FROM journal WHERE number = 7) WHERE key = 'head'")  # fmt: skip


async def test_an_end_that_was_cut_off_together_with_the_head_is_found(kind: Kind, store: RolloutStore) -> None:
    await written(store)
    await kind.close()
    tamper(kind, LAST)
    assert await faults(kind) == ["9 entries were written, and the last one is 7: its end was removed"]


async def test_an_end_that_was_cut_off_is_found_by_what_webhooks_tell(kind: Kind, store: RolloutStore) -> None:
    for number in range(1, 10):
        await store.save(change(number, "here", "there"))
    assert await faults(kind) == []
    await kind.close()
    given = "UPDATE sqlite_sequence SET seq = 7 WHERE name = 'journal'"
    tamper(kind, f"{LAST}; {given}" if isinstance(kind, FileKind)
           else f"{LAST}; UPDATE meta SET value = '7' WHERE key = 'entries'")  # fmt: skip
    assert await faults(kind) == [f"a webhook tells of entry {number}, and the last one is 7" for number in (8, 9)]
    again = await kind.open()
    for number in (8, 9):
        await again.save(replace(change(number + 100), actor="bob"))
    assert await faults(kind) == [
        f"a webhook tells of entry {number} with another hash: the chain was built anew" for number in (8, 9)
    ]


@pytest.mark.parametrize("number", [0, -1, -(2**63)])
async def test_an_entry_before_the_first_is_found(kind: Kind, store: RolloutStore, number: int) -> None:
    await written(store)
    await kind.close()
    more = ", evidence" if isinstance(kind, FileKind) else ""
    names = f"rollout, time, kind, actor, reason, detail, digest, previous, hash{more}"
    tamper(kind, f"INSERT INTO journal (number, token, {names}) SELECT {number}, 'x', {names} FROM journal LIMIT 1")
    assert await faults(kind) == [f"entry {number} is there, and the first one is 1: it was put in"]


@pytest.mark.parametrize(
    ("change_of_4", "said"),
    [
        ("reason = x'ff'", "entry 4 was changed: what it has as reason is never written"),
        ("reason = CAST(x'ff' AS TEXT)", "entry 4 was changed: what it has as reason is never written"),
        ("time = 'abc'", "entry 4 was changed: what it has as time is never written"),
        ("time = x'00'", "entry 4 was changed: what it has as time is never written"),
        ("time = 1e999", "entry 4 (advanced of r/other) was changed"),
        ("hash = x'00'", "entry 4 was changed: what it has as hash is never written"),
        ("rollout = 7, detail = x'00'", "entry 4 was changed: what it has as detail is never written"),
        ("evidence = 'abc'", "the evidence of entry 4 was changed, or is gone"),
        ("evidence = 99999999999", "the evidence of entry 4 was changed, or is gone"),
    ],
)
async def test_what_no_store_writes_is_a_finding_and_the_others_are_told(
    files: FileKind, change_of_4: str, said: str
) -> None:
    await written(await files.open())
    await files.close()
    tamper(
        files, f"UPDATE journal SET {change_of_4} WHERE number = 4; UPDATE journal SET actor = 'bob' WHERE number = 8"
    )
    found = await faults(files)
    assert said in found
    assert "entry 8 (advanced of r/other) was changed" in found


async def test_a_sign_off_that_is_none_is_a_finding(files: FileKind) -> None:
    await written(await files.open())
    await files.close()
    tamper(files, "INSERT INTO signed_off SELECT 4, 3, previous, previous FROM journal WHERE number = 4;"
                  "INSERT INTO signed_off VALUES (6, 'abc', '', '')")  # fmt: skip
    assert await faults(files) == [f"what retention signed off from entry {low} on was changed" for low in (4, 6)]


async def test_evidence_that_was_changed_is_found(kind: Kind, store: RolloutStore) -> None:
    await written(store)
    await kind.close()
    where = "journal" if isinstance(kind, FileKind) else "evidence"
    literal = "x'00'" if isinstance(kind, FileKind) else "'\\x00'"
    tamper(kind, f"UPDATE {where} SET evidence = {literal} WHERE token = (SELECT token FROM journal WHERE number = 5)")
    assert await faults(kind) == ["the evidence of entry 5 was changed, or is gone"]


async def test_one_who_hashes_it_again_is_found_by_the_next_entry(kind: Kind, store: RolloutStore) -> None:
    await written(store)
    journal = await opened(kind)
    entry = (await journal.chained(4))[0][0]
    await journal.close()
    forged = replace(entry, actor="bob")
    await kind.close()
    tamper(kind, f"UPDATE journal SET actor = 'bob', hash = '{forged.expected()}' WHERE number = 4")
    assert await faults(kind) == ["entry 5 does not follow the one before it: one of them was replaced"]


async def test_a_chain_that_was_built_anew_is_found_by_a_head_that_was_noted(kind: Kind, store: RolloutStore) -> None:
    await written(store, 4)
    noted = await store.head()
    await written(store, 0)
    await kind.close()
    tamper(kind, "DELETE FROM journal; DELETE FROM signed_off; DELETE FROM meta WHERE key = 'head'")
    if isinstance(kind, FileKind):
        kind.ask("DELETE FROM sqlite_sequence")
    else:
        kind.ask("UPDATE meta SET value = '0' WHERE key = 'entries'")
    again = await kind.open()
    for number in range(1, 6):
        await again.save(replace(change(number), actor="bob"))
    assert await faults(kind) == []
    assert await faults(kind, noted) == ["entry 4 was noted with another hash: the chain was built anew"]
    assert await faults(kind, ChainHead(77, noted.hash)) == ["entry 77 was noted, and the last one is 5"]


async def test_retention_leaves_a_chain_that_holds(kind: Kind, store: RolloutStore) -> None:
    await written(store, 12)
    noted = await store.head()
    few = await kind.open(replace(KEPT, entries=2))
    await few.retain(1e9, ("r/c", "r/other"))
    assert await faults(kind, noted) == []
    for number in range(13, 18):
        await few.save(change(number))
    await few.retain(1e9, ("r/c", "r/other"))
    assert [entry["number"] for entry in await few.journal("r/other", 9)] == [12, 10]
    assert await faults(kind, noted) == []
    assert await faults(kind, ChainHead(15, "00" * 32)) == [
        "entry 15 was noted with another hash: the chain was built anew"
    ]
    await few.let_go("r/other")
    await few.let_go("r/c")
    assert await faults(kind) == []
    await few.save(change(18))
    assert await faults(kind) == []
    tamper(kind, "DELETE FROM signed_off")
    assert await faults(kind) == ["entries 1 to 17 are missing"]


async def test_saving_a_change_again_makes_no_second_link(kind: Kind, store: RolloutStore) -> None:
    one = change(1)
    await store.save(one)
    await store.save(one)
    assert (await store.head()).number == 1
    assert await faults(kind) == []


async def test_a_journal_is_checked_while_it_grows_and_is_cut(kind: Kind, store: RolloutStore) -> None:
    few = await kind.open(replace(KEPT, entries=3))
    await few.save(change(0))
    done = asyncio.Event()

    async def write() -> None:
        for number in range(1, 60):
            await few.save(change(number))
            if number % 10 == 0:
                await few.retain(1e9, ("r/c",))
        done.set()

    writing = asyncio.create_task(write())
    while not done.is_set():
        assert await faults(kind) == []
        await asyncio.sleep(0)
    await writing
    assert await faults(kind) == []


async def test_entries_of_before_the_chain_are_told_apart(kind: Kind, store: RolloutStore) -> None:
    await written(store, 3)
    await kind.close()
    zeros = "0" * 64
    tamper(kind, "UPDATE journal SET hash = '', previous = '', digest = ''; DELETE FROM meta WHERE key = 'head';"
                 f"INSERT INTO signed_off VALUES (1, 3, '{zeros}', '{zeros}')")  # fmt: skip
    again = await kind.open()
    await again.save(change(4))
    journal = await opened(kind)
    check = await checked_chain(journal)
    await journal.close()
    assert (check.faults, check.unchained, check.checked) == ([], 3, 1)
    await again.let_go("r/other")
    assert await faults(kind) == []


# --- as properties, without a store ----------------------------------------------------------------------------------


def chain(count: int) -> list[ChainedEntry]:
    found, head = [], ChainHead()
    for number in range(1, count + 1):
        words = (float(number), "advanced", "ann", f"why {number}", "{}", f"token {number}", digest_of(b"e"))
        found.append(ChainedEntry(0, "r/c", *words).behind(head))
        head = found[-1].head
    return found


def check(entries: list[ChainedEntry], head: ChainHead, ranges: list[SignedOff] | None = None) -> list[str]:
    one = ChainCheck(ranges or [])
    for entry in entries:
        one.add(entry, b"e")
    one.end(head, max((entry.number for entry in entries), default=0))
    return one.faults


@given(st.integers(1, 12), st.data())
def test_whatever_is_removed_without_being_signed_off_is_found(count: int, data: st.DataObject) -> None:
    whole = chain(count)
    kept = data.draw(
        st.lists(st.sampled_from(whole), unique=True, max_size=count - 1).map(
            lambda some: sorted(some, key=lambda one: one.number)
        )
    )
    gone = [one for one in whole if one not in kept]
    assert check(kept, whole[-1].head)
    removed = [(one.number, one.previous, one.hash) for one in gone]
    cut = data.draw(st.integers(0, len(removed)))
    ranges = sign_off(sign_off([], removed[:cut]), removed[cut:])
    assert check(kept, whole[-1].head, ranges) == []
    assert len(ranges) <= len(kept) + 1, "neighbours are one range"
    if ranges:
        at = data.draw(st.integers(0, len(ranges) - 1))
        assert check(kept, whole[-1].head, ranges[:at] + ranges[at + 1 :])


@given(st.integers(2, 8), st.data())
def test_whatever_stands_elsewhere_is_found(count: int, data: st.DataObject) -> None:
    whole = chain(count)
    order = data.draw(st.permutations(whole))
    moved = [replace(entry, number=place) for place, entry in enumerate(order, 1)]
    assert bool(check(moved, whole[-1].head)) == (moved != whole)


@given(st.integers(1, 6), st.data())
def test_whatever_is_changed_is_found(count: int, data: st.DataObject) -> None:
    whole = chain(count)
    at = data.draw(st.integers(0, count - 1))
    field = data.draw(
        st.sampled_from(["rollout", "kind", "actor", "reason", "detail", "token", "digest", "previous", "hash"])
    )
    changed = replace(whole[at], **{field: data.draw(st.text(max_size=5))})
    assert check([*whole[:at], changed, *whole[at + 1 :]], whole[-1].head)
