"""The trials of a worker whose books are open, and the totals of those that are over.

Totals and sequences only grow in a worker's life: one that is configured again counts on from where it ended. A trial
that is no longer configured is reported until all of it is settled and the controller has been told.
"""

from __future__ import annotations

from collections.abc import Collection

from proxy.request.legs import Upstream
from proxy.request.observing import Observer, observer
from proxy.request.rollouts import RolloutSettings, Trial
from proxy.worker.publisher import Publisher

MOST_OVER = 10_000
"""Trials that are over whose totals are kept, should the file name them again."""


class TrialBooks:
    """`open` has the trials of which not all is settled and reported, by name."""

    def __init__(self, publisher: Publisher) -> None:
        self.open: dict[str, Trial] = {}
        self._publisher = publisher
        self._over: dict[str, dict[str, int]] = {}
        self._observers: dict[str, Observer] = {}
        self._tells_over = True

    @property
    def pending(self) -> bool:
        """Whether samples of any trial are not settled."""
        return any(trial.pending for trial in self.open.values())

    def take(self, settings: RolloutSettings, pool: Upstream, known: bool) -> Trial:
        """The trial with these settings, as it stood; `known` says that it is configured now."""
        trial = self.open.get(settings.trial)
        if trial is None:
            trial = self.open[settings.trial] = Trial(settings, pool)
            trial.go_on(self._over.pop(settings.trial, {}))
        elif not known:
            self._publisher.returned(trial)
        trial.configure(settings, pool)
        return trial

    def observer(self, route: str, pool: Upstream, rate: float) -> Observer:
        """What is observed of a route, `rate` requests a second by this worker; it counts on from where it stood."""
        found = self._observers.pop(route, None) or observer(route, pool)
        self._observers[route] = found  # what was named last stands last
        while len(self._observers) > MOST_OVER:
            del self._observers[next(iter(self._observers))]
        found.pace(rate)
        return found

    def turn(self) -> None:
        """A second has passed: how many are observed follows what came."""
        for one in self._observers.values():
            one.turn()

    def observed(self) -> dict[str, dict[str, int]]:
        """Totals by route, for the next report."""
        return {route: one.totals for route, one in self._observers.items()}

    def mark(self) -> None:
        """Tell the controller which sequences are settled."""
        self._publisher.mark(list(self.open.values()))

    def tell_all(self) -> None:
        """Report those that are over once more: the controller may know nothing of them."""
        self._tells_over = True

    def ledger(self) -> dict[str, dict[str, int]]:
        """Totals by trial, for the next report."""
        books = {key: trial.ledger for key, trial in self.open.items()}
        return books | self._over if self._tells_over else books

    def told(self, configured: Collection[str]) -> None:
        """The controller has the last ledger: what is settled and not configured any more is not reported again."""
        self._tells_over = False
        for key in [key for key, trial in self.open.items() if key not in configured and not trial.pending]:
            trial = self.open.pop(key)
            self._publisher.retire(trial)
            self._over[key] = trial.ledger
        for key in list(self._over)[:-MOST_OVER]:
            del self._over[key]
