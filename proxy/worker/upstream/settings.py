"""What the configuration of an upstream comes to for the pool of one worker."""

from __future__ import annotations

from proxy.config.server import UpstreamConfig
from proxy.fields.hash_key import HashKey
from proxy.fields.set_json import rules
from proxy.request.routes import part
from proxy.worker.upstream.dialling import Settings
from proxy.worker.upstream.endpoint import IDLE
from proxy.worker.upstream.grpc_pool import IDLE as GRPC_IDLE


def settings_of(name: str, upstream: UpstreamConfig, place: tuple[int, int]) -> Settings:
    """The settings of the pool of upstream `name`; `place` is the worker's slot and how many workers there are, which
    share the upstream's limits."""
    return Settings(
        name,
        tuple(upstream.urls),
        upstream.timeout,
        upstream.connect_timeout,
        part(upstream.max_connections, *place),
        upstream.tls,
        upstream.health,
        upstream.resolve.every,
        upstream.idle_timeout or (GRPC_IDLE if upstream.grpc else IDLE),
        upstream.host,
        upstream.path,
        upstream.headers,
        rules(upstream.set_json),
        upstream.balance if isinstance(upstream.balance, HashKey) else None,
    )
