"""Keeps the promise that of two leaders' writes those of the older term never follow the newer one's: with two real
sessions, step by step. Forms that look like a fence and are none stand beside it, each let through here.

`old` leads in term 1 and does not know that it is over, `new` takes term 2. Each form of `old`'s write is begun before
the takeover and waits, or comes after it, as the interleaving says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import asyncpg
import pytest

from proxy.controller.store.postgres.connecting import LIMITS, Connection
from proxy.controller.store.postgres.lease import FENCE
from proxy.controller.store.postgres.schema import bring_up_to_date
from proxy.controller.store.postgres.session import Session
from tests.postgres import Postgres

LATE = 30.0
TAKE = "UPDATE lease SET term = term + 1 WHERE name = 'r' RETURNING term"
RENEW = "UPDATE lease SET expires = clock_timestamp() + interval '10 s' WHERE name = 'r' AND term = 1"
FENCED = "WITH fence AS (SELECT 1 FROM lease WHERE name = 'r' AND term = 1 FOR KEY SHARE)"


class Two:
    """Two connections and the row that both want to write."""

    def __init__(self, old: Connection, new: Connection, postgres: Postgres) -> None:
        self.old, self.new, self._postgres = old, new, postgres

    async def waits(self, connection: Connection) -> None:
        """Until the server says that this connection waits for a lock."""
        pid = connection.get_server_pid()
        sql = f"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = {pid}"
        await self._postgres.becomes(sql, "1")

    async def value(self) -> str:
        found: str = await self.new.fetchval("SELECT value FROM state")
        return found


@pytest.fixture
async def two(postgres: Postgres) -> AsyncIterator[Two]:
    session = await Session.connect(postgres.target)
    await bring_up_to_date(session)
    await session.close()
    (host, port) = postgres.target.hosts[0]
    settings = {**LIMITS, "lock_timeout": "20s", "statement_timeout": "20s"}  # here waiting is what is looked at
    settings["idle_in_transaction_session_timeout"] = settings["idle_session_timeout"] = "0"
    here: dict[str, Any] = {"host": host, "port": port, "user": "understudy", "database": postgres.database}
    old, new = [await asyncpg.connect(**here, server_settings=settings) for _ in range(2)]
    await new.execute("CREATE TABLE state (n int PRIMARY KEY, value text); INSERT INTO state VALUES (1, 'begun')")
    await new.execute("CREATE TABLE entries (text text)")
    await new.execute("INSERT INTO lease VALUES ('r', 1, 'old', '', clock_timestamp() + interval '1 h', 0, now())")
    yield Two(old, new, postgres)
    for connection in (old, new):
        await connection.close()


async def begin(connection: Connection, level: str = "READ COMMITTED") -> None:
    await connection.execute(f"BEGIN ISOLATION LEVEL {level}")


async def take(two: Two) -> None:
    """Term 2 begins, and writes: not committed yet."""
    await begin(two.new)
    assert await two.new.fetchval(TAKE) == 2
    await two.new.execute("UPDATE state SET value = 'by term 2'")


async def ends(work: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(work, LATE)


# --- the fence -------------------------------------------------------------------------------------------------------


async def test_a_fenced_write_that_waits_for_a_takeover_is_let_in_no_more(two: Two) -> None:
    await take(two)
    await begin(two.old)
    fence = asyncio.ensure_future(two.old.fetchval(FENCE, "r", 1))
    await two.waits(two.old)
    await two.new.execute("COMMIT")
    assert await ends(fence) is None
    await two.old.execute("ROLLBACK")
    assert await two.value() == "by term 2"


async def test_a_takeover_waits_for_a_fenced_write_and_then_sees_it(two: Two) -> None:
    await begin(two.old)
    assert await two.old.fetchval(FENCE, "r", 1) == 1
    await two.old.execute("UPDATE state SET value = 'last of term 1'")
    taking = asyncio.ensure_future(two.new.fetchval(TAKE))
    await two.waits(two.new)
    await two.old.execute("COMMIT")
    assert await ends(taking) == 2
    assert await two.value() == "last of term 1", "read after taking, in a statement of its own"


async def test_a_fence_in_the_same_statement_as_the_write_is_one(two: Two) -> None:
    await take(two)
    write = asyncio.ensure_future(two.old.execute(f"{FENCED} UPDATE state SET value = 'by term 1' FROM fence"))
    await two.waits(two.old)
    await two.new.execute("COMMIT")
    assert await ends(write) == "UPDATE 0"
    assert await two.value() == "by term 2"


async def test_renewals_do_not_wait_for_fenced_writes(two: Two) -> None:
    await begin(two.old)
    assert await two.old.fetchval(FENCE, "r", 1) == 1
    assert await ends(two.new.execute(RENEW)) == "UPDATE 1"
    await two.old.execute("COMMIT")


# --- what looks like one ---------------------------------------------------------------------------------------------

UNFENCED = {
    "a subquery": "UPDATE state SET value = 'by term 1' WHERE EXISTS (SELECT 1 FROM lease WHERE name='r' AND term = 1)",
    "a join": "UPDATE state SET value = 'by term 1' FROM lease WHERE name = 'r' AND term = 1",
    "an upsert": "INSERT INTO state VALUES (1, 'by term 1') ON CONFLICT (n) DO UPDATE SET value = excluded.value"
    " WHERE EXISTS (SELECT 1 FROM lease WHERE name = 'r' AND term = 1)",
}


@pytest.mark.parametrize("form", UNFENCED)
async def test_a_term_in_a_where_is_no_fence(two: Two, form: str) -> None:
    await take(two)
    write = asyncio.ensure_future(two.old.execute(UNFENCED[form]))
    await two.waits(two.old)  # for the row of the state, having compared the term already
    await two.new.execute("COMMIT")
    await ends(write)
    assert await two.value() == "by term 1", "it went through, after the takeover was committed"


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
async def test_looking_at_the_term_first_is_no_fence(two: Two, level: str) -> None:
    await begin(two.old, level)
    assert await two.old.fetchval("SELECT 1 FROM lease WHERE name = 'r' AND term = 1") == 1
    await take(two)
    await two.new.execute("COMMIT")
    await two.old.execute("INSERT INTO entries VALUES ('by term 1')")
    await two.old.execute("COMMIT")
    assert await two.value() == "by term 2"
    assert await two.new.fetchval("SELECT count(*) FROM entries") == 1, "an entry of term 1 after term 2 began"


async def test_for_share_holds_up_renewals(two: Two) -> None:
    await begin(two.old)
    assert await two.old.fetchval(FENCE.replace("KEY SHARE", "SHARE"), "r", 1) == 1
    renewal = asyncio.ensure_future(two.new.execute(RENEW))
    await two.waits(two.new)
    await two.old.execute("COMMIT")
    assert await ends(renewal) == "UPDATE 1"


async def test_without_the_term_in_a_key_for_key_share_holds_up_no_takeover(two: Two) -> None:
    await two.new.execute("ALTER TABLE lease DROP CONSTRAINT lease_name_term_key")
    await begin(two.old)
    assert await two.old.fetchval(FENCE, "r", 1) == 1
    assert await ends(two.new.fetchval(TAKE)) == 2
    await two.old.execute("UPDATE state SET value = 'by term 1'")
    await two.old.execute("COMMIT")
    assert await two.value() == "by term 1"


@pytest.mark.parametrize("how", ["in one statement", "at REPEATABLE READ"])
async def test_taking_and_reading_at_once_misses_the_last_write(two: Two, how: str) -> None:
    await begin(two.old)
    assert await two.old.fetchval(FENCE, "r", 1) == 1
    await two.old.execute("INSERT INTO entries VALUES ('last of term 1')")
    if how == "in one statement":
        both = f"WITH taken AS ({TAKE}) SELECT (SELECT count(*) FROM entries) FROM taken"
        seen = asyncio.ensure_future(two.new.fetchval(both))
    else:
        await begin(two.new, "REPEATABLE READ")
        await two.new.fetchval("SELECT 1")
        seen = asyncio.ensure_future(_taken_and_read(two.new))
    await two.waits(two.new)
    await two.old.execute("COMMIT")
    assert await ends(seen) == 0, "it waited, and its snapshot is older"


async def _taken_and_read(connection: Connection) -> Any:
    await connection.fetchval(TAKE)
    return await connection.fetchval("SELECT count(*) FROM entries")


async def test_the_clock_in_a_renewal_is_from_before_its_wait(two: Two) -> None:
    """Why the leader counts from before it sent a renewal, by its own clock."""
    await begin(two.new)
    await two.new.execute("SELECT 1 FROM lease WHERE name = 'r' FOR UPDATE")
    renewal = asyncio.ensure_future(two.old.fetchval(f"{RENEW} RETURNING expires - interval '10 s'"))
    await two.waits(two.old)
    after = await two.new.fetchval("SELECT clock_timestamp()")
    await two.new.execute("COMMIT")
    assert await ends(renewal) < after
