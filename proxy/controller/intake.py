"""What workers say of trials, on its way into their evidence: ordinary pairs as they come, the rest in turns.

    pair ──short, and nothing waits──▶ read ──▶ micro-batch ──▶ evidence ──▶ look
      └──▶ `work` ──▶ read in steps ──▶ one micro-batch after the other ──────┘

Invariants
- What a worker says of one trial is taken in the order in which it was said: a report behind the pairs that it counts.
- No pair, no micro-batch and no look of one rollout holds up another by more than one step of it.
- A pair that is dropped here never arrived: the worker's next report books it as `link_full`.
- Once it is closed nothing is judged any more, whatever was planned before: its controller has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from proxy.controller.rollout_run import RolloutRun
from proxy.controller.work import Steps, Work
from proxy.model import Pair
from proxy.pairs.key_mask import KeyMask
from proxy.rollout.events import Tripped
from proxy.rollout.requirements import is_patient

BATCH_TIME = 0.1
"""Seconds a reading may wait for its micro-batch: at 1,000 pairs a second those of 100 cost a third less for each than
those of 40, and failures in a row are seen before that."""

PATIENT = 0.4
"""The same where the candidate answers nobody: a micro-batch costs 1.3 ms, whatever is in it."""


class Judge(Protocol):
    """Who looks at rollouts and decides."""

    def tripped(self, trial: RolloutRun, event: Tripped) -> None:
        """Too many failures in a row."""

    def look(self, trial: RolloutRun) -> None:
        """There is something to see."""

    def hold_up(self, pause: bool) -> None:
        """Let workers keep their pairs for now, or go on: what is more than the link takes they drop and count."""


class Intake:
    """Takes pairs, marks and reports. `strays` counts pairs of trials that are not here any more."""

    def __init__(self, of: Callable[[str], RolloutRun | None], judge: Judge) -> None:
        self._of, self._judge = of, judge  # `of` gives the rollout whose present trial is of this name
        self._work = Work(self._begin, self._drop, judge.hold_up)
        self._mask = KeyMask()
        self._closed = False
        self.strays = 0

    @property
    def dropped(self) -> int:
        """Pairs that came and were dropped: those of a rollout whose answers take too long to read."""
        return self._work.dropped

    # --- what workers say --------------------------------------------------------------------------------------------

    def pair(self, pair: Pair) -> None:
        """A pair came."""
        name = pair.trial
        trial = self._of(name)
        if trial is None:  # of a trial that another one has replaced
            self.strays += 1
        elif self._work.may_do(name) and trial.reader.is_short(pair):
            self._take(trial, pair)
        else:
            self._work.put(name, pair)

    def mark(self, worker: str, trial: str, sequence: int) -> None:
        """Every sequence of the trial below `sequence` is settled."""
        self._in_turn(trial, lambda found: found.mark(worker, sequence))

    def report(self, worker: str, trial: str, ready: bool | None, ledger: dict[str, int]) -> None:
        """A worker's totals of a trial, and what its health checks say of the candidate."""

        def take(found: RolloutRun) -> None:
            found.readiness(worker, ready)
            found.counts(worker, ledger)

        self._in_turn(trial, take)

    def gone(self, worker: str, trial: RolloutRun) -> None:
        """Nothing more will come from a worker: once all that came is added, its account is closed."""

        def steps() -> Steps:
            trial.gone(worker)
            yield
            yield from self._add(trial)
            trial.close_account(worker)

        self._work.put(trial.plan.trial, steps)

    def waits(self, trial: RolloutRun) -> bool:
        """Whether something that was said of this trial is still to be taken."""
        return trial.plan.trial in self._work

    def finish(self) -> None:
        """Take all that waits, now."""
        self._work.finish()

    def close(self) -> None:
        """Ask for no more looks: what has been planned comes when nobody waits for what is decided."""
        self._closed = True

    def _in_turn(self, trial: str, take: Callable[[RolloutRun], None]) -> None:
        def steps() -> Steps:
            if (found := self._of(trial)) is not None:
                take(found)
                self._plan_flush(found)
            yield

        if trial in self._work:
            self._work.put(trial, steps)
        elif (found := self._of(trial)) is not None:
            take(found)
            self._plan_flush(found)

    def mask(self, keys: Iterable[bytes]) -> int:
        """Take these keys out of pairs from now on; how many of those that models had before are looked for no more."""
        self._mask, forgotten = self._mask.more(keys)
        return forgotten

    # --- pairs -------------------------------------------------------------------------------------------------------

    def _take(self, trial: RolloutRun, pair: Pair) -> None:
        if self._mask.keys:
            pair, kept = self._mask.pair(pair, trial.reader.bounds)
            self._taken(trial, trial.take(pair, kept))
            return
        if (tripped := trial.take(pair)) is not None:
            self._trip(trial, tripped)
        if not trial.planned or trial.readings.full:  # or what is due is planned
            self._plan_flush(trial)

    def _taken(self, trial: RolloutRun, tripped: Tripped | None) -> None:
        if tripped is not None:
            self._trip(trial, tripped)
        self._plan_flush(trial)

    def _trip(self, trial: RolloutRun, tripped: Tripped) -> None:
        if not self._closed:
            self._judge.tripped(trial, tripped)

    def _begin(self, pair: Pair) -> Steps | None:
        """Take a pair in its turn, at once or, if its answers are long, in steps."""
        trial = self._of(pair.trial)
        if trial is None:
            self.strays += 1
        elif not trial.reader.is_short(pair):
            return self._read(trial, pair)
        else:
            self._take(trial, pair)
        return None

    def _read(self, trial: RolloutRun, pair: Pair) -> Steps:
        pair, kept = self._mask.pair(pair, trial.reader.bounds)
        yield
        steps = trial.reader.steps(pair)
        while (reading := next(steps)) is None:
            yield
        yield
        if self._of(pair.trial) is trial:
            self._taken(trial, trial.place(kept, reading))
        else:
            self.strays += 1

    def _drop(self, pair: Pair) -> None:
        if (trial := self._of(pair.trial)) is not None:
            trial.dropped(pair.worker, pair.sequence)
            self._plan_flush(trial)

    # --- micro-batches -----------------------------------------------------------------------------------------------

    def _plan_flush(self, trial: RolloutRun) -> None:
        if trial.readings.full:
            trial.filled_at = asyncio.get_running_loop().time()
            self.flush(trial)
        elif len(trial.readings.ready) and not trial.planned:
            trial.planned = True
            asyncio.get_running_loop().call_later(_batch_time(trial), self._flush_planned, trial)

    def _flush_planned(self, trial: RolloutRun) -> None:
        rest = trial.filled_at + _batch_time(trial) - asyncio.get_running_loop().time()
        if rest > BATCH_TIME / 10:  # all that was there when it was planned has been added: the rest came later
            asyncio.get_running_loop().call_later(rest, self._flush_planned, trial)
            return
        trial.planned = False
        self.flush(trial)

    def flush(self, trial: RolloutRun) -> None:
        """Add what is ready to a rollout's evidence, and look if it is time; in turns of their own where pairs wait for
        theirs, or it is expensive to compare."""
        if not (trial.readings.many or self.waits(trial)):
            trial.flush()
            self.look_if_due(trial)
        elif not trial.adding:
            trial.adding = True
            self._work.put(trial.plan.trial, lambda: self._add_in_turn(trial), first=True)

    def catch_up(self, trial: RolloutRun) -> None:
        """Add what is ready and due at no certain time, and look if it is time, whether or not anything came."""
        if trial.planned and not self.waits(trial):
            self.look_if_due(trial)
        else:
            self.flush(trial)

    def _add_in_turn(self, trial: RolloutRun) -> Steps:
        try:
            yield from self._add(trial)
        finally:
            trial.adding = False

    def _add(self, trial: RolloutRun) -> Steps:
        while trial.flush_some():
            self.look_if_due(trial)
            yield

    def look_if_due(self, trial: RolloutRun) -> None:
        """Look at a rollout whose evidence has grown, if it is time."""
        if not self._closed and not trial.rollout.over and (trial.may_look() or trial.crossed()):
            self._judge.look(trial)


def _batch_time(trial: RolloutRun) -> float:
    return PATIENT if is_patient(trial.rollout, trial.plan) else BATCH_TIME
