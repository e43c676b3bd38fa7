"""Keeps the promises of the store in PostgreSQL to whoever leads: nothing of an older term is written, a COMMIT whose
answer is lost is found out, and a server that is killed, frozen, restarted or full costs no change that was
acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from proxy.config.postgres_url import PostgresTarget
from proxy.controller.store.interface import CommitDoubtError, Deposed
from proxy.controller.store.postgres.lease import Lease
from proxy.controller.store.postgres.schema import bring_up_to_date
from proxy.controller.store.postgres.session import Session
from proxy.controller.store.postgres.store import PostgresStore
from proxy.errors import StoreError
from tests.controller.store.postgres.wire import Wire
from tests.controller.store.stores import change, saved
from tests.postgres import Postgres

LATE = 60.0
LONG = 3600.0


class Leader:
    """Leads again and again over one store, as a controller does that the server was away from."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.store = PostgresStore(postgres.target)
        self.session: Session | None = None

    async def lead(self, target: PostgresTarget | None = None) -> None:
        """Connect, and take the lease."""
        former, self.session = self.session, await Session.connect(target or self.postgres.target, self.session)
        if former is None:
            await bring_up_to_date(self.session)
        term = await Lease(self.session).take(0, "leader", "", LONG)
        if term is None:
            raise StoreError("somebody else leads")
        self.store.lead(self.session, term)

    async def end(self) -> None:
        if self.session is not None:
            await self.session.close()


@pytest.fixture
async def leader(postgres: Postgres) -> AsyncIterator[Leader]:
    one = Leader(postgres)
    await one.lead()
    yield one
    await one.end()


@pytest.fixture
async def shaken(mortal_postgres: Postgres) -> AsyncIterator[Leader]:
    """On a server that may be killed."""
    one = Leader(mortal_postgres)
    await one.lead()
    yield one
    await one.end()


async def test_nothing_of_an_older_term_is_written(leader: Leader, postgres: Postgres) -> None:
    await leader.store.save(change(1, "http://a"))
    postgres.psql("UPDATE understudy.lease SET term = term + 1")  # another one has taken over
    delivery = await leader.store.next_delivery("http://a", 9.0, urgent=False)
    assert delivery is not None
    assert leader.session is not None
    for write in (
        lambda: leader.store.save(change(2, "http://a")),
        lambda: leader.store.snapshot([saved(b"later")], 9.0),
        lambda: leader.store.record_attempt(delivery, 9.0, "200", "delivered", None),
        lambda: leader.store.keep_charts({"t": {}}),
        lambda: leader.store.retain(9.0, []),
        lambda: leader.store.keep_endpoints({}, 9.0),
        lambda: leader.store.end_subscription("http://a", "t", 9.0),
        lambda: leader.store.let_go("r/c"),
    ):
        with pytest.raises(Deposed, match="term 1 is over"):
            await write()
        assert leader.session.ended.is_set()
        leader.session = await Session.connect(postgres.target)
        leader.store.lead(leader.session, 1)  # it does not know, and tries on
    tables = ("journal", "snapshots WHERE evidence = 'e'", "outbox WHERE state = 'waiting'")
    assert [postgres.psql(f"SELECT count(*) FROM understudy.{table}") for table in tables] == ["1", "1", "1"]
    assert postgres.psql("SELECT count(*) FROM understudy.evidence") == "1"


async def test_two_leaders_one_of_whom_does_not_know(leader: Leader, postgres: Postgres) -> None:
    await leader.store.save(change(1))
    postgres.psql("UPDATE understudy.lease SET expires = clock_timestamp() - interval '1 s'")
    other = Leader(postgres)
    await other.lead()
    assert [one.rollout.change for one in (await other.store.load()).rollouts] == [1]
    await other.store.save(change(2))
    with pytest.raises(StoreError):
        await leader.store.save(change(3))
    assert [entry["detail"]["n"] for entry in await other.store.journal("r/c", 9)] == [2, 1]
    await other.end()


@pytest.mark.parametrize("arrives", [True, False], ids=["it arrived", "it did not"])
async def test_a_change_whose_commit_is_not_answered_is_found_out(leader: Leader, arrives: bool) -> None:
    one = change(7, "http://a", evidence=b"what it was decided on")
    async with Wire(
        leader.postgres.target, skip=1, arrives=arrives
    ) as target:  # the first COMMIT is that of the evidence
        await leader.lead(target)
        with pytest.raises(CommitDoubtError, match="COMMIT"):
            await leader.store.save(one)
    for _ in range(2):
        with pytest.raises(CommitDoubtError, match="was not answered"):
            await leader.store.save(one)  # there is no connection: nobody can know
    assert leader.store.trouble
    await leader.lead()
    await leader.store.save(one)
    entries = await leader.store.journal("r/c", 9)
    assert [(entry["number"], entry["detail"]["n"]) for entry in entries] == [(1, 7)]
    assert await leader.store.delivery_counts("http://a") == {"waiting": 1}
    assert (await leader.store.load()).rollouts == [one.saved]
    assert leader.store.trouble == ""
    await leader.store.save(change(8))
    assert [entry["number"] for entry in await leader.store.journal("r/c", 9)] == [2, 1], "no number is left out"


async def test_evidence_whose_commit_is_not_answered_is_no_doubt(leader: Leader) -> None:
    async with Wire(leader.postgres.target, skip=0) as target:
        await leader.lead(target)
        with pytest.raises(StoreError) as refused:
            await leader.store.save(change(7))
        assert not isinstance(refused.value, CommitDoubtError)
    await leader.lead()
    await leader.store.save(change(7))
    assert len(await leader.store.journal("r/c", 9)) == 1


async def test_a_change_that_was_deposed_is_no_doubt_of_this_leader_any_more(leader: Leader) -> None:
    async with Wire(leader.postgres.target, skip=1, arrives=False) as target:
        await leader.lead(target)
        with pytest.raises(CommitDoubtError):
            await leader.store.save(change(7))
    await leader.lead()
    leader.postgres.psql("UPDATE understudy.lease SET term = term + 1")
    with pytest.raises(Deposed):
        await leader.store.save(change(7))


# --- what happens to the server --------------------------------------------------------------------------------------


async def saved_in_time(leader: Leader, number: int) -> None:
    """Save a change however often it takes, as the controller does: it is tried again, over a new connection."""
    one = change(number, "http://a")
    async with asyncio.timeout(LATE):
        while True:
            try:
                await leader.store.save(one)
                return
            except StoreError:
                await led_again(leader)


async def led_again(leader: Leader) -> None:
    while True:
        try:
            return await leader.lead()
        except StoreError:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_server_that_ends_under_writes_costs_nothing_that_was_acknowledged(shaken: Leader, how: str) -> None:
    server, done = shaken.postgres.server, list[int]()
    more = asyncio.Event()

    async def write() -> None:
        number = 0
        while len(done) < 120:
            number += 1
            await saved_in_time(shaken, number)
            done.append(number)
            more.set()

    writing = asyncio.ensure_future(write())
    for round_ in range(1, 4):
        while len(done) < 30 * round_:
            more.clear()
            await asyncio.wait_for(more.wait(), LATE)
        await asyncio.to_thread(getattr(server, how))
        await asyncio.to_thread(server.start)
    await asyncio.wait_for(writing, LATE)
    entries = list(reversed(await shaken.store.journal("r/c", 1000)))
    assert [entry["detail"]["n"] for entry in entries] == list(range(1, 121)), "none lost, none twice"
    assert [entry["number"] for entry in entries] == list(range(1, 121))
    assert await shaken.store.delivery_counts("http://a") == {"waiting": 120}


async def test_a_server_that_is_frozen_is_told_in_bounded_time_and_found_again(shaken: Leader) -> None:
    await shaken.store.save(change(1))
    server = shaken.postgres.server
    server.freeze()
    began = time.monotonic()
    calls = [shaken.store.save(change(2)), shaken.store.check(), shaken.store.journal("r/c", 1)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results), results
    assert time.monotonic() - began < LATE
    assert "not answered" in shaken.store.trouble or "no answer" in shaken.store.trouble
    impatient = replace(shaken.postgres.target, seconds=0.5)
    with pytest.raises(StoreError, match="no answer"):
        await Session.connect(impatient)
    server.thaw()
    await saved_in_time(shaken, 2)
    assert [entry["detail"]["n"] for entry in await shaken.store.journal("r/c", 9)] == [2, 1]
    assert shaken.store.trouble == ""


async def test_a_disk_that_is_full_is_told_in_the_servers_words_and_passes(leader: Leader, postgres: Postgres) -> None:
    """What the server says when a file cannot grow, raised where it would be."""
    postgres.psql(
        "SET search_path = understudy; CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;"
        " CREATE TRIGGER full_disk BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    with pytest.raises(StoreError, match=r"No space left on device \(53100\)"):
        await leader.store.save(change(1, "http://a"))
    assert "No space left" in leader.store.trouble
    assert leader.store.failures == 1
    assert postgres.psql("SELECT count(*) FROM understudy.journal") == "0"
    assert leader.session is not None
    assert not leader.session.ended.is_set()
    postgres.psql("DROP TRIGGER full_disk ON understudy.outbox")
    await leader.store.save(change(1, "http://a"))
    assert leader.store.trouble == ""


async def test_evidence_is_stored_as_it_comes_and_what_nobody_refers_to_goes(
    leader: Leader, postgres: Postgres
) -> None:
    await leader.store.save(change(1, evidence=b"\0" * 100_000))
    size = "SELECT pg_column_size(evidence) FROM understudy"
    sizes = postgres.psql(f"{size}.evidence UNION ALL {size}.snapshots")
    assert sizes.split() == ["100000", "100000"], "the server compresses nothing"
    postgres.psql("INSERT INTO understudy.evidence VALUES ('young', '', now()), ('old', '', now() - interval '2 h')")
    await leader.store.retain(1.0, ["r/c"])
    assert postgres.psql("SELECT token FROM understudy.evidence WHERE token IN ('young', 'old')") == "young"


async def test_without_a_connection_everything_says_so(postgres: Postgres) -> None:
    store = PostgresStore(postgres.target)
    assert "not connected" in store.trouble
    assert store.synchronous is None
    for call in (store.load(), store.save(change(1)), store.check(), store.charts()):
        with pytest.raises(StoreError, match="not connected"):
            await call
