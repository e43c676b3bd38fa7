"""One connection to PostgreSQL, which is a leadership: what ends it ends that, on both sides.

The advisory lock, the renewals and all writes of a leader go over one connection. asyncpg bounds neither the ROLLBACK
of a transaction nor what it does about a cancelled statement, so nothing here waits without a timer of our own that
shuts the connection.

Invariants
- One piece of work at a time, in the order asked for, but that what keeps the lease goes first.
- Work goes on when whoever asked for it is cancelled: half a transaction is nobody's wish.
- Whatever happens is a `StoreError`; `CommitDoubtError` alone says that it is not known whether a transaction stands.
- A piece of work that took too long ends the session. A statement that the server refused does not.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from proxy import logs
from proxy.config.postgres_url import PostgresTarget, StoreUrl
from proxy.controller.store.interface import CommitDoubtError
from proxy.controller.store.postgres.connecting import Connection, connected
from proxy.errors import StoreError
from proxy.units import Unfit

log = logging.getLogger("understudy.store")

T = TypeVar("T")

MAX_WAITING = 64
"""Pieces of work that may wait for the connection; one more is refused."""

WORK = 4.0
"""Seconds that a piece of work may take from its first byte on: two statements that take as long as they may."""

_CLOSED = "closed"
CLOSING = 1.0
"""Seconds that a goodbye may take."""

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""All that the driver has been seen to raise; none of the first three is a kind of another."""

_REFUSED = ("22", "23", "25", "40", "42", "P0")
"""Classes of SQLSTATE in which a COMMIT that was answered did not happen. Of every other answer nothing is known:
`57P01` comes of a transaction that is committed here, and only waited for a standby."""


class SessionEndedError(StoreError):
    """The connection is gone, and with it all that was held by it."""


class Session:
    """A connection to the primary of `target`. `pid` is the server's process, `synchronous` whether a COMMIT waits for
    a standby, `ended` is set when the connection is gone."""

    def __init__(self, connection: Connection, target: PostgresTarget, began: Any, synchronous: bool) -> None:
        self.target, self.synchronous = target, synchronous
        self.pid, self.began = connection.get_server_pid(), began
        self.ended = asyncio.Event()
        self.why = ""
        """Why it ended, in words."""
        self._connection = connection
        self._busy = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        connection.add_termination_listener(self._gone)

    def __repr__(self) -> str:
        return f"Session({self.target.shown}, {self.pid})"

    @classmethod
    async def connect(cls, place: PostgresTarget | StoreUrl, former: Session | None = None) -> Session:
        """A new session; a URL is read again, with what is in its files now. What is left of the `former` one of this
        process on that server is ended first: its lock, and a transaction of which nobody knows how it ended. Raises
        `StoreError`."""
        target = read_place(place)
        connection, synchronous = await connected(target)
        try:
            async with asyncio.timeout(WORK):
                began = await connection.fetchval(_BEGAN)
                if former is not None:
                    await connection.execute(_END_FORMER, former.pid, former.began)
        except BaseException as error:
            connection.terminate()
            if isinstance(error, FAILURES):
                raise StoreError(f"{target.shown}: {_said(error)}") from error
            raise
        return cls(connection, target, began, synchronous)

    async def run(self, work: Callable[[Connection], Awaitable[T]], seconds: float = WORK, *, first: bool = False) -> T:
        """What `work` gives, which has the connection to itself for at most `seconds`. `first`: before all that waits.

        Raises `StoreError`; the session has ended when that is `SessionEndedError`.
        """
        if len(self._waiting) >= MAX_WAITING and not first:
            raise StoreError(f"{self.target.shown}: {MAX_WAITING} calls already wait for the server")
        task = asyncio.ensure_future(self._alone(work, seconds, first))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def transaction(self, work: Callable[[Connection], Awaitable[T]], seconds: float = WORK) -> T:
        """The same within one transaction: all of it or nothing. Raises `CommitDoubtError` as well."""
        return await self.run(lambda connection: self._whole(connection, work), seconds)

    async def close(self) -> None:
        """Say goodbye and end; what waits is refused."""
        if not self.ended.is_set():
            self.why = _CLOSED
            try:
                await self.run(lambda connection: connection.close(), CLOSING, first=True)
            except StoreError as error:
                log.debug("closing a session", exc_info=error)
        self.terminate(_CLOSED)

    def terminate(self, why: str) -> None:
        """End it now, without a word to the server; whoever waits for an answer gets none."""
        self.why = self.why or why
        self._connection.terminate()
        self._gone()

    # --- one piece of work -------------------------------------------------------------------------------------------

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked was cancelled meanwhile: nobody else looks

    async def _alone(self, work: Callable[[Connection], Awaitable[T]], seconds: float, first: bool) -> T:
        await self._enter(first)
        words = f"no answer for {seconds:.0f} s"
        timer = asyncio.get_running_loop().call_later(seconds, self.terminate, words)
        try:
            if self.ended.is_set():
                raise SessionEndedError(f"{self.target.shown}: {self.why}")
            return await work(self._connection)
        except FAILURES as error:
            if isinstance(error, TimeoutError):  # the driver's own timer: the server may be at it still
                self.terminate("a statement was not answered in time")
            if self._connection.is_closed() or self.ended.is_set():
                self._gone()
                raise SessionEndedError(f"{self.target.shown}: {self.why or _said(error)}") from error
            raise StoreError(f"{self.target.shown}: {_said(error)}") from error
        finally:
            timer.cancel()
            self._leave()

    async def _whole(self, connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
        await connection.execute("BEGIN")
        try:
            result = await work(connection)
        except BaseException:
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
            raise
        try:
            answer = await connection.execute("COMMIT")
        except FAILURES as error:
            if (getattr(error, "sqlstate", None) or "")[:2] in _REFUSED:
                raise
            self.terminate("COMMIT was not answered")
            raise CommitDoubtError(f"{self.target.shown}: COMMIT: {_said(error)}") from error
        if answer != "COMMIT":
            raise StoreError(f"{self.target.shown}: COMMIT was answered with {answer}")
        return result

    # --- turns -------------------------------------------------------------------------------------------------------

    async def _enter(self, first: bool) -> None:
        if not self._busy:
            self._busy = True
            return
        turn = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)(turn)
        await turn

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False

    def _gone(self, *_: object) -> None:
        if not self.ended.is_set():
            self.why = self.why or "the connection ended"
            self.ended.set()
            if self.why != _CLOSED:
                logs.event(log, "store.disconnected", logging.WARNING, store=self.target.shown, why=self.why)


def read_place(place: PostgresTarget | StoreUrl) -> PostgresTarget:
    """Where a store is, now. Raises `StoreError` when a file or a variable in its URL cannot be had any more."""
    if isinstance(place, PostgresTarget):
        return place
    try:
        return place.target()
    except Unfit as error:
        raise StoreError(f"store.url: expected {error}") from error


_BEGAN = "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END_FORMER = "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"
"""Numbers of processes are used again, also by another server's after a failover; the moment it began is its own."""


def _said(error: BaseException) -> str:
    code = getattr(error, "sqlstate", None)
    text = str(error) or type(error).__name__
    return f"{text} ({code})" if code else text
