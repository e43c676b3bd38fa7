"""What was measured, as one table."""

from __future__ import annotations

from collections.abc import Iterable

from loadtests.bench.proxies import BEFORE
from loadtests.bench.rounds import Measured, middle, ratio

BASES = ("C floor", "nginx", "Envoy")
HEAD = [
    "| workload | does | proxy | worker µs | tree µs | per | units/s | p50 ms | p99 ms | worker × C floor | × nginx "
    "| × Envoy | tree × Envoy | compared |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
]


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def lines_of(measured: Measured) -> list[str]:
    """One line for each proxy. Ratios are medians over rounds; tree × Envoy is all of ours over all of Envoy."""
    found = []
    for name, rounds in measured.rounds.items():
        ratios = [ratio(measured.rounds, name, base, lambda one: one.cpu) for base in BASES]
        ratios.append(ratio(measured.rounds, name, "Envoy", lambda one: one.tree))
        share = f"{measured.share[name]:.1f} %" if name in measured.share else ""
        figures = [middle(rounds, lambda one: one.cpu), middle(rounds, lambda one: one.tree)]
        row = [measured.workload.title, measured.mode, name, *(f"{one:.1f}" for one in figures), measured.workload.unit]
        row.append(f"{middle(rounds, lambda one: one.rate):.0f}")
        row += [f"{middle(rounds, lambda one: one.p50):.2f}", f"{middle(rounds, lambda one: one.p99):.2f}"]
        found.append("| " + " | ".join([*row, *map(_shown, ratios), share]) + " |")
    return found


def against_before(measured: Measured) -> str:
    """What a change makes of ours, where the build before it was measured too; else nothing."""
    worker = ratio(measured.rounds, "Understudy", BEFORE, lambda one: one.cpu)
    tree = ratio(measured.rounds, "Understudy", BEFORE, lambda one: one.tree)
    if worker is None or tree is None:
        return ""
    return f"{measured.workload.title}, {measured.mode}: worker {worker:.2f} × before, tree {tree:.2f} × before."


def table(measured: Iterable[Measured]) -> list[str]:
    """All of it, and what was not installed."""
    every = list(measured)
    missing = sorted({name for one in every for name in one.missing})
    found = [*HEAD, *(line for one in every for line in lines_of(one))]
    notes = [f"Not installed: {', '.join(missing)}."] if missing else []
    notes += filter(None, map(against_before, every))
    return [*found, *(line for note in notes for line in ("", note))]
