"""Worker counts, merged by replica: the totals of each incarnation, and those of the dead in one sum.

Workers report totals, so a report replaces the last one of the same incarnation, and merging is addition.
Invariant: a sum never falls when a worker dies; what it last reported stays in it (open connections excepted).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from math import inf
from typing import Any

from proxy.controller.admin.interface import FleetCounts
from proxy.pairs.link import BOUNDS

log = logging.getLogger("understudy.counting")

MOST_LEDGERS = 10_000
"""Trials of each worker whose last report is kept: it is not repeated once they are over, and they may come back."""

MOST_DEAD = 1_000
"""Addresses of which the counts of workers that died are kept."""


MOST_REPLICAS = 256
"""Replicas of which the counts of workers that died are kept."""


class Tallies:
    """Reports by incarnation; in a fleet their names are `REPLICA/WORKER`. `own` is how those of this replica's begin:
    they alone are in `merged`, so that nobody's metrics are counted by two. `clock` gives monotonic seconds."""

    def __init__(self, own: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._own, self._clock = own, clock
        self._reports: dict[str, dict[str, Any]] = {}
        self._ledgers: dict[str, dict[str, dict[str, int]]] = {}
        self._dead: dict[str, FleetCounts] = {}  # by replica
        self._heard: dict[str, float] = {}  # when each replica's last report came

    def report(self, worker: str, payload: dict[str, Any]) -> None:
        """Take a worker's totals."""
        self._reports[worker] = payload
        self._heard[_replica(worker)] = self._clock()
        ledgers = self._ledgers.setdefault(worker, {})
        for trial, ledger in payload.get("ledger", {}).items():
            ledgers.pop(trial, None)  # so that the one reported last comes last
            ledgers[trial] = ledger
        for trial in list(ledgers)[:-MOST_LEDGERS]:
            del ledgers[trial]

    def ledgers(self, trial: str) -> dict[str, dict[str, int]]:
        """What each worker has reported of a trial at last, by incarnation."""
        return {worker: found for worker, ledgers in self._ledgers.items() if (found := ledgers.get(trial))}

    def gone(self, worker: str) -> None:
        """Keep what a dead worker had reported."""
        self._ledgers.pop(worker, None)
        payload = self._reports.pop(worker, None)
        if payload is None:
            return
        replica = _replica(worker)
        dead = self._dead[replica] = self._dead.pop(replica, FleetCounts())  # the last one comes last
        _add(dead, {**payload, "connections": []})
        for key in list(dead.endpoints)[:-MOST_DEAD]:
            del dead.endpoints[key]
        for oldest in [name for name in self._dead if name != _replica(self._own)][:-MOST_REPLICAS]:
            del self._dead[oldest]
            self._heard.pop(oldest, None)

    def forget_others(self) -> None:
        """Other replicas' workers report to another leader from now on."""
        own = _replica(self._own)
        for worker in [name for name in self._reports if _replica(name) != own]:
            self._ledgers.pop(worker, None)
            del self._reports[worker]
        for known in (self._dead, self._heard):
            for replica in [name for name in known if name != own]:
                del known[replica]

    def merged(self, replica: str | None = None) -> FleetCounts:
        """The sum of all of a replica, this one where none is named; a fresh value."""
        counts, replica = FleetCounts(), _replica(self._own) if replica is None else replica
        dead = self._dead.get(replica, _NOBODY)
        _add_counts(counts, dead)
        for worker, payload in self._reports.items():
            if _replica(worker) == replica:
                _add(counts, payload)
        for key, row in counts.endpoints.items():  # of an address that nobody knows any more nothing is told
            if (known := dead.endpoints.get(key)) is not None:
                row[2:] = [a + b for a, b in zip(row[2:], known[2:], strict=True)]
        return counts

    def age(self, replica: str | None = None) -> float:
        """Seconds since the last report of a replica's workers, this one's where none is named; infinite before."""
        return self._clock() - self._heard.get(_replica(self._own) if replica is None else replica, -inf)


_NOBODY = FleetCounts()


def _replica(worker: str) -> str:
    """The replica of a worker, empty on a machine that is no fleet.

    >>> _replica("host-1:9091/0a1b"), _replica("0a1b")
    ('host-1:9091', '')
    """
    return worker.rpartition("/")[0]


def _add(counts: FleetCounts, payload: dict[str, Any]) -> None:
    """Add one worker's totals (see COUNTS in `pairs.link`)."""
    for route, upstream, leg, code, n in payload.get("requests", ()):
        key = (route, upstream, leg, str(code))
        counts.requests[key] = counts.requests.get(key, 0) + n
    for route, upstream, leg, buckets, total in payload.get("durations", ()):
        _add_histogram(counts.durations, (route, upstream, leg), buckets, total)
    for route, buckets, total in payload.get("overhead", ()):
        _add_histogram(counts.overhead, route, buckets, total)
    for rollout, reason, n in payload.get("fallbacks", ()):
        counts.fallbacks[rollout, reason] = counts.fallbacks.get((rollout, reason), 0) + n
    for rollout, n in payload.get("before_table", ()):
        counts.before_table[rollout] = counts.before_table.get(rollout, 0) + n
    for sink, n in payload.get("request_log", {}).items():
        counts.request_log[sink, "dropped"] = counts.request_log.get((sink, "dropped"), 0) + n
    counts.refused_tables += payload.get("refused_tables", 0)
    counts.spared += payload.get("paced", (0.0, 0, 0))[2]
    for upstream, n in payload.get("lookups", ()):
        counts.lookups[upstream] = counts.lookups.get(upstream, 0) + n
    for upstream, why, n in payload.get("not_rewritten", ()):
        counts.not_rewritten[upstream, why] = counts.not_rewritten.get((upstream, why), 0) + n
    for upstream, n in payload.get("paths", ()):
        counts.not_rewritten[upstream, "path"] = counts.not_rewritten.get((upstream, "path"), 0) + n
    for upstream, n in payload.get("unhashed", ()):
        counts.unhashed[upstream] = counts.unhashed.get(upstream, 0) + n
    _add_observed(counts.observed, payload.get("observed", {}))
    for upstream, address, state, *totals in payload.get("endpoints", ()):
        row = [1, int(state == "up"), *totals]
        old = counts.endpoints.get((upstream, address), [0] * len(row))
        counts.endpoints[upstream, address] = [a + b for a, b in zip(old, row, strict=True)]
    for upstream, state, n in payload.get("connections", ()):
        counts.connections[upstream, state] = counts.connections.get((upstream, state), 0) + n


def _add_observed(observed: dict[tuple[str, str], int], totals: dict[str, dict[str, int]]) -> None:
    """What became of requests that were drawn for drift."""
    for route, results in totals.items():
        for result, n in results.items():
            if result != "sampled":
                observed[route, result] = observed.get((route, result), 0) + n


def _add_counts(counts: FleetCounts, other: FleetCounts) -> None:
    for plain in (
        "requests",
        "fallbacks",
        "before_table",
        "request_log",
        "lookups",
        "unhashed",
        "not_rewritten",
        "observed",
    ):
        mine, theirs = getattr(counts, plain), getattr(other, plain)
        for key, n in theirs.items():
            mine[key] = mine.get(key, 0) + n
    counts.refused_tables += other.refused_tables
    counts.spared += other.spared
    for key, (buckets, total) in other.durations.items():
        _add_histogram(counts.durations, key, buckets, total)
    for route, (buckets, total) in other.overhead.items():
        _add_histogram(counts.overhead, route, buckets, total)


def _add_histogram(into: dict[Any, tuple[list[int], float]], key: Any, buckets: list[int], total: float) -> None:
    old, sum_of = into.get(key, ([0] * (len(BOUNDS) + 1), 0.0))
    into[key] = ([a + b for a, b in zip(old, buckets, strict=True)], sum_of + total)
