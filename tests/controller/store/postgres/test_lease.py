"""Keeps the promises of a lease: one holder at a time, terms only grow, a leader whose connection ended is followed at
once, and one that is frozen as soon as its lease has expired."""

from __future__ import annotations

import asyncio

import pytest

from proxy.controller.store.postgres.lease import Lease, LeaseRow
from proxy.controller.store.postgres.schema import MIGRATIONS, bring_up_to_date
from proxy.controller.store.postgres.session import Session
from proxy.errors import StoreError
from tests.controller.store.postgres.conftest import Sessions
from tests.postgres import Postgres

LATE = 30.0
LONG = 3600.0
"""A lease that expires in no test."""


async def expire(postgres: Postgres) -> None:
    """Let time pass in the database alone."""
    postgres.psql("UPDATE understudy.lease SET expires = clock_timestamp() - interval '1 s'")


async def test_nobody_leads_at_first_and_then_one(postgres: Postgres, sessions: Sessions) -> None:
    one, other = Lease(await sessions(postgres)), Lease(await sessions(postgres))
    assert await one.look() == LeaseRow(0, "", "", -1.0)
    assert await one.take(0, "a", "10.0.0.1:9091", LONG) == 1
    assert await other.take(0, "b", "10.0.0.2:9091", LONG) is None
    row = await other.look()
    assert (row.term, row.holder, row.address) == (1, "a", "10.0.0.1:9091")
    assert LONG - 60 < row.seconds_left <= LONG


async def test_two_that_try_at_the_same_moment_are_one(postgres: Postgres, sessions: Sessions) -> None:
    leases = [Lease(await sessions(postgres)) for _ in range(4)]
    for term in range(1, 6):
        terms = await asyncio.gather(*(lease.take(0, f"r{n}", "", LONG) for n, lease in enumerate(leases)))
        (holder,) = [lease for lease, got in zip(leases, terms, strict=True) if got is not None]
        assert [got for got in terms if got is not None] == [term]
        await holder.release(term)


async def test_a_renewal_holds_until_the_term_or_the_time_is_over(postgres: Postgres, sessions: Sessions) -> None:
    lease = Lease(await sessions(postgres))
    term = await lease.take(0, "a", "", LONG)
    assert term is not None
    assert await lease.renew(term)
    assert not await lease.renew(term + 1)
    await expire(postgres)
    assert not await lease.renew(term), "what has expired is over, also if nobody has taken it"
    assert (await lease.look()).seconds_left < 0
    assert await lease.take(0, "a", "", LONG) == term + 1
    assert await lease.renew(term + 1)


async def test_a_leader_whose_connection_ended_is_followed_at_once(postgres: Postgres, sessions: Sessions) -> None:
    first, second = await sessions(postgres), Lease(await sessions(postgres))
    assert await Lease(first).take(0, "a", "", LONG) == 1
    first.terminate("killed")
    await postgres.becomes(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {first.pid}", "0")
    assert await second.take(0, "b", "", LONG) == 2
    assert (await second.look()).holder == "b"


async def test_a_frozen_leader_is_followed_when_its_lease_has_expired(postgres: Postgres, sessions: Sessions) -> None:
    frozen, lease = await sessions(postgres), Lease(await sessions(postgres))
    assert await Lease(frozen).take(0, "a", "", LONG) == 1  # from here on it says nothing, and its kernel is there
    assert await lease.take(0, "b", "", LONG) is None
    await expire(postgres)
    assert await lease.take(0, "b", "", LONG) == 2
    await asyncio.wait_for(frozen.ended.wait(), LATE)
    with pytest.raises(StoreError):
        await Lease(frozen).renew(1)


async def test_only_the_lock_of_this_database_and_this_lease_is_anybodys_business(
    postgres: Postgres, sessions: Sessions
) -> None:
    holder, lease = await sessions(postgres), Lease(await sessions(postgres))
    elsewhere = await Session.connect(postgres.server.target("postgres"))
    other = Lease(await sessions(postgres), "another")
    assert await Lease(holder).take(0, "a", "", LONG) == 1
    locks = postgres.psql(f"SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory' AND pid = {holder.pid}")
    numbers = [int(number) for number in locks.split("|")]
    await elsewhere.run(lambda connection: connection.execute("SELECT pg_advisory_lock($1::int, $2::int)", *numbers))
    assert await other.take(0, "c", "", LONG) == 1
    await expire(postgres)
    assert await lease.take(0, "b", "", LONG) == 2
    assert await elsewhere.run(lambda connection: connection.fetchval("SELECT 1")) == 1
    assert not other.session.ended.is_set()
    await elsewhere.close()


async def test_a_term_is_above_every_one_that_a_worker_has_seen(postgres: Postgres, sessions: Sessions) -> None:
    lease = Lease(await sessions(postgres))
    assert await lease.take(41, "a", "", LONG) == 42
    await lease.release(42)
    assert await lease.take(7, "a", "", LONG) == 43


async def test_who_releases_is_followed_at_once(postgres: Postgres, sessions: Sessions) -> None:
    one, other = Lease(await sessions(postgres)), Lease(await sessions(postgres))
    assert await one.take(0, "a", "", LONG) == 1
    await one.release(1)
    assert await other.take(0, "b", "", LONG) == 2
    await one.release(1)  # of a term that is over: nothing happens
    assert (await other.look()).seconds_left > 0
    assert await one.take(0, "a", "", LONG) is None
    await other.release(2)
    assert await one.take(0, "a", "", LONG) == 3, "a lock that was let go of once is free"


# --- schema ----------------------------------------------------------------------------------------------------------


async def test_replicas_that_start_together_bring_the_schema_up_to_date_once(postgres: Postgres) -> None:
    several = [await Session.connect(postgres.target) for _ in range(4)]
    await asyncio.gather(*(bring_up_to_date(session) for session in several))
    assert postgres.psql("SELECT value FROM understudy.meta WHERE key = 'schema'") == str(len(MIGRATIONS))
    assert postgres.psql("SELECT count(*) FROM understudy.meta WHERE key IN ('identity', 'split_secret')") == "2"
    for session in several:
        await session.close()


async def test_a_newer_schema_is_refused_untouched(postgres: Postgres, sessions: Sessions) -> None:
    await sessions(postgres)
    postgres.psql("UPDATE understudy.meta SET value = '99' WHERE key = 'schema'")
    session = await Session.connect(postgres.target)
    with pytest.raises(StoreError, match="schema 99 is from a newer Understudy"):
        await bring_up_to_date(session)
    await session.close()
    assert postgres.psql("SELECT value FROM understudy.meta WHERE key = 'schema'") == "99"
