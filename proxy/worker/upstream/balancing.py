"""Which endpoint of an upstream a leg is sent to.

The less busy of two that are picked at random (Mitzenmacher, "The power of two choices", 2001), or the one that the
leg's key belongs to (`affinity`). Endpoints that are left out get nothing, unless all are; one that has been out
gets this one leg first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from proxy.request.clock import monotonic
from proxy.worker.upstream.affinity import choose, identity
from proxy.worker.upstream.endpoint import EJECT_LONGEST, Endpoint

if TYPE_CHECKING:
    from proxy.request.legs import Leg
    from proxy.worker.upstream.dialling import Settings


class Balancer:
    """The choice for one pool. Loads are this worker's own: it knows nothing of the others' requests."""

    def __init__(self, settings: Settings) -> None:
        self._rule = settings.hash_key
        self._grpc = settings.urls[0].startswith("grpc")
        self._longest = min(settings.timeout, EJECT_LONGEST)
        self._random = random.Random().random  # noqa: S311 - picks a server, guards nothing
        self.reads_body = self._rule is not None and self._rule.reads_body
        """The choice depends on a request's body."""
        self.unhashed = 0
        """Requests that should be hashed and had nothing to hash."""

    def pick(self, endpoints: Sequence[Endpoint], leg: Leg, *avoid: Endpoint | None) -> Endpoint:
        """One of several endpoints, and none of those to avoid where there is another."""
        now = monotonic()
        key = self._key(leg) if self._rule is not None and not leg.is_check else b""
        if key:
            usable = _usable(endpoints, avoid, now)
            loads = [endpoint.busy for endpoint in usable]
            endpoint = usable[choose(identity(key), [one.identity for one in usable], loads)]
        else:
            endpoint = self._less_busy(endpoints, avoid, now)
        if endpoint.ejections:
            endpoint.tried(now + self._longest)
        return endpoint

    def _less_busy(self, endpoints: Sequence[Endpoint], avoid: tuple[Endpoint | None, ...], now: float) -> Endpoint:
        n = len(endpoints)
        at = int(self._random() * n)
        a, b = endpoints[at], endpoints[(at + 1 + int(self._random() * (n - 1))) % n]
        if a in avoid or b in avoid or not (a.usable(now) and b.usable(now)):  # else no list is made
            usable = _usable(endpoints, avoid, now)
            a, b = usable[int(self._random() * len(usable))], usable[int(self._random() * len(usable))]
        return a if a.busy <= b.busy else b

    def _key(self, leg: Leg) -> bytes:
        rule = self._rule
        assert rule is not None
        key = rule.of_body(leg.gather(), leg.whole, self._grpc) if self.reads_body else rule.of_head(leg.client_head())
        self.unhashed += not key
        return key


def _usable(endpoints: Sequence[Endpoint], avoid: tuple[Endpoint | None, ...], now: float) -> Sequence[Endpoint]:
    others = [endpoint for endpoint in endpoints if endpoint not in avoid] or endpoints
    return [endpoint for endpoint in others if endpoint.usable(now)] or others
