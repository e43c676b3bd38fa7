"""Latency that a proxy with its mirror on adds at 1,000 requests/s, and what a bad candidate costs live."""

from __future__ import annotations

from statistics import median

from loadtests.bench.load import open_loop
from loadtests.bench.machine import free_port
from loadtests.bench.processes import Bench, Peer
from loadtests.bench.proxies import PROXIES
from loadtests.bench.understudy import understudy

HEAD = [
    "| through | p50 µs | p99 µs | added p50 | added p99 | p99 × no candidate (median of rounds) |",
    "|---|---|---|---|---|---|",
]
NONE = "Understudy, no candidate"
Times = list[tuple[float, float]]


def _cases(bench: Bench, live: int) -> dict[str, Peer]:
    copy = bench.backend()
    cases = {"Understudy": understudy(bench, live, copy)}
    others = [name for name in ("nginx", "Envoy") if PROXIES[name].is_installed]
    cases |= {name: PROXIES[name].make(bench, live, copy, "http") for name in others}
    cases[NONE] = understudy(bench, live, 0)
    cases[f"{NONE} (same again)"] = cases[NONE]
    cases["Understudy, candidate hung"] = understudy(bench, live, bench.backend(300, "hang"))
    cases["Understudy, candidate dead"] = understudy(bench, live, free_port())
    cases["Understudy, candidate floods 10 MB"] = understudy(bench, live, bench.backend(300, "flood"))
    return cases


def _rows(direct: Times, found: dict[str, Times]) -> list[str]:
    p50, p99 = (median(one[i] for one in direct) for i in (0, 1))
    lines = [f"| nothing (backend alone) | {p50:.0f} | {p99:.0f} | | | |"]
    for name, each in found.items():
        a, b = (median(one[i] for one in each) for i in (0, 1))
        times = median(one[1] / other[1] for one, other in zip(each, found[NONE], strict=True))
        lines.append(f"| {name} | {a:.0f} | {b:.0f} | {a - p50:.0f} | {b - p99:.0f} | {times:.2f} |")
    return lines


def latency(bench: Bench, rounds: int, seconds: float) -> list[str]:
    """Latency that each adds, and what a bad candidate costs live. One proxy is there twice."""
    live = bench.backend()
    cases = _cases(bench, live)
    direct: Times = []
    found: dict[str, Times] = {name: [] for name in cases}
    for _ in range(rounds):
        direct.append(open_loop(bench, live, seconds))
        for name, peer in cases.items():
            found[name].append(open_loop(bench, peer.port, seconds))
    for peer in {id(peer): peer for peer in cases.values()}.values():
        bench.stop(peer.process)
    return [*HEAD, *_rows(direct, found)]
