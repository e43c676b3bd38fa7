"""Keeps the promise that a whole state moves from either kind of store into either without loss, and that nothing that
is in use, or not empty, or half a copy is taken for a store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import main
from proxy.cli.stores import copy_store
from proxy.controller.store import copying
from proxy.controller.store.interface import Contents, RolloutStore, SavedDrift
from proxy.controller.store.postgres.lease import Lease
from proxy.controller.store.postgres.schema import bring_up_to_date
from proxy.controller.store.postgres.session import Session
from proxy.controller.store.sqlite import database
from proxy.controller.store.sqlite.store import SqliteStore
from proxy.errors import StoreError
from proxy.model import State
from tests.controller.store.stores import FileKind, Kind, PostgresKind, change, saved
from tests.controller.store.test_chain import faults
from tests.postgres import Postgres

Other = Callable[[], Kind]


@pytest.fixture(params=["sqlite", "postgres"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """A place for a second store, of each kind, where nothing is yet."""
    if request.param == "sqlite":
        return FileKind(tmp_path / "other" / "o.db")
    server = request.getfixturevalue("postgres_server")
    return PostgresKind(Postgres(server, server.database()))


def place(kind: Kind) -> str:
    if isinstance(kind, FileKind):
        return str(kind.path)
    assert isinstance(kind, PostgresKind)
    return kind.postgres.url


async def filled(store: RolloutStore) -> None:
    """Something of everything that a store holds."""
    for number in range(1, 8):
        one = change(number, "http://a", "http://b", evidence=bytes(range(256)) * number)
        rollout = replace(one.saved.rollout, trial=f"t{number % 3}", cause='é "quoted" 🦉')
        await store.save(replace(one, saved=replace(one.saved, rollout=rollout)))
    ended = change(8, name="r/z", evidence=b"")
    over = replace(ended.saved.rollout, state=State.ROLLED_BACK, weight=0, cause="removed")
    await store.save(replace(ended, saved=replace(ended.saved, rollout=over)))
    await store.save(change(9, name="R/upper"))
    await store.snapshot([saved(b"newer than the last entry", name="R/upper", change=9)], 99.0)
    first = await store.next_delivery("http://a", 99.0, urgent=False)
    assert first is not None
    await store.record_attempt(first, 99.5, "503 later", "retry", 120.25)
    await store.end_subscription("http://b", "terms", 100.0)
    await store.keep_charts({"t1": {"points": [0.1, None, "x"]}})
    await store.keep_drift(SavedDrift("r", bytes(range(256))), 9.0)
    await store.put_exposures("t1", 2, b"\0b")
    await store.put_exposures("t1", 1, b"a")


async def seen(store: RolloutStore) -> tuple[Contents, object, object, object]:
    """All of it, as a controller sees it."""
    names = ("r/c", "r/z", "R/upper")
    contents = await store.load(names)
    journals = [await store.journal(name, 99) for name in names]
    past = [await store.past("r/c", f"t{n}") for n in range(3)]
    counts = [await store.delivery_counts(url) for url in ("http://a", "http://b")]
    deliveries = [await store.next_delivery("http://a", now, urgent=False) for now in (99.0, 130.0)]
    return (
        contents,
        (journals, past),
        (counts, deliveries, await store.is_ended("http://b"), await store.charts(), await store.drift()),
        await store.exposures("t1"),
    )


async def test_a_whole_state_moves_and_is_gone_on_with(kind: Kind, other: Kind) -> None:
    await filled(await kind.open())
    assert kind.store is not None
    before = await seen(kind.store)
    await kind.close()
    said = await copy_store(place(kind), place(other))
    assert "3 rollouts, 3 past, 9 journal, 14 outbox, 1 ended, 1 charts, 1 drift, 2 exposures" in said
    store = await other.open()
    assert await seen(store) == before
    await store.save(change(10))
    (entry, *_) = await store.journal("r/c", 1)
    assert entry["number"] == 10, "numbers go on, and none is used again"
    assert await faults(other) == [], "and so does the chain"
    await other.close()
    assert await seen(await kind.open()) == before, "the source is as it was"


async def test_a_target_that_is_not_empty_is_refused(kind: Kind, other: Kind) -> None:
    for one in (kind, other):
        await (await one.open()).save(change(1))
        await one.close()
    with pytest.raises(StoreError, match=r"is there already|is not empty"):
        await copy_store(place(kind), place(other))
    assert len(await (await other.open()).journal("r/c", 9)) == 1
    await other.close()


async def test_a_store_in_use_is_refused_as_a_source(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    store = await kind.open()
    await store.save(change(1))
    await store.load()
    with pytest.raises(StoreError, match=r"another Understudy uses this store|in use, test leads"):
        await copy_store(place(kind), str(tmp_path / "copy.db"))
    assert not (tmp_path / "copy.db").exists()


async def test_a_database_in_use_is_refused_as_a_target(postgres: Postgres, tmp_path: Path) -> None:
    source = FileKind(tmp_path / "s.db")
    await (await source.open()).save(change(1))
    await source.close()
    session = await Session.connect(postgres.target)
    await bring_up_to_date(session)
    assert await Lease(session).take(0, "replica-1", "", 60.0) == 1
    with pytest.raises(StoreError, match="in use, replica-1 leads"):
        await copy_store(str(source.path), postgres.url)
    await session.close()


async def test_what_is_no_store_is_no_source(tmp_path: Path, postgres: Postgres) -> None:
    for source in (str(tmp_path / "missing.db"), postgres.url):
        with pytest.raises(StoreError, match=r"no such store|no store, or an empty one"):
            await copy_store(source, str(tmp_path / "copy.db"))
    assert not any("copy" in name for name in os.listdir(tmp_path))


async def test_half_a_copy_is_no_store_and_can_be_begun_again(
    kind: Kind, other: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(await kind.open())
    await kind.close()
    whole = copying.every_batch

    async def breaks(store: copying.Copied, part: str) -> object:
        if part == "outbox":
            raise StoreError("the disk is full")
        async for rows in whole(store, part):
            yield rows

    monkeypatch.setattr(copying, "every_batch", breaks)
    with pytest.raises(StoreError, match="full"):
        await copy_store(place(kind), place(other))
    monkeypatch.undo()
    if isinstance(other, FileKind):
        assert not other.path.exists()
    else:
        with pytest.raises(StoreError, match="was not finished"):
            await other.open()
        assert isinstance(other, PostgresKind)
        assert other.session is not None
        await other.session.close()
        other.session = None
    assert "14 outbox" in await copy_store(place(kind), place(other))
    assert len(await (await other.open()).journal("r/c", 99)) == 7
    await other.close()


async def test_a_copy_that_came_out_otherwise_gets_no_name(
    kind: Kind, other: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(await kind.open())
    await kind.close()
    real = copying.copy_parts

    async def loses(source: copying.Copied, target: copying.Copied) -> None:
        await real(source, target)
        await target.add("charts", [("another", "{}")])

    monkeypatch.setattr("proxy.cli.stores.copy_parts", loses)
    with pytest.raises(StoreError, match="charts came out otherwise"):
        await copy_store(place(kind), place(other))
    assert not isinstance(other, FileKind) or not other.path.exists()


def test_the_command_says_what_it_copied_and_what_it_could_not(tmp_path: Path) -> None:
    async def made() -> None:
        store = SqliteStore(tmp_path / "a.db")
        await filled(store)
        await store.close()

    asyncio.run(made())
    done = CliRunner().invoke(main, ["store", "copy", str(tmp_path / "a.db"), str(tmp_path / "b.db")])
    assert (done.exit_code, done.output.strip()) == (
        0,
        "Copied and compared: 3 rollouts, 3 past, 9 journal, 14 outbox, 1 ended, 1 charts, 1 drift, 2 exposures.",
    )
    again = CliRunner().invoke(main, ["store", "copy", str(tmp_path / "a.db"), str(tmp_path / "b.db")])
    assert again.exit_code == 1
    assert "is there already" in again.output
    wrong = CliRunner().invoke(main, ["store", "copy", "postgresql://u:pw@db/d?options=x", str(tmp_path / "c.db")])
    assert wrong.exit_code == 1
    assert "without `options`" in wrong.output
    assert "pw" not in wrong.output
