"""The journal of a store in PostgreSQL, read beside the replicas that use it (see `store.journals`)."""

from __future__ import annotations

import orjson

from proxy.config.postgres_url import StoreUrl
from proxy.controller.store.journals import KEYS, PAGE, JournalPage
from proxy.controller.store.postgres.schema import look_at
from proxy.controller.store.postgres.session import Session

_SQL = (
    "SELECT number, rollout, time, kind, actor, reason, detail, coalesce(evidence, ''::bytea)"
    " FROM journal LEFT JOIN evidence USING (token)"
    " WHERE number > $1 AND $2 IN ('', rollout) ORDER BY number LIMIT $3"
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

    async def close(self) -> None:
        """End the session."""
        await self._session.close()
