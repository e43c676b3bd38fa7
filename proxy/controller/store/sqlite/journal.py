"""The journal of a store in a file, opened read-only (see `store.journals`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import orjson

from proxy.controller.store.chain import ChainedEntry, told_heads
from proxy.controller.store.journals import KEYS, PAGE, JournalPage, StoredChain
from proxy.controller.store.sqlite.chaining import ENTRY, head_of, highest_of, numbered_of, ranges_of
from proxy.errors import StoreError

T = TypeVar("T")

_SQL = (
    "SELECT number, rollout, time, kind, actor, reason, detail, evidence FROM journal"
    " WHERE number > ? AND ? IN ('', rollout) ORDER BY number LIMIT ?"
)


class SqliteJournal:
    """Of a store in a file."""

    def __init__(self, connection: sqlite3.Connection, where: str) -> None:
        self._connection, self.where = connection, where

    @classmethod
    async def open(cls, path: Path) -> SqliteJournal:
        """Raises `StoreError`."""
        try:
            return cls(_opened(path), str(path))
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error

    async def page(self, after: int, rollout: str) -> JournalPage:
        """The next entries, oldest first."""
        rows = self._read(lambda connection: connection.execute(_SQL, (after, rollout, PAGE)).fetchall())
        return [({**dict(zip(KEYS, row, strict=False)), "detail": orjson.loads(row[6])}, bytes(row[7])) for row in rows]

    async def chained(self, low: int) -> list[tuple[ChainedEntry, object]]:
        """The next entries as the chain has them, whatever their columns hold."""
        sql = f"SELECT {ENTRY}, evidence FROM journal WHERE number >= ? ORDER BY number LIMIT ?"  # noqa: S608 - constants
        rows = self._read(lambda connection: connection.execute(sql, (low, PAGE)).fetchall())
        return [(ChainedEntry(*row[:-1]), row[-1]) for row in rows]

    async def chain(self) -> StoredChain:
        """Where the chain ends and what was taken out of it."""

        def work(connection: sqlite3.Connection) -> StoredChain:
            connection.execute("BEGIN")
            try:
                numbers = (highest_of(connection), numbered_of(connection))
                told = told_heads(row[0] for row in connection.execute("SELECT data FROM outbox"))
                return StoredChain(head_of(connection), tuple(ranges_of(connection)), *numbers, told)
            finally:
                connection.execute("COMMIT")

        return self._read(work)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._connection)
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"{self.where}: {error}") from error

    async def close(self) -> None:
        """Release the file."""
        self._connection.close()


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    # Bytes that are no UTF-8 were put there by somebody: they are told as such (`misread`), and the rest is read.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    return connection
