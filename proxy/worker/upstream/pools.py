"""Which pools a configuration of one worker comes to: those whose upstream is as it was go on."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping

from proxy.model.config_pieces import StepsTo
from proxy.model.worker_config import UpstreamSpec
from proxy.resolver import LookUp, Resolver
from proxy.worker.context import WorkerContext
from proxy.worker.tls import ModelContexts
from proxy.worker.upstream.pool import Pool
from proxy.worker.upstream.settings import pool_type, settings_of


class PoolMaker:
    """Makes the pools of one worker; `place` is its slot and how many workers there are."""

    def __init__(self, context: WorkerContext, place: tuple[int, int], look_up: LookUp) -> None:
        self._context, self._place, self._look_up = context, place, look_up
        self._made_of: dict[Pool, UpstreamSpec] = {}
        self.contexts = ModelContexts()
        self.resolvers: dict[str, Resolver] = {}

    def make(self, upstreams: Mapping[str, UpstreamSpec], before: Mapping[str, Pool]) -> StepsTo[dict[str, Pool]]:
        """A pool for each of these, by name, of `before` where it fits. Raises `OSError` and `ssl.SSLError`, and then
        nothing has changed. One that is given up half-way leaves nothing behind."""
        contexts: dict[str, ssl.SSLContext | None] = {}
        for name, one in upstreams.items():
            contexts[name] = self.contexts.of(one)
            yield
        made: dict[str, Pool] = {}
        try:
            for name, one in upstreams.items():
                made[name] = self._one(name, one, contexts[name], before.get(name))
                yield
        except BaseException:
            self.discard(made, before)
            raise
        return made

    def discard(self, made: Mapping[str, Pool], before: Mapping[str, Pool]) -> None:
        """These are not put into force, but for those of `before`."""
        for name, pool in made.items():
            if before.get(name) is not pool:
                pool.close()
                self._made_of.pop(pool, None)

    def settle(self, pools: Mapping[str, Pool]) -> None:
        """These are in force from now on."""
        self._keep(pools.values())
        self.contexts.settle(self._made_of.values())
        # A resolver that is at work stays: were its upstream taken out and put back, two could look up the same name.
        self.resolvers = {name: r for name, r in self.resolvers.items() if name in pools or r.busy}

    def _keep(self, pools: Iterable[Pool]) -> None:
        self._made_of = {pool: self._made_of[pool] for pool in pools}

    def _one(self, name: str, upstream: UpstreamSpec, context: ssl.SSLContext | None, before: Pool | None) -> Pool:
        if before is not None and before.context is context and self._made_of.get(before) is upstream:
            return before
        settings = settings_of(name, upstream, self._place)
        if before is not None and before.context is context and before.settings == settings:
            pool = before
        else:
            resolver = self.resolvers.setdefault(name, Resolver(self._look_up))
            pool = pool_type(upstream)(settings, self._context.wheel, self._context.turn, context, resolver)
        self._made_of[pool] = upstream
        return pool
