"""A store in a file, read or written as a whole (see `store.copying`)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from proxy.controller.store.copying import FACTS, PARTS, StoredRow
from proxy.controller.store.sqlite.files import files_of
from proxy.controller.store.sqlite.schema import set_meta
from proxy.controller.store.sqlite.store import SqliteStore
from proxy.errors import StoreError

_ORDER = {
    "rollouts": "name",
    "past": "rowid",
    "journal": "number",
    "signed_off": "low",
    "outbox": "rowid",
    "ended": "endpoint",
    "charts": "trial",
    "drift": "route",
    "exposures": "trial, number",
}
_NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = 'journal'"


class SqliteCopied:
    """A store's file, held by this process alone."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteStore(path)
        self.where = self._store.where

    @classmethod
    async def source(cls, path: Path) -> SqliteCopied:
        """A store that is there and that nobody uses. Raises `StoreError`."""
        if files_of(path)[0] is None:
            raise StoreError(f"{path}: no such store")
        copied = cls(path)
        try:
            await copied._store.claim()
            await copied._store.check()
            if copied._store.asides:
                raise StoreError(f"{path}: no sound database; it is kept as {copied._store.asides[0]}")
        except BaseException:
            await copied.close()
            raise
        return copied

    @classmethod
    async def target(cls, path: Path) -> SqliteCopied:
        """A new file beside `path`, where nothing may be; it gets that name when it is complete (`finish`)."""
        if any(files_of(path)):
            raise StoreError(f"{path}: is there already")
        copied = cls(_away(path.with_name(f"{path.name}.copying")))
        await copied._store.claim()
        await copied._store.check()
        return copied

    async def rows(self, part: str, offset: int, limit: int) -> list[StoredRow]:
        """Some rows of a part, in its order, from one on."""

        def work(connection: sqlite3.Connection) -> list[StoredRow]:
            if part == "facts":
                return _facts(connection)[offset : offset + limit]
            columns = ", ".join(PARTS[part].columns)
            sql = f"SELECT {columns} FROM {part} ORDER BY {_ORDER[part]} LIMIT ? OFFSET ?"  # noqa: S608 - constants
            return connection.execute(sql, (limit, offset)).fetchall()

        return await self._store.run(work, write=False)

    async def add(self, part: str, rows: list[StoredRow]) -> None:
        """Write rows behind those that are there."""

        def work(connection: sqlite3.Connection) -> None:
            if part == "facts":
                _set_facts(connection, rows)
                return
            columns = PARTS[part].columns
            places = ", ".join("?" * len(columns))
            sql = f"INSERT INTO {part} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - constants
            connection.executemany(sql, rows)

        await self._store.run(work)

    async def finish(self) -> None:
        """Let the file have its name. Raises `StoreError` when something is there by now."""
        await self.close()
        unfinished = Path(self.where)
        path = unfinished.with_name(unfinished.name.removesuffix(".copying"))
        if any(files_of(path)):
            raise StoreError(f"{path}: has come meanwhile; the copy is {unfinished}")
        _named(unfinished, path)

    async def close(self) -> None:
        """Let go of the file."""
        await self._store.close()


def _away(unfinished: Path) -> Path:
    """Take away what an earlier copy has left."""
    for part in ("", "-wal", "-shm"):
        Path(f"{unfinished}{part}").unlink(missing_ok=True)
    return unfinished


def _named(unfinished: Path, path: Path) -> None:
    unfinished.rename(path)
    Path(f"{unfinished}.lock").unlink(missing_ok=True)


def _facts(connection: sqlite3.Connection) -> list[StoredRow]:
    found = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    (last,) = connection.execute(_NUMBER).fetchone() or (0,)
    found["entries"] = last
    return [(key, str(found[key])) for key in FACTS if key in found]


def _set_facts(connection: sqlite3.Connection, rows: list[StoredRow]) -> None:
    for key, value in rows:
        if key != "entries":
            set_meta(connection, key, int(value) if key == "table" else value)
            continue
        connection.execute("DELETE FROM sqlite_sequence WHERE name = 'journal'")
        connection.execute("INSERT INTO sqlite_sequence VALUES ('journal', ?)", (int(value),))
