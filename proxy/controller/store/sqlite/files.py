"""The store's file as a file: whose it is, whether it is still the one that was opened, what was there before.

Beside `NAME` stands `NAME.lock`. It is locked by the process that has the store, says which one that is, and remembers
the store's identity after that process has gone: so a store that was here and is here no more is not taken for a first
start.

Invariants
- One controller at a time: a second one on the same file would undo what the first decides, and tell it twice.
- A file that is not the store's is moved aside with its log, never deleted.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from proxy import private
from proxy.errors import StoreError

PATIENCE = 15.0
"""Seconds to wait for another process to release the file."""
_PARTS = ("", "-wal", "-shm")

Files = tuple[tuple[int, int] | None, ...]
"""Device and inode of a database, its log and the log's index; `None` for what is not there."""


def real(path: Path) -> Path:
    """Where a database is, whatever links lead there: SQLite keeps the log beside the file itself, and so is the lock,
    or one store had two."""
    return Path(os.path.realpath(path))


def files_of(path: Path) -> Files:
    """Which files stand at a database's path now.

    SQLite goes on writing into a file that was unlinked, or whose place another one has taken, and says nothing.
    """
    return tuple(_file(f"{path}{part}") for part in _PARTS)


def _file(path: str | int) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: Path, why: str, mine: Files = ()) -> Path:
    """Move a database out of the way, with what belongs to it but is not among `mine`; where it is now."""
    aside = path.with_name(f"{path.name}.{why}-{int(time.time())}-{os.getpid()}")
    for part, found in zip(_PARTS, files_of(path), strict=True):
        if found is not None and found not in mine:
            Path(f"{path}{part}").rename(f"{aside}{part}")
    return aside


@dataclass(frozen=True, slots=True)
class Claim:
    """A store that is this process' own for as long as `held`, the lock's descriptor, is open. `store` is the identity
    of the database that was last here, empty when there was none."""

    path: Path
    held: int
    store: str

    @property
    def stands(self) -> bool:
        """Whether the lock is still where others look for it."""
        return _file(self.held) == _file(f"{self.path}.lock")

    def remember(self, identity: str) -> Claim:
        """Write down whose the lock is, and which store is here now."""
        note = orjson.dumps({"store": identity, "pid": os.getpid(), "parent": os.getppid(), "host": _host()})
        os.pwrite(self.held, note, 0)  # first over the old one, so that there is a note at every moment
        os.ftruncate(self.held, len(note))
        return Claim(self.path, self.held, identity)

    def close(self) -> None:
        """Let others have it."""
        os.close(self.held)


def claim(path: Path, patience: float) -> Claim | None:
    """Take the lock beside a database for as long as this process lives. Raises `StoreError` naming the holder.

    A holder whose supervisor was killed is on its way out, and has `patience` seconds; so has one of which that cannot
    be told from here. Where nothing can be written nobody needs a lock, and there is none.
    """
    path = real(path)
    try:
        held = private.opener(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    except OSError:
        return None
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Claim(path, held, str(_note(held).get("store", "")))
        except BlockingIOError:
            holder = _note(held)
            if time.monotonic() > deadline or _stays(holder):
                os.close(held)
                who = f" (process {holder['pid']} on {holder['host']})" if {"pid", "host"} <= holder.keys() else ""
                raise StoreError(f"{path}: another Understudy uses this store{who}") from None
            time.sleep(0.05)
        except OSError:  # a file system without locks
            os.close(held)
            return None


def _note(held: int) -> dict[str, object]:
    try:
        note = orjson.loads(os.pread(held, 4096, 0))
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _stays(holder: dict[str, object]) -> bool:
    """Whether the holder's supervisor runs, and is not ours: then nobody is about to leave."""
    parent = holder.get("parent")
    if holder.get("host") != _host() or not isinstance(parent, int) or parent in (os.getpid(), *_elders()):
        return False
    try:
        os.kill(parent, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return parent > 1  # init inherits orphans


def _elders() -> list[int]:
    """Who started us, and who started that: a fork server stands between a controller and its supervisor, and where
    that of the last version has ended, its controller was given to the supervisor."""
    elders = [os.getppid()]
    with suppress(OSError, ValueError, IndexError):  # only Linux tells
        said = Path(f"/proc/{elders[0]}/stat").read_text("utf-8", "replace")
        elders.append(int(said.rpartition(")")[2].split()[1]))
    return elders


def _host() -> str:
    return socket.gethostname()
