"""Users whose requests are alike (`cluster_by`): one request of each user in a window of 1,000 is evidence, drawn so
that a user weighs as many requests as it sent.

Within a user anything may depend on anything: all its requests may be answered wrongly for one reason. So a user's
requests in a window are one block, and a bet on a block is one on the sum of its n differences d from the limit:
1 + (λ/m) Σ d, with m at least n. Counting the J-th request of the user alone, J drawn from 1…m, gives the same bet on
average over J, 1 + (λ/m) Σ d, and needs no sums: the pair counts like any other, in every guard. J and m are known
before the user's first request of the window, m is the most that one user sent in a window before (at least half of
what it was, so that one heavy window is forgotten in time). Who sends more than that is counted as if it sent m.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WINDOW = 1000
"""Clustered requests of a window."""

_MASK = (1 << 64) - 1


def drawn(key: int, window: int, most: int) -> int:
    """Which request of a user counts in a window, 1…`most`; `key` is 64 bits of the user that nobody can know.

    >>> sorted({drawn(12345, window, 3) for window in range(50)})
    [1, 2, 3]
    """
    z = (key + (window + 1) * 0x9E3779B97F4A7C15) & _MASK  # splitmix64, see `prf`
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return 1 + (z ^ (z >> 31)) % most


class Clusters:
    """The window under way: how many requests each user has sent, and which of them counts."""

    __slots__ = ("_most", "_requests", "_users", "_window")

    def __init__(
        self, window: int = 0, requests: int = 0, most: int = 1, users: Iterable[tuple[int, int, int]] = ()
    ) -> None:
        self._window, self._requests, self._most = window, requests, most
        self._users = {key: (sent, counts) for key, sent, counts in users}

    @property
    def entries(self) -> tuple[int, int, int, list[tuple[int, int, int]]]:
        """The window's number, its requests so far, m, and each user's key, requests and the one that counts."""
        users = [(key, sent, counts) for key, (sent, counts) in self._users.items()]
        return self._window, self._requests, self._most, users

    def chosen(self, keys: Sequence[int]) -> list[bool]:
        """Whether each request, of the user with this key, is the one of its window that counts.

        >>> clusters = Clusters()
        >>> clusters.chosen([7, 7, 7]), clusters.entries[:3]
        ([True, False, False], (0, 3, 3))
        """
        found = []
        for key in keys:
            if self._requests == WINDOW:
                self._most = max(self._most // 2, *(sent for sent, _ in self._users.values()))
                self._window, self._requests, self._users = self._window + 1, 0, {}
            sent, counts = self._users.get(key) or (0, drawn(key, self._window, self._most))
            self._users[key] = sent + 1, counts
            self._requests += 1
            self._most = max(self._most, sent + 1)
            found.append(sent + 1 == counts)
        return found

    def merge(self, other: Clusters) -> Clusters:
        """The windows of both; merging in either order gives the same."""
        users = dict(self._users)
        for key, (sent, counts) in other._users.items():
            before = users.get(key, (0, 0))
            users[key] = before[0] + sent, max(before[1], counts)
        requests = min(WINDOW, self._requests + other._requests)
        rows = sorted((key, sent, counts) for key, (sent, counts) in users.items())[:WINDOW]
        return Clusters(max(self._window, other._window), requests, max(self._most, other._most), rows)
