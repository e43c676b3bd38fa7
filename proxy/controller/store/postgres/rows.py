"""What `store` does within a transaction that has passed the fence: rows in, rows out, rows away."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import orjson

from proxy.controller.store.chain import ChainHead
from proxy.controller.store.interface import (
    Change,
    DriftChange,
    Retention,
    Saved,
    SavedDrift,
    entry_of,
    told_in,
)
from proxy.controller.store.postgres.chaining import append_entry, cut_entries
from proxy.controller.store.postgres.connecting import Connection
from proxy.controller.store.postgres.schema import set_fact
from proxy.controller.webhooks.policy import LONGEST_WAIT

_OVER = "(state::json ->> 'state') IN ('rolled_back', 'completed')"
UNNAMED = f"{_OVER} AND NOT name = ANY($1::text[])"
"""What has ended and is not in the file ($1): these alone are ever let go."""

ORPHANED = 3600.0
"""Seconds after which evidence that no journal entry refers to is nobody's: its change was never saved."""


def text(value: str) -> str:
    """A text as PostgreSQL takes it: every letter but one.

    >>> text("a\\0b")
    'a\\ufffdb'
    """
    return value.replace("\0", "\ufffd")


def json(value: Any) -> str:
    """JSON as it is written; in it that letter is escaped already."""
    return orjson.dumps(value).decode()


# --- in --------------------------------------------------------------------------------------------------------------

_KEEP_EVIDENCE = "INSERT INTO evidence (token, evidence) VALUES ($1, $2) ON CONFLICT (token) DO NOTHING"
_PASS_ON = """
INSERT INTO past (name, trial, state, plan, evidence, ledger, archived, updated)
SELECT name, trial, state, plan, coalesce(evidence, ''), coalesce(ledger, '{}'), archived, updated
  FROM rollouts LEFT JOIN snapshots USING (name, trial) WHERE name = $1 AND trial <> $2
    ON CONFLICT (name, trial) DO UPDATE SET number = excluded.number, state = excluded.state, plan = excluded.plan,
       evidence = excluded.evidence, ledger = excluded.ledger, archived = excluded.archived, updated = excluded.updated
"""
"""Before a new trial takes a rollout's row, the old one's goes here."""
_PUT = """
INSERT INTO rollouts (name, trial, state, plan, archived, updated) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (name) DO UPDATE SET trial = excluded.trial, state = excluded.state, plan = excluded.plan,
       archived = excluded.archived, updated = excluded.updated
"""
_TAKE_SNAPSHOT = """
INSERT INTO snapshots SELECT $1, $2, evidence, $3 FROM evidence WHERE token = $4
    ON CONFLICT (name) DO UPDATE SET trial = excluded.trial, evidence = excluded.evidence, ledger = excluded.ledger
"""
_PUT_SNAPSHOT = """
INSERT INTO snapshots SELECT name, trial, $3, $4 FROM rollouts WHERE name = $1 AND trial = $2
    ON CONFLICT (name) DO UPDATE SET trial = excluded.trial, evidence = excluded.evidence, ledger = excluded.ledger
"""
_PUT_DRIFT = """
INSERT INTO drift VALUES ($1, $2, $3) ON CONFLICT (route) DO UPDATE SET data = excluded.data, updated = excluded.updated
"""
_DELIVERY = """
INSERT INTO outbox (id, endpoint, type, time, data, due) SELECT $1, $2, $3, $4, $5, $6
 WHERE NOT EXISTS (SELECT 1 FROM ended WHERE endpoint = $2) ON CONFLICT (id, endpoint) DO NOTHING
"""


def _row(saved: Saved, now: float) -> tuple[Any, ...]:
    return saved.rollout.name, saved.rollout.trial, json(saved.rollout), json(saved.plan), saved.archived, now


async def keep_evidence(connection: Connection, change: Change) -> None:
    """What a change was decided on, before the change itself."""
    await connection.execute(_KEEP_EVIDENCE, change.token, change.saved.evidence)


async def put_change(connection: Connection, change: Change) -> None:
    """A change that is not there yet, whose evidence is."""
    saved = change.saved
    name, trial = saved.rollout.name, saved.rollout.trial
    await connection.execute(_PASS_ON, name, trial)
    await connection.execute(_PUT, *_row(saved, change.time))
    await connection.execute(_TAKE_SNAPSHOT, name, trial, json(saved.ledger), change.token)
    head = await _enter(connection, change)
    await set_fact(connection, "table", str(change.table))
    await _put_out(connection, change, head)


async def put_drift_change(connection: Connection, change: DriftChange) -> None:
    """A change of what is known of a route, unless it is there already."""
    if await connection.fetchval("SELECT 1 FROM journal WHERE token = $1", change.token) is not None:
        return
    await put_drift(connection, change.saved, change.time)
    await _put_out(connection, change, await _enter(connection, change))


async def put_drift(connection: Connection, saved: SavedDrift, now: float) -> None:
    """What is known of a route."""
    await connection.execute(_PUT_DRIFT, saved.route, saved.data, now)


async def _enter(connection: Connection, change: Change | DriftChange) -> ChainHead:
    """The journal's entry of a change."""
    entry = entry_of(change)
    return await append_entry(connection, replace(entry, actor=text(entry.actor), reason=text(entry.reason)))


async def _put_out(connection: Connection, change: Change | DriftChange, head: ChainHead) -> None:
    """The deliveries of a change."""
    event = change.event
    if event is not None:
        told = (event.type, event.time, told_in(event, head), change.time)
        await connection.executemany(_DELIVERY, [(event.id, to, *told) for to in change.endpoints])


async def put_snapshot(connection: Connection, saved: Saved, now: float) -> None:
    """A rollout as it is now. One taken before a new trial was saved must not overwrite that trial's."""
    await connection.execute(f"{_PUT} WHERE rollouts.trial = excluded.trial", *_row(saved, now))
    name, trial = saved.rollout.name, saved.rollout.trial
    await connection.execute(_PUT_SNAPSHOT, name, trial, saved.evidence, json(saved.ledger))


# --- away ------------------------------------------------------------------------------------------------------------

_ENDED = f"""
SELECT name, EXISTS (SELECT 1 FROM snapshots WHERE snapshots.name = rollouts.name
                        AND snapshots.trial = rollouts.trial AND evidence <> '') AS whole
  FROM rollouts WHERE {UNNAMED} ORDER BY updated DESC, name OFFSET $2
"""  # noqa: S608 - constants
"""Names that ended before the last ones, the latest first, and whether they are kept whole still."""
_EMPTY = "UPDATE {} SET evidence = '', ledger = '{{}}' WHERE name = ANY($1::text[]) AND evidence <> ''"
_OLD_ENTRIES = """
number IN (
    SELECT number FROM (
        SELECT number, row_number() OVER w AS age, sum(coalesce(octet_length(evidence), 0)) OVER w AS bytes
          FROM journal LEFT JOIN evidence USING (token)
        WINDOW w AS (PARTITION BY rollout ORDER BY number DESC)) AS entries
     WHERE age > $1 OR (age > 1 AND bytes > $2))
"""
_OLD_TRIALS = """
DELETE FROM past WHERE number IN (
    SELECT number FROM (SELECT number, row_number() OVER (PARTITION BY name ORDER BY updated DESC) AS age FROM past)
        AS trials WHERE age > $1)
"""
_OLD_EVIDENCE = """
UPDATE past SET evidence = '', ledger = '{}' WHERE evidence <> '' AND number IN (
    SELECT number FROM (
        SELECT number, sum(octet_length(evidence)) OVER (PARTITION BY name ORDER BY updated DESC) AS bytes FROM past)
        AS trials WHERE bytes > $1)
"""
_NOBODYS_EVIDENCE = """
DELETE FROM evidence WHERE since < clock_timestamp() - $1 * interval '1 s'
   AND NOT EXISTS (SELECT 1 FROM journal WHERE journal.token = evidence.token)
"""


def count(answer: str) -> int:
    """Rows of a command, by its tag.

    >>> count("DELETE 3")
    3
    """
    return int(answer.rpartition(" ")[2])


async def let_go(connection: Connection, names: Collection[str]) -> int:
    """Keep of these no more than their ends; how many rows were made smaller."""
    done = 0
    for table in ("snapshots", "past"):
        done += count(await connection.execute(_EMPTY.format(table), list(names)))
    tokens = await cut_entries(connection, "rollout = ANY($1::text[])", list(names))
    await connection.execute("DELETE FROM evidence WHERE token = ANY($1::text[])", tokens)
    return done


async def let_go_of_ended(connection: Connection, named: Collection[str], keep: Retention) -> int:
    """Of some that ended long ago keep only the end; 0 when there are no more."""
    ended = await connection.fetch(_ENDED, list(named), keep.ended)
    names = [row["name"] for row in ended if row["whole"]][: keep.let_go]
    return await let_go(connection, names) if names else 0


async def retain_rollouts(connection: Connection, named: Collection[str], keep: Retention) -> int:
    """Names and trials beyond those that are kept; how many trials went."""
    ended = await connection.fetch(_ENDED, list(named), keep.ended)
    forgotten = [row["name"] for row in ended][keep.names :]
    for table in ("rollouts", "past", "snapshots"):
        await connection.execute(f"DELETE FROM {table} WHERE name = ANY($1::text[])", forgotten)  # noqa: S608 - constants
    trials = count(await connection.execute(_OLD_TRIALS, keep.trials))
    await connection.execute(_OLD_EVIDENCE, keep.past)
    for table in ("charts", "exposures"):
        await connection.execute(f"DELETE FROM {table} WHERE trial NOT IN (SELECT trial FROM rollouts)")  # noqa: S608
    return trials


async def retain_journal(connection: Connection, keep: Retention) -> int:
    """Entries beyond those that are kept; how many went."""
    entries = len(await cut_entries(connection, _OLD_ENTRIES, keep.entries, keep.journal))
    await connection.execute(_NOBODYS_EVIDENCE, ORPHANED)
    return entries


async def retain_drift(connection: Connection, now: float, keep: Retention) -> int:
    """What is known of routes to which nothing is added any more; how many went."""
    return count(await connection.execute("DELETE FROM drift WHERE updated < $1", now - keep.drift))


async def retain_outbox(connection: Connection, now: float, keep: Retention) -> int:
    """Deliveries that are done and old; how many went. Rows for an endpoint that was taken out of the file at the very
    moment they were written are tried by nobody, and given up."""
    sql = "UPDATE outbox SET state = 'gave_up' WHERE state = 'waiting' AND time < $1"
    await connection.execute(sql, now - LONGEST_WAIT)
    sql = "DELETE FROM outbox WHERE state <> 'waiting' AND coalesce(attempted, time) < $1"
    return count(await connection.execute(sql, now - keep.deliveries))
