"""A store's journal with its evidence, read from outside: beside whoever writes it, without its lock, changing nothing.

`sqlite/journal.py` and `postgres/journal.py` are the two kinds of it; one suite holds both to the same promises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from proxy.controller.store.chain import ChainCheck, ChainedEntry, ChainHead, SignedOff

JournalPage = list[tuple[dict[str, Any], bytes]]
"""Entries, as `RolloutStore.journal` gives them and with `rollout`, each with what it was decided on."""

LOWEST = -(2**63)
"""The lowest number that a row can have."""
PAGE = 4
"""Entries that are in the memory at a time: each may bring some megabytes of evidence."""

KEYS = ("number", "rollout", "time", "kind", "actor", "reason")
"""What an entry has beside its `detail`."""


@dataclass(frozen=True, slots=True)
class StoredChain:
    """What a store says of its journal's chain, beside the entries: the head, what is signed off, the highest
    number of an entry that is there and of any that was ever written, and the entries that webhooks tell of."""

    head: ChainHead
    ranges: tuple[SignedOff, ...]
    highest: int
    numbered: int
    told: tuple[ChainHead, ...]


class StoredJournal(Protocol):
    """A journal that is open for reading. Every coroutine may raise `StoreError`."""

    where: str
    """What the store is called: a path, or a URL without what is secret in it."""

    async def page(self, after: int, rollout: str) -> JournalPage:
        """The next entries with numbers above `after`, oldest first; of one rollout unless that is empty."""

    async def chained(self, low: int) -> list[tuple[ChainedEntry, object]]:
        """The next entries of all rollouts, from the number `low` on, as the chain has them; with their evidence, which
        is bytes if nobody has changed it."""

    async def chain(self) -> StoredChain:
        """Where the chain ends and what was taken out of it, at one moment."""

    async def close(self) -> None:
        """Release it."""


async def checked_chain(journal: StoredJournal, noted: ChainHead | None = None) -> ChainCheck:
    """The whole chain, checked, and compared with a head that was noted elsewhere. Where retention takes something away
    meanwhile it is looked at again. Raises `StoreError`."""
    chain = await journal.chain()
    while True:
        check = ChainCheck(chain.ranges)
        low = LOWEST  # nobody writes numbers below 1, and somebody may have
        while page := [one for one in await journal.chained(low) if one[0].number <= chain.head.number]:
            for entry, evidence in page:
                check.add(entry, evidence)
            if (low := page[-1][0].number + 1) > chain.head.number:
                break
        now = await journal.chain()
        if now.ranges == chain.ranges:
            break
        chain = now
    check.end(chain.head, chain.highest, chain.numbered)
    check.hear(chain.told)
    if noted is not None:
        check.compare(noted)
    return check
