"""Who leads: one row that names holder, address and term, and a lock that the leader's connection holds.

The row is the truth and the lock makes takeovers quick: it is free as soon as the leader's connection ends, on
whichever side. Database time decides what has expired, so clocks of replicas need not agree.

A lease alone is no fence: a leader that was stopped past its end does not know. What keeps its writes out is `FENCE`,
the first statement of every transaction that writes, at READ COMMITTED.

Invariants
- Terms only grow, also over a failover that lost some: a new one is above the highest that any worker has seen.
- A new leader holds the lock before it takes the row. It reads the state after that, in a statement of its own: one
  that took and read at once would miss the last write of the one before it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from proxy.controller.store.postgres.connecting import Connection
from proxy.controller.store.postgres.session import Session

TABLE = """
CREATE TABLE lease (name text PRIMARY KEY, term bigint NOT NULL, holder text NOT NULL, address text NOT NULL,
    expires timestamptz NOT NULL, pid integer NOT NULL, began timestamptz NOT NULL, UNIQUE (name, term));
"""
"""`UNIQUE (name, term)` makes the term part of a key: without it `FOR KEY SHARE` does not wait for a takeover. `pid`
and `began` are the server's process of the leader: the one that may be ended when the lease has expired, and no other.
One that has just got the lock and not yet written its term would else be ended by the next one that tries."""

FENCE = "SELECT 1 FROM lease WHERE name = $1 AND term = $2 FOR KEY SHARE"
"""First statement of a transaction that writes; no row: deposed. It holds up takeovers until the transaction has ended,
and renewals not at all. A term in a WHERE of the write itself is no fence: it is compared in an old snapshot."""

_RENEW = """
UPDATE lease SET expires = clock_timestamp() + $3 * interval '1 s'
 WHERE name = $1 AND term = $2 AND expires > clock_timestamp()
"""
_TAKE = """
UPDATE lease SET term = greatest(term, $2::bigint) + 1, holder = $3, address = $4,
       expires = clock_timestamp() + $5 * interval '1 s', pid = $6, began = $7
 WHERE name = $1 RETURNING term
"""
_RELEASE = "UPDATE lease SET expires = clock_timestamp(), pid = 0 WHERE name = $1 AND term = $2"
_LOOK = """
SELECT term, holder, address, extract(epoch FROM expires - clock_timestamp())::float8 AS left
  FROM lease WHERE name = $1
"""
_ROW = """
INSERT INTO lease VALUES ($1, 0, '', '', to_timestamp(0), 0, to_timestamp(0)) ON CONFLICT DO NOTHING
"""
_END_HOLDER = """
SELECT pg_terminate_backend(activity.pid, 1000) FROM pg_stat_activity AS activity
  JOIN lease ON activity.pid = lease.pid AND activity.backend_start = lease.began
 WHERE name = $1 AND expires < clock_timestamp() AND activity.pid <> pg_backend_pid()
"""

_CLASS = zlib.crc32(b"understudy") >> 1
"""The lock's first number, so that no other program's lock in the same database is ours."""

TAKING = 5.0
"""Seconds that a takeover may take, the end of a frozen leader's session included."""


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """Who leads, as the store has it. `seconds_left` is below 0 when it has expired; the first term is 1."""

    term: int
    holder: str
    address: str
    seconds_left: float


class Lease:
    """The lease called `name`, over one session. Every coroutine may raise `StoreError`."""

    def __init__(self, session: Session, name: str = "rollouts") -> None:
        self.session, self.name = session, name
        self._key = zlib.crc32(name.encode()) >> 1
        self._locked = False
        self._seconds = 10.0

    async def look(self) -> LeaseRow:
        """Who leads now, or led last."""
        row = await self.session.run(lambda connection: connection.fetchrow(_LOOK, self.name), first=True)
        return LeaseRow(0, "", "", -1.0) if row is None else LeaseRow(*row)

    async def take(self, highest_seen: int, holder: str, address: str, lease: float) -> int | None:
        """Lead for `lease` seconds, if nobody else does: the new term, above `highest_seen`; else `None`.

        At once when the last leader's connection has ended. When its lease has expired and its connection has not (a
        frozen process), that is ended first. Count the lease from before this call, never from its answer.
        """

        async def work(connection: Connection) -> int | None:
            if not await self._lock(connection):
                return None
            await connection.execute(_ROW, self.name)
            values = (self.name, highest_seen, holder, address, float(lease), self.session.pid, self.session.began)
            term: int = await connection.fetchval(_TAKE, *values)
            return term

        term = await self.session.run(work, TAKING, first=True)
        self._seconds = lease if term is not None else self._seconds
        return term

    async def renew(self, term: int) -> bool:
        """Lead for as long again; `False` when that is over, whether or not somebody else leads already."""
        values = (self.name, term, float(self._seconds))
        answer = await self.session.run(lambda connection: connection.execute(_RENEW, *values), first=True)
        return answer == "UPDATE 1"

    async def release(self, term: int) -> None:
        """Lead no more, so that another one may at once."""

        async def work(connection: Connection) -> None:
            await connection.execute(_RELEASE, self.name, term)
            if self._locked:
                await connection.execute("SELECT pg_advisory_unlock($1::int, $2::int)", _CLASS, self._key)
                self._locked = False

        await self.session.run(work, first=True)

    async def _lock(self, connection: Connection) -> bool:
        """Whether the leader's lock is this session's; a lock taken twice would have to be released twice."""
        if not self._locked:
            self._locked = await self._try_lock(connection)
        if not self._locked and await connection.fetch(_END_HOLDER, self.name):
            self._locked = await self._try_lock(connection)
        return self._locked

    async def _try_lock(self, connection: Connection) -> bool:
        return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1::int, $2::int)", _CLASS, self._key))
