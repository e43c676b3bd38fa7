"""The way to the primary: hosts and their addresses are tried one by one, each for its own time.

The driver would give one time to all hosts together (the first that hangs has it all), and takes the first of two
primaries or a standby without a word. What it is asked for here is one address, and everything else is looked at.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any, Protocol

import asyncpg

from proxy import logs
from proxy.config.postgres_url import SYSTEM, PostgresTarget, is_local
from proxy.errors import StoreError
from proxy.resolver import Resolver

log = logging.getLogger("understudy.store")

OLDEST = 14
"""The first version whose server ends a session that is idle, or whose client is gone (both are what ends a leader)."""

COMMAND = 2.0
"""Seconds that one statement may take."""

SCHEMA = "understudy"
"""The schema that holds everything: others' tables in the same database are never touched."""

LIMITS: Mapping[str, str] = {
    # A leader that was stopped (SIGSTOP) inside a transaction holds up every takeover; its kernel answers keepalives.
    "idle_in_transaction_session_timeout": "3s",
    "idle_session_timeout": "10s",
    # One whose host is gone is found after 2 + 3 × 1 s; tcp_user_timeout alone does nothing on an idle connection.
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "3000",
    "client_connection_check_interval": "1s",
    "lock_timeout": "2s",
    "statement_timeout": "5s",
    # The fence is sound at this level, and only here (see `lease`).
    "default_transaction_isolation": "read committed",
    "search_path": SCHEMA,
}
"""What a session asks of the server for itself, whatever the server's own defaults are."""

_RESOLVER = Resolver()

_QUESTION = """
SELECT pg_is_in_recovery() AS standby, pg_backend_pid() AS pid, current_setting('server_version_num')::int AS version,
       current_setting('server_encoding') AS encoding, current_setting('transaction_read_only') = 'on' AS read_only,
       current_setting('synchronous_commit') AS commits, current_setting('synchronous_standby_names') AS standbys
"""


class Connection(Protocol):
    """What is used of asyncpg's connection."""

    async def execute(self, query: str, *args: object) -> str: ...
    async def executemany(self, command: str, args: Any) -> None: ...
    async def fetch(self, query: str, *args: object) -> list[Any]: ...
    async def fetchrow(self, query: str, *args: object) -> Any: ...
    async def fetchval(self, query: str, *args: object) -> Any: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...
    def is_closed(self) -> bool: ...
    def get_server_pid(self) -> int: ...
    def add_termination_listener(self, callback: Any) -> None: ...


class Unusable(OSError):  # noqa: N818 - reads as what it says of a server
    """A server that answered, and cannot be the store's; another address may be."""


class _Named(ssl.SSLContext):
    """TLS towards an address whose certificate must be for a name."""

    name: str

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return super().wrap_bio(*args, **{**options, "server_hostname": self.name})


async def connected(target: PostgresTarget) -> tuple[Connection, bool]:
    """A connection to the primary, and whether a COMMIT on it waits for a standby. Raises `StoreError` with what each
    host said."""
    said = []
    for host, port in target.hosts:
        try:
            return await _to_host(target, host, port)
        except TimeoutError:
            said.append(f"{host}:{port}: no answer for {target.seconds:.0f} s")
        except OSError as error:
            said.append(f"{host}:{port}: {error.strerror or error}")
        except UnicodeError:
            said.append(f"{host}:{port}: cannot be a name")
    raise StoreError(f"{target.shown}: {'; '.join(said)}")


async def _to_host(target: PostgresTarget, host: str, port: int) -> tuple[Connection, bool]:
    context = _tls(target, host)

    async def attempt(address: str) -> tuple[Connection, bool]:
        return await _to_address(target, address, port, context)

    if host.startswith("/"):
        return await attempt(host)
    return await _RESOLVER.connect(host, attempt, target.seconds)


async def _to_address(
    target: PostgresTarget, address: str, port: int, context: ssl.SSLContext | str | bool
) -> tuple[Connection, bool]:
    try:
        connection: Connection = await asyncpg.connect(
            host=address,
            port=port,
            user=target.user,
            database=target.database,
            password=target.password,
            ssl=context,
            timeout=target.seconds,
            command_timeout=COMMAND,
            target_session_attrs="any",
            server_settings={**LIMITS, "application_name": target.application_name},
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise Unusable(_words(error)) from error
    try:
        return connection, await _looked_at(connection)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        connection.terminate()
        raise Unusable(_words(error)) from error
    except BaseException:
        connection.terminate()
        raise


def _words(error: Exception) -> str:
    code = getattr(error, "sqlstate", None)
    return f"{error} ({code})" if code else str(error) or type(error).__name__


async def _looked_at(connection: Connection) -> bool:
    """Whether COMMIT waits for a standby here; raises `Unusable` for a server that cannot be the store's."""
    found = await connection.fetchrow(_QUESTION)
    if found["pid"] != connection.get_server_pid():
        raise Unusable("a pooler is between (pgbouncer): locks and settings of one client would be another's")
    if found["version"] < OLDEST * 10_000:
        raise Unusable(f"PostgreSQL {found['version'] // 10_000}; {OLDEST} is the oldest that will do")
    if found["standby"]:
        raise Unusable("a standby, not the primary")
    if found["read_only"]:
        raise Unusable("takes no writes (default_transaction_read_only)")
    if found["encoding"] != "UTF8":
        raise Unusable(f"the database's encoding is {found['encoding']}, not UTF8")
    if found["commits"] == "off":  # a decision that was announced must survive a crash
        await connection.execute("SET synchronous_commit = on")
    return bool(found["standbys"].strip()) and found["commits"] != "local"


def _tls(target: PostgresTarget, host: str) -> ssl.SSLContext | str | bool:
    """What the driver takes for the URL's `sslmode`. Files are read here, so that a new certificate is used by the next
    connection. Raises `Unusable`."""
    if target.sslmode == "disable" or host.startswith("/"):
        return False
    if target.sslmode == "prefer":
        return "prefer"
    context = _Named(ssl.PROTOCOL_TLS_CLIENT)
    context.name = host
    context.check_hostname = target.sslmode == "verify-full"
    if target.sslmode == "require":
        context.verify_mode = ssl.CERT_NONE
        if not is_local(host):
            logs.event(log, "store.unverified", logging.WARNING, host=host, sslmode=target.sslmode)
    try:
        if target.sslrootcert not in ("", SYSTEM):
            context.load_verify_locations(target.sslrootcert)
        elif target.sslmode != "require":
            context.load_default_certs()
        if target.sslcert:
            context.load_cert_chain(target.sslcert, target.sslkey or None, password=_no_password)
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, (target.sslrootcert, target.sslcert, target.sslkey)))
        raise Unusable(f"TLS: {files}: {getattr(error, 'strerror', None) or error}") from error
    context.set_alpn_protocols(["postgresql"])
    return context


def _no_password() -> str:
    """Instead of asking on the terminal."""
    return ""
