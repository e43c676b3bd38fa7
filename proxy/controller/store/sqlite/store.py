"""The store in one SQLite file (`database`): a trigger refuses updates of the journal."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import orjson

from proxy import logs
from proxy.controller.store.chain import ChainHead
from proxy.controller.store.interface import (
    KEPT,
    Change,
    Contents,
    DriftChange,
    EntryJson,
    Retention,
    Saved,
    SavedDrift,
    entry_of,
    read_saved,
    told_in,
)
from proxy.controller.store.sqlite.chaining import add_entry, head_of, take_away
from proxy.controller.store.sqlite.facts import SqliteFacts
from proxy.controller.store.sqlite.schema import SECRET, set_meta
from proxy.controller.webhooks.outbox import Delivery
from proxy.controller.webhooks.policy import LONGEST_WAIT, URGENT, WebhookEvent
from proxy.errors import StoreError
from proxy.model import trial_name

log = logging.getLogger("understudy.store")


class SqliteStore(SqliteFacts):
    """The database at `path`, as the controller knows it. Every coroutine may raise `StoreError`."""

    snapshot_every = 0.0
    synchronous: bool | None = None

    def __init__(self, path: Path, retention: Retention = KEPT) -> None:
        super().__init__(path)
        self.where = str(self.path)
        self._retention = retention

    # --- rollouts and journal ----------------------------------------------------------------------------------------

    async def load(self, named: Collection[str] = ()) -> Contents:
        """What is at work, what the file names, and the last `KEEP_ENDED` that ended; from then on the file is this
        process' alone. When the disk takes no writes, it is read from a copy; raises when that fails too."""
        await self.claim()
        try:
            contents = await self.run(lambda connection: _load(connection, named, self._retention), write=False)
            return replace(contents, lost=self.lost)
        except StoreError as error:
            logs.event(log, "store.copied", logging.ERROR, error=str(error))
            return await self.run_on_copy(lambda connection: _load(connection, named, self._retention))

    async def save(self, *changes: Change) -> None:
        """All of it or nothing."""
        await self.run(lambda connection: _save_all(connection, changes))

    async def snapshot(self, saved: list[Saved], now: float, secret: str = "") -> None:
        """Evidence and ledgers as they are now; `saved.rollout` must be as it was last saved. `secret` is written where
        the file was begun under way, so that the split goes on after the next start too."""
        # A snapshot taken before a new trial was saved must not overwrite that trial's evidence. The row itself is
        # missing only when the file was set aside under way.
        sql = _PUT + " WHERE trial = excluded.trial"
        rows = [_row(one, now) for one in saved]

        def work(connection: sqlite3.Connection) -> None:
            if secret:
                set_meta(connection, SECRET, secret)
            connection.executemany(sql, rows)

        await self.run(work)

    async def rollouts(self, names: Collection[str]) -> dict[str, Saved]:
        """Rollouts as they were last saved."""
        sql = "SELECT state, plan, evidence, ledger FROM rollouts WHERE name IN (SELECT value FROM json_each(?))"
        asked = orjson.dumps(list(names)).decode()
        rows = await self.run(lambda c: c.execute(sql, (asked,)).fetchall(), write=False)
        return {saved.rollout.name: saved for saved in map(read_saved, rows)}

    async def past(self, name: str, tried: str) -> Saved | None:
        """How the last trial of what was tried (`Plan.tried`) had ended before another one replaced it."""
        sql = (
            "SELECT state, plan, evidence, ledger FROM past WHERE name = ? AND (trial = ? OR instr(trial, ?) = 1)"
            " ORDER BY updated DESC, rowid DESC LIMIT 1"
        )
        values = (name, tried, trial_name(tried, 1)[:-1])
        row = await self.run(lambda c: c.execute(sql, values).fetchone(), write=False)
        return None if row is None else read_saved(row)

    async def trials(self, name: str, limit: int) -> list[Saved]:
        """Earlier trials of a rollout, newest first, without their evidence."""
        sql = "SELECT state, plan, x'', ledger FROM past WHERE name = ? ORDER BY updated DESC, rowid DESC LIMIT ?"
        return [
            read_saved(row) for row in await self.run(lambda c: c.execute(sql, (name, limit)).fetchall(), write=False)
        ]

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[EntryJson]:
        """Entries of a rollout, newest first, with numbers below `before`, without the evidence itself."""
        sql = "SELECT number, time, kind, actor, hash, reason, detail, length(evidence) FROM journal"
        sql += " WHERE rollout = ? AND number < ? ORDER BY number DESC LIMIT ?"
        values = (name, 1 << 62 if before is None else before, limit)
        rows = await self.run(lambda c: c.execute(sql, values).fetchall(), write=False)
        read = [(*row[:6], orjson.loads(row[6]), row[7]) for row in rows]
        return [cast(EntryJson, dict(zip(EntryJson.__annotations__, row, strict=True))) for row in read]

    async def head(self) -> ChainHead:
        """Where the journal's chain ends."""
        return await self.run(head_of, write=False)

    async def keep_charts(self, charts: dict[str, Any]) -> None:
        """Keep what is drawn of each trial (`charts.Charts.dump`) for the next controller; no decision needs it."""
        rows = [(trial, orjson.dumps(data).decode()) for trial, data in charts.items()]
        await self.run(lambda c: c.executemany("INSERT OR REPLACE INTO charts VALUES (?, ?)", rows) and None)

    async def charts(self) -> dict[str, Any]:
        """What was drawn of each trial."""
        rows = await self.run(lambda c: c.execute("SELECT trial, data FROM charts").fetchall(), write=False)
        return {trial: orjson.loads(data) for trial, data in rows}

    async def save_drift(self, change: DriftChange) -> None:
        """One change of what is known of a route, whole or not at all; once, however often it is tried."""
        await self.run(lambda connection: _save_drift(connection, change))

    async def keep_drift(self, saved: SavedDrift, now: float) -> None:
        """Keep what is known of a route for the next controller."""
        await self.run(lambda connection: connection.execute(_PUT_DRIFT, (saved.route, saved.data, now)) and None)

    async def drift(self) -> dict[str, SavedDrift]:
        """What was known of each route."""
        rows = await self.run(lambda c: c.execute("SELECT route, data FROM drift").fetchall(), write=False)
        return {route: SavedDrift(route, bytes(data)) for route, data in rows}

    async def put_exposures(self, trial: str, number: int, data: bytes) -> None:
        """Keep what has become known of a trial's users, under this number: one that is there is replaced."""
        sql = "INSERT OR REPLACE INTO exposures VALUES (?, ?, ?)"
        await self.run(lambda c: c.execute(sql, (trial, number, data)) and None)

    async def exposures(self, trial: str) -> list[tuple[int, bytes]]:
        """All that was kept of a trial's users, in the order of their numbers."""
        sql = "SELECT number, data FROM exposures WHERE trial = ? ORDER BY number"
        return await self.run(lambda c: c.execute(sql, (trial,)).fetchall(), write=False)

    async def sum_up_exposures(self, trial: str, number: int, data: bytes) -> None:
        """Keep this in place of all that was kept of a trial's users."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM exposures WHERE trial = ?", (trial,))
            connection.execute("INSERT INTO exposures VALUES (?, ?, ?)", (trial, number, data))

        await self.run(work)

    async def retain(self, now: float, named: Collection[str]) -> int:
        """Take away what is beyond the retention while the file names these rollouts; how many rows. Gives room that is
        no longer needed back to the disk."""
        rows = 0
        while some := await self.run(lambda connection: _let_go_of_ended(connection, named, self._retention)):
            rows += some  # a few at a time: a change that is to be saved waits for no more than that
        rows += await self.run(lambda connection: _retain(connection, now, named, self._retention))
        await self.shrink()
        return rows

    async def let_go(self, name: str) -> None:
        """Keep of a rollout that ended long ago no more than how it, and each of its trials, ended."""
        await self.run(lambda connection: _let_go(connection, [name]))

    # --- outbox (see `webhooks.Outbox`) ------------------------------------------------------------------------------

    async def next_delivery(self, endpoint: str, now: float, *, urgent: bool) -> Delivery | None:
        """Of the urgent rows, or of the others: of those due by `now` the one with fewest attempts, then the oldest;
        else the one due first."""
        sql = (
            "SELECT id, type, time, data, attempts, due FROM outbox WHERE endpoint = :e AND state = 'waiting'"
            " AND (type IN (SELECT value FROM json_each(:types))) = :urgent"
            " ORDER BY due > :now, CASE WHEN due > :now THEN due END, attempts, time, rowid LIMIT 1"
        )
        values = {"e": endpoint, "now": now, "types": orjson.dumps(sorted(URGENT)).decode(), "urgent": urgent}
        row = await self.run(lambda c: c.execute(sql, values).fetchone(), write=False)
        return None if row is None else _delivery(row, endpoint)

    async def first_delivery(self, endpoint: str) -> Delivery | None:
        """The oldest row that waits, whenever it is due."""
        sql = (
            "SELECT id, type, time, data, attempts, due FROM outbox WHERE endpoint = ? AND state = 'waiting'"
            " ORDER BY time, rowid LIMIT 1"
        )
        row = await self.run(lambda c: c.execute(sql, (endpoint,)).fetchone(), write=False)
        return None if row is None else _delivery(row, endpoint)

    async def record_attempt(self, delivery: Delivery, now: float, answer: str, result: str, due: float | None) -> None:
        """Write what became of an attempt."""
        state = "waiting" if due is not None else result
        sql = (
            "UPDATE outbox SET attempts = ?, due = coalesce(?, due), state = ?, answer = ?, attempted = ?"
            " WHERE id = ? AND endpoint = ?"
        )
        values = (delivery.attempts + 1, due, state, answer, now, delivery.event.id, delivery.endpoint)
        await self.run(lambda connection: connection.execute(sql, values) and None)

    async def end_subscription(self, endpoint: str, terms: str, now: float) -> None:
        """Its waiting rows end, and no new ones are written for it while its terms are these."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO ended VALUES (?, ?, ?)", (endpoint, now, terms))
            connection.execute(
                "UPDATE outbox SET state = 'ended' WHERE endpoint = ? AND state = 'waiting'", (endpoint,)
            )

        await self.run(work)

    async def keep_endpoints(self, terms: Mapping[str, str], now: float) -> dict[str, int]:
        """Only these endpoints are configured (URL → `Endpoint.terms`): rows that wait for another one end as `removed`
        (how many, by URL), and an endpoint that had answered 410 under other terms, or was away since, begins anew."""
        return await self.run(lambda connection: _keep_endpoints(connection, terms, now))

    async def is_ended(self, endpoint: str) -> bool:
        """Whether the endpoint has answered 410."""
        sql = "SELECT 1 FROM ended WHERE endpoint = ?"
        return await self.run(lambda c: c.execute(sql, (endpoint,)).fetchone() is not None, write=False)

    async def delivery_counts(self, endpoint: str) -> dict[str, int]:
        """Rows by state."""
        sql = "SELECT state, count(*) FROM outbox WHERE endpoint = ? GROUP BY state"
        return dict(await self.run(lambda c: c.execute(sql, (endpoint,)).fetchall(), write=False))


# --- inside a transaction --------------------------------------------------------------------------------------------


def _delivery(row: tuple[Any, ...], endpoint: str) -> Delivery:
    return Delivery(WebhookEvent(row[0], row[1], row[2], orjson.loads(row[3])), endpoint, row[4], row[5])


_OVER = "json_extract(state, '$.state') IN ('rolled_back', 'completed')"
_UNNAMED = f"{_OVER} AND name NOT IN (SELECT value FROM json_each(:named))"  # noqa: S608 - a constant
"""What has ended and is not in the file: these alone are ever let go."""


def _named(named: Collection[str]) -> str:
    return orjson.dumps(sorted(named)).decode()


def _load(connection: sqlite3.Connection, named: Collection[str], keep: Retention) -> Contents:
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    rows = connection.execute(
        f"SELECT state, plan, evidence, ledger FROM rollouts WHERE NOT ({_UNNAMED}) OR name IN"  # noqa: S608 - constants
        f" (SELECT name FROM rollouts WHERE {_UNNAMED} ORDER BY updated DESC LIMIT :kept) ORDER BY updated",
        {"named": _named(named), "kept": keep.ended},
    ).fetchall()
    identity, secret, table = str(meta.get("identity", "")), str(meta[SECRET]), int(meta.get("table", 0))
    return Contents(identity, table, [read_saved(row) for row in rows], secret)


_PUT = (
    "INSERT INTO rollouts VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET trial = excluded.trial,"
    " state = excluded.state, plan = excluded.plan, evidence = excluded.evidence, ledger = excluded.ledger,"
    " archived = excluded.archived, updated = excluded.updated"
)
_PASS_ON = (
    "INSERT OR REPLACE INTO past SELECT trial, name, state, plan, evidence, ledger, archived, updated FROM rollouts"
    " WHERE name = ? AND trial <> ?"
)
"""Before a new trial takes a rollout's row, the old one's goes here."""


def _row(saved: Saved, now: float) -> tuple[Any, ...]:
    state, plan, pair_ledger = (orjson.dumps(part).decode() for part in (saved.rollout, saved.plan, saved.ledger))
    return saved.rollout.name, saved.rollout.trial, state, plan, saved.evidence, pair_ledger, saved.archived, now


def _save_all(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    for change in changes:
        _save(connection, change, change.saved)


def _save(connection: sqlite3.Connection, change: Change, saved: Saved) -> None:
    name = saved.rollout.name
    if connection.execute("SELECT 1 FROM journal WHERE token = ?", (change.token,)).fetchone():
        return
    connection.execute(_PASS_ON, (name, saved.rollout.trial))
    connection.execute(_PUT, _row(saved, change.time))
    head = add_entry(connection, entry_of(change), saved.evidence)
    set_meta(connection, "table", change.table)
    _put_out(connection, change, head)


_PUT_DRIFT = (
    "INSERT INTO drift VALUES (?, ?, ?)"
    " ON CONFLICT (route) DO UPDATE SET data = excluded.data, updated = excluded.updated"
)


def _save_drift(connection: sqlite3.Connection, change: DriftChange) -> None:
    if connection.execute("SELECT 1 FROM journal WHERE token = ?", (change.token,)).fetchone():
        return
    connection.execute(_PUT_DRIFT, (change.saved.route, change.saved.data, change.time))
    _put_out(connection, change, add_entry(connection, entry_of(change), b""))


def _put_out(connection: sqlite3.Connection, change: Change | DriftChange, head: ChainHead) -> None:
    """The deliveries of a change."""
    if (event := change.event) is not None:
        connection.executemany(
            "INSERT INTO outbox (id, endpoint, type, time, data, due) SELECT ?, ?, ?, ?, ?, ?"
            " WHERE NOT EXISTS (SELECT 1 FROM ended WHERE endpoint = ?) ON CONFLICT (id, endpoint) DO NOTHING",
            [(event.id, to, event.type, event.time, told_in(event, head), change.time, to) for to in change.endpoints],
        )


def _keep_endpoints(connection: sqlite3.Connection, terms: Mapping[str, str], now: float) -> dict[str, int]:
    connection.executemany(
        "DELETE FROM ended WHERE endpoint = ?",
        [(url,) for url, then in connection.execute("SELECT endpoint, terms FROM ended") if terms.get(url) != then],
    )
    waiting = connection.execute("SELECT endpoint, count(*) FROM outbox WHERE state = 'waiting' GROUP BY endpoint")
    gone = {url: n for url, n in waiting if url not in terms}
    connection.executemany(
        "UPDATE outbox SET state = 'removed', attempted = ? WHERE endpoint = ? AND state = 'waiting'",
        [(now, url) for url in gone],
    )
    return gone


def _let_go(connection: sqlite3.Connection, names: Collection[str]) -> int:
    values = {"names": _named(names)}
    of_these = "name IN (SELECT value FROM json_each(:names)) AND evidence <> x''"
    rows = [
        connection.execute(f"UPDATE {table} SET evidence = x'', ledger = '{{}}' WHERE {of_these}", values).rowcount  # noqa: S608
        for table in ("rollouts", "past")
    ]
    take_away(connection, "rollout IN (SELECT value FROM json_each(:names))", values)
    return sum(rows)


def _ended(connection: sqlite3.Connection, named: Collection[str], keep: Retention) -> list[tuple[str, bool]]:
    """Names that ended before the last ones, the latest first, and whether they are kept whole still."""
    sql = f"SELECT name, evidence <> x'' FROM rollouts WHERE {_UNNAMED} ORDER BY updated DESC LIMIT -1 OFFSET :kept"  # noqa: S608
    return connection.execute(sql, {"named": _named(named), "kept": keep.ended}).fetchall()


def _let_go_of_ended(connection: sqlite3.Connection, named: Collection[str], keep: Retention) -> int:
    """Of some that ended long ago keep only the end; how many rows were made smaller, 0 when there are no more."""
    return _let_go(connection, [name for name, whole in _ended(connection, named, keep) if whole][: keep.let_go])


def _retain_pictures(connection: sqlite3.Connection, oldest: float) -> None:
    """What is drawn of trials that are kept and known of their users, and of routes to which something was added."""
    for table in ("charts", "exposures"):
        connection.execute(f"DELETE FROM {table} WHERE trial NOT IN (SELECT trial FROM rollouts)")  # noqa: S608
    connection.execute("DELETE FROM drift WHERE updated < ?", (oldest,))


def _retain(connection: sqlite3.Connection, now: float, named: Collection[str], keep: Retention) -> int:
    forgotten = {"names": _named([name for name, _ in _ended(connection, named, keep)[keep.names :]])}
    for table in ("rollouts", "past"):
        connection.execute(f"DELETE FROM {table} WHERE name IN (SELECT value FROM json_each(:names))", forgotten)  # noqa: S608
    entries = take_away(
        connection,
        "number IN (SELECT number FROM (SELECT number, row_number() OVER w AS age,"
        " sum(length(evidence)) OVER w AS bytes FROM journal WINDOW w AS (PARTITION BY rollout ORDER BY number DESC))"
        " WHERE age > ? OR (age > 1 AND bytes > ?))",
        (keep.entries, keep.journal),
    )
    trials = connection.execute(
        "DELETE FROM past WHERE trial IN (SELECT trial FROM (SELECT trial, row_number() OVER"
        " (PARTITION BY name ORDER BY updated DESC) AS age FROM past) WHERE age > ?)",
        (keep.trials,),
    ).rowcount
    connection.execute(
        "UPDATE past SET evidence = x'', ledger = '{}' WHERE evidence <> x'' AND trial IN (SELECT trial FROM (SELECT"
        " trial, sum(length(evidence)) OVER (PARTITION BY name ORDER BY updated DESC) AS bytes FROM past)"
        " WHERE bytes > ?)",
        (keep.past,),
    )
    _retain_pictures(connection, now - keep.drift)
    # Written for an endpoint that was taken out of the file at that very moment: nobody tries these.
    connection.execute(
        "UPDATE outbox SET state = 'gave_up' WHERE state = 'waiting' AND time < ?", (now - LONGEST_WAIT,)
    )
    deliveries = connection.execute(
        "DELETE FROM outbox WHERE state <> 'waiting' AND coalesce(attempted, time) < ?", (now - keep.deliveries,)
    ).rowcount
    return entries + trials + deliveries
