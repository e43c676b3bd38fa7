"""A store in PostgreSQL, read or written as a whole (see `store.copying`), by whoever holds its lease."""

from __future__ import annotations

from typing import Any

from proxy.config.postgres_url import StoreUrl
from proxy.controller.store.copying import FACTS, PARTS, StoredRow
from proxy.controller.store.interface import Deposed
from proxy.controller.store.postgres.connecting import Connection
from proxy.controller.store.postgres.lease import FENCE, Lease
from proxy.controller.store.postgres.schema import UNFINISHED, bring_up_to_date, set_fact
from proxy.controller.store.postgres.session import Session
from proxy.errors import StoreError

LEASE = 600.0
"""Seconds that a copy may take before a replica may lead; its connection holds the lock meanwhile."""

_READ = {
    "rollouts": "SELECT name, trial, state, plan, coalesce(evidence, ''::bytea), coalesce(ledger, '{}'), archived,"
    ' updated FROM rollouts LEFT JOIN snapshots USING (name, trial) ORDER BY name COLLATE "C"',
    "past": "SELECT name, trial, state, plan, evidence, ledger, archived, updated FROM past ORDER BY number",
    "journal": "SELECT number, rollout, time, kind, actor, reason, detail, coalesce(evidence, ''::bytea), token,"
    " digest, previous, hash FROM journal LEFT JOIN evidence USING (token) ORDER BY number",
    "signed_off": "SELECT low, high, hash_before, hash_after FROM signed_off ORDER BY low",
    "outbox": "SELECT id, endpoint, type, time, data, attempts, due, state, answer, attempted FROM outbox"
    " ORDER BY number",
    "ended": 'SELECT endpoint, time, terms FROM ended ORDER BY endpoint COLLATE "C"',
    "charts": 'SELECT trial, data FROM charts ORDER BY trial COLLATE "C"',
    "drift": 'SELECT route, data, updated FROM drift ORDER BY route COLLATE "C"',
    "exposures": 'SELECT trial, number, data FROM exposures ORDER BY trial COLLATE "C", number',
}
_TABLES = (
    "rollouts", "past", "snapshots", "journal", "evidence", "signed_off", "outbox", "ended", "charts", "drift",
    "exposures",
)  # fmt: skip


class PostgresCopied:
    """A database, held by the lease."""

    def __init__(self, session: Session, lease: Lease, term: int) -> None:
        self.where, self._session, self._lease, self._term = session.target.shown, session, lease, term

    @classmethod
    async def source(cls, url: StoreUrl) -> PostgresCopied:
        """A store that is there and that nobody uses. Raises `StoreError`."""
        copied = await cls._held(url)
        if not await copied._session.run(lambda connection: connection.fetchval("SELECT count(*) FROM rollouts")):
            await copied.close()
            raise StoreError(f"{copied.where}: no store, or an empty one")
        return copied

    @classmethod
    async def target(cls, url: StoreUrl) -> PostgresCopied:
        """An empty store, or what an earlier copy left unfinished, which is taken away. Raises `StoreError`."""
        copied = await cls._held(url, unfinished=True)
        try:
            await copied._write(copied._begin)
        except BaseException:
            await copied.close()
            raise
        return copied

    @classmethod
    async def _held(cls, url: StoreUrl, *, unfinished: bool = False) -> PostgresCopied:
        session = await Session.connect(url)
        try:
            await bring_up_to_date(session, unfinished=unfinished)
            lease = Lease(session)
            term = await lease.take(0, "understudy store copy", "", LEASE)
            if term is None:
                row = await lease.look()
                raise StoreError(f"{session.target.shown}: in use, {row.holder} leads")
        except BaseException:
            await session.close()
            raise
        return cls(session, lease, term)

    async def rows(self, part: str, offset: int, limit: int) -> list[StoredRow]:
        """Some rows of a part, in its order, from one on."""

        async def work(connection: Connection) -> list[StoredRow]:
            if part == "facts":
                found = dict(await connection.fetch("SELECT key, value FROM meta"))
                return [(key, found[key]) for key in FACTS if key in found][offset : offset + limit]
            return [tuple(row) for row in await connection.fetch(f"{_READ[part]} LIMIT $1 OFFSET $2", limit, offset)]

        return await self._session.run(work)

    async def add(self, part: str, rows: list[StoredRow]) -> None:
        """Write rows behind those that are there."""
        await self._write(lambda connection: _add(connection, part, rows))

    async def finish(self) -> None:
        """Say that it is complete."""
        sql = "DELETE FROM meta WHERE key = $1"
        await self._write(lambda connection: connection.execute(sql, UNFINISHED))
        await self.close()

    async def close(self) -> None:
        """Let others lead."""
        if not self._session.ended.is_set():
            await self._lease.release(self._term)
        await self._session.close()

    async def _write(self, work: Any) -> None:
        async def fenced(connection: Connection) -> None:
            if await connection.fetchval(FENCE, self._lease.name, self._term) is None:
                raise Deposed(f"{self.where}: term {self._term} is over")
            await work(connection)

        await self._session.transaction(fenced)

    async def _begin(self, connection: Connection) -> None:
        """Mark the store as unfinished, and take away what another copy left."""
        unfinished = await connection.fetchval("SELECT 1 FROM meta WHERE key = $1", UNFINISHED)
        for table in _TABLES:
            if unfinished is None and await connection.fetchval(f"SELECT 1 FROM {table} LIMIT 1"):  # noqa: S608 - constants
                raise StoreError(f"{self.where}: is not empty, there are rows in {table}")
            await connection.execute(f"TRUNCATE {table}")
        await set_fact(connection, UNFINISHED, "1")


async def _add(connection: Connection, part: str, rows: list[StoredRow]) -> None:
    if part == "facts":
        for key, value in rows:
            await set_fact(connection, key, value)
    elif part == "journal":
        sql = "INSERT INTO journal VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        await connection.executemany(sql, [(*row[:7], *row[8:]) for row in rows])
        kept = [(row[8], row[7]) for row in rows]
        await connection.executemany("INSERT INTO evidence (token, evidence) VALUES ($1, $2)", kept)
    elif part == "rollouts":
        sql = "INSERT INTO rollouts (name, trial, state, plan, archived, updated) VALUES ($1, $2, $3, $4, $5, $6)"
        await connection.executemany(sql, [(*row[:4], bool(row[6]), row[7]) for row in rows])
        snapshots = [(row[0], row[1], row[4], row[5]) for row in rows]
        await connection.executemany("INSERT INTO snapshots VALUES ($1, $2, $3, $4)", snapshots)
    else:
        columns = PARTS[part].columns
        places = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
        sql = f"INSERT INTO {part} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - constants
        await connection.executemany(sql, [_typed(columns, row) for row in rows])


def _typed(columns: tuple[str, ...], row: StoredRow) -> StoredRow:
    """A row whose truth values are such again."""
    return tuple(bool(value) if name == "archived" else value for name, value in zip(columns, row, strict=True))
