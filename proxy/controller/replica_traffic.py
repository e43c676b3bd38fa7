"""What this replica's own workers say of its own traffic, whoever judges it: counts, access log, traces, exemplars."""

from __future__ import annotations

from typing import Any

from proxy.controller.admin.exemplars import Exemplars
from proxy.controller.admin.interface import FleetCounts
from proxy.controller.counting import Tallies
from proxy.controller.request_log import RequestLogExporter
from proxy.pairs.request_log import RequestEntry


class ReplicaTraffic:
    """Outlives the controllers of a replica that leads now and then. `own` is how the names of its workers begin."""

    def __init__(self, own: str = "") -> None:
        self.tallies = Tallies(own)
        self.request_log = RequestLogExporter()
        self.exemplars = Exemplars()

    def on_counts(self, worker: str, counts: dict[str, Any]) -> None:
        """A worker's totals."""
        self.tallies.report(worker, counts)

    def on_entries(self, entries: list[RequestEntry]) -> None:
        """What became of some requests."""
        self.request_log.take(entries)
        self.exemplars.take(entries)

    def counts(self) -> FleetCounts:
        """All counts of it now."""
        counts = self.tallies.merged()
        counts.exemplars = self.exemplars
        for (sink, result), n in self.request_log.counts.items():
            counts.request_log[sink, result] = counts.request_log.get((sink, result), 0) + n
        return counts

    def on_gone(self, worker: str) -> None:
        """Nothing more will come from a worker."""
        self.tallies.gone(worker)
