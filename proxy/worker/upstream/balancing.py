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

MAX_KNOWN: Final = 1024
"""Heads and keys of bodies that are remembered, and keys whose endpoints are."""


class HashedKey:
    """A key: what stands for it, and all endpoints by what they score for it, once somebody has asked for them."""

    __slots__ = ("identity", "order")

    def __init__(self, number: int) -> None:
        self.identity = number
        self.order: list[Endpoint] = []

    def rank(self, endpoints: tuple[Endpoint, ...]) -> list[Endpoint]:
        """All endpoints, from now on ordered by what they score."""
        self.order = [endpoints[at] for at in ranked(self.identity, [one.identity for one in endpoints])]
        return self.order


NO_KEY: Final = HashedKey(-1)
"""There is nothing to hash."""


class Balancer:
    """The choice for one pool. Loads are this worker's own: it knows nothing of the others' requests."""

    def __init__(self, settings: Settings) -> None:
        self._rule = settings.hash_key
        self._grpc = settings.urls[0].startswith("grpc")
        self._longest = min(settings.timeout, EJECT_LONGEST)
        self._random = random.Random().random  # noqa: S311 - picks a server, guards nothing
        self.reads_body = self._rule is not None and self._rule.reads_body
        """The choice depends on a request's body."""
        self._known: dict[bytes, HashedKey] = {}
        """What heads (or, where bodies are hashed, keys) that came before have come to."""
        self._keys: dict[int, HashedKey] = {}
        """The same by identity: many heads have one key."""
        self._ordered: tuple[Endpoint, ...] = ()
        """The endpoints that are ordered."""
        self.unhashed = 0
        """Requests that should be hashed and had nothing to hash."""

    def pick(
        self, endpoints: tuple[Endpoint, ...], leg: Leg, avoided: Endpoint | None = None, *more: Endpoint
    ) -> Endpoint:
        """One of several endpoints, and none of those to avoid where there is another."""
        avoid: tuple[Endpoint, ...] = () if avoided is None else (avoided, *more)
        key = self._key(endpoints, leg) if self._rule is not None and not leg.is_check else NO_KEY
        hashed = key is not NO_KEY
        endpoint = self._of_key(endpoints, key, avoid) if hashed else self._less_busy(endpoints, avoid)
        if endpoint.ejections:
            endpoint.tried(monotonic() + self._longest)
        return endpoint

    def _of_key(self, endpoints: tuple[Endpoint, ...], key: HashedKey, avoid: tuple[Endpoint, ...]) -> Endpoint:
        """The key's endpoint, as `choose_node` has it: keys come again, and most often all endpoints work."""
        order, under_way = key.order or key.rank(endpoints), 0
        for endpoint in order:
            if (avoid and endpoint in avoid) or not endpoint.works():
                usable = _usable(endpoints, avoid)
                loads = [one.busy for one in usable]
                return usable[choose_node(key.identity, [one.identity for one in usable], loads)]
            under_way += endpoint.busy
        most = load_bound(under_way, len(order))
        for endpoint in order:
            if endpoint.busy < most:
                return endpoint
        return order[0]

    def _less_busy(self, endpoints: tuple[Endpoint, ...], avoid: tuple[Endpoint, ...]) -> Endpoint:
        n = len(endpoints)
        at = int(self._random() * n)
        other = at + 1 + int(self._random() * (n - 1)) if n > 2 else at + 1
        a, b = endpoints[at], endpoints[other % n]
        if (avoid and (a in avoid or b in avoid)) or not (a.works() and b.works()):  # else no list is made
            usable = _usable(endpoints, avoid)
            a, b = usable[int(self._random() * len(usable))], usable[int(self._random() * len(usable))]
        return a if a.busy <= b.busy else b

    def _key(self, endpoints: tuple[Endpoint, ...], leg: Leg) -> HashedKey:
        """The leg's key, `NO_KEY` when it has none."""
        rule = self._rule
        assert rule is not None
        if endpoints is not self._ordered:  # other addresses
            self._ordered = endpoints
            self._known.clear()
            self._keys.clear()
        if self.reads_body:
            document = leg.document
            named = rule.of_document(document) if document is not None else b""
            named = named or rule.of_body(leg.gather(), leg.whole, self._grpc)
        else:
            named = leg.client_head()
        known = self._known.get(named)
        key = known if known is not None else self._hashed(rule, named)
        if key is NO_KEY:
            self.unhashed += 1
        return key

    def _hashed(self, rule: HashKey, named: bytes) -> HashedKey:
        """The key in a head, or that a body has given."""
        text, key = named if self.reads_body else rule.of_head(named), NO_KEY
        if text:
            number = identity(text)
            known = self._keys.get(number)
            key = known if known is not None else HashedKey(number)
            if known is None:
                if len(self._keys) >= MAX_KNOWN:
                    self._keys.clear()
                self._keys[number] = key
        if len(named) <= LONGEST:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[named] = key
        return key


def _usable(endpoints: Sequence[Endpoint], avoid: tuple[Endpoint, ...]) -> Sequence[Endpoint]:
    now = monotonic()
    others = [endpoint for endpoint in endpoints if endpoint not in avoid] or endpoints
    return [endpoint for endpoint in others if endpoint.usable(now)] or others
