"""The same site behind each proxy: live models, and for each hostile model a route that copies to it (where the proxy
can) and one where it serves."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from loadtests.bench.machine import LOAD_CORE, PEERS, free_port
from loadtests.bench.processes import Bench, Peer, whole
from loadtests.bench.proxies import NGINX_PASS, NGINX_POOL
from loadtests.bench.understudy import serving
from loadtests.hostile.attacks import GRPC, LONG, LONG_SIZE, METHOD, MODEL, PATH, Attack

COPIES, SERVES = "copies", "serves"
WEIGHT = "50%"
"""Of the candidate that serves."""
GUARDS = {"p99_latency": "1000x", "max_extra_errors": "99%", "max_response_mismatch": "off"}


@dataclass(frozen=True)
class Hostile:
    """A hostile model's place on every site."""

    attack: Attack
    listener: socket.socket

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def path(self, role: str) -> str:
        """Where requests find it, as one who gets copies or as one who serves."""
        return f"/{role}.{self.port}/C" if self.attack.protocol == GRPC else f"/{role}/{self.port}"


@dataclass(frozen=True)
class Site:
    """A running proxy, and its port for HTTP/2."""

    peer: Peer
    grpc: int


@dataclass(frozen=True)
class Models:
    """Ports of the live models."""

    live: int
    grpc: int


def models(bench: Bench) -> Models:
    """Start them."""
    command = ["taskset", "-c", LOAD_CORE, sys.executable, PEERS / "grpcio_model.py"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    bench.processes.append(process)
    assert process.stdout is not None
    return Models(bench.backend(300, str(LONG_SIZE)), int(process.stdout.readline()))


def hostile(attacks: list[Attack]) -> list[Hostile]:
    """A listening socket for each model."""
    found = []
    for attack in attacks:
        if attack.side == MODEL:
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            listener.listen(1024)
            found.append(Hostile(attack, listener))
    return found


# --- Understudy ------------------------------------------------------------------------------------------------------


def understudy(bench: Bench, live: Models, bad: list[Hostile], tree: Path) -> Site:
    port, grpc, admin = free_port(), free_port(), free_port()
    upstreams = {
        "live": {"url": f"http://127.0.0.1:{live.live}"},
        "grpc": {"url": f"grpc://127.0.0.1:{live.grpc}"},
    }
    routes: list[dict[str, object]] = [
        {"name": "m", "match": {"path": PATH}, "live": "live"},
        {"name": "l", "match": {"path": LONG}, "live": "live"},
        {"name": "g", "match": {"path": METHOD}, "live": "grpc"},
    ]
    for one in bad:
        scheme = "grpc" if one.attack.protocol == GRPC else "http"
        name = f"bad-{one.port}"
        upstreams[name] = {"url": f"{scheme}://127.0.0.1:{one.port}", "timeout": "2s"}
        for role, stage in ((COPIES, {"shadow": "100%"}), (SERVES, {"canary": WEIGHT})):
            rollout = {"candidate": name, "stages": [{**stage, "min_pairs": 10**8}], "guards": GUARDS}
            rollout["consecutive_failures"] = 10**9
            here = {"name": f"{role}-{one.port}", "match": {"path": one.path(role)}, "rollouts": [rollout]}
            routes.append({**here, "live": "grpc" if scheme == "grpc" else "live"})
    config = {
        "server": {"listen": f"127.0.0.1:{port}", "grpc_listen": f"127.0.0.1:{grpc}", "workers": 1},
        "admin": {"listen": f"127.0.0.1:{admin}"},
        "store": {"path": str(bench.folder / f"{admin}.db")},
        "log": {"level": "error"},
        "upstreams": upstreams,
        "routes": routes,
    }
    peer = serving(bench, "Understudy", True, port, admin, yaml.safe_dump(config), tree)
    return Site(peer, grpc)


# --- nginx -----------------------------------------------------------------------------------------------------------


def nginx(bench: Bench, live: Models, bad: list[Hostile]) -> Site:
    port, grpc = free_port(), free_port()
    config = bench.folder / f"nginx-{port}.conf"
    http = "".join(_nginx_places(one, f"proxy_pass http://127.0.0.1:{{}}; {NGINX_PASS}", "http://live") for one in bad
                   if one.attack.protocol != GRPC)  # fmt: skip
    calls = "".join(_nginx_places(one, "grpc_pass grpc://127.0.0.1:{};", f"grpc://127.0.0.1:{live.grpc}") for one in bad
                    if one.attack.protocol == GRPC)  # fmt: skip
    config.write_text(
        f"worker_processes 1; daemon off; pid {config}.pid; error_log /dev/null;\n"
        "events { worker_connections 16384; }\n"
        "http { access_log off; client_body_buffer_size 64k; client_max_body_size 64m;\n"
        f"upstream live {{ server 127.0.0.1:{live.live}; {NGINX_POOL} }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096;\n"
        "location = /none { return 404; } location = /-/healthz { return 200 ok; }\n"
        f"{http} location / {{ proxy_pass http://live; {NGINX_PASS} }} }}\n"
        f"server {{ listen 127.0.0.1:{grpc} http2 backlog=4096;\n"
        "location /no.P/ { return 404; } location /grpc.health.v1.Health/ { return 200 ok; }\n"
        f"{calls} location / {{ grpc_pass grpc://127.0.0.1:{live.grpc}; }} }} }}\n"
    )
    return Site(whole(bench, "nginx", True, port, "nginx", "-c", config), grpc)


def _nginx_places(one: Hostile, passes: str, live: str) -> str:
    to_live = passes.partition(" ")[0] + f" {live}; " + passes.partition("; ")[2]
    return (
        f"location = {one.path(COPIES)} {{ mirror /copy{one.port}; mirror_request_body on; {to_live} }}\n"
        f"location = /copy{one.port} {{ internal; {passes.format(one.port)} }}\n"
        f"location = {one.path(SERVES)} {{ {passes.format(one.port)} }}\n"
    )


# --- HAProxy ---------------------------------------------------------------------------------------------------------


def haproxy(bench: Bench, live: Models, bad: list[Hostile]) -> Site:
    port, grpc = free_port(), free_port()
    config = bench.folder / f"haproxy-{port}.cfg"
    fronts: dict[bool, list[str]] = {False: [], True: []}
    backs = []
    for one in bad:
        h2 = one.attack.protocol == GRPC
        fronts[h2].append(f" use_backend b{one.port} if {{ path {one.path(SERVES)} }}")
        backs.append(f"backend b{one.port}\n server s 127.0.0.1:{one.port}{' proto h2' if h2 else ''}")
    lines = [
        "global", " nbthread 1", " maxconn 4000",
        "defaults", " mode http", " option http-keep-alive", " http-reuse always",
        " timeout client 30s", " timeout server 30s", " timeout connect 1s", " timeout http-request 10s",
        "frontend f", f" bind 127.0.0.1:{port}", " http-request return status 404 if { path /none }",
        " http-request return status 200 if { path /-/healthz }", *fronts[False],
        " default_backend live",
        "frontend g", f" bind 127.0.0.1:{grpc} proto h2", " http-request return status 404 if { path_beg /no.P }",
        " http-request return status 200 if { path_beg /grpc.health }", *fronts[True], " default_backend grpc",
        "backend live", f" server s 127.0.0.1:{live.live}",
        "backend grpc", f" server s 127.0.0.1:{live.grpc} proto h2", *backs,
    ]  # fmt: skip
    config.write_text("\n".join(lines) + "\n")
    return Site(whole(bench, "HAProxy", False, port, "haproxy", "-db", "-f", config), grpc)
