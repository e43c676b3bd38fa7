"""The outbox in PostgreSQL (see `webhooks.outbox`): one sender, the leader.

Rows are marked and the lowest one that waits is taken: ids above the last one seen would miss rows whose transaction
committed late, and rows that senders lock would give up their order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import orjson

from proxy.controller.store.postgres.connecting import Connection
from proxy.controller.webhooks.outbox import Delivery
from proxy.controller.webhooks.policy import URGENT, WebhookEvent

T = TypeVar("T")

_NEXT = """
SELECT id, type, time, data, attempts, due FROM outbox
 WHERE endpoint = $1 AND state = 'waiting' AND (type = ANY($2::text[])) = $3
 ORDER BY due > $4, CASE WHEN due > $4 THEN due END, attempts, time, number LIMIT 1
"""
_FIRST = """
SELECT id, type, time, data, attempts, due FROM outbox WHERE endpoint = $1 AND state = 'waiting'
 ORDER BY time, number LIMIT 1
"""
_RECORD = """
UPDATE outbox SET attempts = $3, due = coalesce($4, due), state = $5, answer = $6, attempted = $7
 WHERE id = $1 AND endpoint = $2
"""
_END = """
INSERT INTO ended VALUES ($1, $2, $3)
    ON CONFLICT (endpoint) DO UPDATE SET time = excluded.time, terms = excluded.terms
"""


def _delivery(row: Any, endpoint: str) -> Delivery:
    told = WebhookEvent(row["id"], row["type"], row["time"], orjson.loads(row["data"]))
    return Delivery(told, endpoint, row["attempts"], row["due"])


class PostgresOutbox:
    """The part of a store that webhooks need. Every coroutine may raise `StoreError`."""

    async def _read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        raise NotImplementedError

    async def _write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        raise NotImplementedError

    async def next_delivery(self, endpoint: str, now: float, *, urgent: bool) -> Delivery | None:
        """Of the urgent rows, or of the others: of those due by `now` the one with fewest attempts, then the oldest;
        else the one due first."""
        values = (endpoint, sorted(URGENT), urgent, now)
        row = await self._read(lambda connection: connection.fetchrow(_NEXT, *values))
        return None if row is None else _delivery(row, endpoint)

    async def first_delivery(self, endpoint: str) -> Delivery | None:
        """The oldest row that waits, whenever it is due."""
        row = await self._read(lambda connection: connection.fetchrow(_FIRST, endpoint))
        return None if row is None else _delivery(row, endpoint)

    async def record_attempt(self, delivery: Delivery, now: float, answer: str, result: str, due: float | None) -> None:
        """Write what became of an attempt."""
        state = "waiting" if due is not None else str(result)
        words = (delivery.attempts + 1, due, state, answer.replace("\0", "\ufffd"), now)
        values = (delivery.event.id, delivery.endpoint, *words)
        await self._write(lambda connection: connection.execute(_RECORD, *values))

    async def end_subscription(self, endpoint: str, terms: str, now: float) -> None:
        """Its waiting rows end, and no new ones are written for it while its terms are these."""

        async def work(connection: Connection) -> None:
            await connection.execute(_END, endpoint, now, terms)
            sql = "UPDATE outbox SET state = 'ended' WHERE endpoint = $1 AND state = 'waiting'"
            await connection.execute(sql, endpoint)

        await self._write(work)

    async def keep_endpoints(self, terms: Mapping[str, str], now: float) -> dict[str, int]:
        """Only these endpoints are configured (URL → `Endpoint.terms`): rows that wait for another one end as `removed`
        (how many, by URL), and an endpoint that had answered 410 under other terms, or was away since, begins anew."""

        async def work(connection: Connection) -> dict[str, int]:
            ended = await connection.fetch("SELECT endpoint, terms FROM ended")
            anew = [row["endpoint"] for row in ended if terms.get(row["endpoint"]) != row["terms"]]
            await connection.execute("DELETE FROM ended WHERE endpoint = ANY($1::text[])", anew)
            sql = (
                "WITH gone AS (UPDATE outbox SET state = 'removed', attempted = $2"
                " WHERE state = 'waiting' AND NOT endpoint = ANY($1::text[]) RETURNING endpoint)"
                " SELECT endpoint, count(*) FROM gone GROUP BY endpoint"
            )
            return dict(await connection.fetch(sql, list(terms), now))

        return await self._write(work)

    async def is_ended(self, endpoint: str) -> bool:
        """Whether the endpoint has answered 410."""
        sql = "SELECT 1 FROM ended WHERE endpoint = $1"
        return await self._read(lambda connection: connection.fetchval(sql, endpoint)) is not None

    async def delivery_counts(self, endpoint: str) -> dict[str, int]:
        """Rows by state."""
        sql = "SELECT state, count(*) FROM outbox WHERE endpoint = $1 GROUP BY state"
        return dict(await self._read(lambda connection: connection.fetch(sql, endpoint)))
