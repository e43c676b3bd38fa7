"""What a worker counts: plain integers in lists and dicts, read once a second, never a label lookup per request.

All counts are totals since the worker started (see COUNTS in `pairs.link`), so a lost report costs nothing. The last
`MOST_GONE` names that left the file are kept: one that comes back goes on, and a name a deployment does not add up.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from proxy.model import Leg
from proxy.model.reasons import Reason
from proxy.pairs.link import BOUNDS

MOST_GONE = 100


class Histogram:
    """Counts per bucket of `BOUNDS` (the last is "above"), and the sum in seconds."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration.

        >>> h = Histogram(); h.add(0.0005); h.buckets[:2]
        [1, 0]
        """
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Meter:
    """Legs of one kind to one upstream of one route: by code (a status or a reason word), and how long they took."""

    __slots__ = ("buckets", "codes", "total")

    def __init__(self) -> None:
        self.codes: dict[int | Reason, int] = {}
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def count(self, code: int | Reason) -> None:
        """Count one leg that had no duration."""
        self.codes[code] = self.codes.get(code, 0) + 1

    def add(self, status: int, seconds: float) -> None:
        """Count one leg that was answered."""
        codes = self.codes
        codes[status] = codes.get(status, 0) + 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Meters:
    """The three meters of one upstream on one route, as attributes: an enum as key would cost a Python call to hash."""

    __slots__ = ("copy", "hedge", "served")

    def __init__(self, counts: Counts, route: str, upstream: str) -> None:
        self.served = counts.meter(route, upstream, Leg.SERVED)
        self.copy = counts.meter(route, upstream, Leg.COPY)
        self.hedge = counts.meter(route, upstream, Leg.HEDGE)


class Counts:
    """Everything a worker reports except the ledger, which the rollouts keep."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, str, Leg], Meter] = {}
        self._overhead: dict[str, Histogram] = {}
        self._fallbacks: dict[tuple[str, Reason], int] = {}
        self._early: dict[str, int] = {}
        self._not_rewritten: dict[tuple[str, str], int] = {}

    def meter(self, route: str, upstream: str, leg: Leg) -> Meter:
        """The meter of these labels; made once, at reload, and kept by whoever counts."""
        found = self._meters.pop((route, upstream, leg), None) or Meter()
        self._meters[route, upstream, leg] = found  # what was named last stands last
        return found

    def forget(self, routes: set[str], upstreams: set[str], rollouts: set[str]) -> None:
        """After a reload: keep what the file names, and the last `MOST_GONE` of each sort that it names no more."""
        gone = [key for key in self._meters if key[0] and not (key[0] in routes and key[1] in upstreams)]
        for key in gone[: -MOST_GONE * len(Leg)]:
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

    def not_rewritten(self, upstream: str, why: str) -> None:
        """Count one request that this upstream was to get changed and could not."""
        key = (upstream, why)
        self._not_rewritten[key] = self._not_rewritten.get(key, 0) + 1

    def report(self) -> dict[str, Any]:
        """The payload of COUNTS, without `ledger` and `connections`."""
        meters = self._meters.items()
        return {
            "requests": [
                [*labels, code.value if isinstance(code, Reason) else f"{code:03d}", n]
                for labels, meter in meters
                for code, n in meter.codes.items()
            ],
            "durations": [[*labels, meter.buckets, meter.total] for labels, meter in meters if meter.codes],
            "overhead": [[route, hist.buckets, hist.total] for route, hist in self._overhead.items()],
            "fallbacks": [[rollout, reason, n] for (rollout, reason), n in self._fallbacks.items()],
            "before_table": list(self._early.items()),
            "not_rewritten": [[*key, n] for key, n in self._not_rewritten.items()],
        }
