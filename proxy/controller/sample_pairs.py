"""Pairs kept to be looked at: the worst, the latest and the latest judged of a rollout, few and small.

A person who reads "disagreement 5 %" wants to see five. There are at most `MOST` and `MAX_BYTES` of each sort, with at
most `MAX_BODY` bytes of each body (`MAX_SPOKEN` of what a language model said) and the first values of each prediction,
so the memory is bounded whatever the traffic (10 MiB a rollout); what is beyond is shown as cut.

Invariant: what leaves here has `redact` applied. A body that is to be redacted and cannot be read as JSON is not shown.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from proxy.controller.admin.pair_view import ReadPairJson, SeenAnswerJson, SeenAspectJson
from proxy.evidence.input.distances import LARGE, cosine_distances, total_variations
from proxy.evidence.process.wealth import Floats
from proxy.model import VALID, Kind, Outcome, Pair, Prediction, Reading, make
from proxy.pairs.link import KEPT
from proxy.pairs.redaction import pointers, redact, redact_query
from proxy.predictions.calls import calls_distance
from proxy.rfc3339 import rfc3339

MOST = 50
WORDING = 0.1
"""The difference of a pair of several predictions of which only texts differ."""
MAX_BYTES = 2 * 1024 * 1024
"""Bytes of all worst, of all latest and of all judged pairs, estimated from above."""
MAX_BODY = KEPT
MAX_SPOKEN = 128 * 1024
"""Bytes kept of a language model's answer: an event of a stream weighs a quarter of a kilobyte and brings a word."""
MAX_ROWS, MAX_VALUES, MAX_TEXT = 10, 64, 1000
"""Rows kept of a prediction, values of a row, characters of a text."""
SMALL = 2048
"""A pair of so many bytes has nothing that is worth cutting."""
TOGETHER, WAITING = 4 * MOST, 2 * MAX_BYTES
"""Pairs that are looked at together, and their bytes, estimated from above."""
OWN, DECODED = 1024, 8
"""Bytes of an entry beside what was sent and answered, and bytes of decoded values per byte of an answer, at most."""
ROW, CHARACTER, VALUE = 96, 4, 40
"""Bytes of a text or tuple beside what it holds, of a character, and of a number in a tuple, at most."""


class _Entry(NamedTuple):
    """Ordered by badness, then by age: the number is its own, so that nothing behind it is ever compared."""

    badness: float
    number: int
    size: int
    pair: Pair
    reading: Reading


def badness(reading: Reading) -> float:
    """How bad a pair is for the candidate, to sort by: a failure is 2, a mismatch 1, else the difference in 0..1.

    >>> from proxy.model import Arm
    >>> one = lambda v: Prediction(Kind.SCORE, (v,))
    >>> difference(one(0.5), one(0.75))
    0.25
    """
    if reading.fault:
        return 0.0 if reading.live_fault else 2.0
    if reading.mismatch:
        return 1.0
    if reading.aspects:
        return max(map(_as_one_of_several, reading.aspects))
    live, candidate = reading.live, reading.candidate
    return 0.0 if live is None or candidate is None else difference(live, candidate)


def _as_one_of_several(reading: Reading) -> float:
    """How bad one of several predictions is: nearly every two texts differ in some word, and a pair with another call
    or a refusal must not be lost among them."""
    found = badness(reading)
    return WORDING if found == 1.0 and reading.live is not None and reading.live.kind is Kind.TEXT else found


def difference(live: Prediction, candidate: Prediction) -> float:
    """Largest difference over the rows, 0..1: whether they differ, or for numbers the distance, at most 1."""
    ours, theirs = live.rows, candidate.rows
    if ours == theirs:
        return 0.0
    if live.kind in _ARRAYS and len(ours) * len(ours[0]) >= LARGE:
        return float(_ARRAYS[live.kind](np.array(ours), np.array(theirs)).max())
    far = _FAR.get(live.kind, _differ)
    if len(ours) == 1:
        return far(ours[0], theirs[0])
    return max(map(far, ours, theirs))


def _apart(a: float, b: float) -> float:
    return min(1.0, abs(a - b))


def _moved(a: Sequence[float], b: Sequence[float]) -> float:
    return sum([abs(x - y) for x, y in zip(a, b, strict=False)], 0.0) / 2


def _differ(a: Any, b: Any) -> float:
    return float(a != b)


def _angle(a: Sequence[float], b: Sequence[float]) -> float:
    norm = math.sqrt(sum([x * x for x in a], 0.0) * sum([y * y for y in b], 0.0))
    if not norm > 0:
        return float(a != b)
    return min(1.0, 1.0 - sum([x * y for x, y in zip(a, b, strict=False)], 0.0) / norm)


_FAR: dict[Kind, Callable[[Any, Any], float]] = {
    Kind.CALLS: calls_distance,
    Kind.JSON: lambda a, b: float((a == VALID) != (b == VALID)),
    Kind.SCORE: _apart,
    Kind.NUMBER: _apart,
    Kind.PROBABILITIES: _moved,
    Kind.VECTOR: _angle,
}


_ARRAYS: dict[Kind, Callable[[Floats, Floats], Floats]] = {
    Kind.PROBABILITIES: total_variations,
    Kind.VECTOR: cosine_distances,
}


class SamplePairs:
    """The worst and the latest pairs of one rollout, with `most_body` bytes of each answer."""

    def __init__(self, most_body: int = MAX_BODY) -> None:
        self.most_body = most_body
        self._worst: list[_Entry] = []
        self._latest: deque[_Entry] = deque()
        self._judged: deque[_Entry] = deque()
        self._worst_bytes = self._latest_bytes = self._judged_bytes = 0
        self._number = 0
        self._new: list[tuple[Pair, Reading]] = []  # those that have not been looked at yet
        self._new_bytes = 0

    def add(self, pair: Pair, reading: Reading) -> None:
        """Take one more pair. Most wait until there are `TOGETHER`, or `WAITING` bytes of them: by then they are mostly
        neither among the latest nor among the worst, and nothing need be made of them."""
        if pair.again is None and not reading.aspects:
            self._new.append((pair, reading))
            self._new_bytes += _raw(pair) + DECODED * (len(pair.live.body) + len(pair.candidate.body))
            if len(self._new) >= TOGETHER or self._new_bytes > WAITING:
                self._look()
            return
        self._look()
        bad = badness(reading)
        entry = self._entry(pair, reading, bad)
        self._keep_latest(entry)
        if self._is_bad(bad, entry.size):
            self._keep_worst(entry)

    def _look(self) -> None:
        """Look at those that wait, in their order."""
        new, self._new, self._new_bytes = self._new, [], 0
        before = len(new) - MOST
        for at, (pair, reading) in enumerate(new):
            bad = badness(reading)
            worst = self._worst
            if at < before and (bad <= 0.0 or (len(worst) >= MOST and bad <= worst[0].badness)):
                self._number += 1
                continue
            entry = self._entry(pair, reading, bad)
            if at >= before:
                self._keep_latest(entry)
            if self._is_bad(bad, entry.size):
                self._keep_worst(entry)

    def _keep_latest(self, entry: _Entry) -> None:
        self._latest.append(entry)
        self._latest_bytes += entry.size
        while len(self._latest) > MOST or self._latest_bytes > MAX_BYTES:
            self._latest_bytes -= self._latest.popleft().size

    def _is_bad(self, bad: float, size: int) -> bool:
        """Whether it is among the worst. Of equal ones the earlier stay: who looks at one finds it again."""
        worst = self._worst
        full = len(worst) >= MOST or self._worst_bytes + size > MAX_BYTES
        return bad > 0.0 and not (full and worst and bad <= worst[0].badness)

    def _keep_worst(self, entry: _Entry) -> None:
        heapq.heappush(self._worst, entry)
        self._worst_bytes += entry.size
        while len(self._worst) > MOST or self._worst_bytes > MAX_BYTES:
            self._worst_bytes -= heapq.heappop(self._worst).size

    def find(self, pair_id: str) -> Pair | None:
        """The kept pair of that id, `None` when it is not kept any more."""
        self._look()
        return next(
            (entry.pair for entry in (*self._worst, *self._latest, *self._judged) if entry.pair.id == pair_id), None
        )

    def add_judged(self, pair: Pair, reading: Reading) -> None:
        """Keep a pair about which a judge has said something, which may be long after it came."""
        entry = self._entry(pair, reading, badness(reading))
        self._judged.append(entry)
        self._judged_bytes += entry.size
        while len(self._judged) > MOST or self._judged_bytes > MAX_BYTES:
            self._judged_bytes -= self._judged.popleft().size

    def _entry(self, pair: Pair, reading: Reading, bad: float) -> _Entry:
        self._number += 1
        size = OWN * (1 + len(reading.aspects)) + (1 + DECODED * max(1, len(reading.aspects))) * _raw(pair)
        if size > OWN + (1 + DECODED) * SMALL or pair.again is not None:
            pair, reading, size = _cut(pair, reading, self.most_body)
        return make(_Entry, (bad, self._number, size, pair, reading))

    def shown(self, order: str, limit: int, redacted: Sequence[str], names: Sequence[str] = ()) -> list[ReadPairJson]:
        """At most `limit` pairs as JSON values, `order` `worst`, `latest` or `judged`, `redacted` masked in bodies and
        query. `names` are those of several predictions."""
        self._look()
        latest = self._judged if order == "judged" else self._latest
        found = sorted(self._worst, reverse=True) if order == "worst" else list(latest)[::-1]
        return [_shown(entry, redacted, names) for entry in found[:limit]]


def _raw(pair: Pair) -> int:
    """Bytes that were sent and answered."""
    live, candidate = pair.live, pair.candidate
    heads = len(pair.request_head) + len(live.head) + len(candidate.head)
    return heads + len(pair.request_body) + len(live.body) + len(candidate.body)


def _cut(pair: Pair, reading: Reading, most: int) -> tuple[Pair, Reading, int]:
    """Pair and reading with the first bytes of each body and the first values of each prediction, and their size."""
    live, candidate = _shortened(pair.live, most), _shortened(pair.candidate, most)
    if len(body := pair.request_body) > MAX_BODY:  # as a worker cuts it, but for a checksum that nobody asks for here
        pair = pair._replace(request_body=body[:MAX_BODY], request_rest=len(body).to_bytes(12, "little"))
    if live is not pair.live or candidate is not pair.candidate or pair.again is not None:
        pair = pair._replace(live=live, candidate=candidate, again=None)
    aspects = tuple(map(_few, reading.aspects))
    reading = _few(reading)
    if aspects:
        reading = reading._replace(aspects=aspects)
    values = sum(_weight(one.live) + _weight(one.candidate) for one in (reading, *aspects))
    return pair, reading, OWN * (1 + len(aspects)) + _raw(pair) + values


def _weight(prediction: Prediction | None) -> int:
    """Bytes of a prediction's rows, from above.

    >>> _weight(None), _weight(Prediction(Kind.TEXT, ("abc",))), _weight(Prediction(Kind.VECTOR, ((0.5, 0.5),)))
    (0, 204, 272)
    """
    if prediction is None:
        return 0
    return ROW + sum(map(_row_weight, prediction.rows))


def _row_weight(row: Any) -> int:
    if isinstance(row, str):
        return ROW + CHARACTER * len(row)
    if not isinstance(row, tuple):
        return VALUE
    return ROW + (sum(map(_row_weight, row)) if row and isinstance(row[0], str) else VALUE * len(row))


def _few(reading: Reading) -> Reading:
    live, candidate = _first(reading.live), _first(reading.candidate)
    if live is reading.live and candidate is reading.candidate and reading.again is None:
        return reading  # to make one anew takes 3 µs
    return reading._replace(live=live, candidate=candidate, again=None)


def _shortened(outcome: Outcome, most: int) -> Outcome:
    """Slices are copies, so what is cut does not hold the whole body."""
    return outcome if len(outcome.body) <= most else outcome._replace(body=outcome.body[:most])


def _first(prediction: Prediction | None) -> Prediction | None:
    if prediction is None:
        return None
    if prediction.kind is Kind.CALLS:
        calls = (tuple(call[:MAX_TEXT] for call in row[:MAX_ROWS]) for row in prediction.rows[:MAX_ROWS])
        return Prediction(prediction.kind, tuple(calls))
    most = MAX_TEXT if prediction.kind in (Kind.TEXT, Kind.LABEL, Kind.JSON) else MAX_VALUES
    if len(prediction.rows) == 1 and not prediction.names and _is_within(prediction.rows[0], most):
        return prediction
    rows = (row[:most] if isinstance(row, str | tuple) else row for row in prediction.rows[:MAX_ROWS])
    return Prediction(prediction.kind, tuple(rows))


def _is_within(row: Any, most: int) -> bool:
    return not isinstance(row, str | tuple) or len(row) <= most


def _shown(entry: _Entry, redacted: Sequence[str], names: Sequence[str]) -> ReadPairJson:
    pair, reading = entry.pair, entry.reading
    hidden = pointers(redacted)
    method, path, *_ = (*pair.request_head.split(b"\r\n", 1)[0].decode("latin-1").split(" "), "", "")
    return {
        "id": pair.id,
        "request_id": pair.known_as,
        "time": rfc3339(pair.time),
        "served": pair.served,
        "difference": entry.badness,
        "fault": reading.fault.value or None,
        "live_fault": reading.live_fault.value or None,
        "mismatch": reading.mismatch or None,
        "detail": "" if hidden else reading.detail,
        "segment": reading.segment or None,
        "request": {
            "method": method,
            "path": redact_query(path, redacted),
            "body": _text(pair.request_body, hidden),
            "size": pair.request_size,
            "whole": pair.request_size == len(pair.request_body) <= MAX_BODY,
        },
        "live": _arm(pair.live, reading.live, hidden),
        "candidate": _arm(pair.candidate, reading.candidate, hidden),
        "aspects": [] if hidden else list(map(_aspect, reading.aspects, names)),
    }


def _aspect(reading: Reading, name: str) -> SeenAspectJson:
    """What was read as one of several predictions, and how far the two arms differ in it."""
    return {
        "name": name,
        "difference": badness(reading),
        "live": _rows(reading.live),
        "candidate": _rows(reading.candidate),
        "detail": reading.detail,
    }


def _rows(prediction: Prediction | None) -> list[Any] | None:
    return list(prediction.rows[:MAX_ROWS]) if prediction is not None else None


def _arm(outcome: Outcome, prediction: Prediction | None, hidden: Sequence[str]) -> SeenAnswerJson:
    # Predictions and details may quote the very thing that is to be hidden: with `redact` only the bodies show.
    rows = None if hidden else _rows(prediction)
    return {
        "status": outcome.status,
        "reason": outcome.reason.value or None,
        "seconds": None if math.isnan(outcome.seconds) else outcome.seconds,
        "body": _text(outcome.body, hidden),
        "prediction": rows,
    }


def _text(body: bytes, hidden: Sequence[str]) -> str:
    if hidden:
        redacted = redact(body, hidden)
        if redacted is None:
            return "(not shown: it must be redacted and is not complete JSON)"
        return redacted.decode()[:MAX_BODY]
    return body[:MAX_BODY].decode("utf-8", "replace")
