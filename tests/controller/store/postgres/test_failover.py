"""Promise: with two hosts in the URL a fleet's store is where the primary is, before and after a failover; what was
replicated is there, and the leader of before goes on in a term above all that it knew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.config.postgres_url import read_target
from proxy.controller.store.postgres.connecting import Connection
from proxy.controller.store.postgres.lease import Lease
from proxy.controller.store.postgres.schema import bring_up_to_date
from proxy.controller.store.postgres.session import Session
from proxy.controller.store.postgres.store import PostgresStore
from proxy.errors import StoreError
from tests.controller.store.stores import change
from tests.ports import free_port
from tests.postgres import DEADLINE, Postgres, PostgresServer, place, running

pytestmark = pytest.mark.slow


def standby_of(primary: PostgresServer, folder: Path) -> PostgresServer:
    """A server that streams from another one, not started."""
    source = f"host=127.0.0.1 port={primary.port} user=understudy application_name=second"
    primary.run("pg_basebackup", "-D", folder / "data", "-d", source, "-R", "-X", "stream", "-c", "fast")
    return PostgresServer(folder, primary.bin, free_port(), dict(primary.settings))


@contextmanager
def pair(first: Postgres) -> Iterator[tuple[PostgresServer, str]]:
    """A standby of a server, which runs, and the URL that names both."""
    with place() as folder:
        second = standby_of(first.server, folder)
        with running(second):
            hosts = f"127.0.0.1:{first.server.port},127.0.0.1:{second.port}"
            yield second, f"postgresql://understudy@{hosts}/{first.database}?target_session_attrs=read-write"


async def led(url: str, seen: int) -> tuple[Session, PostgresStore, int]:
    """A leader's session, store and term; `seen` is the highest that it knows of."""
    session = await Session.connect(read_target(url))
    await bring_up_to_date(session)
    term = await Lease(session).take(seen, "a", "", 3600.0)
    assert term is not None
    store = PostgresStore(read_target(url))
    store.lead(session, term)
    return session, store, term


async def test_what_is_acknowledged_with_a_synchronous_standby_is_there_after_a_failover(
    mortal_postgres: Postgres,
) -> None:
    first = mortal_postgres
    with pair(first) as (second, url):
        first.psql("ALTER SYSTEM SET synchronous_standby_names = 'second'")
        first.psql("SELECT pg_reload_conf()")
        await first.becomes("SELECT sync_state FROM pg_stat_replication", "sync")
        session, store, term = await led(url, 0)
        assert store.synchronous
        for number in range(1, 6):
            await store.save(change(number))
        await asyncio.to_thread(first.server.kill)
        with pytest.raises(StoreError):
            await store.save(change(6))
        await store.close()
        await session.close()
        with pytest.raises(StoreError, match=r"a standby, not the primary"):
            await Session.connect(read_target(url))
        second.run("pg_ctl", "promote", "-D", second.folder / "data", "-w", "-t", int(DEADLINE))
        session, store, later = await led(url, term)
        assert later > term
        numbers = await session.run(_numbers)
        assert numbers == [1, 2, 3, 4, 5]
        await store.save(change(6))
        await store.close()
        await session.close()


async def _numbers(connection: Connection) -> list[int]:
    return [row["number"] for row in await connection.fetch("SELECT number FROM journal ORDER BY number")]


async def test_a_term_that_a_failover_has_lost_is_not_given_again(mortal_postgres: Postgres) -> None:
    first = mortal_postgres
    with pair(first) as (second, url):
        session, store, term = await led(url, 0)
        await store.save(change(1))
        await first.becomes("SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()", "1")
        second.freeze()  # what comes now is acknowledged, and only here
        assert await Lease(session).release(term) is None
        again = await Lease(session).take(term, "b", "", 3600.0)
        assert again == term + 1
        await store.close()
        await session.close()
        await asyncio.to_thread(first.server.kill)
        second.thaw()
        second.run("pg_ctl", "promote", "-D", second.folder / "data", "-w", "-t", int(DEADLINE))
        session, store, later = await led(url, again)  # what a worker's HELLO tells
        assert later > again, "the new primary knows nothing of the last term"
        await store.close()
        await session.close()
