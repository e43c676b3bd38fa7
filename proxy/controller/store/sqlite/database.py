"""One SQLite file in a thread of its own: what `store` keeps its rollouts, journal and outbox in.

Calls run in the order asked for, so that a slow disk delays nobody but the one who awaits it, and a later change can
never be saved before an earlier one. (aiosqlite does the same with one more dependency and no bound on its queue; a
connection on the event loop was measured to hold it for the length of an fsync, tens of milliseconds on a busy disk.)

Invariants
- A call is one transaction, whole or not at all.
- Whatever the disk does (full, read-only, gone, slow) is a `StoreError`; the next call tries again by itself.
- A file that is not a sound database is set aside under another name, never deleted, and a new one is begun.
- A file that is gone or has been replaced while it was open is noticed at the next call and written anew, from the open
  one as long as that can be read. Whoever holds what was in it hears of a new file by `renewed`.
- Whether what was saved is lost is known at the start (`lost`), as far as it can be: see `files`.
- One process at a time has the file, from `claim` on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from proxy import logs, private
from proxy.controller.store.sqlite.files import PATIENCE, Claim, Files, claim, files_of, real, set_aside
from proxy.controller.store.sqlite.schema import identity_of, is_fresh, open_database
from proxy.errors import StoreError

log = logging.getLogger("understudy.store")

T = TypeVar("T")

MAX_WAITING = 64
"""Calls that may wait for the disk; one more is refused, so that a disk that hangs does not fill the memory."""


HANGS = 10.0
"""Seconds without an answer after which a disk is said to hang."""

SHRINKS_FROM = 16 << 20
"""Bytes without content from which on a file is written anew without them."""
_PAGES = ("freelist_count", "page_count", "page_size")


class Database:
    """The database at `path`. `failures` counts writes that failed, `error` says why the last one did (empty: it did
    not), `asides` are the unsound files that were found in its place, under their new names. `renewed` counts new files
    that were begun since the first one was opened; `lost` says why what was saved before that is not known."""

    def __init__(self, path: Path) -> None:
        self.path = real(path)
        self.asides: list[Path] = []
        self.failures = 0
        self.error = ""
        self.renewed = 0
        self.lost = ""
        self._opened = False
        self._connection: sqlite3.Connection | None = None
        self._files: Files = ()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._waiting: deque[float] = deque()  # since when, the oldest first
        self._closed = False
        self._claim: Claim | None = None

    @property
    def set_aside(self) -> int:
        """How many unsound files were found in the store's place."""
        return len(self.asides)

    @property
    def trouble(self) -> str:
        """What is wrong with the disk now, in words; empty when nothing is."""
        late = time.monotonic() - self._waiting[0] if self._waiting else 0.0
        return self.error or (f"{self.path}: no answer for {late:.0f} s" if late > HANGS else "")

    async def claim(self) -> None:
        """From here on the file is this process' alone; `StoreError` when another one keeps it for `PATIENCE`."""
        if self._claim is None:
            self._claim = await self._in_thread(claim, self.path, PATIENCE)

    async def run(self, work: Callable[[sqlite3.Connection], T], *, write: bool = True) -> T:
        """One transaction: what `work` gives. Raises `StoreError`."""
        if len(self._waiting) >= MAX_WAITING:
            raise StoreError(f"{self.path}: {MAX_WAITING} calls already wait for the disk")
        self._waiting.append(time.monotonic())
        try:
            result: T = await self._in_thread(self._guarded, work, write)
        except StoreError as error:
            if write:
                self.failures += 1
                self.error = str(error)
            raise
        finally:
            self._waiting.popleft()
        if write:
            self.error = ""
        return result

    async def run_on_copy(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read from a copy of the file, for a disk that takes no writes. Raises `StoreError`."""
        return await self._in_thread(self._on_copy, work)

    async def shrink(self) -> None:
        """Give room back to the disk when more than half of a large file holds nothing. Raises `StoreError`."""
        await self._in_thread(self._shrink)

    async def check(self) -> None:
        """See whether the file is still there, and write it anew if not. Raises `StoreError`."""
        try:
            await self.run(lambda _: None, write=False)
        except StoreError as error:
            self.failures += 1
            self.error = str(error)
            raise

    async def close(self) -> None:
        """Finish what waits and close the file, for good."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._finish)
        self._thread.shutdown(wait=False)
        if self._claim is not None:
            self._claim.close()

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        if self._closed:
            raise StoreError(f"{self.path}: closed")
        result: T = await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        return result

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[sqlite3.Connection], T], write: bool) -> T:
        try:
            connection = self._present()
        except (sqlite3.Error, OSError) as error:  # the open file is kept: all that was saved may be in it alone
            raise StoreError(f"{self.path}: {error}") from error
        try:
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk may have rolled it back already
                    connection.execute("ROLLBACK")
                raise
            return result
        except (sqlite3.Error, OSError) as error:
            self._drop()  # the next call opens it anew: a remounted disk is found, a half-broken handle is not kept
            raise StoreError(f"{self.path}: {error}") from error

    def _shrink(self) -> None:
        try:
            connection = self._present()
            free, pages, size = (connection.execute(f"PRAGMA {what}").fetchone()[0] for what in _PAGES)
            if 2 * free > pages and free * size > SHRINKS_FROM:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _present(self) -> sqlite3.Connection:
        """The open database, which is the one at `path`."""
        if self._connection is None:
            return self._connect()
        if files_of(self.path) != self._files or not (self._claim is None or self._claim.stands):
            return self._renew(self._connection)
        return self._connection

    def _finish(self) -> None:
        try:
            if self._connection is not None:
                self._present()
        except (sqlite3.Error, OSError, StoreError) as error:
            logs.event(log, "store.failed", logging.ERROR, kind="last look", error=str(error))
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                log.debug("closing a broken database", exc_info=True)

    def _connect(self) -> sqlite3.Connection:
        private.make_folder(self.path.parent)
        fresh, lost = is_fresh(self.path), ""
        if fresh and self._claim is not None and self._claim.store:
            lost = f"{self.path} is gone"
        try:
            connection = open_database(self.path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, full, read-only: not the file's fault
                raise
            aside = set_aside(self.path, "corrupt")
            self.asides.append(aside)
            fields = {"path": str(self.path), "aside": str(aside), "error": str(error)}
            logs.event(log, "store.set_aside", logging.ERROR, **fields)
            fresh, lost = True, f"{self.path} was corrupt ({aside.name})"
            connection = open_database(self.path)
        if not self._opened:
            self.lost = lost
        elif fresh:
            self.renewed += 1
        self._opened = True
        return self._hold(connection)

    def _hold(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """From now on this is the open database."""
        if self._claim is not None:
            self._claim = self._claim.remember(identity_of(connection))
        self._connection, self._files = connection, files_of(self.path)
        return connection

    def _renew(self, old: sqlite3.Connection) -> sqlite3.Connection:
        """Write all that is in the open database, whose file is gone or not the one at `path`, into a new file there.
        Until that is done the open one is kept."""
        private.make_folder(self.path.parent)
        if self._claim is not None and not self._claim.stands:
            anew = claim(self.path, 0.0)
            if anew is None:
                raise StoreError(f"{self.path}: the lock beside it is gone and cannot be made anew")
            self._claim.close()
            self._claim = anew
        new = self.path.with_name(f"{self.path.name}.new-{os.getpid()}")
        new.unlink(missing_ok=True)
        private.prepare(new)
        with closing(sqlite3.connect(new)) as copy:
            old.backup(copy)
        present = files_of(self.path)[0]
        aside = set_aside(self.path, "replaced", self._files) if present not in (None, self._files[0]) else None
        for part in ("-wal", "-shm"):
            Path(f"{self.path}{part}").unlink(missing_ok=True)
        new.rename(self.path)
        self._drop()
        self.renewed += 1
        what = "gone" if present is None else "replaced" if aside is not None else "incomplete"
        fields = {"path": str(self.path), "was": what, **({"aside": str(aside)} if aside is not None else {})}
        logs.event(log, "store.renewed", logging.ERROR, **fields)
        return self._hold(open_database(self.path))

    def _on_copy(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if not self.path.exists():
                raise StoreError(f"{self.path}: cannot be created")
            with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
                for suffix in ("", "-wal"):  # the newest changes may be in the log still
                    if (source := Path(f"{self.path}{suffix}")).exists():
                        shutil.copy(source, Path(folder) / f"copy{suffix}")
                with closing(open_database(Path(folder) / "copy")) as connection:
                    return work(connection)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path}: {error}") from error
