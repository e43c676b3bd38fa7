"""Two language models at a glance: tokens, time to the first of them, refusals, over recent pairs.

It decides nothing: a pair leaves five numbers behind, and everything is worked out when somebody looks. Only pairs in
which both arms have a figure count for it, so that the two columns are of the same requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.controller.admin.chart_view import ArmFiguresJson, SpokenFiguresJson
from proxy.model import Reading

_LIVE_FIRST, _FIRST, _LIVE_TOKENS, _TOKENS, _EVENTS = range(5)
_FIGURES = attrgetter("live_first", "first", "live_tokens", "tokens", "pieces")


class ArmFigures:
    """Both arms' figures over the latest `most` pairs."""

    def __init__(self, most: int) -> None:
        self._recent: deque[tuple[float, float, int, int, bool]] = deque(maxlen=most)

    def add(self, readings: Sequence[Reading]) -> None:
        """Remember readings."""
        self._recent.extend(map(_FIGURES, readings))

    def shown(self, refusals: tuple[float, float] | None) -> SpokenFiguresJson | None:
        """Both arms' figures as JSON values, `refusals` being shares that are known otherwise; `None` before the first
        answer. A figure that no pair has is `None`. `events`: whether some tokens are counted as events of streams."""
        if not self._recent:
            return None
        found = np.array(self._recent, dtype=np.float64)
        firsts = _both(found[:, (_LIVE_FIRST, _FIRST)])
        tokens = _both(found[:, (_LIVE_TOKENS, _TOKENS)])
        live, candidate = (
            ArmFiguresJson(
                first_seconds=_rounded(np.median(firsts[:, at])) if len(firsts) else None,
                tokens=_rounded(tokens[:, at].mean()) if len(tokens) else None,
                refusals=None if refusals is None else refusals[at],
            )
            for at in range(2)
        )
        events = bool(found[:, _EVENTS].any())
        return {"pairs": len(found), "events": events, "live": live, "candidate": candidate}


def _both(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows in which both arms have a figure: a finite one above 0."""
    return columns[(np.isfinite(columns) & (columns > 0)).all(axis=1)]


def _rounded(value: np.floating[Any]) -> float:
    return float(f"{float(value):.6g}")
