"""Larger answers, TLS, memory, two workers."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import time
from statistics import median

from loadtests.bench.load import Interval, lua, paced, wrk
from loadtests.bench.machine import CORES, PROXY_CORE, memory, proportional_memory
from loadtests.bench.processes import Bench, Peer
from loadtests.bench.proxies import PROXIES, nginx
from loadtests.bench.understudy import PATH, understudy
from loadtests.bench.workloads import PACE

IDLE = 10_000


def _rate(runs: list[Interval]) -> str:
    return f"{median(one.cpu for one in runs):.1f} µs/request, {median(one.rate for one in runs):.0f} requests/s"


def _answers(bench: Bench, size: int, name: str, rounds: int, seconds: float) -> str:
    """Beside nginx, because the C floor cannot carry a body larger than its buffer."""
    live, script = bench.backend(size), lua(bench)
    peers = [understudy(bench, live, 0)]
    if PROXIES["nginx"].is_installed:
        peers.append(PROXIES["nginx"].make(bench, live, 0, "http"))
    turns = [[wrk(peer, script, 32, seconds) for peer in peers] for _ in range(rounds)]
    for peer in peers:
        bench.stop(peer.process)
    text = _rate([turn[0] for turn in turns])
    if len(peers) > 1:
        text += f", {median(turn[0].cpu / turn[1].cpu for turn in turns):.2f} × nginx"
    return f"| answers of {name}, forward | {text} |"


def _tls(bench: Bench, live: int, rounds: int, seconds: float) -> str:
    key, cert = bench.folder / "key.pem", bench.folder / "cert.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=bench"]
    command = ["openssl", "req", "-x509", *kind, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    secure = understudy(bench, live, 0, tls=f", tls: {{cert: {cert}, key: {key}}}")
    runs = [wrk(secure, lua(bench), 32, seconds, "https") for _ in range(rounds)]
    bench.stop(secure.process)
    return f"| TLS 1.3 to clients, forward | {_rate(runs)} |"


def _opened(peer: Peer, many: int) -> list[socket.socket]:
    """Connections that have each sent one request and had its answer."""
    request = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % PATH.encode()
    opened: list[socket.socket] = []
    for number in range(many):
        opened.append(socket.create_connection(("127.0.0.1", peer.port)))
        opened[-1].sendall(request)
        if number % 50 == 49:
            for one in opened[-50:]:
                one.recv(65536)
    return opened


def _idle(bench: Bench, live: int) -> list[str]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    peer = understudy(bench, live, 0, workers=2)
    time.sleep(3)
    tree, worker = proportional_memory(peer.tree), proportional_memory(peer.worker[:1])
    bench.stop(peer.process)
    peer = understudy(bench, live, 0)
    before = memory(peer.worker[0])
    opened = _opened(peer, min(IDLE, hard - 200) - 10)
    after, count = memory(peer.worker[0]), len(opened)
    for sock in opened:
        sock.close()
    bench.stop(peer.process)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return [
        f"| memory (PSS) of an idle worker; of a tree of two workers | {worker:.0f}; {tree:.0f} MiB |",
        f"| worker memory at {count:,} idle connections | {after:.0f} MiB ({before:.0f} MiB before) |",
    ]


def _two_workers(bench: Bench, live: int, rounds: int, seconds: float) -> list[str]:
    peers = [understudy(bench, live, 0, workers=workers) for workers in (1, 2)]
    turns = [[wrk(peer, lua(bench), 64, seconds) for peer in peers] for _ in range(rounds)]
    for peer in peers:
        bench.stop(peer.process)
    rate, each = (median(getattr(two, name) / getattr(one, name) for one, two in turns) for name in ("rate", "cpu"))
    return [
        f"| two workers against one, {len(CORES)} cores shared with load and backend | {rate:.2f} × |",
        f"| CPU per request of two workers against one | {each:.2f} × |",
    ]


def _on_one_core(bench: Bench, live: int, rounds: int, seconds: float) -> list[str]:
    """Two workers and one on the same core, at the same rate, beside nginx with two processes and one."""
    cases = {"Understudy": [understudy(bench, live, 0, workers=workers) for workers in (1, 2, 1)]}
    if PROXIES["nginx"].is_installed:
        cases["nginx"] = [nginx(bench, live, 0, workers=workers) for workers in (1, 2, 1)]
    for pid in (pid for peer in cases["Understudy"] for pid in peer.worker):
        os.sched_setaffinity(pid, {int(PROXY_CORE)})
    turns: dict[str, list[list[float]]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, peers in cases.items():
            turns[name].append([paced(bench, peer, seconds, PACE).cpu for peer in peers])
    lines = []
    for name, found in turns.items():
        each, again = (median(turn[i] / turn[0] for turn in found) for i in (1, 2))
        figure = f"{each:.2f} × ({again:.2f} × for one against one; {median(turn[0] for turn in found):.1f} µs)"
        lines.append(f"| CPU per request of two workers against one, on one core, {PACE:,}/s: {name} | {figure} |")
    for peer in (peer for peers in cases.values() for peer in peers):
        bench.stop(peer.process)
    return lines


def others(bench: Bench, rounds: int, seconds: float) -> list[str]:
    """Larger answers, TLS, memory, two workers."""
    lines = ["| what | figure |", "|---|---|"]
    lines += [_answers(bench, size, name, rounds, seconds) for size, name in ((20_000, "20 KB"), (1_000_000, "1 MB"))]
    live = bench.backend()
    lines.append(_tls(bench, live, rounds, seconds))
    lines += [*_idle(bench, live), *_two_workers(bench, live, rounds, seconds)]
    return [*lines, *_on_one_core(bench, live, rounds, seconds)]
