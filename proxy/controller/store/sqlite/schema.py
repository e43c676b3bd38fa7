"""The tables of the store, and how a file becomes a database of this version.

Invariants
- A step from one version to the next happens whole or not at all; a file from a newer version is refused untouched.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from proxy import private
from proxy.errors import StoreError

MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE rollouts (
        name TEXT PRIMARY KEY, trial TEXT NOT NULL, state TEXT NOT NULL, plan TEXT NOT NULL,
        evidence BLOB NOT NULL, ledger TEXT NOT NULL, archived INTEGER NOT NULL DEFAULT 0, updated REAL NOT NULL);
    CREATE TABLE past (
        trial TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, plan TEXT NOT NULL, evidence BLOB NOT NULL,
        ledger TEXT NOT NULL, archived INTEGER NOT NULL, updated REAL NOT NULL);
    CREATE TABLE journal (
        number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL,
        actor TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, evidence BLOB NOT NULL,
        token TEXT NOT NULL UNIQUE);
    CREATE INDEX journal_of ON journal (rollout, number);
    CREATE TRIGGER journal_grows BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'the journal only grows'); END;
    CREATE TABLE outbox (
        id TEXT NOT NULL, endpoint TEXT NOT NULL, type TEXT NOT NULL, time REAL NOT NULL, data TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, state TEXT NOT NULL DEFAULT 'waiting',
        answer TEXT NOT NULL DEFAULT '', attempted REAL, PRIMARY KEY (id, endpoint));
    CREATE INDEX outbox_due ON outbox (endpoint, state, due);
    CREATE TABLE ended (endpoint TEXT PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID;
    """,
    "ALTER TABLE ended ADD COLUMN terms TEXT NOT NULL DEFAULT '';",
    "CREATE TABLE charts (trial TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID;",
    """
    ALTER TABLE journal ADD COLUMN digest TEXT NOT NULL DEFAULT '';
    ALTER TABLE journal ADD COLUMN previous TEXT NOT NULL DEFAULT '';
    ALTER TABLE journal ADD COLUMN hash TEXT NOT NULL DEFAULT '';
    CREATE TABLE signed_off (
        low INTEGER PRIMARY KEY, high INTEGER NOT NULL, hash_before TEXT NOT NULL, hash_after TEXT NOT NULL);
    INSERT INTO signed_off SELECT 1, seq, printf('%064d', 0), printf('%064d', 0)
        FROM sqlite_sequence WHERE name = 'journal' AND seq > 0;
    """,
    "CREATE TABLE drift (route TEXT PRIMARY KEY, data BLOB NOT NULL, updated REAL NOT NULL);",
    "CREATE TABLE exposures (trial TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,"
    " PRIMARY KEY (trial, number));",
)
"""One script for each version of the schema; a file is brought up to the newest when it is opened."""

SECRET = "split_secret"
"""The store's own fact that says which callers the candidate answers (see `request.routing`)."""
JUDGES = "judges"
"""The store's own fact of what each judge has spent and said."""
REGISTRY = "registry"
"""The store's own fact of what model registries have said."""


def open_database(path: Path) -> sqlite3.Connection:
    """A checked connection with the newest schema; raises `sqlite3.Error`, or `StoreError` for a newer file."""
    private.prepare(path)
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: a decision that was announced must survive a power cut. NORMAL would lose the last commits.
        connection.execute("PRAGMA synchronous = FULL")
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreError(f"{path}: schema {version} is from a newer Understudy (this one knows {len(MIGRATIONS)})")
    for number in range(version, len(MIGRATIONS)):
        # executescript commits what is open, so the transaction is part of the script: all of a step or none.
        connection.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;")
        if number == 0:
            set_meta(connection, "identity", os.urandom(8).hex())
    if connection.execute("SELECT 1 FROM meta WHERE key = ?", (SECRET,)).fetchone() is None:
        set_meta(connection, SECRET, os.urandom(32).hex())


def identity_of(connection: sqlite3.Connection) -> str:
    """Which store this is; the same for its whole life, copies included."""
    return str(connection.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()[0])


def is_fresh(path: Path) -> bool:
    """Whether no database was begun here yet: nothing is there, or an empty file. Raises `OSError`."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def set_meta(connection: sqlite3.Connection, key: str, value: Any) -> None:
    """Write one of the store's own facts, within the transaction that is open."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
