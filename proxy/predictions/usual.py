"""The usual pair, in two thirds of the time that any other takes: two answers of 200 with nothing to undo, of the same
type, each of which is JSON that holds one value, or one row of numbers, beyond doubt; or, where no values are read, has
something in it.

Invariant: what is read here is what `PairReader` reads the long way (`tests/predictions/test_usual.py`); whatever is in
doubt is left to it. An answer that is the other's byte for byte is not parsed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from proxy.model import UNPRICED, Mismatch, Outcome, Pair, Prediction, PredictionSpec, Reading, make
from proxy.model.reasons import Reason
from proxy.predictions.bounds import Bounds
from proxy.predictions.mismatch import is_empty
from proxy.predictions.protocol import Protocol
from proxy.predictions.shapes import one_row

STREAM, GRPC = "text/event-stream", "application/grpc"
"""Types of body that are never one JSON document."""

_FINE, _ALIKE = Reason.NONE, Mismatch.NONE  # looking up a member of an enum costs 0.1 µs in Python 3.11


class UsualReader:
    """Reads usual pairs of one plan. `spec` and its protocol are `None` where no values are read, `types` the plain
    heads that are known, with the type of body that each names, `of_request` gives hash, segment and cluster of a
    request: its head, its body, and what stands for the rest of that."""

    __slots__ = ("_most", "_of_message", "_of_request", "_single", "_spec", "_types")

    def __init__(
        self,
        spec: PredictionSpec | None,
        protocol: Protocol | None,
        bounds: Bounds,
        types: Mapping[bytes, str],
        of_request: Callable[[bytes, bytes, bytes], tuple[int, str, str]],
    ) -> None:
        self._spec, self._most = spec, bounds.nodes
        self._single = protocol.single if protocol is not None else None
        known = protocol.message_row if protocol is not None else None
        self._of_message = known(spec) if known is not None and spec is not None else None
        self._types, self._of_request = types, of_request

    def read(self, pair: Pair) -> Reading | None:
        """The reading of a usual pair, `None` of any other. Never raises."""
        # Taken apart at once: a look-up by name for each field would take longer than all of it. What is only handed on
        # is of no type here, or compiled code would take each number out of its object and make it another.
        sequence: Any
        time: Any
        live_seconds: Any
        live_first: Any
        seconds: Any
        first: Any
        (
            _, stage, worker, sequence, name, time, served, head, body, ours, theirs, second, hedged, fell_back, slot,
            given, rest,
        ) = pair  # fmt: skip
        status, fault, our_head, our_body, live_seconds, live_first = ours
        their_status, their_fault, their_head, their_body, seconds, first = theirs
        if not (status == their_status == 200 and fault is their_fault is _FINE and second is None):
            return None
        of_type = self._types.get(our_head)
        if of_type is None or of_type != self._types.get(their_head) or head[:5] == b"HEAD ":
            return None
        said = _unread(ours, theirs) if self._spec is None else self._both(our_body, their_body, of_type)
        if said is None:
            return None
        live, candidate = said
        key, segment, cluster = self._of_request(head, body, rest)
        return make(Reading, (
            stage, worker, sequence, given or name, time, served, _FINE, _FINE, live, candidate, None,
            live_seconds, seconds, live_first, first, slot, hedged, fell_back, key, segment, cluster, "",
            0, 0, _ALIKE, False, (), UNPRICED, UNPRICED, False, 0.0,
        ))  # fmt: skip

    def _both(self, live: bytes, candidate: bytes, of_type: str) -> tuple[Prediction | None, Prediction | None] | None:
        """What both bodies say, if that is beyond doubt and can be compared."""
        if of_type == STREAM or (ours := self._said(live, of_type)) is None:
            return None
        if candidate == live:
            return ours, ours
        theirs = self._said(candidate, of_type)
        return None if theirs is None or not _fit(ours[1][0], theirs[1][0]) else (ours, theirs)

    def _said(self, body: bytes, of_type: str) -> Prediction | None:
        """The one row of a body, if it is beyond doubt."""
        spec, single = self._spec, self._single
        if spec is None or single is None or len(body) > self._most:
            return None
        try:
            if of_type == GRPC and self._of_message is not None:
                return one_row(spec, self._of_message(body))
            return one_row(spec, single(spec, orjson.loads(body)))
        except Exception:  # no JSON, or whatever else: the long way says what is wrong with it
            return None


def _unread(live: Outcome, candidate: Outcome) -> tuple[Prediction | None, Prediction | None] | None:
    """What both say where no values are read, if there is something in them."""
    return None if is_empty(live) or is_empty(candidate) else (None, None)


def _fit(live: Any, candidate: Any) -> bool:
    """Whether two rows can be compared without a doubt: of one type, and as wide as each other."""
    return type(live) is type(candidate) and (type(live) is not tuple or len(live) == len(candidate))
