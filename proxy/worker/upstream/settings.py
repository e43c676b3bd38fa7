"""What the configuration of an upstream comes to for the pool of one worker."""

from __future__ import annotations

from proxy.fields.hash_key import HashKey
from proxy.http.placement import PathRule
from proxy.json_pointer import parse_pointer
from proxy.model.worker_config import UpstreamSpec
from proxy.request.routes import part
from proxy.worker.upstream.dialling import Settings
from proxy.worker.upstream.endpoint import IDLE
from proxy.worker.upstream.pool import Pool

GRPC_IDLE = 60.0
"""Seconds after which a gRPC connection without calls is closed where nothing else is said."""


def settings_of(name: str, upstream: UpstreamSpec, place: tuple[int, int]) -> Settings:
    """The settings of the pool of upstream `name`; `place` is the worker's slot and how many workers there are, which
    share the upstream's limits."""
    return Settings(
        name,
        upstream.urls,
        upstream.timeout,
        upstream.connect_timeout,
        part(upstream.max_connections, *place),
        upstream.tls,
        upstream.health,
        upstream.renew_names,
        upstream.idle_timeout or (GRPC_IDLE if upstream.grpc else IDLE),
        upstream.host,
        PathRule(*upstream.path) if upstream.path is not None else None,
        upstream.headers,
        tuple((parse_pointer(pointer), value.encode()) for pointer, value in upstream.set_json.items()),
        HashKey(*upstream.hashed_by) if upstream.hashed_by is not None else None,
    )


def pool_type(upstream: UpstreamSpec) -> type[Pool]:
    """The class of its pool."""
    if not upstream.grpc:
        return Pool
    from proxy.worker.upstream.grpc_pool import GrpcPool  # HTTP/2 takes 90 ms to load, and is rarely there

    return GrpcPool
