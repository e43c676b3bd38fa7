"""Understudy as its users configure it, for each kind of traffic."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

from loadtests.bench.machine import COMPILED, CORES, children, free_port
from loadtests.bench.processes import Bench, Peer

PATH = "/v2/models/credit/infer"
CHAT = "/v1/chat/completions"
METHOD = "/inference.GRPCInferenceService/ModelInfer"

SERVER = """
server: {{listen: '127.0.0.1:{port}', workers: {workers}{extra}}}
admin: {{listen: '127.0.0.1:{admin}'}}
store: {{path: {folder}/{admin}.db}}
log: {{level: warning}}
upstreams:
  v1: {{url: '{scheme}://127.0.0.1:{live}', max_connections: 1024, version: one}}
  v2: {{url: '{scheme}://127.0.0.1:{mirror}', max_connections: 1024, timeout: {timeout}, version: two}}
routes:
  - name: credit
    match: {{path: {path}}}
    live: v1
{prediction}
{rollouts}
"""
ROLLOUT = """    rollouts:
      - candidate: v2
        mirror: {{max_in_flight: {in_flight}}}
        stages: [{{shadow: 100%, min_pairs: 100000000}}]
{guards}
"""
KINDS = {
    "http": (
        PATH,
        "    prediction: {protocol: v2, output: predict_proba, kind: probabilities}",
        "        guards: {max_disagreement: 2%, max_mean_shift: 0.01, p99_latency: 100x, max_extra_errors: 1%}",
    ),
    "chat": (
        CHAT,
        "    prediction: {protocol: openai, kind: text}",
        "        guards: {max_disagreement: 90%, max_extra_errors: 1%}",
    ),
    "grpc": (METHOD, "", "        guards: {max_extra_errors: 1%}"),
}
"""Path, prediction and guards by kind of traffic."""


def understudy(
    bench: Bench, live: int, mirror: int, *, kind: str = "http", workers: int = 1, tls: str = "", tree: Path = COMPILED,
    name: str = "Understudy", in_flight: int = 64,
) -> Peer:  # fmt: skip
    """In front of a model, with a shadow rollout that compares every pair where `mirror` is a port."""
    port, admin = free_port(), free_port()
    path, prediction, guards = KINDS[kind]
    grpc_port = free_port() if kind == "grpc" else 0
    text = SERVER.format(
        port=port, admin=admin, folder=bench.folder, live=live, mirror=mirror or live, path=path, workers=workers,
        extra=tls + (f", grpc_listen: '127.0.0.1:{grpc_port}'" if grpc_port else ""), prediction=prediction,
        scheme="grpc" if grpc_port else "http", timeout="30s" if kind == "chat" else "2s",
        rollouts=ROLLOUT.format(in_flight=in_flight, guards=guards) if mirror else "",
    )  # fmt: skip
    peer = serving(bench, name, bool(mirror), port, admin, text, tree)
    peer.port = grpc_port or port
    return peer


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


def compared(peer: Peer) -> float:
    """Share of sampled requests that were compared, percent."""
    time.sleep(1.5)
    with urllib.request.urlopen(f"http://127.0.0.1:{peer.admin}/api/v1/rollouts", timeout=5) as answer:
        ledger = json.load(answer)["rollouts"][0]["ledger"]
    return 100.0 * float(ledger["compared"]) / max(1, ledger["sampled"])
