"""Keeps the promises of a session: it reaches the primary or says why not, whatever happens to the server is a
`StoreError` in bounded time, and a COMMIT whose answer is lost is known to be in doubt."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import asyncpg
import pytest

from proxy.cli.stores import look_at_store
from proxy.config.postgres_url import StoreUrl, read_target
from proxy.controller.store.postgres import session as module
from proxy.controller.store.postgres.connecting import LIMITS, Connection
from proxy.controller.store.postgres.session import CommitDoubtError, Session, SessionEndedError
from proxy.controller.store.postgres.store import PostgresStore
from proxy.errors import StoreError
from tests.controller.store.postgres.conftest import Sessions
from tests.controller.store.postgres.wire import Wire
from tests.ports import free_port
from tests.postgres import Postgres

LATE = 30.0
"""Seconds within which a busy machine does what takes none."""

Work = Callable[[Connection], Awaitable[object]]


def says(sql: str, *values: object) -> Work:
    """Work that asks one thing."""
    return lambda connection: connection.fetchval(sql, *values)


async def test_every_limit_holds_on_the_server(postgres: Postgres, sessions: Sessions) -> None:
    session = await sessions(postgres)
    for name, value in LIMITS.items():
        assert await session.run(says("SELECT current_setting($1)", name)) in (value, f"{value}s", "3s"), name
    assert await session.run(says("SHOW application_name")) == "understudy"
    assert await session.run(says("SELECT pg_backend_pid()")) == session.pid


async def test_what_the_server_refuses_is_told_and_ends_nothing(postgres: Postgres, sessions: Sessions) -> None:
    session = await sessions(postgres)
    with pytest.raises(StoreError, match=r"no_such_table.*42P01"):
        await session.run(says("SELECT 1 FROM no_such_table"))
    with pytest.raises(StoreError, match="22012"):
        await session.transaction(says("SELECT 1 / 0"))
    assert await session.run(says("SELECT 1")) == 1
    assert not session.ended.is_set()


async def test_half_a_transaction_is_none(postgres: Postgres, sessions: Sessions) -> None:
    session = await sessions(postgres)

    async def fails(connection: Connection) -> None:
        await connection.execute("INSERT INTO meta VALUES ('half', '1')")
        raise StoreError("at the second statement")

    with pytest.raises(StoreError, match="second"):
        await session.transaction(fails)

    async def swallows(connection: Connection) -> None:
        await connection.execute("INSERT INTO meta VALUES ('half', '1')")
        with suppress(asyncpg.PostgresError):
            await connection.execute("SELECT 1 / 0")

    with pytest.raises(StoreError, match="COMMIT was answered with ROLLBACK"):
        await session.transaction(swallows)
    assert postgres.psql("SELECT count(*) FROM understudy.meta WHERE key = 'half'") == "0"


async def test_work_goes_on_when_whoever_asked_is_cancelled(postgres: Postgres, sessions: Sessions) -> None:
    session = await sessions(postgres)
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection) -> None:
        await connection.execute("INSERT INTO meta VALUES ('kept', '1')")
        begun.set()
        await go.wait()

    asker = asyncio.ensure_future(session.transaction(slow))
    await asyncio.wait_for(begun.wait(), LATE)
    asker.cancel()
    go.set()
    assert await session.run(says("SELECT value FROM meta WHERE key = 'kept'")) == "1"


async def test_what_keeps_the_lease_goes_before_what_waits(postgres: Postgres, sessions: Sessions) -> None:
    session, order, go = await sessions(postgres), list[str](), asyncio.Event()

    def noted(name: str) -> Work:
        async def work(_: Connection) -> None:
            order.append(name)
            await go.wait()

        return work

    asked = [asyncio.ensure_future(session.run(noted(name))) for name in ("running", "waits", "waits too")]
    await asyncio.sleep(0)
    asked.append(asyncio.ensure_future(session.run(noted("renewal"), first=True)))
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*asked)
    assert order == ["running", "renewal", "waits", "waits too"]


async def test_calls_beyond_the_bound_are_refused(
    postgres: Postgres, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    session = await sessions(postgres)
    asked = [asyncio.ensure_future(session.run(says("SELECT 1"))) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="already wait"):
        await session.run(says("SELECT 1"))
    assert await asyncio.gather(*asked) == [1, 1]


@pytest.mark.parametrize("whole", [False, True], ids=["a statement", "a transaction"])
async def test_a_frozen_server_is_a_store_error_in_bounded_time(mortal_postgres: Postgres, whole: bool) -> None:
    session = await Session.connect(mortal_postgres.target)
    waits = asyncio.ensure_future(session.run(says("SELECT 2")))
    assert await waits == 2
    mortal_postgres.server.freeze()
    began = time.monotonic()
    call = session.transaction if whole else session.run
    first, second = call(says("SELECT 1"), 1.0), session.run(says("SELECT 2"))
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert time.monotonic() - began < LATE
    assert all(isinstance(result, SessionEndedError) for result in results), results
    assert session.ended.is_set()
    assert "no answer for 1 s" in session.why
    await session.close()
    mortal_postgres.server.thaw()


async def test_a_connection_that_is_ended_is_a_store_error_at_every_moment(
    postgres: Postgres, sessions: Sessions
) -> None:
    session = await sessions(postgres)
    slow = asyncio.ensure_future(session.run(says("SELECT pg_sleep(60)")))
    postgres.psql(
        f"SELECT pg_terminate_backend({session.pid}) FROM generate_series(1, 1)"
        f" WHERE (SELECT count(*) FROM pg_stat_activity WHERE pid = {session.pid}) = 1"
    )
    with pytest.raises(SessionEndedError):
        await asyncio.wait_for(slow, LATE)
    await asyncio.wait_for(session.ended.wait(), LATE)
    with pytest.raises(SessionEndedError):
        await session.run(says("SELECT 1"))


async def test_an_idle_session_hears_that_it_ended(postgres: Postgres, sessions: Sessions) -> None:
    session = await sessions(postgres)
    postgres.psql(f"SELECT pg_terminate_backend({session.pid})")
    await asyncio.wait_for(session.ended.wait(), LATE)
    assert session.why


async def test_what_is_left_of_the_former_session_is_ended(postgres: Postgres, sessions: Sessions) -> None:
    former = await sessions(postgres)
    await former.run(says("SELECT pg_advisory_lock(7)"))
    session = await Session.connect(postgres.target, former)
    assert await session.run(says("SELECT pg_try_advisory_lock(7)")) is True
    await session.close()


async def test_another_process_with_the_same_number_is_left_alone(postgres: Postgres, sessions: Sessions) -> None:
    other, former = await sessions(postgres), await sessions(postgres)
    await other.run(says("SELECT pg_advisory_lock(7)"))
    former.pid = other.pid  # as after a failover
    session = await Session.connect(postgres.target, former)
    assert await session.run(says("SELECT pg_try_advisory_lock(7)")) is False
    await session.close()


# --- COMMIT --------------------------------------------------------------------------------------------------------


async def test_a_commit_that_waits_for_a_standby_that_is_gone_is_in_doubt(mortal_postgres: Postgres) -> None:
    server = mortal_postgres.server
    server.psql("ALTER SYSTEM SET synchronous_standby_names = 'gone'")
    server.psql("SELECT pg_reload_conf()")
    session = await Session.connect(mortal_postgres.target)
    assert session.synchronous
    with pytest.raises(CommitDoubtError, match="COMMIT"):
        await session.transaction(lambda connection: connection.execute("CREATE TABLE public.there (n int)"), 1.0)
    assert session.ended.is_set()
    server.psql("ALTER SYSTEM RESET synchronous_standby_names")
    server.psql("SELECT pg_reload_conf()")
    again = await Session.connect(mortal_postgres.target, session)
    assert not again.synchronous
    assert await again.run(says("SELECT to_regclass('public.there')::text")) in ("there", "public.there")
    await again.close()


async def test_a_commit_that_the_server_refuses_is_no_doubt(postgres: Postgres, sessions: Sessions) -> None:
    session = await sessions(postgres)
    await session.run(
        lambda connection: connection.execute(
            "CREATE TABLE one (n int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO one VALUES (1)"
        )
    )
    with pytest.raises(StoreError, match="23505") as refused:
        await session.transaction(lambda connection: connection.execute("INSERT INTO one VALUES (1)"))
    assert not isinstance(refused.value, CommitDoubtError)
    assert not session.ended.is_set()


# --- the way there -------------------------------------------------------------------------------------------------


async def test_hosts_are_tried_one_by_one_and_a_frozen_one_has_only_its_own_time(postgres: Postgres) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        frozen = ("127.0.0.1", silent.getsockname()[1])
        refuses = ("127.0.0.1", free_port())
        target = replace(postgres.target, hosts=(frozen, refuses, *postgres.target.hosts), seconds=3.0)
        session = await Session.connect(target)
        await session.close()
        nobody = replace(target, hosts=(frozen, refuses), seconds=0.5)
        with pytest.raises(StoreError, match=r"no answer for 0 s; 127.*Connect call failed"):
            await Session.connect(nobody)


async def test_a_wrong_database_says_so_and_a_password_is_never_part_of_it(postgres: Postgres) -> None:
    target = replace(postgres.target, database="nowhere", password="hunter2")
    with pytest.raises(StoreError, match=r"database \"nowhere\" does not exist \(3D000\)") as refused:
        await Session.connect(target)
    assert "hunter2" not in f"{refused.value}{target!r}{refused.value.__cause__!r}"


async def test_a_server_that_takes_no_writes_is_refused(postgres: Postgres) -> None:
    postgres.psql(f"ALTER DATABASE {postgres.database} SET default_transaction_read_only = on")
    with pytest.raises(StoreError, match="takes no writes"):
        await Session.connect(postgres.target)


async def test_defaults_of_the_server_that_would_break_a_promise_do_not_hold(postgres: Postgres) -> None:
    for setting in ("synchronous_commit = off", "default_transaction_isolation = 'repeatable read'"):
        postgres.psql(f"ALTER DATABASE {postgres.database} SET {setting}")
    session = await Session.connect(postgres.target)
    assert await session.run(says("SHOW synchronous_commit")) == "on"
    assert await session.run(says("SHOW transaction_isolation")) == "read committed"
    await session.close()


async def test_another_encoding_than_utf_8_is_refused(postgres: Postgres) -> None:
    postgres.psql("CREATE DATABASE latin_of_it ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreError, match="LATIN1, not UTF8"):
        await Session.connect(replace(postgres.target, database="latin_of_it"))
    postgres.psql("DROP DATABASE latin_of_it")


async def test_a_pooler_in_between_is_refused(postgres: Postgres) -> None:
    async with Wire(postgres.target, poses=True) as target:
        with pytest.raises(StoreError, match="pooler"):
            await Session.connect(target)


async def test_names_are_looked_up_and_a_name_without_an_address_is_told(postgres: Postgres) -> None:
    (_, port) = postgres.target.hosts[0]
    session = await Session.connect(replace(postgres.target, hosts=(("localhost", port),)))
    await session.close()
    unknown = read_target(f"postgresql://u@no-such-host.invalid:{port}/d?sslmode=require")
    with pytest.raises(StoreError, match=r"no-such-host\.invalid"):
        await Session.connect(unknown)


async def test_the_folder_of_a_unix_socket_is_a_host(postgres: Postgres) -> None:
    server = postgres.server
    session = await Session.connect(replace(postgres.target, hosts=((str(server.folder), server.port),)))
    assert await session.run(says("SELECT inet_server_addr()")) is None
    await session.close()


@pytest.mark.parametrize("standbys", ["", "a, b"])
async def test_check_says_whether_a_commit_waits_for_a_standby(mortal_postgres: Postgres, standbys: str) -> None:
    mortal_postgres.psql(f"ALTER SYSTEM SET synchronous_standby_names = '{standbys}'")
    mortal_postgres.psql("SELECT pg_reload_conf()")
    await mortal_postgres.becomes("SHOW synchronous_standby_names", standbys)
    said = await look_at_store(StoreUrl(mortal_postgres.url))
    assert ("waits for a standby" in said) is bool(standbys)
    assert ("may lose the last decisions" in said) is not bool(standbys)
    session = await Session.connect(mortal_postgres.target)
    store = PostgresStore(mortal_postgres.target)
    store.lead(session, 1)
    assert store.synchronous is bool(standbys)
    await session.close()
