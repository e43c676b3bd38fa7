"""Rounds of every proxy in turn, and what is compared within a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from loadtests.bench.load import Interval
from loadtests.bench.processes import Bench, Peer
from loadtests.bench.proxies import BEFORE, PROXIES
from loadtests.bench.understudy import compared
from loadtests.bench.workloads import MIRROR, Workload


@dataclass
class Measured:
    """One workload in one mode: the rounds of each proxy; `share` compared (percent) where Understudy mirrors."""

    workload: Workload
    mode: str
    rounds: dict[str, list[Interval]] = field(default_factory=dict)
    share: dict[str, float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def chosen(workload: Workload, mode: str) -> list[str]:
    """The proxies that carry the workload and do what the mode asks for."""
    names = list(workload.only or PROXIES)
    if BEFORE in PROXIES and BEFORE not in names:
        names.append(BEFORE)
    able = [name for name in names if workload.kind in PROXIES[name].carries]
    return [name for name in able if mode != MIRROR or PROXIES[name].mirrors]


def measure(bench: Bench, workload: Workload, mode: str, rounds: int, seconds: float) -> Measured:
    """Every proxy in turn, `rounds` times; one interval before them is thrown away."""
    live, copy = workload.model(bench), workload.model(bench) if mode == MIRROR else 0
    found = Measured(workload, mode)
    peers: dict[str, Peer] = {}
    for name in chosen(workload, mode):
        if not PROXIES[name].is_installed:
            found.missing.append(name)
            continue
        peers[name] = PROXIES[name].make(bench, live, copy, workload.kind)
        workload.load(bench, peers[name], 1)
    for _ in range(rounds):
        for name, peer in peers.items():
            found.rounds.setdefault(name, []).append(workload.load(bench, peer, seconds))
    for name, peer in peers.items():
        if peer.admin and mode == MIRROR:
            found.share[name] = compared(peer)
        bench.stop(peer.process)
    return found


def middle(intervals: Sequence[Interval], figure: Callable[[Interval], float]) -> float:
    """The median over rounds.

    >>> middle([Interval(1, 2, 3, 4, 5), Interval(1, 4, 3, 4, 5)], lambda one: one.cpu)
    3.0
    """
    return median(figure(one) for one in intervals)


def ratio(
    rounds: Mapping[str, Sequence[Interval]], name: str, other: str, figure: Callable[[Interval], float]
) -> float | None:
    """Median over rounds of one proxy's figure over another's in the same round; `None` where either is missing.

    >>> rounds = {"a": [Interval(1, 2, 2, 1, 1)], "b": [Interval(1, 4, 8, 1, 1)]}
    >>> ratio(rounds, "a", "b", lambda one: one.tree), ratio(rounds, "a", "c", lambda one: one.cpu)
    (0.25, None)
    """
    if name not in rounds or other not in rounds:
        return None
    pairs = zip(rounds[name], rounds[other], strict=True)
    return median(figure(one) / max(1e-9, figure(base)) for one, base in pairs)
