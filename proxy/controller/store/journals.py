"""A store's journal with its evidence, read from outside: beside whoever writes it, without its lock, changing nothing.

`sqlite/journal.py` and `postgres/journal.py` are the two kinds of it; one suite holds both to the same promises.
"""

from __future__ import annotations

from typing import Any, Protocol

JournalPage = list[tuple[dict[str, Any], bytes]]
"""Entries, as `RolloutStore.journal` gives them and with `rollout`, each with what it was decided on."""

PAGE = 4
"""Entries that are in the memory at a time: each may bring some megabytes of evidence."""

KEYS = ("number", "rollout", "time", "kind", "actor", "reason")
"""What an entry has beside its `detail`."""


class StoredJournal(Protocol):
    """A journal that is open for reading. Every coroutine may raise `StoreError`."""

    where: str
    """What the store is called: a path, or a URL without what is secret in it."""

    async def page(self, after: int, rollout: str) -> JournalPage:
        """The next entries with numbers above `after`, oldest first; of one rollout unless that is empty."""

    async def close(self) -> None:
        """Release it."""
