"""Verdicts by their question, the last ones: what was asked once is not paid for again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from proxy.judges.verdict import WINNERS

MOST_KEPT: Final = 10_000
"""Verdicts that are kept, the last ones used: some 3 MB with their reasons."""


class VerdictCache:
    """A bounded map from `question.cache_key` to (winner, reason).

    >>> cache = VerdictCache(most=2)
    >>> for key in (b"a", b"b", b"c"):
    ...     cache.put(key, "tie", "same")
    >>> cache.get(b"a"), cache.get(b"c")
    (None, ('tie', 'same'))
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._found: dict[bytes, tuple[str, str]] = {}  # in the order of use

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, key: object) -> bool:
        return key in self._found

    def get(self, key: bytes) -> tuple[str, str] | None:
        """The verdict and its reason, `None` where it is not known."""
        found = self._found.pop(key, None)
        if found is not None:
            self._found[key] = found
        return found

    def put(self, key: bytes, winner: str, reason: str) -> None:
        """Keep a verdict; the one that was not used for longest goes."""
        self._found.pop(key, None)
        self._found[key] = (winner, reason)
        while len(self._found) > self._most:
            del self._found[next(iter(self._found))]

    def latest(self, most: int, characters: int) -> Iterator[tuple[str, str, str]]:
        """The last `most` as (key in hexadecimal, winner, beginning of the reason), oldest first."""
        for key, (winner, reason) in list(self._found.items())[-most:]:
            yield key.hex(), winner, reason[:characters]

    def take(self, entries: Iterable[object]) -> None:
        """Add what `latest` gave; what is none of it is left out."""
        for entry in entries:
            if isinstance(entry, list | tuple) and len(entry) == 3 and all(isinstance(part, str) for part in entry):
                key, winner, reason = entry
                if winner in WINNERS and len(key) == 32 and not set(key) - set("0123456789abcdef"):
                    self.put(bytes.fromhex(key), winner, reason)
