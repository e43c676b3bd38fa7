"""How right both arms were, by truths that come later, where no guard has a limit for it: to be read, deciding nothing.

The losses are those of `max_quality_drop` (`core.evidence.quality`), and so is the interval of their difference. What
has been joined is saved with the books; pairs that still wait for their truth are lost with the controller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from proxy.core.evidence.mean import BINS, Labelled
from proxy.core.evidence.prf import key_of
from proxy.core.evidence.quality import Waiting, loss
from proxy.core.model import Kind, PredictionSpec, Reading

_KINDS = tuple(Kind)
_RULE = Labelled("", -1.0, 1.0, two_sided=False)


class Outcomes:
    """Pairs that wait for their truth, and what came of those that had it."""

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self._waiting = Waiting()
        self._counts = np.zeros(BINS + 1, np.int64)
        self.joined = 0
        self._losses = [0.0, 0.0]  # sums, live's and the candidate's
        if saved:
            self.joined, self._losses = int(saved["joined"]), list(saved["losses"])
            for at, n in saved["bins"]:
                self._counts[at] = n

    def add(self, readings: Iterable[Reading]) -> None:
        """Let comparable pairs wait for their truth."""
        for reading in readings:
            live, candidate = reading.live, reading.candidate
            if live is not None and candidate is not None and live.kind is candidate.kind:
                self._waiting.add(reading.id, live, candidate, _KINDS.index(live.kind), 0)

    def join(self, name: str, truth: Any, spec: PredictionSpec, scale: float) -> bool:
        """The truth of a request has come; whether a pair waited for it and it fits what was predicted."""
        pair = self._waiting.take(name)
        if pair is None:
            return False
        kind = _KINDS[pair[2]]
        ours, theirs = (loss(kind, row, truth, spec.low, spec.high, scale) for row in pair[:2])
        if ours is None or theirs is None:
            self._waiting.put_back(name, pair)
            return False
        self.joined += 1
        self._losses = [self._losses[0] + ours, self._losses[1] + theirs]
        self._counts[_RULE.label_bin(theirs - ours, key_of(self.joined, name), 0)] += 1
        return True

    def shown(self) -> dict[str, Any] | None:
        """Mean losses (0..1) of both arms, and the candidate's beyond live's with a 95 % interval valid at any time;
        `None` before the first."""
        if not self.joined:
            return None
        live, candidate = (total / self.joined for total in self._losses)
        (estimate,) = _RULE.estimates(self._counts[None], 1.0)
        drop = {"value": candidate - live, "low": estimate.low, "high": estimate.high}
        return {"joined": self.joined, "live_loss": live, "candidate_loss": candidate, "drop": drop}

    def dump(self) -> dict[str, Any] | None:
        """What has been joined, as JSON values."""
        if not self.joined:
            return None
        bins = [[int(at), int(self._counts[at])] for at in np.flatnonzero(self._counts)]
        return {"joined": self.joined, "losses": self._losses, "bins": bins}
