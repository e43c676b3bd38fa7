"""A judge's anchors at work: rounds of questions with known verdicts, and which verdicts on pairs may count by now.

Each verdict is stamped when it is given. A round is asked once enough of them wait, or the oldest has waited for long;
where the record confirms after it, all that were stamped before it began may count (`judges.anchors` says why). Without
anchors every verdict may count at once.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from proxy import logs
from proxy.controller.admin.judge_view import AnchorsJson, AnchorState
from proxy.controller.judging.asker import JudgeAsker
from proxy.judges.anchors import (
    BASE_ROUNDS,
    FALSE_ALARMS,
    ROUND_EVERY,
    AnchorQuestion,
    AnchorRecord,
    after_round,
    begin_record,
    next_round,
    restored_record,
)
from proxy.judges.question import question_in_order

log = logging.getLogger("understudy.judging")

LONGEST_HOLD = 300.0
"""Seconds after which a round is asked for verdicts that wait, however few they are."""
FIRST_REST, LONGEST_REST = 1.0, 300.0
"""Seconds before a round is asked again to which the judge gave too few verdicts: one at first, doubled each time."""


_NEEDED = -math.log(FALSE_ALARMS)


def _state(record: AnchorRecord) -> AnchorState:
    if record.moved:
        return "unfit" if record.is_unfit else "changed"
    if not record.is_known:
        return "learning"
    return "unchanged" if record.confirms else "in_doubt"


class AnchorGate:
    """The anchors of one judge. `listeners` are called when verdicts may count that could not before, and when it turns
    out that the judge has changed."""

    def __init__(self, asker: JudgeAsker) -> None:
        self.asker = asker
        self.listeners: dict[str, Callable[[], None]] = {}  # by the name of their rollout
        self.told: dict[str, str] = {}  # the trials, by their rollouts, whose guards were told that it has changed
        self._pairs = asker.config.anchor_pairs
        self._anchors = asker.config.anchors_known
        self.record: AnchorRecord | None = begin_record(self._anchors) if self._anchors else None
        self._given = self._confirmed = 0
        self._waiting = False  # whether a round is due at a certain time
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # --- verdicts ----------------------------------------------------------------------------------------------------

    def stamp(self) -> int:
        """The number of a verdict that was just given."""
        self._given += 1
        if self.record is not None and not self.moved:
            if not self._waiting:
                self._wait()
            if self.held >= ROUND_EVERY:
                self._due.set()
            self.start()
        return self._given

    def may_count(self, stamp: int) -> bool:
        """Whether the verdict of this number may count by now; 0 is one for which nobody was asked."""
        return self.record is None or stamp <= self._confirmed

    @property
    def held(self) -> int:
        """Verdicts that may not count yet; none of a judge that has changed, whose verdicts never will."""
        return self._given - self._confirmed if self.record is not None and not self.moved else 0

    @property
    def moved(self) -> bool:
        """Whether the judge has changed."""
        return self.record is not None and self.record.moved

    # --- rounds ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Find out what the judge is like, and go on with rounds as they are due."""
        if self.record is not None and self._task is None and not self.moved:
            self._task = asyncio.create_task(self._rounds())

    async def _rounds(self) -> None:
        rest = FIRST_REST
        while self.record is not None and not self.record.moved:
            if self.record.is_known and self.record.confirms:
                await self._due.wait()
                self._due.clear()
                if not self.held:
                    continue
            before, stamped = self.record, self._given
            self._waiting = False
            try:
                self.record = await self._round(before)
            except Exception:  # a bug here must not end the asking of pairs, and must not be hidden
                logs.unexpected(log, "controller.anchors_broke")
            if self.record == before:  # the judge gave too few verdicts
                await asyncio.sleep(rest)
                rest = min(2 * rest, LONGEST_REST)
                self._due.set()
                continue
            rest = FIRST_REST
            self._conclude(before, stamped)

    async def _round(self, record: AnchorRecord) -> AnchorRecord:
        questions = next_round(record, self.asker.key)
        turn = asyncio.Semaphore(self.asker.config.concurrency)

        async def answer(question: AnchorQuestion) -> str:
            async with turn:
                return (await self.asker.ask(self._body(question), anew=True)).winner

        return after_round(record, questions, await asyncio.gather(*map(answer, questions)))

    def _body(self, question: AnchorQuestion) -> bytes:
        request, first, second, _ = self._pairs[question.anchor]
        pair = (second, first) if question.swapped else (first, second)
        return question_in_order(self.asker.asking, request, *pair)

    def _conclude(self, before: AnchorRecord, stamped: int) -> None:
        record = self.record
        if record is None:
            return
        if record.moved:
            event, (right, clear) = "judge.unfit" if record.is_unfit else "judge.moved", record.ability
            logs.event(log, event, logging.WARNING, judge=self.asker.name, right=right, of=clear, **record.counts)
        elif not record.confirms:
            return
        else:
            if before.is_known and not before.confirms:
                logs.event(log, "judge.confirmed", judge=self.asker.name)
            self._confirmed = stamped
            if self.held >= ROUND_EVERY:
                self._due.set()
            elif self.held:
                self._wait()
        self._tell()

    def _wait(self) -> None:
        """Have a round asked after `LONGEST_HOLD`, for what is held now."""
        self._waiting = True
        asyncio.get_running_loop().call_later(LONGEST_HOLD, self._due.set)

    # --- what is said and kept of it ---------------------------------------------------------------------------------

    def shown(self) -> AnchorsJson | None:
        """How the anchors stand, as the API shows it; `None` without anchors."""
        record = self.record
        if record is None:
            return None
        counts = record.counts
        return {
            "state": _state(record),
            "rounds": record.rounds,
            "base_rounds": BASE_ROUNDS,
            "held": self.held,
            "evidence": max(0.0, min(1.0, record.evidence / _NEEDED)) if not record.moved else 1.0,
            "answers": counts["answers"],
            "constant": counts["constant"],
            "agreed": counts["agreed"],
            "first": counts["first"],
            "longer": counts["longer"],
        }

    def dump(self) -> dict[str, Any]:
        """What `load` takes, as JSON values."""
        if self.record is None:
            return {}
        return {"anchors": self.record.dumped, "pairs": self.asker.config.anchors_hash, "told": self.told}

    def load(self, kept: Mapping[str, Any]) -> None:
        """Go on with the record that an earlier process kept of these very anchors; raises `ValueError`."""
        same = kept.get("asks") == self.asker.config.identity and kept.get("pairs") == self.asker.config.anchors_hash
        if self.record is not None and same:
            self.record = restored_record(self._anchors, kept["anchors"])
            self.told = {str(name): str(trial) for name, trial in dict(kept["told"]).items()}

    def assigned(self, trials: Mapping[str, str]) -> None:
        """These rollouts, with their present trials, are those that it judges."""
        self.told = {name: trial for name, trial in self.told.items() if trials.get(name) == trial}
        self._renew_if_free()
        if self.moved:
            self._tell()

    def new_trial(self, rollout: str) -> None:
        """A rollout begins another trial, of which this judge has said nothing yet."""
        self.told.pop(rollout, None)
        self._renew_if_free()

    def _renew_if_free(self) -> None:
        """A judge that has changed may be one again for trials that have nothing of what it was before."""
        if self.moved and not self.told:
            self.record, self._task = begin_record(self._anchors), None
            self._confirmed = self._given

    def _tell(self) -> None:
        for listener in list(self.listeners.values()):
            listener()

    async def settle(self, within: float) -> bool:
        """Ask rounds until all verdicts given so far may count, or the judge has changed; whether that came within so
        many seconds."""
        stamp, said = self._given, asyncio.Event()
        self.listeners["settle"] = said.set
        try:
            async with asyncio.timeout(within):
                while not self.moved and not self.may_count(stamp):
                    self.start()
                    self._due.set()
                    said.clear()
                    await said.wait()
        except TimeoutError:
            return False
        finally:
            del self.listeners["settle"]
        return True

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
