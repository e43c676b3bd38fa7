"""The trials of a worker whose books are open, and the totals of those that are over.

Totals and sequences only grow in a worker's life: one that is configured again counts on from where it ended. A trial
that is no longer configured is reported until all of it is settled and the controller has been told.

Most trials of a large installation are idle, so a report has those that have changed since the controller was told at
last, and of the others a few in turns: whatever was lost on the way is made good within `TURNS` reports. All of them go
to a controller that connects, and each to one whose tables name it for the first time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter

from proxy.model import REPORTED
from proxy.request.legs import Upstream
from proxy.request.observing import Observer, observer
from proxy.request.rollouts import RolloutSettings, Trial
from proxy.worker.publisher import Publisher

MOST_OVER = 10_000
"""Trials that are over whose totals are kept, should the file name them again."""
TURNS = 8
"""Reports in which each trial is told at least once."""
_totals = attrgetter(*REPORTED)
Known = tuple[bool | None, tuple[int, ...]]
"""Of a trial: whether its candidate is ready, as far as that is known, and its totals."""


class TrialBooks:
    """`open` has the trials of which not all is settled and reported, by name."""

    def __init__(self, publisher: Publisher) -> None:
        self.open: dict[str, Trial] = {}
        self._publisher = publisher
        self._over: dict[str, dict[str, int]] = {}
        self._observers: dict[str, Observer] = {}
        self._tells_over = True
        self._known: dict[str, Known] = {}  # what the controller has been told at last
        self._telling: dict[str, Known] = {}
        self._turn = 0

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
            self._known.pop(settings.trial, None)
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
        """Report every trial, and those that are over once more: the controller may know nothing of them."""
        self._tells_over = True
        self._known.clear()

    def tell(self, trials: Iterable[str]) -> None:
        """Report these with the next: what was said of them may have come before the controller knew them."""
        for trial in trials:
            self._known.pop(trial, None)

    def ledger(self, ready: Mapping[str, bool]) -> dict[str, dict[str, int]]:
        """Totals by trial, for the next report, which says as well of each whether its candidate is `ready`."""
        self._turn = (self._turn + 1) % TURNS
        known, turn, books, telling = self._known, self._turn, dict[str, dict[str, int]](), dict[str, Known]()
        for number, (key, trial) in enumerate(self.open.items()):
            now = ready.get(key), _totals(trial)
            if known.get(key) != now or number % TURNS == turn:
                books[key], telling[key] = trial.ledger, now
        self._telling = telling
        return books | self._over if self._tells_over else books

    def told(self, configured: Collection[str]) -> None:
        """The controller has the last ledger: what is settled and not configured any more is not reported again."""
        self._tells_over = False
        self._known |= self._telling
        for key in [key for key, trial in self.open.items() if key not in configured and not trial.pending]:
            trial = self.open.pop(key)
            self._publisher.retire(trial)
            self._known.pop(key, None)
            self._over[key] = trial.ledger
        for key in list(self._over)[:-MOST_OVER]:
            del self._over[key]
