"""Which pools a configuration of one worker comes to: those whose upstream is as it was go on."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from proxy.model.worker_config import UpstreamSpec
from proxy.resolver import LookUp, Resolver
from proxy.worker.context import WorkerContext
from proxy.worker.tls import for_upstream
from proxy.worker.upstream.pool import Pool
from proxy.worker.upstream.settings import pool_type, settings_of


class PoolMaker:
    """Makes the pools of one worker; `place` is its slot and how many workers there are."""

    def __init__(self, context: WorkerContext, place: tuple[int, int], look_up: LookUp) -> None:
        self._context, self._place, self._look_up = context, place, look_up
        self.resolvers: dict[str, Resolver] = {}

    def make(self, upstreams: Mapping[str, UpstreamSpec], before: Mapping[str, Pool]) -> dict[str, Pool]:
        """A pool for each of these, by name, of `before` where it fits. Raises `OSError` and `ssl.SSLError`, and then
        nothing has changed."""
        contexts = {name: for_upstream(upstream) for name, upstream in upstreams.items()}
        made = {name: self._one(name, one, contexts[name], before.get(name)) for name, one in upstreams.items()}
        # One that is at work stays: were its upstream taken out and put back, two could look up the same name.
        self.resolvers = {name: r for name, r in self.resolvers.items() if name in made or r.busy}
        return made

    def _one(self, name: str, upstream: UpstreamSpec, context: ssl.SSLContext | None, before: Pool | None) -> Pool:
        settings = settings_of(name, upstream, self._place)
        if before is not None and before.settings == settings and context is None:
            return before
        resolver = self.resolvers.setdefault(name, Resolver(self._look_up))
        return pool_type(upstream)(settings, self._context.wheel, self._context.turn, context, resolver)
