"""The journal of a store in PostgreSQL, read beside the replicas that use it (see `store.journals`)."""

from __future__ import annotations

import orjson

from proxy.config.postgres_url import StoreUrl
from proxy.controller.store.chain import ChainedEntry, ChainHead, SignedOff, told_heads
from proxy.controller.store.journals import KEYS, PAGE, JournalPage, StoredChain
from proxy.controller.store.postgres.chaining import ENTRY
from proxy.controller.store.postgres.schema import look_at
from proxy.controller.store.postgres.session import Session
from proxy.errors import StoreError

_SQL = (
    "SELECT number, rollout, time, kind, actor, reason, detail, coalesce(evidence, ''::bytea)"
    " FROM journal LEFT JOIN evidence USING (token)"
    " WHERE number > $1 AND $2 IN ('', rollout) ORDER BY number LIMIT $3"
)

_CHAINED = (
    f"SELECT {ENTRY}, coalesce(evidence, ''::bytea)"  # noqa: S608 - constants
    " FROM journal LEFT JOIN evidence USING (token) WHERE number >= $1 ORDER BY number LIMIT $2"
)
_CHAIN = (
    "SELECT (SELECT value FROM meta WHERE key = 'head') AS head,"
    " (SELECT value FROM meta WHERE key = 'entries') AS entries,"
    " (SELECT coalesce(max(number), 0) FROM journal) AS highest,"
    " (SELECT coalesce(json_agg(json_build_array(low, high, hash_before, hash_after) ORDER BY low), '[]')::text"
    " FROM signed_off) AS ranges,"
    " (SELECT coalesce(array_agg(data), '{}') FROM outbox) AS told"
)


class PostgresJournal:
    """Of a store in PostgreSQL."""

    def __init__(self, session: Session) -> None:
        self._session, self.where = session, session.target.shown

    @classmethod
    async def open(cls, url: StoreUrl) -> PostgresJournal:
        """Raises `StoreError`, also where there is no store, or one of another version."""
        session = await Session.connect(url)
        try:
            await look_at(session)
            await session.run(lambda connection: connection.execute("SET default_transaction_read_only = on"))
        except BaseException:
            await session.close()
            raise
        return cls(session)

    async def page(self, after: int, rollout: str) -> JournalPage:
        """The next entries, oldest first."""
        rows = await self._session.run(lambda connection: connection.fetch(_SQL, after, rollout, PAGE))
        return [({**dict(zip(KEYS, row, strict=False)), "detail": orjson.loads(row[6])}, bytes(row[7])) for row in rows]

    async def chained(self, low: int) -> list[tuple[ChainedEntry, object]]:
        """The next entries as the chain has them."""
        rows = await self._session.run(lambda connection: connection.fetch(_CHAINED, low, PAGE))
        return [(ChainedEntry(*one), bytes(evidence)) for *one, evidence in map(tuple, rows)]

    async def chain(self) -> StoredChain:
        """Where the chain ends and what was taken out of it; one statement sees one moment."""
        row = await self._session.run(lambda connection: connection.fetchrow(_CHAIN))
        ranges = tuple(SignedOff(*one) for one in orjson.loads(row["ranges"]))
        try:
            numbered = int(row["entries"] or 0)  # in one transaction with the head: it has no gaps
            head = ChainHead(numbered) if row["head"] is None else ChainHead.read(row["head"])
        except ValueError as error:
            raise StoreError(f"{self.where}: {error}") from error
        return StoredChain(head, ranges, row["highest"], numbered, told_heads(row["told"]))

    async def close(self) -> None:
        """End the session."""
        await self._session.close()
