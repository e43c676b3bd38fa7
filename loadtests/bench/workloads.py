"""The list: which traffic, in which unit it is counted, through which proxies, forwarded or mirrored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loadtests.bench import load
from loadtests.bench.load import Interval
from loadtests.bench.processes import Bench, Peer
from loadtests.bench.understudy import CHAT

PACE = 6000
"""Requests a second at which every pair can be compared."""
STREAMS, EVENTS, GAP_MS = 48, 100, 10
PROMPT = 300 << 10
FORWARD, MIRROR = "forward", "forward + mirror"


@dataclass(frozen=True)
class Workload:
    """`key` on the command line, `title` in the table, what one `unit` of it is; `kind` as in `understudy.KINDS`.

    `model` starts a model and gives its port; `load` puts one interval of load on a proxy; `modes` are what the proxies
    do; `only` names the proxies, all that carry the kind where it is empty.
    """

    key: str
    title: str
    unit: str
    model: Callable[[Bench], int]
    load: Callable[[Bench, Peer, float], Interval]
    kind: str = "http"
    modes: tuple[str, ...] = (FORWARD, MIRROR)
    only: tuple[str, ...] = ()


def _small(connections: int, vary: bool = False) -> Callable[[Bench, Peer, float], Interval]:
    return lambda bench, peer, seconds: load.wrk(peer, load.lua(bench, vary=vary), connections, seconds)


def _long(bench: Bench, peer: Peer, seconds: float) -> Interval:
    return load.wrk(peer, load.lua(bench, load.prompt(PROMPT), path=CHAT), 8, seconds)


def _streamed(bench: Bench, peer: Peer, seconds: float) -> Interval:
    return load.events(bench, peer, STREAMS, max(1, round(seconds * 1e3 / (EVENTS * GAP_MS))))


def _model(bench: Bench) -> int:
    return bench.backend()


WORKLOADS = (
    Workload("small", "1 KB JSON, 32 connections", "request", _model, _small(32)),
    Workload("many", "1 KB JSON, 256 connections", "request", _model, _small(256)),
    Workload(
        "heads", "1 KB JSON, every head different", "request", _model, _small(32, vary=True), modes=(FORWARD,),
        only=("Understudy", "C floor", "nginx", "Envoy"),
    ),
    Workload(
        "paced", f"1 KB JSON, {PACE:,} requests/s", "request", _model,
        lambda bench, peer, seconds: load.paced(bench, peer, seconds, PACE), modes=(MIRROR,),
        only=("Understudy", "C floor", "uvloop relay", "nginx", "Envoy"),
    ),
    Workload(
        "prompts", f"{PROMPT >> 10} kB chat requests, 8 connections", "request",
        lambda bench: bench.backend(2000, "chat"), _long, kind="chat",
    ),
    Workload(
        "sse", f"{STREAMS} streams of {EVENTS} events, one each {GAP_MS} ms", "event",
        lambda bench: bench.streams(EVENTS, GAP_MS), _streamed, kind="chat",
    ),
    Workload(
        "grpc", "300 B unary calls, 8 at a time", "call", lambda bench: bench.grpc_model(),
        lambda bench, peer, seconds: load.calls(bench, peer, seconds), kind="grpc",
    ),
)  # fmt: skip
"""What people run."""
