"""What a worker counts: plain integers in lists and dicts, read once a second, never a label lookup per request.

All counts are totals since the worker started (see COUNTS in `pairs.link`), so a lost report costs nothing. The last
`MOST_GONE` names that left the file are kept: one that comes back goes on, and a name a deployment does not add up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator
from typing import Any, Final

from proxy.model import BUCKETS, LegKind
from proxy.model.config_pieces import finish
from proxy.model.reasons import Reason
from proxy.pairs.link import BOUNDS

MOST_GONE = 100
_MANY: Final = 256
"""Durations that wait to be counted together."""
_AT_ONCE: Final = 128
"""Meters that are read in one step of a report: a tenth of a millisecond where most have counted nothing."""


class Histogram:
    """Counts per bucket of `BOUNDS` (the last is "above"), and the sum in seconds.

    Durations are put into their buckets many at a time: sorted they cost a fifth of what each would by itself.
    """

    __slots__ = ("_buckets", "_total", "_waiting")

    def __init__(self) -> None:
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._total = 0.0
        self._waiting: list[float] = []

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._waiting.append(seconds)
        if len(self._waiting) >= _MANY:
            self._count()

    def _count(self) -> None:
        waiting, below = self._waiting, 0
        waiting.sort()
        for at, bound in enumerate(BOUNDS):
            upto = bisect_right(waiting, bound)
            self._buckets[at] += upto - below
            below = upto
        self._buckets[-1] += len(waiting) - below
        self._total += sum(waiting)
        waiting.clear()

    def totals(self) -> tuple[list[int], float]:
        """The buckets, and the sum.

        >>> h = Histogram(); h.add(0.0005); h.add(0.0006); h.totals()[0][:3]
        [1, 1, 0]
        """
        if self._waiting:
            self._count()
        return self._buckets, self._total


class Meter:
    """Legs of one kind to one upstream of one route: by code (a status or a reason word), and how long they took."""

    __slots__ = ("_codes", "_same", "_status", "durations")

    def __init__(self) -> None:
        self._codes: dict[int | Reason, int] = {}
        self._status = self._same = 0
        """The last status, and how many legs in a row had it that `_codes` does not have yet."""
        self.durations = Histogram()

    def count(self, code: int | Reason, legs: int = 1) -> None:
        """Count legs that had no duration."""
        self._codes[code] = self._codes.get(code, 0) + legs

    def add(self, status: int, seconds: float) -> None:
        """Count one leg that was answered."""
        if status != self._status:
            self._end_row()
            self._status = status
        self._same += 1
        self.durations.add(seconds)

    def _end_row(self) -> None:
        if self._same:
            self.count(self._status, self._same)
            self._same = 0

    @property
    def codes(self) -> dict[int | Reason, int]:
        """How many legs ended with each code."""
        self._end_row()
        return self._codes


class Meters:
    """The three meters of one upstream on one route, as attributes: an enum as key would cost a Python call to hash."""

    __slots__ = ("copy", "hedge", "served")

    def __init__(self, counts: Counts, route: str, upstream: str) -> None:
        self.served = counts.meter(route, upstream, LegKind.SERVED)
        self.copy = counts.meter(route, upstream, LegKind.COPY)
        self.hedge = counts.meter(route, upstream, LegKind.HEDGE)


class Counts:
    """Everything a worker reports except the ledger, which the rollouts keep."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, str, LegKind], Meter] = {}
        self._overhead: dict[str, Histogram] = {}
        self._fallbacks: dict[tuple[str, Reason], int] = {}
        self._early: dict[str, int] = {}
        self._not_rewritten: dict[tuple[str, str], int] = {}
        self._named: tuple[set[str], set[str], set[str]] = set(), set(), set()
        self.offered = 0.0
        self.due = self.spared = 0
        """Requests of rollouts whose pairs are paced (`rollout.pair_budget.Strain`)."""

    def meter(self, route: str, upstream: str, leg: LegKind) -> Meter:
        """The meter of these labels; made once, at reload, and kept by whoever counts."""
        found = self._meters.pop((route, upstream, leg), None) or Meter()
        self._meters[route, upstream, leg] = found  # what was named last stands last
        return found

    def forget(self, routes: set[str], upstreams: set[str], rollouts: set[str]) -> None:
        """After a reload: keep what the file names, and the last `MOST_GONE` of each sort that it names no more."""
        if (routes, upstreams, rollouts) == self._named:
            return
        self._named = routes, upstreams, rollouts
        gone = [key for key in self._meters if key[0] and not (key[0] in routes and key[1] in upstreams)]
        for key in gone[: -MOST_GONE * len(LegKind)]:
            del self._meters[key]
        for route in [route for route in self._overhead if route not in routes][:-MOST_GONE]:
            del self._overhead[route]
        for fallback in [fallback for fallback in self._fallbacks if fallback[0] not in rollouts][:-MOST_GONE]:
            del self._fallbacks[fallback]
        for rollout in [rollout for rollout in self._early if rollout not in rollouts][:-MOST_GONE]:
            del self._early[rollout]
        left = [key for key in self._not_rewritten if key[0] not in upstreams]
        for pair in left[:-MOST_GONE]:
            del self._not_rewritten[pair]

    def overhead(self, route: str) -> Histogram:
        """Time requests of this route spent in the proxy and not in a model."""
        return self._overhead.setdefault(route, Histogram())

    def fallback(self, rollout: str, reason: Reason) -> None:
        """Count one answer of live's that a client got in place of the candidate's; `reason` is why live was asked."""
        key = (rollout, reason)
        self._fallbacks[key] = self._fallbacks.get(key, 0) + 1

    def came_early(self, rollout: str) -> None:
        """Count one request of a rollout's route that came before the first routing table."""
        self._early[rollout] = self._early.get(rollout, 0) + 1

    def was_due(self, affords: int, spared: bool) -> None:
        """Count one request that the share (basis points) had sampled, and whether it was spared."""
        self.offered += BUCKETS / affords
        self.due += 1
        self.spared += spared

    def not_rewritten(self, upstream: str, why: str) -> None:
        """Count one request that this upstream was to get changed and could not."""
        key = (upstream, why)
        self._not_rewritten[key] = self._not_rewritten.get(key, 0) + 1

    def report(self) -> dict[str, Any]:
        """The payload of COUNTS, without `ledger` and what is told of upstreams."""
        return finish(self.report_in_steps())

    def report_in_steps(self) -> Generator[None, None, dict[str, Any]]:
        """The same, between requests."""
        requests: list[list[Any]] = []
        durations: list[list[Any]] = []
        for number, (labels, meter) in enumerate(list(self._meters.items()), 1):
            if codes := meter.codes:
                for code, n in codes.items():
                    requests.append([*labels, code.value if isinstance(code, Reason) else f"{code:03d}", n])
                durations.append([*labels, *meter.durations.totals()])
            if not number % _AT_ONCE:
                yield
        return {
            "requests": requests,
            "durations": durations,
            "overhead": [[route, *durations.totals()] for route, durations in self._overhead.items()],
            "fallbacks": [[rollout, reason, n] for (rollout, reason), n in self._fallbacks.items()],
            "before_table": list(self._early.items()),
            "not_rewritten": [[*key, n] for key, n in self._not_rewritten.items()],
            "paced": [self.offered, self.due, self.spared],
        }
