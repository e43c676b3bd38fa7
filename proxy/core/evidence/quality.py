"""Quality against delayed outcomes: the truth arrives later, by request id, and each arm's loss becomes known.

d = ℓ(c, y) − ℓ(l, y) with ℓ in [0, 1]: 0/1 for labels, rankings (their first) and texts, the squared error for scores
and probabilities (Brier), the absolute error in eighths of interquartile ranges, cut at 1, for numbers. Evidence comes
in the order of the labels' arrival; the first label of a request wins; when an id was used again, the latest request
has it. Selective labelling is not corrected for: if only some requests are ever labelled, the finding is about those.

The pairs that wait for their labels are the last 4,096, or 2 MiB, with few enough values to keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proxy.core.model import Kind, Prediction

WAITING = 4096
"""Pairs that wait for a label."""
WAITING_BYTES = 2 * 1024 * 1024
"""Bytes of pairs that wait for a label, estimated from above."""
MOST_VALUES = 64
"""Values or characters of a row beyond which it is not kept."""


def loss(kind: Kind, row: Any, truth: Any, low: float, high: float, scale: float) -> float | None:
    """ℓ(row, truth) in [0, 1], or `None` when the truth does not fit the kind.

    >>> loss(Kind.SCORE, 0.8, 1, 0.0, 1.0, 1.0), loss(Kind.LABEL, "cat", "dog", 0.0, 1.0, 1.0)
    (0.03999999999999998, 1.0)
    >>> loss(Kind.PROBABILITIES, (0.25, 0.75), 1, 0.0, 1.0, 1.0), loss(Kind.SCORE, 0.8, "yes", 0.0, 1.0, 1.0)
    (0.0625, None)
    """
    if kind in (Kind.LABEL, Kind.TEXT):
        return float(row != truth)
    if kind is Kind.RANKING:
        return float(row[0] != truth)
    if isinstance(truth, bool):
        truth = int(truth)
    if not isinstance(truth, int | float) or truth != truth:
        return None
    if kind is Kind.SCORE:
        return float(min(1.0, abs(row - truth) / (high - low)) ** 2)  # cut first: the square of 1e308 is an error
    if kind is Kind.NUMBER:
        return float(min(1.0, abs(row - truth) / (8.0 * scale)))
    if kind is Kind.PROBABILITIES and 0 <= truth < len(row) and truth == int(truth):
        return float(min(1.0, 0.5 * sum((p - (i == truth)) ** 2 for i, p in enumerate(row))))
    return None


def small(prediction: Prediction) -> bool:
    """Whether a prediction is one row, short enough to be kept until its label comes.

    >>> small(Prediction(Kind.SCORE, (0.5,))), small(Prediction(Kind.SCORE, (0.5, 0.5)))
    (True, False)
    """
    rows = prediction.rows
    if len(rows) != 1:
        return False
    return not isinstance(rows[0], str | tuple) or len(rows[0]) <= MOST_VALUES


class Waiting:
    """Pairs that wait for their labels, by request id: (live's row, candidate's row, PRF key, stage)."""

    __slots__ = ("_bytes", "_pairs", "labelled")

    def __init__(self, entries: Iterable[Sequence[Any]] = (), labelled: int = 0) -> None:
        self._pairs: dict[str, tuple[Any, Any, int, int]] = {}
        self._bytes = 0
        self.labelled = labelled
        for name, live, candidate, key, stage in entries:
            self._keep(name, (_row(live), _row(candidate), int(key), int(stage)))

    @property
    def entries(self) -> list[list[Any]]:
        """All that waits, oldest first."""
        return [[name, *pair] for name, pair in self._pairs.items()]

    def __len__(self) -> int:
        return len(self._pairs)

    def add(self, name: str, live: Prediction, candidate: Prediction, key: int, stage: int) -> None:
        """Keep a pair; the oldest goes when there are too many."""
        if not (small(live) and small(candidate)):
            return
        self.take(name)
        self._keep(name, (live.rows[0], candidate.rows[0], key, stage))

    def _keep(self, name: str, pair: tuple[Any, Any, int, int]) -> None:
        self._pairs[name] = pair
        self._bytes += _size(name, pair)
        while len(self._pairs) > WAITING or self._bytes > WAITING_BYTES:
            self.take(next(iter(self._pairs)))

    def take(self, name: str) -> tuple[Any, Any, int, int] | None:
        """The pair of this request, which then no longer waits."""
        pair = self._pairs.pop(name, None)
        if pair is not None:
            self._bytes -= _size(name, pair)
        return pair

    def put_back(self, name: str, pair: tuple[Any, Any, int, int]) -> None:
        """A label that did not fit was no label."""
        self._keep(name, pair)


def _size(name: str, pair: tuple[Any, Any, int, int]) -> int:
    values = sum(40 * len(row) if isinstance(row, str | tuple) else 40 for row in pair[:2])
    return 400 + 4 * len(name) + values


def _row(row: Any) -> Any:
    return tuple(row) if isinstance(row, list) else row
