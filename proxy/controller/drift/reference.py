"""A recording as the reference: its pairs as observations, live alone."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from proxy.controller.drift.source import DriftSource
from proxy.controller.drift.watch import Learned, learned
from proxy.controller.recordings import recorded_pairs
from proxy.model import Arm, Observation
from proxy.pairs.redaction import MASK

MOST = 100_000
"""Pairs of a recording that are read, the first ones."""


def read_reference(path: str, source: DriftSource) -> Learned:
    """What is learned of a recording. Raises `RecordingError`, and `ValueError` where too little is in it."""
    reader = source.reader()
    found = []
    for recorded in islice(recorded_pairs(Path(path)), MOST):
        pair = recorded.pair
        seen = Observation(
            source.route, pair.worker, pair.time, Arm.LIVE, pair.request_head, pair.request_body, pair.live
        )
        found.append(reader.read(seen))
    masked = sorted({name for one in found for name, value in one.inputs.items() if value == MASK})
    if masked:
        raise ValueError(f"{path}: {', '.join(masked)} is redacted in it")
    try:
        return learned(source, found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
