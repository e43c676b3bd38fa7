"""Latency that a proxy with its mirror on adds at 1,000 requests/s and at 1,000 events/s of streams, and what a bad
candidate costs live."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from loadtests.bench.load import arrivals, open_loop
from loadtests.bench.machine import free_port
from loadtests.bench.processes import Bench, Peer
from loadtests.bench.proxies import PROXIES
from loadtests.bench.understudy import understudy

HEAD = [
    "| through | p50 µs | p99 µs | added p50 | added p99 | p99 × no candidate (median of rounds) |",
    "|---|---|---|---|---|---|",
]
SSE_HEAD = [
    "| events through | p50 µs | p99 µs | added p50 | added p99 | p99 × Understudy (median of rounds) |",
    HEAD[1],
]
NONE = "Understudy, no candidate"
AGAIN = " (same again)"
STREAMS = 10
"""Each has an event each 10 ms, and they take turns: one event each millisecond."""
Times = list[tuple[float, float]]


def _cases(bench: Bench, live: int) -> dict[str, Peer]:
    copy = bench.backend()
    cases = {"Understudy": understudy(bench, live, copy)}
    others = [name for name in ("nginx", "Envoy") if PROXIES[name].is_installed]
    cases |= {name: PROXIES[name].make(bench, live, copy, "http") for name in others}
    cases[NONE] = understudy(bench, live, 0)
    cases[f"{NONE}{AGAIN}"] = cases[NONE]
    cases["Understudy, candidate hung"] = understudy(bench, live, bench.backend(300, "hang"))
    cases["Understudy, candidate dead"] = understudy(bench, live, free_port())
    cases["Understudy, candidate floods 10 MB"] = understudy(bench, live, bench.backend(300, "flood"))
    return cases


def _streamed(bench: Bench, live: int) -> dict[str, Peer]:
    copy = bench.streams(100, 1, "one")
    cases = {"Understudy": understudy(bench, live, copy, kind="chat")}
    cases[f"Understudy{AGAIN}"] = cases["Understudy"]
    others = [name for name in ("nginx", "Envoy") if PROXIES[name].is_installed]
    cases |= {name: PROXIES[name].make(bench, live, copy, "chat") for name in others}
    cases[NONE] = understudy(bench, live, 0, kind="chat")
    return cases


def _rows(direct: Times, found: dict[str, Times], base: str) -> list[str]:
    p50, p99 = (median(one[i] for one in direct) for i in (0, 1))
    lines = [f"| nothing (backend alone) | {p50:.0f} | {p99:.0f} | | | |"]
    for name, each in found.items():
        a, b = (median(one[i] for one in each) for i in (0, 1))
        times = median(one[1] / other[1] for one, other in zip(each, found[base], strict=True))
        lines.append(f"| {name} | {a:.0f} | {b:.0f} | {a - p50:.0f} | {b - p99:.0f} | {times:.2f} |")
    return lines


def _measured(
    bench: Bench, live: int, cases: dict[str, Peer], rounds: int, times: Callable[[int], tuple[float, float]], base: str
) -> list[str]:
    direct: Times = []
    found: dict[str, Times] = {name: [] for name in cases}
    for _ in range(rounds):
        direct.append(times(live))
        for name, peer in cases.items():
            found[name].append(times(peer.port))
    for peer in {id(peer): peer for peer in cases.values()}.values():
        bench.stop(peer.process)
    return _rows(direct, found, base)


def latency(bench: Bench, rounds: int, seconds: float) -> list[str]:
    """Latency that each adds to requests and to events, and what a bad candidate costs live; one is there twice."""
    live = bench.backend()
    cases = _cases(bench, live)
    lines = [*HEAD, *_measured(bench, live, cases, rounds, lambda port: open_loop(bench, port, seconds), NONE)]
    live = bench.streams(100, 1, "one")
    cases = _streamed(bench, live)
    times = _measured(bench, live, cases, rounds, lambda port: arrivals(bench, port, STREAMS, seconds), "Understudy")
    return [*lines, "", *SSE_HEAD, *times]
