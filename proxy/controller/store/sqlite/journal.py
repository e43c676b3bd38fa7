"""The journal of a store in a file, opened read-only (see `store.journals`)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import orjson

from proxy.controller.store.journals import KEYS, PAGE, JournalPage
from proxy.errors import StoreError

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
        try:
            rows = self._connection.execute(_SQL, (after, rollout, PAGE)).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.where}: {error}") from error
        return [({**dict(zip(KEYS, row, strict=False)), "detail": orjson.loads(row[6])}, bytes(row[7])) for row in rows]

    async def close(self) -> None:
        """Release the file."""
        self._connection.close()


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
