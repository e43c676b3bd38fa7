"""The store in PostgreSQL, for the one replica that leads: every transaction that writes begins with the fence.

Evidence goes to the server before the transaction that refers to it, so that a decision holds up a takeover no longer
than its small rows take, and is kept once for its journal entry, by the token.

Invariants
- Nothing is written but in the term of the leader that this is; the first write after that term is `Deposed`, and ends
  the session.
- A change whose COMMIT was not answered stays in doubt until it is saved again in a later term. A takeover waits for
  the transaction in doubt, so whether the token is there is then known.
- Journal numbers have no gap and are never used again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar, cast

import orjson

from proxy import logs
from proxy.config.postgres_url import PostgresTarget, StoreUrl
from proxy.controller.store.chain import ChainHead
from proxy.controller.store.interface import (
    KEPT,
    Change,
    CommitDoubtError,
    Contents,
    Deposed,
    DriftChange,
    EntryJson,
    Retention,
    Saved,
    SavedDrift,
    read_saved,
)
from proxy.controller.store.postgres import chaining, rows
from proxy.controller.store.postgres.connecting import Connection
from proxy.controller.store.postgres.lease import FENCE
from proxy.controller.store.postgres.outbox import PostgresOutbox
from proxy.controller.store.postgres.schema import JUDGES, REGISTRY, SECRET, set_fact
from proxy.controller.store.postgres.session import Session, read_place
from proxy.errors import StoreError
from proxy.model import trial_name

log = logging.getLogger("understudy.store")

T = TypeVar("T")
Transaction = Callable[[Connection], Awaitable[T]]


AT_ONCE = 50
"""Rollouts that one query reads."""


class PostgresStore(PostgresOutbox):
    """The store of the fleet that shares `place`. It has no connection until it is told to `lead` by one."""

    snapshot_every = 30.0
    renewed = set_aside = 0

    def __init__(self, place: PostgresTarget | StoreUrl, name: str = "rollouts", retention: Retention = KEPT) -> None:
        self.where, self.name = read_place(place).shown, name
        self.failures = 0
        self.error = ""
        self._retention = retention
        self._session: Session | None = None
        self._term = 0
        self._doubt: set[str] = set()

    def lead(self, session: Session, term: int) -> None:
        """From here on write over this session, in this term of its lease."""
        self._session, self._term = session, term

    @property
    def synchronous(self) -> bool | None:
        """Whether COMMIT waits for a standby; `None` without a connection."""
        return None if self._session is None else self._session.synchronous

    @property
    def trouble(self) -> str:
        """What is wrong with the store now, in words; empty when nothing is."""
        if self._session is None:
            return f"{self.where}: not connected"
        if self._session.ended.is_set():
            return f"{self.where}: {self._session.why}"
        return self.error

    async def check(self) -> None:
        """See whether the server still answers."""
        try:
            await self._read(lambda connection: connection.fetchval("SELECT 1"))
        except StoreError as error:
            self.failures += 1
            self.error = str(error)
            raise

    async def close(self) -> None:
        """Let go of the session, which is whoever's who made it."""
        self._session = None

    # --- how work is done --------------------------------------------------------------------------------------------

    async def _read(self, work: Transaction[T]) -> T:
        return await self._at_hand().run(work)

    async def _write(self, work: Transaction[T]) -> T:
        """One fenced transaction."""
        try:
            session = self._at_hand()
            result = await session.transaction(lambda connection: self._fenced(connection, work))
        except Deposed as error:
            session.terminate("deposed")
            self._failed(error)
            raise
        except StoreError as error:
            self._failed(error)
            raise
        self.error = ""
        return result

    async def _fenced(self, connection: Connection, work: Transaction[T]) -> T:
        if await connection.fetchval(FENCE, self.name, self._term) is None:
            raise Deposed(f"{self.where}: term {self._term} is over")
        return await work(connection)

    def _at_hand(self) -> Session:
        if self._session is None:
            raise StoreError(f"{self.where}: not connected")
        return self._session

    def _failed(self, error: StoreError) -> None:
        self.failures += 1
        self.error = str(error)

    # --- rollouts and journal ----------------------------------------------------------------------------------------

    async def load(self, named: Collection[str] = ()) -> Contents:
        """What is at work, what the file names, and the last that ended. One rollout at a time: each is some MiB, and
        nobody else writes."""
        meta = dict(await self._read(lambda connection: connection.fetch("SELECT key, value FROM meta")))
        sql = (
            f"SELECT name FROM rollouts WHERE NOT ({rows.UNNAMED}) OR name IN"  # noqa: S608 - constants
            f" (SELECT name FROM rollouts WHERE {rows.UNNAMED} ORDER BY updated DESC, name LIMIT $2)"
            " ORDER BY updated, name"
        )
        values = (list(named), self._retention.ended)
        names = [row["name"] for row in await self._read(lambda connection: connection.fetch(sql, *values))]
        kept: list[Saved] = []
        for at in range(0, len(names), AT_ONCE):  # evidence of many is long
            found = await self.rollouts(names[at : at + AT_ONCE])
            kept += [found[name] for name in names[at : at + AT_ONCE] if name in found]
        return Contents(meta["identity"], int(meta.get("table", 0)), kept, meta[SECRET])

    async def save(self, *changes: Change) -> None:
        """All of it or nothing; once, however often it is tried."""
        try:
            await self._write(lambda connection: _each(changes, lambda one: rows.keep_evidence(connection, one)))
        except CommitDoubtError as error:  # bytes that nothing refers to
            raise self._as_known(changes, StoreError(str(error))) from error
        except StoreError as error:
            raise self._as_known(changes, error) from error
        tokens = {change.token for change in changes}
        try:
            await self._write(lambda connection: _each(changes, lambda one: self._saved(connection, one)))
        except CommitDoubtError:
            self._doubt |= tokens
            names, kinds = [one.saved.rollout.name for one in changes], sorted({one.kind for one in changes})
            logs.event(log, "store.in_doubt", logging.ERROR, rollout=", ".join(names), kind=", ".join(kinds))
            raise
        except StoreError as error:
            raise self._as_known(changes, error) from error
        self._doubt -= tokens

    async def _saved(self, connection: Connection, change: Change) -> None:
        if await connection.fetchval("SELECT 1 FROM journal WHERE token = $1", change.token) is not None:
            return
        self._doubt.discard(change.token)  # after the fence of a later term: it is not there, and will not be
        await rows.put_change(connection, change)

    def _as_known(self, changes: Sequence[Change], error: StoreError) -> StoreError:
        """An error of a change that may have been saved by an earlier attempt says so."""
        if isinstance(error, Deposed) or not any(change.token in self._doubt for change in changes):
            return error
        return CommitDoubtError(f"{error}; an earlier attempt was not answered")

    async def snapshot(self, saved: list[Saved], now: float, secret: str = "") -> None:
        """Evidence and ledgers as they are now, each in a transaction of its own."""
        if secret:
            await self._write(lambda connection: set_fact(connection, SECRET, secret))
        for one in saved:
            await self._write(lambda connection, one=one: rows.put_snapshot(connection, one, now))  # type: ignore[misc]  # a default binds it

    async def rollouts(self, names: Collection[str]) -> dict[str, Saved]:
        """Rollouts as they were last saved."""
        sql = (
            "SELECT state, plan, coalesce(evidence, ''::bytea), coalesce(ledger, '{}')"
            " FROM rollouts LEFT JOIN snapshots USING (name, trial) WHERE name = ANY($1)"
        )
        found = await self._read(lambda connection: connection.fetch(sql, list(names)))
        return {saved.rollout.name: saved for saved in map(read_saved, found)}

    async def past(self, name: str, tried: str) -> Saved | None:
        """How the last trial of what was tried had ended before another one replaced it."""
        sql = (
            "SELECT state, plan, evidence, ledger FROM past WHERE name = $1 AND (trial = $2 OR starts_with(trial, $3))"
            " ORDER BY updated DESC, number DESC LIMIT 1"
        )
        values = (name, tried, trial_name(tried, 1)[:-1])
        row = await self._read(lambda connection: connection.fetchrow(sql, *values))
        return None if row is None else read_saved(row)

    async def trials(self, name: str, limit: int) -> list[Saved]:
        """Earlier trials of a rollout, newest first, without their evidence."""
        sql = (
            "SELECT state, plan, ''::bytea AS evidence, ledger FROM past WHERE name = $1"
            " ORDER BY updated DESC, number DESC LIMIT $2"
        )
        return [read_saved(row) for row in await self._read(lambda connection: connection.fetch(sql, name, limit))]

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[EntryJson]:
        """Entries of a rollout, newest first, with numbers below `before`, without the evidence itself."""
        sql = (
            "SELECT number, time, kind, actor, reason, detail, hash, coalesce(octet_length(evidence), 0)"
            " AS evidence_bytes FROM journal LEFT JOIN evidence USING (token)"
            " WHERE rollout = $1 AND number < $2 ORDER BY number DESC LIMIT $3"
        )
        top = before if before is not None else 1 << 62
        found = await self._read(lambda connection: connection.fetch(sql, name, top, limit))
        return [cast(EntryJson, {**row, "detail": orjson.loads(row["detail"])}) for row in found]

    async def head(self) -> ChainHead:
        """Where the journal's chain ends."""
        return await self._read(chaining.chain_head)

    async def keep_charts(self, charts: dict[str, Any]) -> None:
        """Keep what is drawn of each trial; no decision needs it."""
        sql = "INSERT INTO charts VALUES ($1, $2) ON CONFLICT (trial) DO UPDATE SET data = excluded.data"
        for trial, data in charts.items():
            values = (trial, orjson.dumps(data).decode())
            await self._write(lambda connection, values=values: connection.execute(sql, *values))  # type: ignore[misc]

    async def charts(self) -> dict[str, Any]:
        """What was drawn of each trial."""
        found = await self._read(lambda connection: connection.fetch("SELECT trial, data FROM charts"))
        return {row["trial"]: orjson.loads(row["data"]) for row in found}

    async def keep_judges(self, judges: dict[str, Any]) -> None:
        """Keep what each judge has spent and said for the next controller."""
        data = orjson.dumps(judges).decode()
        await self._write(lambda connection: set_fact(connection, JUDGES, data))

    async def judges(self) -> dict[str, Any]:
        """What each judge had spent and said; empty before anything was kept."""
        sql = "SELECT value FROM meta WHERE key = $1"
        found = await self._read(lambda connection: connection.fetchval(sql, JUDGES))
        return dict(orjson.loads(found)) if found is not None else {}

    async def save_drift(self, change: DriftChange) -> None:
        """One change of what is known of a route, whole or not at all; once, however often it is tried."""
        await self._write(lambda connection: rows.put_drift_change(connection, change))

    async def keep_drift(self, saved: SavedDrift, now: float) -> None:
        """Keep what is known of a route for the next controller."""
        await self._write(lambda connection: rows.put_drift(connection, saved, now))

    async def drift(self) -> dict[str, SavedDrift]:
        """What was known of each route."""
        found = await self._read(lambda connection: connection.fetch("SELECT route, data FROM drift"))
        return {row["route"]: SavedDrift(row["route"], bytes(row["data"])) for row in found}

    async def put_exposures(self, trial: str, number: int, data: bytes) -> None:
        """Keep what has become known of a trial's users, under this number: one that is there is replaced."""
        sql = "INSERT INTO exposures VALUES ($1, $2, $3) ON CONFLICT (trial, number) DO UPDATE SET data = excluded.data"
        await self._write(lambda connection: connection.execute(sql, trial, number, data))

    async def exposures(self, trial: str) -> list[tuple[int, bytes]]:
        """All that was kept of a trial's users, in the order of their numbers."""
        sql = "SELECT number, data FROM exposures WHERE trial = $1 ORDER BY number"
        return [(row[0], bytes(row[1])) for row in await self._read(lambda connection: connection.fetch(sql, trial))]

    async def sum_up_exposures(self, trial: str, number: int, data: bytes) -> None:
        """Keep this in place of all that was kept of a trial's users."""

        async def work(connection: Connection) -> None:
            await connection.execute("DELETE FROM exposures WHERE trial = $1", trial)
            await connection.execute("INSERT INTO exposures VALUES ($1, $2, $3)", trial, number, data)

        await self._write(work)

    async def keep_registry(self, said: dict[str, Any]) -> None:
        """Keep what model registries have said."""
        data = orjson.dumps(said).decode()
        await self._write(lambda connection: set_fact(connection, REGISTRY, data))

    async def registry(self) -> dict[str, Any]:
        """What model registries had said; empty before anything was kept."""
        sql = "SELECT value FROM meta WHERE key = $1"
        found = await self._read(lambda connection: connection.fetchval(sql, REGISTRY))
        return dict(orjson.loads(found)) if found is not None else {}

    async def retain(self, now: float, named: Collection[str]) -> int:
        """Take away what is beyond the retention while the file names these rollouts; how many rows."""
        keep, done = self._retention, 0
        while some := await self._write(lambda connection: rows.let_go_of_ended(connection, named, keep)):
            done += some  # a few at a time: a change that is to be saved waits for no more than that
        done += await self._write(lambda connection: rows.retain_rollouts(connection, named, keep))
        done += await self._write(lambda connection: rows.retain_journal(connection, keep))
        done += await self._write(lambda connection: rows.retain_drift(connection, now, keep))
        return done + await self._write(lambda connection: rows.retain_outbox(connection, now, keep))

    async def let_go(self, name: str) -> None:
        """Keep of a rollout that ended long ago no more than how it, and each of its trials, ended."""
        await self._write(lambda connection: rows.let_go(connection, [name]))


async def _each(changes: Sequence[Change], work: Callable[[Change], Awaitable[object]]) -> None:
    for change in changes:
        await work(change)
