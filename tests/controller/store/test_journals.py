"""Keeps the promise that a journal is read whole and in order beside whoever writes it, wherever it is, and that
nothing is changed by it; what is no store of this version is said to be none."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from proxy.config.postgres_url import StoreUrl
from proxy.controller.store.interface import RolloutStore
from proxy.controller.store.journals import PAGE, JournalPage, StoredJournal
from proxy.controller.store.postgres.journal import PostgresJournal
from proxy.controller.store.sqlite.journal import SqliteJournal
from proxy.errors import StoreError
from tests.controller.store.stores import FileKind, Kind, change
from tests.postgres import Postgres


async def opened(kind: Kind) -> StoredJournal:
    if isinstance(kind, FileKind):
        return await SqliteJournal.open(kind.path)
    return await PostgresJournal.open(StoreUrl(kind.postgres.url))  # type: ignore[attr-defined]


async def whole(journal: StoredJournal, rollout: str = "") -> JournalPage:
    found: JournalPage = []
    while page := await journal.page(found[-1][0]["number"] if found else 0, rollout):
        found += page
    await journal.close()
    return found


async def test_every_entry_is_read_with_its_evidence_while_the_store_is_in_use(kind: Kind, store: RolloutStore) -> None:
    count = 2 * PAGE + 1
    for number in range(1, count + 1):
        await store.save(change(number, evidence=b"x" * number, name="r/c" if number % 2 else "r/other"))
    found = await whole(await opened(kind))
    assert [(entry["number"], evidence) for entry, evidence in found] == [
        (number, b"x" * number) for number in range(1, count + 1)
    ]
    assert found[0][0] == {
        "number": 1, "rollout": "r/c", "time": 1.0, "kind": "advanced", "actor": "ann", "reason": "why 1",
        "detail": {"n": 1},
    }  # fmt: skip
    assert [entry["number"] for entry, _ in await whole(await opened(kind), "r/other")] == list(range(2, count + 1, 2))
    assert await whole(await opened(kind), "r/nobody") == []
    await store.save(change(count + 1))  # it still can
    assert len(await whole(await opened(kind))) == count + 1


async def test_what_grows_meanwhile_is_read_too(kind: Kind, store: RolloutStore) -> None:
    await store.save(change(1))
    journal = await opened(kind)
    first = await journal.page(0, "")
    await store.save(change(2))
    assert [entry["number"] for entry, _ in [*first, *await journal.page(1, "")]] == [1, 2]
    await journal.close()


async def test_a_database_without_a_store_stays_one_and_is_told(postgres: Postgres) -> None:
    with pytest.raises(StoreError, match="no store of Understudy's"):
        await PostgresJournal.open(StoreUrl(postgres.url))
    assert postgres.psql("SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'understudy'") == "0"


async def test_a_store_of_another_version_is_told(postgres: Postgres) -> None:
    postgres.psql("CREATE SCHEMA understudy; CREATE TABLE understudy.meta (key text PRIMARY KEY, value text NOT NULL)")
    postgres.psql("INSERT INTO understudy.meta VALUES ('schema', '99')")
    with pytest.raises(StoreError, match="schema 99 is from a newer Understudy"):
        await PostgresJournal.open(StoreUrl(postgres.url))


async def test_a_file_that_is_no_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        await SqliteJournal.open(tmp_path / "none.db")
    sqlite3.connect(tmp_path / "other.db").close()
    (tmp_path / "other.db").write_bytes(b"not a database at all, and long enough to be read as one")
    journal = await SqliteJournal.open(tmp_path / "other.db")
    with pytest.raises(StoreError, match="not a database"):
        await journal.page(0, "")
    await journal.close()
