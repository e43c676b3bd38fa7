"""The usual pair, in two thirds of the time that any other takes: two answers of 200 with nothing to undo, of the same
type, each of which is JSON that holds one value, or one row of numbers, beyond doubt.

Invariant: what is read here is what `PairReader` reads the long way (`tests/predictions/test_usual.py`); whatever is in
doubt is left to it. An answer that is the other's byte for byte is not parsed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import nan
from typing import Any

import orjson

from proxy.model import Mismatch, Pair, Prediction, PredictionSpec, Reading, make
from proxy.model.reasons import Reason
from proxy.predictions.bounds import Bounds
from proxy.predictions.shapes import one_row

STREAM = "text/event-stream"
"""A type of body that is never one JSON document."""

_FINE, _ALIKE = Reason.NONE, Mismatch.NONE  # looking up a member of an enum costs 0.1 µs in Python 3.11


class UsualReader:
    """Reads usual pairs of one plan. `single` is the protocol's, `types` the plain heads that are known, with the type
    of body that each names, `of_request` gives hash, segment and cluster of a request: its head, its body, and what
    stands for the rest of that."""

    __slots__ = ("_most", "_of_request", "_single", "_spec", "_types")

    def __init__(
        self,
        spec: PredictionSpec,
        single: Callable[[PredictionSpec, Any], Any],
        bounds: Bounds,
        types: Mapping[bytes, str],
        of_request: Callable[[bytes, bytes, bytes], tuple[int, str, str]],
    ) -> None:
        self._spec, self._single, self._most = spec, single, bounds.nodes
        self._types, self._of_request = types, of_request

    def read(self, pair: Pair) -> Reading | None:
        """The reading of a usual pair, `None` of any other. Never raises."""
        # Taken apart at once: a look-up by name for each field would take longer than all of it.
        (
            _, stage, worker, sequence, name, time, served, head, body, ours, theirs, second, hedged, fell_back, slot,
            given, rest,
        ) = pair  # fmt: skip
        status, fault, our_head, our_body, live_seconds, live_first = ours
        their_status, their_fault, their_head, their_body, seconds, first = theirs
        if not (status == their_status == 200 and fault is their_fault is _FINE and second is None):
            return None
        of_type = self._types.get(our_head)
        if of_type is None or of_type != self._types.get(their_head) or of_type == STREAM or head[:5] == b"HEAD ":
            return None
        live = self._said(our_body)
        if live is None:
            return None
        candidate = live if their_body == our_body else self._said(their_body)
        if candidate is None or (candidate is not live and not _fit(live[1][0], candidate[1][0])):
            return None
        key, segment, cluster = self._of_request(head, body, rest)
        return make(Reading, (
            stage, worker, sequence, given or name, time, served, _FINE, _FINE, live, candidate, None,
            live_seconds, seconds, live_first, first, slot, hedged, fell_back, key, segment, cluster, "",
            0, 0, _ALIKE, False, (), nan, nan, False, 0.0,
        ))  # fmt: skip

    def _said(self, body: bytes) -> Prediction | None:
        """The one row of a body, if it is beyond doubt."""
        if len(body) > self._most:
            return None
        try:
            return one_row(self._spec, self._single(self._spec, orjson.loads(body)))
        except Exception:  # no JSON, or whatever else: the long way says what is wrong with it
            return None


def _fit(live: Any, candidate: Any) -> bool:
    """Whether two rows can be compared without a doubt: of one type, and as wide as each other."""
    return type(live) is type(candidate) and (type(live) is not tuple or len(live) == len(candidate))
