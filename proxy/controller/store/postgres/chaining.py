"""The journal's chain (`store.chain`) in PostgreSQL: what is done of it within a transaction that has passed the fence.

The row of `entries` in `meta` is locked by whoever numbers an entry, so that no two of them can follow the same one.
"""

from __future__ import annotations

from typing import Any

from proxy.controller.store.chain import ChainedEntry, ChainHead, SignedOff, sign_off
from proxy.controller.store.postgres.connecting import Connection
from proxy.controller.store.postgres.schema import set_fact

HEAD = "head"
"""The store's own fact of where its journal's chain ends."""
_NUMBER = "UPDATE meta SET value = (value::bigint + 1)::text WHERE key = 'entries' RETURNING value::bigint"
_HEAD = "SELECT value FROM meta WHERE key = 'head'"
_ADD = (
    "INSERT INTO journal (number, rollout, time, kind, actor, reason, detail, token, digest, previous, hash)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
ENTRY = "number, rollout, time, kind, actor, reason, detail, token, digest, previous, hash"


async def chain_head(connection: Connection) -> ChainHead:
    """Where the chain ends."""
    noted = await connection.fetchval(_HEAD)
    if noted is not None:
        return ChainHead.read(noted)
    return ChainHead(int(await connection.fetchval("SELECT value FROM meta WHERE key = 'entries'") or 0))


async def append_entry(connection: Connection, entry: ChainedEntry) -> ChainHead:
    """Write the next entry; the head from then on."""
    number = int(await connection.fetchval(_NUMBER))
    noted = await connection.fetchval(_HEAD)
    new = entry.behind(ChainHead(number - 1) if noted is None else ChainHead.read(noted))
    said = (new.number, new.rollout, new.time, new.kind, new.actor, new.reason, new.detail, new.token, new.digest)
    await connection.execute(_ADD, *said, new.previous, new.hash)
    await set_fact(connection, HEAD, str(new.head))
    return new.head


async def cut_entries(connection: Connection, which: str, *values: Any) -> list[str]:
    """Take entries away, those for which `which` holds, and sign that off; their tokens."""
    sql = f"DELETE FROM journal WHERE {which} RETURNING number, previous, hash, token"  # noqa: S608 - constants
    gone = await connection.fetch(sql, *values)
    if gone:
        before = [SignedOff(*row) for row in await connection.fetch("SELECT * FROM signed_off")]
        ranges = sign_off(before, [(row["number"], row["previous"], row["hash"]) for row in gone])
        await connection.execute("DELETE FROM signed_off")
        rows = [(one.low, one.high, one.before, one.after) for one in ranges]
        await connection.executemany("INSERT INTO signed_off VALUES ($1, $2, $3, $4)", rows)
    return [row["token"] for row in gone]
