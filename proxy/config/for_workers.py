"""The configuration as workers get it: what they need of it, worked out, in plain values."""

from __future__ import annotations

import json

from proxy.config.headers import HeaderRules, UpstreamHeaders
from proxy.config.route import RolloutConfig, RouteConfig
from proxy.config.server import Server, UpstreamConfig, UpstreamTls
from proxy.config.tree import Config
from proxy.evidence.rules.registry import GUARDS
from proxy.fields.hash_key import HashKey
from proxy.fields.set_json import rules
from proxy.model.worker_config import (
    DEFAULT_ROUTE,
    DataPortSpec,
    DualWriteSpec,
    HeaderSpec,
    HealthSpec,
    RolloutSpec,
    RouteSpec,
    TlsSpec,
    UpstreamSpec,
    WorkerConfig,
)


def worker_config(config: Config) -> WorkerConfig:
    """What a worker needs of this configuration.

    >>> from proxy.config import parse
    >>> made = worker_config(parse("upstreams: {m: {url: 'http://a:1'}}\\nroutes: [{name: all, live: m}]"))
    >>> made.routes[0].live, made.upstreams["m"].timeout, made.has_rollouts
    ('m', 30.0, False)
    """
    access, tracing, default = config.log.access, config.tracing, config.default
    return WorkerConfig(
        _data_port(config.server),
        {name: _upstream(upstream, name in config.registered) for name, upstream in config.upstreams.items()},
        tuple(_route(config, route) for route in config.routes),
        None if default is None else RouteSpec(DEFAULT_ROUTE, default.live, idempotent=default.idempotent),
        config.log.format,
        config.log.level,
        None if access is None else access.share,
        None if tracing is None else tracing.share,
        tuple(key.decode("latin-1") for key in config.keys),
    )


def _data_port(server: Server) -> DataPortSpec:
    limits, times, tls = server.limits, server.timeouts, server.tls
    sizes = limits.max_header, limits.max_body, limits.max_connections, limits.buffer, limits.max_memory
    patience = times.header, times.body, times.request, times.idle, times.drain
    return DataPortSpec(
        *sizes,
        limits.min_rate,
        *patience,
        server.controller_lost,
        tuple(map(str, server.trusted_proxies)),
        None if tls is None else TlsSpec(tls.cert, tls.key, tls.client_ca),
    )


def model_tls(tls: UpstreamTls | None) -> TlsSpec | None:
    """TLS towards a model server; `None` where the file says nothing of it."""
    return None if tls is None else TlsSpec(tls.cert, tls.key, tls.ca, tls.verify)


def _upstream(upstream: UpstreamConfig, registered: bool) -> UpstreamSpec:
    path, balance, health = upstream.path, upstream.balance, upstream.health
    return UpstreamSpec(
        tuple(map(str, upstream.urls)),
        upstream.timeout,
        upstream.connect_timeout,
        upstream.max_connections,
        upstream.resolve.every,
        upstream.idle_timeout,
        upstream.host,
        None if path is None else (path.start, path.to),
        _headers(upstream.headers),
        _values(upstream),
        (balance.kind, balance.name) if isinstance(balance, HashKey) else None,
        model_tls(upstream.tls),
        None if health is None else HealthSpec(health.path, health.interval, health.wait),
        registered,
    )


def _values(upstream: UpstreamConfig) -> dict[str, str]:
    """What `set_json` sets, as it is written."""
    written = rules(upstream.set_json)
    return {pointer: value.decode() for pointer, (_, value) in zip(upstream.set_json, written, strict=True)}


def _headers(asked: HeaderRules | UpstreamHeaders) -> HeaderSpec:
    return HeaderSpec(tuple(sorted(asked.dropped)), dict(asked.set))


def _route(config: Config, route: RouteConfig) -> RouteSpec:
    match, sticky, both = route.match, route.sticky, route.dual_write
    return RouteSpec(
        route.name,
        route.live,
        match.path or "",
        tuple(match.methods),
        dict(match.headers),
        {pointer: json.dumps(value) for pointer, value in match.json.items()},
        match.default,
        route.idempotent,
        (sticky.header or "") if sticky is not None else "",
        (sticky.cookie or "") if sticky is not None else "",
        (sticky.json or "") if sticky is not None else "",
        route.override.header if route.override is not None else "",
        tuple(rule.pointer for rule in route.aspects.values()),
        None if route.drift is None else float(route.drift.observations_per_second),
        None if both is None else DualWriteSpec(both.upstream, both.timeout, _headers(both.headers)),
        tuple(_rollout(config, route, rollout) for rollout in route.open_rollouts),
    )


def _rollout(config: Config, route: RouteConfig, rollout: RolloutConfig) -> RolloutSpec:
    plan, mirror, after = config.plan(route, rollout), rollout.mirror, rollout.fallback.after
    return RolloutSpec(
        plan.name,
        plan.trial,
        plan.version,
        rollout.candidate,
        _headers(mirror.headers),
        mirror.max_in_flight,
        mirror.max_body,
        mirror.max_memory,
        mirror.timeout,
        mirror.max_duration,
        after != "off",
        after if isinstance(after, float) else None,
        rollout.fallback.hold,
        mirror.noise_floor,
        mirror.max_pairs_per_second == "auto",
        any(GUARDS[guard.name].by_users for guard in plan.guards),
        rollout.record is not None or plan.reads_requests,
    )
