"""Active health checks: each URL of an upstream is asked now and then, and left out while it does not answer 2xx.

Without them a URL is judged by its traffic alone (`pool`), which needs failing requests to find out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.model.reasons import Reason
from proxy.request.legs import Leg, Upstream

if TYPE_CHECKING:
    from proxy.model.worker_config import HealthSpec
    from proxy.worker.upstream.endpoint import Endpoint


class Checked(Protocol):
    """The pool whose URLs are checked."""

    endpoints: tuple[Endpoint, ...]
    closing: bool

    def new_probe(self, endpoint: Endpoint, settings: HealthSpec) -> Leg:
        """A check of one URL."""

    def probe(self, endpoint: Endpoint, leg: Leg) -> None:
        """Send it on a connection of its own."""


class Probe(Leg):
    """One check of one URL."""

    is_check = True
    tries = 1_000_000
    """Another URL's answer would say nothing of this one."""

    def __init__(self, pool: Upstream, endpoint: Endpoint, settings: HealthSpec) -> None:
        super().__init__(pool, min(pool.timeout, settings.interval))
        self.longest = self.timeout
        self._endpoint = endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        head = f"GET {settings.path} HTTP/1.1\r\nhost: {host}:{endpoint.port}\r\nuser-agent: understudy-health\r\n\r\n"
        self.opening = head.encode()

    def head(self, piece: bytes, done: bool) -> None:
        self.body(piece, done)

    def body(self, piece: bytes, done: bool) -> None:
        if done and self.answer is not None:
            self._book(200 <= self.answer.status < 300)

    def failed(self, reason: Reason) -> None:
        if reason is not Reason.POOL_FULL:
            self._book(False)
        elif self.inquiry is not None:  # it has not been asked
            self.inquiry.answer(False)

    def _book(self, good: bool) -> None:
        self._endpoint.was_checked(good, self.inquiry)


class Checks:
    """The checks of one pool; lives in the wheel until the pool closes."""

    slot = 0

    def __init__(self, pool: Checked, settings: HealthSpec) -> None:
        self._pool, self._settings = pool, settings

    def check(self, now: float) -> float:
        """Ask every URL."""
        pool = self._pool
        if pool.closing:
            return 0.0
        for endpoint in pool.endpoints:
            pool.probe(endpoint, pool.new_probe(endpoint, self._settings))
        return now + self._settings.interval
