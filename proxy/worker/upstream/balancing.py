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
from proxy.worker.upstream.affinity import choose_node, identity, load_bound, ranked
from proxy.worker.upstream.endpoint import EJECT_LONGEST, Endpoint

if TYPE_CHECKING:
    from proxy.fields.hash_key import HashKey
    from proxy.request.legs import Leg
    from proxy.worker.upstream.dialling import Settings

NO_KEY: Final = -1
MAX_KNOWN: Final = 1024
"""Heads whose key is remembered, and keys whose endpoints are."""


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
        self._orders: dict[int, list[Endpoint]] = {}
        """Endpoints by what they score for a key,"""
        self._ordered: Sequence[Endpoint] = ()
        """of all these."""
        self.unhashed = 0
        """Requests that should be hashed and had nothing to hash."""

    def pick(self, endpoints: Sequence[Endpoint], leg: Leg, *avoid: Endpoint | None) -> Endpoint:
        """One of several endpoints, and none of those to avoid where there is another."""
        now = monotonic()
        key = self._key(leg) if self._rule is not None and not leg.is_check else NO_KEY
        endpoint = self._of_key(endpoints, key, avoid, now) if key != NO_KEY else self._less_busy(endpoints, avoid, now)
        if endpoint.ejections:
            endpoint.tried(now + self._longest)
        return endpoint

    def _of_key(
        self, endpoints: Sequence[Endpoint], key: int, avoid: tuple[Endpoint | None, ...], now: float
    ) -> Endpoint:
        """The key's endpoint, as `choose_node` has it: keys come again, and most often all endpoints work."""
        if endpoints is not self._ordered:  # other addresses
            self._ordered = endpoints
            self._orders.clear()
        order = self._orders.get(key)
        if order is None:
            order = self._order(endpoints, key)
        under_way, none = 0, len(avoid) == 1 and avoid[0] is None
        for endpoint in order:
            if not (none or endpoint not in avoid) or not endpoint.usable(now):
                usable = _usable(endpoints, avoid, now)
                loads = [one.busy for one in usable]
                return usable[choose_node(key, [one.identity for one in usable], loads)]
            under_way += endpoint.busy
        most = load_bound(under_way, len(order))
        for endpoint in order:
            if endpoint.busy < most:
                return endpoint
        return order[0]

    def _order(self, endpoints: Sequence[Endpoint], key: int) -> list[Endpoint]:
        order = [endpoints[at] for at in ranked(key, [one.identity for one in endpoints])]
        if len(self._orders) >= MAX_KNOWN:
            self._orders.clear()
        self._orders[key] = order
        return order

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
