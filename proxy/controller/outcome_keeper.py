"""Users of all rollouts and what is posted of them: between workers, the API, evidence and the store.

Invariants
- What was answered as taken is in the store: an outcome counts once its event is saved.
- Exposures count at once and are saved within a second; a worker tells them again to a controller that comes after.
- Events of one trial are saved one part after the other, in the order in which they happened.
- After the end of a rollout its users are forgotten, the figures stay.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from proxy import logs
from proxy.controller.dumping import dumped
from proxy.controller.exposure_log import ExposureLog
from proxy.controller.rollout_outcomes import outcome_guard
from proxy.controller.rollout_run import RolloutRun
from proxy.controller.store.interface import RolloutStore
from proxy.errors import StoreError
from proxy.pairs.exposed import Exposed

log = logging.getLogger("understudy.outcomes")

EARLIER = 64
"""Lists of users that wait until what the store knows of their trial has been read."""
AT_ONCE = 5_000
"""Users of one rollout that settle in one turn of the loop."""
BEST_FIRST = ("joined", "late", "early", "left_out", "unfit", "unknown", "ended", "unasked")
"""What can become of an outcome, the best first where several rollouts ask for it: what is late for one is
of a user whom that one knows. `ended`: all that asked for it have; `unasked`: none asks for one of this name."""

IN_TURN = 200
"""Outcomes that are looked at before others have their turn of the loop: about 1 ms."""

T = TypeVar("T")


async def in_turns(many: Iterable[T]) -> AsyncIterator[T]:
    """All of them, with a turn of the loop for others in between."""
    for i, one in enumerate(many, 1):
        yield one
        if not i % IN_TURN:
            await asyncio.sleep(0)


class OutcomeKeeper:
    """All of it. `secret` gives the secret of the split, in hex."""

    def __init__(self, store: RolloutStore, secret: Callable[[], str], clock: Callable[[], float]) -> None:
        self._store, self._secret, self._clock = store, secret, clock
        self._logs: dict[str, tuple[RolloutRun, ExposureLog]] = {}
        self._unread: dict[str, RolloutRun] = {}
        self._earlier: deque[tuple[str, Exposed]] = deque(maxlen=EARLIER)
        self._lock = asyncio.Lock()

    # --- which there are ---------------------------------------------------------------------------------------------

    async def follow(self, trials: Mapping[str, RolloutRun]) -> None:
        """Take up the users of the rollouts that count some. What the store cannot say now is asked for again
        (`save`)."""
        found: dict[str, tuple[RolloutRun, ExposureLog]] = {}
        for trial in trials.values():
            guard, name = outcome_guard(trial.plan), trial.plan.trial
            if guard is None:
                trial.exposures = None
            elif name in self._logs and self._logs[name][0] is trial:
                found[name] = self._logs[name]
                found[name][1].configure(guard)
            else:
                trial.exposures = None
                self._unread[name] = trial
        self._logs = found
        self._unread = {name: trial for name, trial in self._unread.items() if trials.get(trial.name) is trial}
        await self._read()

    async def _read(self) -> None:
        for name, trial in list(self._unread.items()):
            guard = outcome_guard(trial.plan)
            if guard is None or trial.plan.trial != name:
                del self._unread[name]
                continue
            try:
                parts = await self._store.exposures(name)
            except StoreError as error:
                logs.event(log, "outcomes.unread", logging.ERROR, rollout=trial.name, error=str(error))
                continue
            exposures = ExposureLog(trial.plan, guard, bytes.fromhex(self._secret()))
            trial.count_users(exposures.load(parts))
            exposures.configure(guard)
            exposures.book.next_number = max(exposures.book.next_number, trial.evidence.units.settled)
            self._logs[name], trial.exposures = (trial, exposures), exposures
            del self._unread[name]
        earlier, self._earlier = self._earlier, deque(maxlen=EARLIER)
        for name, told in earlier:
            self.exposed(name, told)

    # --- what happens ------------------------------------------------------------------------------------------------

    def exposed(self, name: str, told: Exposed) -> None:
        """What a worker says of a trial's users."""
        if name in self._logs:
            trial, exposures = self._logs[name]
            if not trial.rollout.over:
                exposures.exposed(told, self._clock())
        else:
            self._earlier.append((name, told))

    def settle(self) -> None:
        """Count the users whose time has come."""
        now = self._clock()
        for trial, exposures in self._logs.values():
            trial.count_users(exposures.book.settle(now, trial.rollout.entry, trial.serving, AT_ONCE))

    async def post(self, entries: Iterable[Mapping[str, Any]], routes: Collection[str] | None = None) -> Counter[str]:
        """Outcomes, each with `name`, `value` and `key` or `id`, for rollouts of these routes (of all for `None`); how
        many of them became what (`BEST_FIRST`). Raises `StoreError`: those of the first rollouts may be saved then, and
        none of the others."""
        entries, now = list(entries), self._clock()
        best = [len(BEST_FIRST) - 1] * len(entries)
        asked: defaultdict[str, list[int]] = defaultdict(list)
        for i, entry in enumerate(entries):
            asked[entry["name"]].append(i)
        async with self._lock:
            for trial, exposures in list(self._logs.values()):
                own = asked.get(exposures.book.outcome)
                if own is None or (routes is not None and trial.plan.route not in routes):
                    continue
                if trial.rollout.over:
                    for i in own:
                        best[i] = min(best[i], BEST_FIRST.index("ended"))
                    continue
                posted = [
                    (exposures.number_of(entries[i]), float(entries[i]["value"]), now) async for i in in_turns(own)
                ]
                await self._keep(trial, exposures, [["posted", *one] for one in posted])
                async for i, one in in_turns(zip(own, posted, strict=True)):
                    best[i] = min(best[i], BEST_FIRST.index(exposures.book.post(*one)))
        return Counter(BEST_FIRST[i] for i in best)

    # --- the store ---------------------------------------------------------------------------------------------------

    async def save(self) -> None:
        """Save what waits, and sum up what has become long. Raises `StoreError`."""
        if self._unread:
            await self._read()
        async with self._lock:
            for trial, exposures in list(self._logs.values()):
                if exposures.waiting:
                    await self._keep(trial, exposures, [])
                if exposures.is_long or (trial.rollout.over and exposures.book.known):
                    await self._sum_up(trial, exposures)

    async def _keep(self, trial: RolloutRun, exposures: ExposureLog, more: list[list[Any]]) -> None:
        waiting = len(exposures.waiting)
        await self._store.put_exposures(trial.plan.trial, exposures.next_part, exposures.packed(more))
        exposures.kept(waiting)

    async def _sum_up(self, trial: RolloutRun, exposures: ExposureLog) -> None:
        """The evidence goes first: users that have counted are not in the book any more."""
        if (saved := dumped(trial)) is None:
            return
        if trial.rollout.over:
            exposures.book.end()
        name, whole, waiting = trial.plan.trial, exposures.whole(), len(exposures.waiting)
        await self._store.snapshot([saved], self._clock())
        await self._store.sum_up_exposures(name, exposures.next_part, whole)
        exposures.summed_up(waiting)
