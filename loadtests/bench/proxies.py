"""The other proxies, each as its users would configure it: one worker or thread, keep-alive, no access log."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.machine import PEERS, ROOT, binary, free_port
from loadtests.bench.processes import Bench, Peer, whole
from loadtests.bench.understudy import understudy

NGINX_POOL = "keepalive 512; keepalive_requests 1000000000;"
NGINX_PASS = 'proxy_http_version 1.1; proxy_set_header Connection "";'
STREAMED = "proxy_buffering off;"
TYPES = "type.googleapis.com/envoy.extensions"


def floor(bench: Bench, live: int, mirror: int, _kind: str) -> Peer:
    """A forwarder that does nothing else."""
    port = free_port()
    return whole(bench, "C floor", mirror, port, bench.folder / "forwarder", port, live, *([mirror] if mirror else []))


def nginx(bench: Bench, live: int, mirror: int, kind: str = "http", workers: int = 1) -> Peer:
    """With `mirror` where copies are made; several workers have a socket each, as ours have."""
    port = free_port()
    to, passing = ("grpc_pass grpc", "") if kind == "grpc" else ("proxy_pass http", NGINX_PASS)
    again = f"{to}://copy$request_uri" if kind != "grpc" else f"rewrite ^ $request_uri break; {to}://copy"
    own = "reuseport " if workers > 1 else ""
    extra = "mirror /copy; mirror_request_body on;" if mirror else ""
    copy = f"location = /copy {{ internal; {again}; {passing} }}" if mirror else ""
    pool = f"upstream copy {{ server 127.0.0.1:{mirror}; {NGINX_POOL} }}" if mirror else ""
    config = bench.folder / f"nginx-{port}.conf"
    config.write_text(
        f"worker_processes {workers}; daemon off; pid {config}.pid; error_log /dev/null;\n"
        "events { worker_connections 16384; }\n"
        f"http {{ access_log off; keepalive_requests 1000000000; client_max_body_size 8m;\n"
        f"client_body_buffer_size {'1m' if kind == 'chat' else '64k'}; client_body_temp_path {config}.d;\n"
        f"upstream live {{ server 127.0.0.1:{live}; {NGINX_POOL} }} {pool}\n"
        f"server {{ listen 127.0.0.1:{port} {'http2 ' if kind == 'grpc' else ''}{own}backlog=4096;\n"
        f"location / {{ {extra} {to}://live; {passing} {STREAMED if kind == 'chat' else ''} }}\n"
        f"{copy} }} }}\n"
    )
    return whole(bench, "nginx", mirror, port, "nginx", "-c", config)


def haproxy(bench: Bench, live: int, mirror: int, _kind: str) -> Peer:
    """One thread; it has no mirror without a helper."""
    port = free_port()
    config = bench.folder / f"haproxy-{port}.cfg"
    config.write_text(
        "global\n nbthread 1\n maxconn 2000\n"
        "defaults\n mode http\n option http-keep-alive\n option http-no-delay\n http-reuse always\n"
        " timeout client 30s\n timeout server 30s\n timeout connect 1s\n"
        f"frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s 127.0.0.1:{live}\n"
    )
    return whole(bench, "HAProxy", mirror, port, "haproxy", "-db", "-f", config)


def _cluster(name: str, port: int, kind: str) -> dict[str, object]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    limits = {"thresholds": [{"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}]}
    found: dict[str, object] = {
        "name": name, "type": "STATIC", "connect_timeout": "1s", "circuit_breakers": limits,
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }  # fmt: skip
    if kind == "grpc":
        options = f"{TYPES}.upstreams.http.v3.HttpProtocolOptions"
        http2 = {"@type": options, "explicit_http_config": {"http2_protocol_options": {}}}
        found["typed_extension_protocol_options"] = {options.rpartition("/")[2]: http2}
    return found


def envoy(bench: Bench, live: int, mirror: int, kind: str = "http") -> Peer:
    """One thread, with `request_mirror_policies` where copies are made."""
    port = free_port()
    route: dict[str, object] = {"cluster": "live", "timeout": "0s" if kind == "chat" else "30s"}
    if mirror:
        route["request_mirror_policies"] = [{"cluster": "copy"}]
    matched = {"match": {"prefix": "/"}, "route": route}
    router = {"name": "router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x", "codec_type": "HTTP2" if kind == "grpc" else "HTTP1", "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "x", "domains": ["*"], "routes": [matched]}]},
    }  # fmt: skip
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    listener = {"address": address, "filter_chains": [chain]}
    clusters = [_cluster("live", live, kind)] + ([_cluster("copy", mirror, kind)] if mirror else [])
    config = bench.folder / f"envoy-{port}.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}}))
    command = (binary("envoy"), "-c", config, "--concurrency", 1, "--log-level", "error", "--disable-hot-restart")
    return whole(bench, "Envoy", mirror, port, *command)


def aiohttp(bench: Bench, live: int, mirror: int, _kind: str) -> Peer:
    """The reverse proxy a user would write."""
    port, script = free_port(), PEERS / "aiohttp_proxy.py"
    return whole(bench, "aiohttp", mirror, port, sys.executable, script, port, live, *([mirror] if mirror else []))


def grpcio(bench: Bench, live: int, mirror: int, _kind: str) -> Peer:
    """The gRPC proxy a user would write, on grpcio's asyncio."""
    port = free_port()
    return whole(bench, "grpcio", mirror, port, sys.executable, PEERS / "grpcio_proxy.py", live, port)


def relay(bench: Bench, live: int, mirror: int, _kind: str) -> Peer:
    """Bytes from one connection to the other on uvloop, unread, and to a second model where copies are made: what its
    loop and the kernel cost a proxy on it."""
    port, script = free_port(), PEERS / "uvloop_relay.py"
    return whole(bench, "uvloop relay", mirror, port, sys.executable, script, port, live, *([mirror] if mirror else []))


def relay_buffers(bench: Bench, live: int, _mirror: int, _kind: str) -> Peer:
    """The same, read into memory of its own."""
    port, script = free_port(), PEERS / "uvloop_relay.py"
    return whole(bench, "uvloop relay, buffers", 0, port, sys.executable, script, port, live, "buffers")


def vllm_router(bench: Bench, live: int, mirror: int, _kind: str) -> Peer:
    """The router of the vLLM project, in front of one engine."""
    port, metrics = free_port(), free_port()
    command = [binary("vllm-router"), "--host", "127.0.0.1", "--port", port, "--policy", "round_robin"]
    urls = ["--worker-urls", f"http://127.0.0.1:{live}", "--prometheus-port", metrics, "--log-level", "error"]
    return whole(bench, "vllm-router", mirror, port, *command, *urls)


def litellm(bench: Bench, live: int, mirror: int, _kind: str) -> Peer:
    """LiteLLM's gateway, one model behind it, without keys of its own and without a line for each request."""
    port = free_port()
    to = {"model": "openai/m", "api_base": f"http://127.0.0.1:{live}/v1", "api_key": "none"}
    config = bench.folder / f"litellm-{port}.yaml"
    config.write_text(json.dumps({"model_list": [{"model_name": "m", "litellm_params": to}]}))
    allowed = ("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true", "LITELLM_LOG=ERROR")
    command = ("env", *allowed, binary("litellm"), "--config", config, "--host", "127.0.0.1", "--num_workers", 1)
    quiet = {"version": 1, "loggers": {name: {"level": "ERROR"} for name in ("uvicorn", "uvicorn.access")}}
    (bench.folder / "quiet.json").write_text(json.dumps(quiet))
    return whole(bench, "LiteLLM", mirror, port, *command, "--port", port, "--log_config", bench.folder / "quiet.json")


@dataclass(frozen=True)
class ProxyKind:
    """How to start a proxy, what must be installed for it, what it carries and whether it can mirror."""

    make: Callable[[Bench, int, int, str], Peer]
    needs: str = ""
    carries: tuple[str, ...] = ("http", "chat")
    mirrors: bool = True

    @property
    def is_installed(self) -> bool:
        """Whether its program is there."""
        return not self.needs or bool(binary(self.needs))


def _compiled(bench: Bench, live: int, mirror: int, kind: str) -> Peer:
    return understudy(bench, live, mirror, kind=kind, in_flight=512)  # so that of 256 connections none is shed


def _interpreted(bench: Bench, live: int, mirror: int, kind: str) -> Peer:
    name = "Understudy, interpreted"
    return understudy(bench, live, mirror, kind=kind, tree=ROOT, name=name, in_flight=512)


EVERY = ("http", "chat", "grpc")
BEFORE = "Understudy, before"


def before(tree: Path) -> ProxyKind:
    """Another tree of ours, compiled as `make bench` does it: what a change is measured against."""
    if not (tree / "proxy").is_dir():
        raise SystemExit(f"--before: found no proxy/ in {tree}")
    return ProxyKind(
        lambda bench, live, mirror, kind: understudy(
            bench, live, mirror, kind=kind, tree=tree, name=BEFORE, in_flight=512
        ),
        carries=EVERY,
    )


PROXIES = {
    "Understudy": ProxyKind(_compiled, carries=EVERY),
    "Understudy, interpreted": ProxyKind(_interpreted, carries=EVERY),
    "C floor": ProxyKind(floor, carries=("http",)),
    "uvloop relay": ProxyKind(relay, carries=EVERY),
    "uvloop relay, buffers": ProxyKind(relay_buffers, carries=("chat", "grpc"), mirrors=False),
    "nginx": ProxyKind(nginx, "nginx", carries=EVERY),
    "HAProxy": ProxyKind(haproxy, "haproxy", mirrors=False),
    "Envoy": ProxyKind(envoy, "envoy", carries=EVERY),
    "aiohttp": ProxyKind(aiohttp, carries=("http",)),
    "grpcio": ProxyKind(grpcio, carries=("grpc",), mirrors=False),
    "vllm-router": ProxyKind(vllm_router, "vllm-router", carries=("chat",), mirrors=False),
    "LiteLLM": ProxyKind(litellm, "litellm", carries=("chat",), mirrors=False),
}
"""Every proxy by its name in the tables."""
