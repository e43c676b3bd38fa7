"""Metrics of a model registry."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric

from proxy.controller.admin.families import counter, gauge
from proxy.controller.admin.interface import FleetCounts


def registry_families(counts: FleetCounts) -> Iterable[Metric]:
    """What a registry said, and whether it answers; nothing where none is configured."""
    if counts.registry_words:
        text = "What a model registry said of versions, by webhook or when asked, and what came of it."
        yield counter("registry_words", text, ("source", "result"), counts.registry_words)
    if counts.registry_up:
        text = "Whether the model registry answered when it was last asked."
        yield gauge("registry_up", text, ("registry",), counts.registry_up)
