"""Exemplars: one request for a bucket of a histogram or for a counter, so that a point on a graph leads to a trace.

They stand in the OpenMetrics format only. Durations have the trace of a request that was exported (`tracing:`),
failures of the candidate the request id of a pair, which is what the console and the recorded pairs are searched by.

Invariant: bounded by the configuration: one for each bucket of each series, the latest.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable

from prometheus_client.samples import Exemplar

from proxy.pairs.link import BOUNDS
from proxy.pairs.request_log import RequestEntry

MAX_RUNES = 128
"""Names and values of an exemplar's labels together (OpenMetrics 1.0, "Exemplars")."""

_PLAIN = re.compile(r"[\w.:@/+=~-]+", re.ASCII)
"""Ids that every scraper reads: prometheus_client's parser, which other agents use too, refuses the whole page when a
quoted `}` stands in an exemplar, and ids come from clients."""

LegKey = tuple[str, str, str]


class Exemplars:
    """The latest of each. `durations`: (route, upstream, leg) → bucket → exemplar; `failures`: (rollout, reason)."""

    def __init__(self) -> None:
        self.durations: dict[LegKey, dict[int, Exemplar]] = {}
        self.failures: dict[tuple[str, str], Exemplar] = {}

    def take(self, entries: Iterable[RequestEntry]) -> None:
        """Remember the legs of exported requests.

        >>> from proxy.pairs.request_log import LegEntry, example
        >>> found, leg = Exemplars(), LegEntry("served", "live", "m", "", 1.0, 0.0004, None, 200, "", "s")
        >>> found.take([example(trace="t" * 32, legs=(leg,))])
        >>> found.durations["credit", "m", "served"][0].value
        0.0004
        """
        for entry in entries:
            if not entry.trace:
                continue
            labels = _fit({"trace_id": entry.trace, "request_id": entry.id}) or {"trace_id": entry.trace}
            for leg in entry.legs:
                if leg.status and not leg.reason:
                    series = self.durations.setdefault((entry.route, leg.upstream, leg.leg), {})
                    time = round(leg.start + leg.seconds, 3)
                    series[bisect_left(BOUNDS, leg.seconds)] = Exemplar(labels, leg.seconds, time)

    def failed(self, rollout: str, reason: str, name: str, time: float) -> None:
        """Remember a failure of the candidate by the request's id; `time` in epoch seconds."""
        labels = _fit({"request_id": name})
        if labels:
            self.failures[rollout, reason] = Exemplar(labels, 1.0, round(time, 3))


def _fit(labels: dict[str, str]) -> dict[str, str]:
    """The labels if the format has room for them and their values are plain, else none.

    >>> _fit({"request_id": "019a9f6e-1"}), _fit({"request_id": 'a"}'}), _fit({"request_id": "a" * 128})
    ({'request_id': '019a9f6e-1'}, {}, {})
    """
    short = sum(len(name) + len(value) for name, value in labels.items()) <= MAX_RUNES
    return labels if short and all(map(_PLAIN.fullmatch, labels.values())) else {}
