"""The names of an upstream's URLs are looked up when it is configured, and again at intervals, in the background."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.worker.upstream.pool import Pool


class Renewals:
    """The lookups of one pool; lives in the wheel until the pool closes."""

    slot = 0

    def __init__(self, pool: Pool, every: float) -> None:
        self._pool, self._every = pool, every
        pool.wheel.watch(self, monotonic())

    def check(self, now: float) -> float:
        """Look every name up that has not been for so long."""
        pool = self._pool
        if pool.closing:
            return 0.0
        due = now + self._every
        for endpoint in pool.endpoints:
            name = pool.resolver.name(endpoint.host)
            if name.literal:
                continue
            if not name.asked or now >= name.asked + self._every:
                name.renew()
            else:
                due = min(due, name.asked + self._every)
        return due
