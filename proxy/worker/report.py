"""What a worker reports of its upstreams, each second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proxy.request.rollouts import Trial
from proxy.resolver import Resolver
from proxy.worker.upstream.pool import Pool


def of_upstreams(
    pools: Mapping[str, Pool], resolvers: Mapping[str, Resolver], trials: Iterable[Trial]
) -> dict[str, object]:
    """The parts of COUNTS on upstreams: connections, lookups, endpoints, and which candidates are ready."""
    return {
        "ready": {trial.settings.trial: trial.pool.ready for trial in trials if trial.pool.checked},
        "connections": [
            [name, state, n]
            for name, pool in pools.items()
            for state, n in zip(("idle", "busy", "waiting"), pool.counts, strict=True)
        ],
        "lookups": [[name, resolver.failures] for name, resolver in resolvers.items()],
        "unhashed": [[name, pool.balancer.unhashed] for name, pool in pools.items() if pool.settings.hash_key],
        "paths": [[name, pool.settings.path.missed] for name, pool in pools.items() if pool.settings.path],
        "endpoints": [[name, *row] for name, pool in pools.items() for row in pool.rows],
    }
