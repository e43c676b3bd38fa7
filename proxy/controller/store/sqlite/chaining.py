"""The journal's chain (`store.chain`) in a file: what is done of it within a transaction that is open."""

from __future__ import annotations

import sqlite3
from typing import Any

from proxy.controller.store.chain import ChainedEntry, ChainHead, SignedOff, sign_off
from proxy.controller.store.sqlite.schema import set_meta

HEAD = "head"
"""The store's own fact of where its journal's chain ends."""
_ADD = (
    "INSERT INTO journal (number, rollout, time, kind, actor, reason, detail, token, digest, previous, hash, evidence)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = 'journal'"
ENTRY = "number, rollout, time, kind, actor, reason, detail, token, digest, previous, hash"


def head_of(connection: sqlite3.Connection) -> ChainHead:
    """Where the chain ends."""
    noted = connection.execute("SELECT value FROM meta WHERE key = ?", (HEAD,)).fetchone()
    if noted is not None:
        return ChainHead.read(noted[0])
    return ChainHead(numbered_of(connection))


def add_entry(connection: sqlite3.Connection, entry: ChainedEntry, evidence: bytes) -> ChainHead:
    """Write the next entry; the head from then on."""
    new = entry.behind(head_of(connection))
    said = (new.number, new.rollout, new.time, new.kind, new.actor, new.reason, new.detail, new.token, new.digest)
    connection.execute(_ADD, (*said, new.previous, new.hash, evidence))
    set_meta(connection, HEAD, str(new.head))
    return new.head


def take_away(connection: sqlite3.Connection, which: str, values: Any) -> int:
    """Take entries away, those for which `which` holds, and sign that off; how many."""
    sql = f"DELETE FROM journal WHERE {which} RETURNING number, previous, hash"  # noqa: S608 - constants
    gone = connection.execute(sql, values).fetchall()
    if gone:
        ranges = sign_off(ranges_of(connection), gone)
        connection.execute("DELETE FROM signed_off")
        rows = [(one.low, one.high, one.before, one.after) for one in ranges]
        connection.executemany("INSERT INTO signed_off VALUES (?, ?, ?, ?)", rows)
    return len(gone)


def ranges_of(connection: sqlite3.Connection) -> list[SignedOff]:
    """What retention took away."""
    return [SignedOff(*row) for row in connection.execute("SELECT * FROM signed_off ORDER BY low")]


def numbered_of(connection: sqlite3.Connection) -> int:
    """The highest number that an entry ever had: SQLite keeps it whatever is removed, and takes it back with a
    transaction."""
    (last,) = connection.execute(_NUMBER).fetchone() or (0,)
    return int(last)


def highest_of(connection: sqlite3.Connection) -> int:
    """The highest number of an entry that is there."""
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM journal").fetchone()[0])
