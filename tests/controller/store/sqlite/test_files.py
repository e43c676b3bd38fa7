"""Keeps the promises of a store in a file: older ones are brought up to date, one process has it, it has a secret of
its own, and what it keeps no more gives room back to the disk."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.controller.store.interface import KEPT
from proxy.controller.store.sqlite import database
from proxy.controller.store.sqlite.schema import MIGRATIONS
from proxy.controller.store.sqlite.store import SqliteStore
from proxy.errors import StoreError
from tests.controller.store.stores import change
from tests.controller.store.test_store import many_names


async def test_a_file_of_each_older_version_is_brought_up_to_this_one(tmp_path: Path) -> None:
    for version in range(1, len(MIGRATIONS)):
        path = tmp_path / f"{version}.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as old:
            for script in MIGRATIONS[:version]:
                old.executescript(script)
            old.execute(f"PRAGMA user_version = {version}")
            old.execute("INSERT INTO meta VALUES ('identity', 'me'), ('table', 7)")
            old.execute("INSERT INTO ended (endpoint, time) VALUES ('http://a', 1.0)")
        store = SqliteStore(path)
        contents = await store.load()
        assert (contents.identity, contents.table) == ("me", 7)
        assert await store.is_ended("http://a")
        await store.save(change(1, "http://a"))
        assert await store.delivery_counts("http://a") == {}
        await store.close()
        with closing(sqlite3.connect(path)) as now:
            assert now.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


async def test_a_store_is_one_controllers_at_a_time(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.load()
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    other = SqliteStore(store.path)
    with pytest.raises(StoreError, match="another Understudy"):
        await other.load()
    monkeypatch.setattr(database, "PATIENCE", 10.0)
    waits = asyncio.ensure_future(other.load())  # as after a supervisor was killed: the old one is on its way out
    await store.save(change(5))
    await store.close()
    assert [one.rollout.change for one in (await waits).rollouts] == [5]
    await other.close()


async def test_a_store_has_a_secret_of_its_own_for_as_long_as_it_lives(store: SqliteStore, tmp_path: Path) -> None:
    secret = (await store.load()).secret
    await store.close()
    again = SqliteStore(store.path)
    assert (await again.load()).secret == secret
    await again.close()
    with closing(sqlite3.connect(store.path)) as connection:  # as one from before there was any
        connection.execute("DELETE FROM meta WHERE key = 'split_secret'")
        connection.commit()
    for path in (store.path, tmp_path / "other.db"):
        other = SqliteStore(path)
        assert len(bytes.fromhex((await other.load()).secret)) == 32
        assert (await other.load()).secret != secret
        await other.close()


def size_of(path: Path) -> int:
    return sum(Path(f"{path}{part}").stat().st_size for part in ("", "-wal"))


async def test_names_that_left_the_file_give_their_room_back_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "SHRINKS_FROM", 1 << 20)
    store = SqliteStore(tmp_path / "u.db", replace(KEPT, ended=5, names=50, let_go=7))
    await many_names(store, 80, 30_000)
    assert size_of(store.path) > 4 << 20
    await store.retain(100.0, ["r/c3"])
    assert size_of(store.path) < 1 << 20
    await store.close()
