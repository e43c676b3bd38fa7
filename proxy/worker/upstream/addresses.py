"""The endpoints of one upstream: one for each address of each of its URLs.

A URL's host name is looked up when the upstream is configured, and again at intervals, in the background, while the
addresses that are known serve. An answer with other addresses changes what there is: a new address becomes an endpoint,
one that is in the answer no more gets no further request, and its connections close when they have ended theirs.

Both families (RFC 8305) are endpoints alike: requests are shared among all that work, and where a connection to one
takes long the next one is dialled beside it (`pool`).

Invariant: each URL has an endpoint at any time. Before its name is known that is one without an address, which becomes
the first address that is found.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from proxy.worker.upstream.endpoint import Endpoint

if TYPE_CHECKING:
    from proxy.resolver import ResolvedName, Resolver
    from proxy.worker.timers import TimerWheel
    from proxy.worker.upstream.dialling import Settings


class AddressOwner(Protocol):
    """The pool whose URLs they are."""

    settings: Settings
    resolver: Resolver
    wheel: TimerWheel
    closing: bool

    def moved(self, endpoints: tuple[Endpoint, ...], gone: set[Endpoint]) -> None:
        """There are other endpoints from now on."""


class Addresses:
    """What one pool's URLs lead to; lives in the wheel until the pool closes, if there is a name to look up."""

    slot = 0

    def __init__(self, pool: AddressOwner, every: float) -> None:
        self._pool, self._every = pool, every
        self._of: dict[str, list[Endpoint]] = {}
        self._names: dict[str, ResolvedName] = {}
        for url in pool.settings.urls:
            endpoint = self._endpoint(url, None)
            name = pool.resolver.name(endpoint.host)
            if not name.literal:
                self._names[url] = name
                endpoint = self._endpoint(url, name)
            self._of[url] = [endpoint]
        for url, name in self._names.items():
            self._settle(url, name)
            name.follow(self._changed)
        if self._names:
            pool.wheel.watch(self, monotonic())

    @property
    def all(self) -> tuple[Endpoint, ...]:
        """Every endpoint there is."""
        return tuple(endpoint for found in self._of.values() for endpoint in found)

    def close(self) -> None:
        """Nobody wants to know any more."""
        for name in self._names.values():
            name.unfollow(self._changed)

    def check(self, now: float) -> float:
        """Look every name up that has not been for so long."""
        if self._pool.closing:
            return 0.0
        due = now + self._every
        for name in self._names.values():
            if not name.asked or now >= name.asked + self._every:
                name.renew()
            else:
                due = min(due, name.asked + self._every)
        return due

    def _endpoint(self, url: str, name: ResolvedName | None) -> Endpoint:
        settings = self._pool.settings
        wait = settings.health.wait if settings.health is not None else inf
        return Endpoint(url, settings.idle_timeout, settings.host, settings.path, settings.headers, name, wait)

    def _changed(self) -> None:
        """A lookup has brought other addresses."""
        before = set(self.all)
        for url, name in self._names.items():
            self._settle(url, name)
        gone = before - set(self.all)
        for endpoint in gone:
            endpoint.leave()
        self._pool.moved(self.all, gone)

    def _settle(self, url: str, name: ResolvedName) -> None:
        """Bring one URL's endpoints to what is known of its name; those that stay keep all that was learned of them."""
        if not name.addresses:
            return
        new = dict.fromkeys(name.addresses)
        kept = []
        for endpoint in self._of[url]:
            if not endpoint.address:
                endpoint.at(next(iter(new)))
            if endpoint.address in new:
                del new[endpoint.address]
                kept.append(endpoint)
        for address in new:
            endpoint = self._endpoint(url, name)
            endpoint.at(address)
            endpoint.ready = any(one.ready for one in self._of[url])  # as its siblings, until a check says otherwise
            kept.append(endpoint)
        self._of[url] = kept
