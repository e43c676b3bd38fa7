"""The pairs of one rollout on their way through the judges of its predictions, and back in request order.

    offer(pair, reading)   is it drawn? then its question goes to the judge, or its value is known without one
    ready(batch)           the readings that were added to the evidence, in request order: so is the order of verdicts
    told                   a verdict came: the pairs at the head of their worker's line that have theirs are delivered

A pair that is not judged leaves its line at once and says nothing. A verdict that takes longer holds up only verdicts
of later pairs of its worker, and no longer than a judge's deadline and the wait for its turn.

Invariants
- `Evidence.judged` gets the verdicts of a worker in request order, and only those of readings that it has counted.
- A verdict of an earlier trial, or of a rollout that has ended, reaches nothing.
- What waits is bounded (`MOST_WAITING` pairs; the queue bounds what they keep), and each drop is counted by reason.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy import logs
from proxy.controller.admin.judge_view import JudgedPairJson
from proxy.controller.judging.queue import JudgeQueue, WaitingQuestion
from proxy.controller.sample_pairs import SamplePairs
from proxy.evidence import Evidence
from proxy.evidence.input.dedup import RecentBodies
from proxy.judges.cases import answer_text, case_of, given_value, judged_item, request_text
from proxy.judges.drawing import is_drawn
from proxy.judges.question import JudgeQuestion
from proxy.judges.verdict import Judgment, NotJudged
from proxy.model import Pair, Plan, Prediction, Reading
from proxy.model.judged import Judged
from proxy.predictions.bounds import Bounds
from proxy.rollout.events import RolloutState

log = logging.getLogger("understudy.judging")

MOST_WAITING = 20_000
"""Pairs of a rollout that wait for verdicts, their own or those of earlier pairs: some 10 MB."""


class Judgeable(Protocol):
    """What is judged, as far as it is needed here: a `RolloutRun`."""

    plan: Plan
    rollout: RolloutState
    evidence: Evidence
    sample_pairs: SamplePairs

    def take_verdicts(self, items: Sequence[Judged], not_judged: Mapping[str, int]) -> None:
        """Verdicts in request order, and how many drawn pairs of each aspect are not judged."""


@dataclass(slots=True)
class JudgedPair:
    """One pair that was drawn for one aspect: what the evidence will be told, and what is still awaited. `reason` is
    the judge's about the two arms, `candidate_first` how it saw them."""

    item: Judged
    left: int = 0
    stamp: int = 0  # of its judge's verdicts, 0 where nobody was asked
    value: float | None = None
    floor: float | None = None
    why: NotJudged | None = None
    dropped: bool = False
    fault: bool = False  # the candidate failed
    free: bool = False  # its verdict was known without asking
    reason: str = ""
    candidate_first: bool | None = None

    @property
    def verdict(self) -> str:
        """In a word, for the candidate: `win`, `tie` or `loss`; empty before it is known."""
        return "" if self.value is None else "win" if self.value > 0 else "loss" if self.value < 0 else "tie"


@dataclass(slots=True)
class AspectCounts:
    """What became of a trial's drawn pairs of one aspect since this process began, verdicts as they are counted:
    `failed` and `same` are verdicts without asking, of a candidate that failed and of two equal answers; `repeats` were
    drawn and not asked about."""

    verdicts: Counter[str] = field(default_factory=Counter)
    not_judged: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    same: int = 0
    repeats: int = 0
    last_why: str = ""
    total: float = 0.0  # of the values

    def add(self, found: JudgedPair) -> None:
        """One more verdict is counted."""
        self.verdicts[found.verdict] += 1
        self.failed += found.free and found.fault
        self.same += found.free and not found.fault
        self.total += found.value or 0.0


class JudgedAspect:
    """One prediction of a rollout with its judge: which pairs are drawn, and what they are asked."""

    def __init__(self, index: int, name: str, queue: JudgeQueue) -> None:
        self.index, self.name, self.queue = index, name, queue
        self.begin()

    def begin(self) -> None:
        """Another trial begins: nothing is known of it."""
        self.counts = AspectCounts()
        self.moved = False
        self._recent = RecentBodies()

    def draws(self, pair: Pair) -> bool:
        """Whether this pair is to be judged."""
        asker = self.queue.asker
        return is_drawn(asker.key, pair.id, asker.config.share)

    def repeats(self, reading: Reading) -> bool:
        """Whether the body was asked about a moment ago: the evidence would not count it."""
        (new,) = self._recent.news([reading.request_hash], [reading.time])
        self.counts.repeats += not new
        return not new


class RolloutJudging:
    """The judged pairs of one rollout. `later` calls something soon, once, off the stack of whoever is being told."""

    def __init__(
        self,
        run: Judgeable,
        aspects: Iterable[JudgedAspect],
        bounds: Bounds,
        later: Callable[[Callable[[], None]], Any],
    ) -> None:
        self.aspects = tuple(aspects)
        self._by_name = {aspect.name: aspect for aspect in self.aspects}
        self._run, self._bounds, self._later = run, bounds, later
        self._trial = run.plan.trial
        self._early: dict[
            tuple[str, int], list[JudgedPair]
        ] = {}  # by worker and sequence, until their readings are added
        self._lines: dict[str, deque[JudgedPair]] = {}  # by worker, in request order
        self._waiting = 0
        self._planned = False
        self._not_judged: Counter[str] = Counter()
        self._known: dict[str, JudgedPair] = {}  # the latest pairs by id, to be shown

    def __len__(self) -> int:
        return self._waiting

    # --- pairs in ----------------------------------------------------------------------------------------------------

    def offer(self, pair: Pair, reading: Reading) -> None:
        """A pair has come, in any order; ask about it where it is drawn."""
        if not self.is_of_present_trial:
            self.forget()
            self._known = {}
            for aspect in self.aspects:
                aspect.begin()
                aspect.queue.gate.new_trial(self._run.plan.name)
            self.anchors_said()
        parts, room = reading.aspects or (reading,), self._waiting < MOST_WAITING
        rooms = [room and aspect.queue.has_room for aspect in self.aspects]  # before anything of this pair waits
        for aspect, has_room in zip(self.aspects, rooms, strict=True):
            try:
                if aspect.draws(pair) and aspect.index < len(parts):
                    self._draw(aspect, pair, reading, parts[aspect.index], has_room=has_room)
            except Exception:  # a bug here must not be one of the pair's way into the evidence, and must not be hidden
                logs.unexpected(log, "controller.judging_broke")

    @property
    def is_of_present_trial(self) -> bool:
        """Whether what was counted is the present trial's; not until its first pair comes."""
        return self._run.plan.trial == self._trial

    def counts_of(self, aspect: JudgedAspect) -> AspectCounts:
        """What became of the present trial's drawn pairs, as far as this process has counted them."""
        return aspect.counts if self.is_of_present_trial else AspectCounts()

    def drawn_earlier(self, aspect: JudgedAspect) -> int:
        """Pairs of the trial that its guards know from before this process began."""
        drawn = self._run.evidence.drawn_pairs(aspect.name) if self.is_of_present_trial else 0
        return max(0, drawn - sum(aspect.counts.verdicts.values()) - sum(aspect.counts.not_judged.values()))

    def forget(self) -> None:
        """Another trial has begun, or this one is over: nothing that is still to come belongs to it."""
        self._trial = self._run.plan.trial
        self._early, self._lines, self._waiting = {}, {}, 0
        self._not_judged.clear()

    def _draw(self, aspect: JudgedAspect, pair: Pair, reading: Reading, part: Reading, *, has_room: bool) -> None:
        embedded = self._run.plan.aspects[aspect.index].embedded
        case = case_of(reading, part, floored=self._run.plan.noise_floor > 0, embedded=embedded)
        if case is None or aspect.repeats(reading):
            return
        found = JudgedPair(judged_item(aspect.name, reading))
        cut = bool(pair.request_rest)  # by a worker that had not heard of the judge; equal answers must not count alone
        if aspect.moved or not has_room or case.unreadable or cut:
            why = NotJudged.QUEUE_FULL if not has_room else NotJudged.CUT if cut else NotJudged.UNREADABLE
            self._drop(aspect, found, aspect.queue.asker.refuse(NotJudged.MOVED if aspect.moved else why).why or why)
            return
        found.fault, found.free = bool(reading.fault or part.fault), case.value is not None
        found.left, found.value, found.floor = 1, case.value, case.floor  # this call, not over before all is asked
        self._waiting += 1
        aspect.queue.gate.start()
        self._early.setdefault((reading.worker, reading.sequence), []).append(found)
        self._keep(pair.id, found)
        if found.free:
            found.reason = "the candidate failed" if found.fault else "the two answers are the same"
        if case.pair is None and case.live_pair is None:
            self._wait_without_asking(aspect, found)
        if case.live_pair is not None:
            self._ask(aspect, found, pair, reading, case.live_pair, floor=True)
        if case.pair is not None and found.why is None:
            self._ask(aspect, found, pair, reading, case.pair)
        found.left -= 1
        self._settled(aspect, found)

    def _wait_without_asking(self, aspect: JudgedAspect, found: JudgedPair) -> None:
        """Have a pair whose verdict is known wait for its turn: what befalls it must not depend on that."""
        found.left += 1
        trial = self._trial

        def tell(said: Judgment, _candidate_first: bool) -> None:
            if not self._is_current(trial):
                self._let_go()
                return
            found.left -= 1
            found.why = said.why
            self._settled(aspect, found)

        aspect.queue.put(WaitingQuestion(lambda: self._is_wanted(aspect, found, trial), None, tell, 0))

    def _ask(
        self,
        aspect: JudgedAspect,
        found: JudgedPair,
        pair: Pair,
        reading: Reading,
        answers: tuple[Prediction, Prediction],
        *,
        floor: bool = False,
    ) -> None:
        """Have an answer judged against live's: the candidate's, or for the `floor` live's second one."""
        found.left += 1
        trial, head, body = self._trial, pair.request_head, pair.request_body

        def make() -> JudgeQuestion | None:
            request = request_text(head, body, self._bounds)
            return aspect.queue.asker.question(request, *map(answer_text, answers)) if request else None

        def tell(said: Judgment, candidate_first: bool) -> None:
            if not self._is_current(trial):
                self._let_go()
                return
            if said.why is None and not floor:
                self._run.sample_pairs.add_judged(pair, reading)
            self._told(aspect, found, said, candidate_first, floor=floor)

        size = len(body) + len(head) + 5 * (len(pair.live.body) + len(pair.candidate.body))  # as bytes, and as read
        aspect.queue.put(WaitingQuestion(lambda: self._is_wanted(aspect, found, trial), make, tell, size))

    def _is_wanted(self, aspect: JudgedAspect, found: JudgedPair, trial: str) -> bool:
        return self._is_current(trial) and found.why is None and not aspect.moved

    def _is_current(self, trial: str) -> bool:
        return self._trial == trial == self._run.plan.trial and not self._run.rollout.over

    def _let_go(self) -> None:
        if self._run.rollout.over:
            self.forget()

    # --- verdicts ----------------------------------------------------------------------------------------------------

    def _told(
        self, aspect: JudgedAspect, found: JudgedPair, said: Judgment, candidate_first: bool, *, floor: bool
    ) -> None:
        found.left -= 1
        found.stamp = aspect.queue.gate.stamp() if said.why is None else found.stamp
        if said.why is not None:
            found.why = found.why or said.why
        elif floor:
            found.floor = given_value(said, candidate_first=candidate_first)
        else:
            found.value = given_value(said, candidate_first=candidate_first)
            found.reason, found.candidate_first = said.reason, candidate_first
        self._settled(aspect, found)

    def _settled(self, aspect: JudgedAspect, found: JudgedPair) -> None:
        """Count a pair whose questions are all answered; it is delivered when its turn comes."""
        if found.left:
            return
        if found.why is not None:
            self._drop(aspect, found, found.why)
        self._plan()

    def _drop(self, aspect: JudgedAspect, found: JudgedPair, why: NotJudged) -> None:
        if found.dropped:
            return
        found.why, found.dropped = why, True
        aspect.counts.not_judged[why.value] += 1
        aspect.counts.last_why = why.value
        self._not_judged[found.item.aspect] += 1
        self._plan()

    def ready(self, batch: Iterable[Reading]) -> None:
        """These readings have been added to the evidence, in request order per worker."""
        if not self._early:
            return
        for reading in batch:
            found = self._early.pop((reading.worker, reading.sequence), None)
            if found is not None:
                self._lines.setdefault(reading.worker, deque()).extend(found)
        self._plan()

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._later(self.deliver)

    def deliver(self) -> None:
        """Give the evidence what is known of the heads of the lines."""
        self._planned = False
        items: list[Judged] = []
        for worker, line in list(self._lines.items()):
            while line and self._is_over(self._by_name[line[0].item.aspect], line[0]):
                found = line.popleft()
                self._waiting -= 1
                if found.why is None and found.value is not None:
                    self._by_name[found.item.aspect].counts.add(found)
                    items.append(found.item._replace(value=found.value, floor=found.floor))
            if not line:
                del self._lines[worker]
        not_judged, self._not_judged = self._not_judged, Counter()
        if (items or not_judged) and self._is_current(self._trial):
            self._run.take_verdicts(items, not_judged)

    def _is_over(self, aspect: JudgedAspect, found: JudgedPair) -> bool:
        if found.why is not None:
            return True
        return not found.left and (not found.stamp or aspect.queue.gate.may_count(found.stamp))

    def anchors_said(self) -> None:
        """Verdicts may count that could not before, or a judge has changed: then what waits for it says nothing."""
        for aspect in self.aspects:
            if aspect.queue.gate.moved and not aspect.moved:
                aspect.moved = True
                aspect.queue.gate.told[self._run.plan.name] = self._trial
                self._run.evidence.judge_moved(aspect.name)
                waiting = [*self._lines.values(), *self._early.values()]
                for found in [one for line in waiting for one in line if one.item.aspect == aspect.name]:
                    if found.why is None:
                        self._drop(aspect, found, NotJudged.MOVED)
                self._run.take_verdicts((), {})
        self._plan()

    # --- to be shown -------------------------------------------------------------------------------------------------

    def _keep(self, pair_id: str, found: JudgedPair) -> None:
        key = f"{found.item.aspect}\0{pair_id}"
        self._known[key] = found
        while len(self._known) > MOST_SHOWN:
            del self._known[next(iter(self._known))]

    def shown(self, pair_id: str, aspect: str) -> JudgedPairJson | None:
        """What was said of a kept pair, as the API shows it; `None` where it was not drawn or is not known any more."""
        found = self._known.get(f"{aspect}\0{pair_id}")
        if found is None:
            return None
        first = found.candidate_first
        return {
            "verdict": None if found.why is not None or found.left else found.verdict or None,
            "reason": found.reason,
            "order": None if first is None else "candidate first" if first else "live first",
            "not_judged": found.why.value if found.why is not None else None,
        }


MOST_SHOWN = 2000
"""Judged pairs whose reasons can still be looked at: the worst and the latest pairs are 50 each."""
