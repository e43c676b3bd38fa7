"""A whole state from one store into another, of either kind, without loss: `understudy store copy`.

Invariants
- The source is used by nobody meanwhile, and is left as it is.
- The target was empty, and holds all of it or nothing: a file gets its name when it is complete, a database is marked
  until it is, and refused by every start while it is marked.
- What was written is read again and compared, row by row, by number and by hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

StoredRow = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class StoredPart:
    """One kind of rows. `batch` of them are in the memory at a time."""

    columns: tuple[str, ...]
    batch: int


_TRIAL = ("name", "trial", "state", "plan", "evidence", "ledger", "archived", "updated")
PARTS = {
    "facts": StoredPart(("key", "value"), 100),
    "rollouts": StoredPart(_TRIAL, 4),
    "past": StoredPart(_TRIAL, 4),
    "journal": StoredPart(
        (
            "number", "rollout", "time", "kind", "actor", "reason", "detail", "evidence", "token", "digest", "previous",
            "hash",
        ), 4
    ),
    "signed_off": StoredPart(("low", "high", "hash_before", "hash_after"), 200),
    "outbox": StoredPart(
        ("id", "endpoint", "type", "time", "data", "attempts", "due", "state", "answer", "attempted"), 200
    ),
    "ended": StoredPart(("endpoint", "time", "terms"), 200),
    "charts": StoredPart(("trial", "data"), 4),
    "drift": StoredPart(("route", "data", "updated"), 4),
    "exposures": StoredPart(("trial", "number", "data"), 200),
}  # fmt: skip
"""All that a store holds, in the order in which it is copied; `past` and `outbox` in the order in which they came.

`facts` are the identity, the secret of the split, the number of the last table and of the last journal entry, where
its chain ends, and what judges have spent and said.
"""

FACTS = ("identity", "split_secret", "table", "entries", "head", "judges")


class Copied(Protocol):
    """A store that is read from, or written to, as a whole. Every coroutine may raise `StoreError`."""

    where: str

    async def rows(self, part: str, offset: int, limit: int) -> list[StoredRow]:
        """Some rows of a part, in its order, from one on."""

    async def add(self, part: str, rows: list[StoredRow]) -> None:
        """Write rows behind those that are there."""


async def every_batch(store: Copied, part: str) -> AsyncIterator[list[StoredRow]]:
    """All rows of a part, some at a time."""
    offset, batch = 0, PARTS[part].batch
    while rows := await store.rows(part, offset, batch):
        yield [_plain(row) for row in rows]
        offset += len(rows)


async def copy_parts(source: Copied, target: Copied) -> None:
    """Write all that is in the source into the target."""
    for part in PARTS:
        async for rows in every_batch(source, part):
            await target.add(part, rows)


async def summed(store: Copied) -> dict[str, tuple[int, str]]:
    """Of each part how many rows there are, and a hash of them."""
    found = {}
    for part in PARTS:
        count, digest = 0, hashlib.blake2b(digest_size=16)
        async for rows in every_batch(store, part):
            for row in rows:
                count += 1
                for value in row:
                    digest.update(_bytes(value))
        found[part] = (count, digest.hexdigest())
    return found


def _plain(row: StoredRow) -> StoredRow:
    """A row as both kinds of store hold it: PostgreSQL has no letter U+0000, SQLite no truth values.

    >>> _plain((1, True, "a\\0b", memoryview(b"x")))
    (1, 1, 'a\\ufffdb', b'x')
    """
    return tuple(
        value.replace("\0", "\ufffd")
        if isinstance(value, str)
        else int(value)
        if isinstance(value, bool)
        else bytes(value)
        if isinstance(value, memoryview)
        else value
        for value in row
    )


def _bytes(value: Any) -> bytes:
    """A value for the hash, with its kind and its length: two rows that differ are never the same bytes."""
    data = value if isinstance(value, bytes) else repr(value).encode()
    return b"%s %d:%s" % (type(value).__name__.encode(), len(data), data)
