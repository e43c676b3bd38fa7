"""A rollout to save, and both kinds of store, opened, opened again, and changed by somebody else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from proxy.controller.store.interface import KEPT, Change, Retention, RolloutStore, Saved
from proxy.controller.store.postgres.lease import Lease
from proxy.controller.store.postgres.schema import bring_up_to_date
from proxy.controller.store.postgres.session import Session
from proxy.controller.store.postgres.store import PostgresStore
from proxy.controller.store.sqlite.store import SqliteStore
from proxy.controller.webhooks.policy import WebhookEvent
from proxy.model import Guard, Kind, Plan, PredictionSpec, Segments, Stage, State
from proxy.rollout.events import RolloutState
from tests.postgres import Postgres

PLAN = Plan(
    "r/c", "r", "l", "c", "1",
    (Stage(State.SHADOW, 100.0), Stage(State.CANARY, 5.0, max_time=60.0)),
    (Guard("max_disagreement", 0.02), Guard("p99_latency", 1.2, relative=True)),
    prediction=PredictionSpec("v2", Kind.SCORE, "y", ignore=("/id",)),
    segments=Segments("x-tenant"),
)  # fmt: skip


ROLLOUT = RolloutState("r/c", PLAN.trial, 1.0, State.CANARY, stage=1, entry=2, weight=500, change=3, blocked_by="r/b")


def saved(evidence: bytes = b"e", name: str = "r/c", **fields: object) -> Saved:
    return Saved(replace(ROLLOUT, name=name, **fields), replace(PLAN, name=name), evidence, {"n": 1})  # type: ignore[arg-type]


def change(number: int = 1, *endpoints: str, name: str = "r/c", evidence: bytes = b"e") -> Change:
    event = WebhookEvent(f"evt_{number}", "rollout.advanced", float(number), {"rollout": name})
    one = saved(evidence, name, change=number)
    return Change(one, number, float(number), "advanced", "ann", f"why {number}", {"n": number}, event, endpoints)


class Kind:
    """A place where a store is; one store at a time is open."""

    def __init__(self) -> None:
        self.store: RolloutStore | None = None

    async def open(self, retention: Retention = KEPT) -> RolloutStore:
        """The store that is there, the one before being closed."""
        await self.close()
        self.store = await self._opened(retention)
        return self.store

    async def close(self) -> None:
        """Close what is open."""
        if self.store is not None:
            await self.store.close()
            self.store = None

    async def _opened(self, retention: Retention) -> RolloutStore:
        raise NotImplementedError

    def ask(self, sql: str) -> str:
        """What another program does to it; raises `AssertionError` with what the database says against it."""
        raise NotImplementedError


class FileKind(Kind):
    """A store in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    async def _opened(self, retention: Retention) -> RolloutStore:
        return SqliteStore(self.path, retention)

    def ask(self, sql: str) -> str:
        with closing(sqlite3.connect(self.path)) as other:
            try:
                rows = other.execute(sql).fetchall()
                other.commit()
            except sqlite3.Error as error:
                raise AssertionError(str(error)) from error
        return str(rows[0][0]) if rows else ""


class PostgresKind(Kind):
    """A store in PostgreSQL, with the lease taken."""

    def __init__(self, postgres: Postgres) -> None:
        super().__init__()
        self.postgres = postgres
        self.session: Session | None = None

    async def _opened(self, retention: Retention) -> RolloutStore:
        self.session = await Session.connect(self.postgres.target)
        await bring_up_to_date(self.session)
        term = await Lease(self.session).take(0, "test", "", 3600.0)
        assert term is not None
        store = PostgresStore(self.postgres.target, retention=retention)
        store.lead(self.session, term)
        return store

    async def close(self) -> None:
        await super().close()
        if self.session is not None:
            await self.session.close()
            await self.postgres.becomes(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {self.session.pid}", "0")
            self.session = None

    def ask(self, sql: str) -> str:
        return self.postgres.psql(f"SET search_path = understudy; {sql}")
