"""Which endpoint of an upstream a leg is sent to.

The less busy of two that are picked at random (Mitzenmacher, "The power of two choices", 2001), or the one that the
leg's key belongs to (`affinity`). Endpoints that are left out get nothing, unless all are; one that has been out
gets this one leg first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from proxy.http.known_heads import LONGEST
from proxy.request.clock import monotonic
from proxy.worker.upstream.affinity import choose_node, identity
from proxy.worker.upstream.endpoint import EJECT_LONGEST, Endpoint

if TYPE_CHECKING:
    from proxy.fields.hash_key import HashKey
    from proxy.request.legs import Leg
    from proxy.worker.upstream.dialling import Settings

NO_KEY: Final = -1
MAX_KNOWN: Final = 1024
"""Heads whose key is remembered."""


class Balancer:
    """The choice for one pool. Loads are this worker's own: it knows nothing of the others' requests."""

    def __init__(self, settings: Settings) -> None:
        self._rule = settings.hash_key
        self._grpc = settings.urls[0].startswith("grpc")
        self._longest = min(settings.timeout, EJECT_LONGEST)
        self._random = random.Random().random  # noqa: S311 - picks a server, guards nothing
        self.reads_body = self._rule is not None and self._rule.reads_body
        """The choice depends on a request's body."""
        self._known: dict[bytes, int] = {}
        """Identities of the keys in heads that came before."""
        self.unhashed = 0
        """Requests that should be hashed and had nothing to hash."""

    def pick(self, endpoints: Sequence[Endpoint], leg: Leg, *avoid: Endpoint | None) -> Endpoint:
        """One of several endpoints, and none of those to avoid where there is another."""
        now = monotonic()
        key = self._key(leg) if self._rule is not None and not leg.is_check else NO_KEY
        if key != NO_KEY:
            usable = _usable(endpoints, avoid, now)
            loads = [endpoint.busy for endpoint in usable]
            endpoint = usable[choose_node(key, [one.identity for one in usable], loads)]
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

    def _key(self, leg: Leg) -> int:
        """The identity of the leg's key, `NO_KEY` when it has none."""
        rule = self._rule
        assert rule is not None
        if self.reads_body:
            document = leg.document
            found = rule.of_document(document) if document is not None else b""
            key = _identity(found or rule.of_body(leg.gather(), leg.whole, self._grpc))
        else:
            head = leg.client_head()
            known = self._known.get(head)
            key = known if known is not None else self._of_head(rule, head)
        if key == NO_KEY:
            self.unhashed += 1
        return key

    def _of_head(self, rule: HashKey, head: bytes) -> int:
        key = _identity(rule.of_head(head))
        if len(head) <= LONGEST:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[head] = key
        return key


def _identity(key: bytes) -> int:
    return identity(key) if key else NO_KEY


def _usable(endpoints: Sequence[Endpoint], avoid: tuple[Endpoint | None, ...], now: float) -> Sequence[Endpoint]:
    others = [endpoint for endpoint in endpoints if endpoint not in avoid] or endpoints
    return [endpoint for endpoint in others if endpoint.usable(now)] or others
