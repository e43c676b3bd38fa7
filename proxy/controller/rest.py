"""A time in which looks at a rollout need not be taken, because they would see what the last one saw.

The part of `RolloutRun` that makes hundreds of idle rollouts cheap: each is asked four times a second, and looked at
when anything may be seen or decided.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.controller.rollout_outcomes import KnownLater
from proxy.rollout.quiet import quiet_until

if TYPE_CHECKING:
    from proxy.controller.charts import Charts
    from proxy.controller.rate import RateMeter
    from proxy.controller.readings import Readings
    from proxy.model import Assessment
    from proxy.rollout.events import Looked


class Rest:
    """As long as certain values are the very same objects, up to a moment. `at` is when it was asked for at last, in
    epoch seconds: whoever rests is told of no time but that."""

    __slots__ = ("_of", "_until", "at")

    def __init__(self) -> None:
        self.at = self._until = 0.0
        self._of: tuple[object, ...] = ()

    def begin(self, now: float, until: float, *of: object) -> None:
        """From `now` on."""
        self.at, self._until, self._of = now, until, of

    def holds(self, now: float, *of: object) -> bool:
        """Whether it goes on at `now`; a clock that is put back ends it."""
        if not self.at <= now < self._until:
            return False
        for one, before in zip(of, self._of, strict=True):
            if one is not before:
                return False
        self.at = now
        return True

    def end(self) -> None:
        """Something else is to be seen."""
        self._until = 0.0


class Resting(KnownLater):
    """A rollout at work that may rest."""

    charts: Charts
    readings: Readings
    _looked: Looked | None
    _rate: RateMeter
    _rest: Rest

    def rest(self, now: float, *, decides: bool) -> None:
        """The look at `now` has led to nothing (where this controller `decides`): until something else may be seen,
        looks need not be taken."""
        until = quiet_until(self.rollout, self.plan, now) if decides else now
        self._rest.begin(now, until, self.rollout, self.lane, self.plan)

    def rests(self, now: float, blocked_by: str | None) -> bool:
        """Whether a look at `now` would see nothing but the time, and decide nothing; then it is as if taken."""
        looked = self._looked
        if (
            looked is None
            or self._changed
            or self.readings.ready
            or self._rate.value
            or self.exposures is not None  # its users are seen by looks alone, whenever they were taken up
            or blocked_by != looked.blocked_by
        ):
            return False
        if not self._rest.holds(now, self.rollout, self.lane, self.plan):
            return False
        self.charts.look(now, looked.assessment, self.rollout.weight / 100)
        return True

    @property
    def looked(self) -> Looked | None:
        """The last look, those among them that need not be taken."""
        if self._looked is not None and self._rest.at > self._looked.now:
            self._looked = replace(self._looked, now=self._rest.at)
        return self._looked

    @property
    def assessment(self) -> Assessment | None:
        """What was found at the last look."""
        return None if self._looked is None else self._looked.assessment
