"""How right both arms were, by truths that come later, where no guard has a limit for it: to be read, deciding nothing.

Labels count as they do for `max_quality_drop` (`evidence.input.labels`): in request order, `label_delay` after their
request. The losses are the same, and so is the interval of their difference. All of it is saved with the books once a
label has come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from proxy.evidence.input.labels import Entry, LabelsJson, Waiting, loss
from proxy.evidence.process.means import BINS
from proxy.evidence.process.prf import hashed, key_of
from proxy.evidence.rules.quality_drop import Labelled
from proxy.json_types import Whole
from proxy.model import Kind, PredictionSpec, Reading

_KINDS = tuple(Kind)
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_RULE = Labelled("", -1.0, 1.0, two_sided=False)


class DropJson(TypedDict):
    """The candidate's loss beyond live's, with a 95 % interval valid at any time."""

    value: float
    low: float | None
    high: float | None


class OutcomesJson(TypedDict):
    """Mean losses (0 to 1) of both arms over the requests whose label counts."""

    joined: Whole
    live_loss: float
    candidate_loss: float
    drop: DropJson


class _Waiting(Waiting):
    """Chosen by Python's own hash of texts, which is keyed anew by each process that is not a fork and costs a tenth of
    the other: nothing of this is merged with what another one saw.

    Those that an earlier process chose, perhaps by another key, are halved from the share that they are: by this one's
    key nearly all of them would be gone at the next halving."""

    __slots__ = ("_earlier", "_share")

    def __init__(self, entries: Iterable[Sequence[Any]] = (), counted: Sequence[int] = (0, 0, 0, 0)):
        super().__init__(0, entries, counted)
        self._earlier, self._share = frozenset(self._entries), self.halvings

    def _chosen(self, name: str) -> bool:
        if name in self._earlier:  # salted, for earlier ones may have been halved by this before
            return hashed(self._share, name) < 1 << min(64, max(0, 64 - self.halvings + self._share))
        return not hash(name) & ((1 << self.halvings) - 1)


class Outcomes:
    """Requests that wait for their truth, and what came of those that had it when their time came."""

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self._waiting = _Waiting()
        self._counts = np.zeros(BINS + 1, np.int64)
        self.joined = 0
        self._losses = [0.0, 0.0]  # sums, live's and the candidate's
        if saved:
            self.joined, self._losses = int(saved["joined"]), list(saved["losses"])
            self._waiting = _Waiting(saved["waiting"], saved["labels"])
            for at, n in saved["bins"]:
                self._counts[at] = n

    def add(self, readings: Iterable[Reading], spec: PredictionSpec) -> None:
        """Let comparable pairs wait for their truth, and count those whose time has come."""
        waiting, delay = self._waiting, spec.label_delay
        few = bool(waiting.halvings)  # perhaps: asked once for all of these readings
        for reading in readings:
            live, candidate, time = reading.live, reading.candidate, reading.time
            if few or waiting.oldest <= time - delay:  # or nothing is settled, and nothing changes
                few = False
                for entry in waiting.settle(time - delay):
                    self._count(entry)
            if live is not None and candidate is not None and live.kind is candidate.kind:
                waiting.add(reading.id, live, candidate, _CODES[live.kind], 0, time)

    def _count(self, entry: Entry) -> None:
        self.joined += 1
        self._losses = [self._losses[0] + entry.live, self._losses[1] + entry.candidate]
        self._counts[_RULE.label_bin(entry.candidate - entry.live, key_of(self.joined), 0)] += 1

    def join(self, name: str, truth: Any, spec: PredictionSpec, scale: float) -> bool:
        """The truth of a request has come; whether that request waits for it and it fits what was predicted."""
        pair = self._waiting.pair(name)
        if pair is None:
            return False
        kind = _KINDS[self._waiting.key(name)]
        ours, theirs = (loss(kind, row, truth, spec.low, spec.high, scale) for row in pair)
        if ours is None or theirs is None:
            return False
        self._waiting.label(name, ours, theirs)
        return True

    @property
    def labels(self) -> LabelsJson | None:
        """What became of the requests that wait for their truth (`Waiting.labels`)."""
        return self._waiting.labels

    def shown(self) -> OutcomesJson | None:
        """Losses of both arms; `None` before the first label counts."""
        if not self.joined:
            return None
        live, candidate = (total / self.joined for total in self._losses)
        (estimate,) = _RULE.estimates(self._counts[None], 1.0)
        return {
            "joined": self.joined,
            "live_loss": live,
            "candidate_loss": candidate,
            "drop": {"value": candidate - live, "low": estimate.low, "high": estimate.high},
        }

    def dump(self) -> dict[str, Any] | None:
        """All of it, as JSON values, once a label has come."""
        if self._waiting.labels is None:
            return None
        bins = [[int(at), int(self._counts[at])] for at in np.flatnonzero(self._counts)]
        counted = {"waiting": self._waiting.entries, "labels": self._waiting.counted}
        return {"joined": self.joined, "losses": self._losses, "bins": bins, **counted}
