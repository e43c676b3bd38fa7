"""Rules whose evidence comes later than its pair: the truth of a request, or a judge's verdict on its answers.

Nothing of a reading counts for them. `CountStore.count_late` adds what came, one by one, in the order of the requests.
"""

from __future__ import annotations

from proxy.evidence.input.batch import NOBODY, Batch, Placed
from proxy.model.judged import Judged


class Late:
    """What such rules have in common."""

    __slots__ = ()

    @property
    def measures(self) -> tuple[str, ...]:
        """What it reads of a batch: nothing."""
        return ()

    def place(self, batch: Batch, salt: int) -> Placed:
        """No pair of a batch."""
        return NOBODY

    def burst_of(self, place: int) -> int:
        """What one in this category adds to the guard's own `bursts`."""
        raise NotImplementedError


class ByVerdicts(Late):
    """A rule on a judge's verdicts."""

    __slots__ = ()

    def verdict_at(self, judged: Judged, salt: int) -> int | None:
        """The category of one verdict, `None` for one that says nothing; `salt` is the key of the guard's roundings."""
        raise NotImplementedError
