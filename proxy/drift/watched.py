"""One field of a detector: its columns of the arrays, its reference's progress, and its drift."""

from __future__ import annotations

from proxy.drift.channels import channels_of
from proxy.drift.charts import ChartCounts
from proxy.drift.finding import DriftState
from proxy.drift.observations import FieldValue
from proxy.drift.plan import DriftField
from proxy.drift.scoring import Scorer


class WatchedField:
    """What is known of one field beside the arrays."""

    def __init__(self, field: DriftField, columns: slice, share: float) -> None:
        self.field, self.columns, self.share = field, columns, share
        self.channels = channels_of(field)
        self.begin()

    def begin(self) -> None:
        """Nothing seen."""
        self.scorer: Scorer | None = None
        self.chart: ChartCounts | None = None
        self.first: list[FieldValue] = []
        self.first_times: list[float] = []
        self.seen, self.missed, self.began, self.stage = 0, 0, -1.0, 0
        self.state = DriftState.LEARNING
        self.lead, self.bet, self.since, self.back, self.told = -1, -1, 0.0, 0.0, 0.0
        self.wild = (0.0, 0.0)
        """The last far value that did not repeat another, and when it came."""
