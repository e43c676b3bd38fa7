"""One rollout while it runs: pairs in, readings in request order, evidence, and a look at it when it is due.

Nothing here waits, writes (but one log line) or sends; time comes in as an argument. What a look leads to is decided in
`rollout.machine` and carried out in `effect_executor`.

Invariants
- Evidence, ledger and tripwire belong to one trial (`plan.trial`); a new trial gets new ones, together.
- Evidence, kept pairs and charts end with the rollout: pairs that come after the decision are booked as `late`.
- `rollout` is the state in force, `lane` what workers have been told, `saved` what the store holds, `rising` the state
  that is in force once it is saved. For a decrease the lane leads, for an increase the store does; they meet when a
  decision has been carried out.
- Looks cost at most their share of a core: expensive looks are done less often, but still about once a second.
  Whether the budget has crossed costs far less to know, and is asked between looks within a share of its own.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from proxy import logs
from proxy.controller.charts import Charts
from proxy.controller.judging.rollout_judging import RolloutJudging
from proxy.controller.rate import RateMeter
from proxy.controller.readings import Readings
from proxy.controller.recorder import Recorder
from proxy.controller.rest import Rest, Resting
from proxy.controller.sample_pairs import MAX_BODY, MAX_SPOKEN, SamplePairs
from proxy.controller.sampling import SampleBudget
from proxy.evidence import Evidence, Tripwire
from proxy.model import BUCKETS, Arm, Lane, Ledger, Pair, Plan, Reading, State
from proxy.model.judged import Judged
from proxy.model.reasons import PREDICTION_WORDS
from proxy.pairs.ledger import PairLedger
from proxy.pairs.redaction import pointers
from proxy.predictions import booking, protocol_of, reader_of
from proxy.predictions.transcript import is_spoken
from proxy.predictions.unparseable import live_detail, sentence
from proxy.rollout.events import Looked, RolloutState, Tripped
from proxy.rollout.machine import share_of
from proxy.rollout.pair_budget import PairPace
from proxy.rollout.requirements import is_patient
from proxy.rollout.sparing import enough_pairs

log = logging.getLogger("understudy.trials")

LOOK_SHARE, PATIENT_SHARE = 0.01, 0.002
"""Share of one core that looks at one rollout may take, and again that asking whether one is due may; the lesser one
while the candidate answers nobody and is not about to."""

SLOWER = 0.9
"""Part of the rate at the last look at which forecasts are made anew though no pair has come."""

LOOK_LATEST = 1.0
"""Seconds after which a look is due: with nine guards it costs 10 ms, the price of several hundred pairs."""

ASK_LATEST = 0.2
"""Seconds after which it is asked again whether the budget has crossed, whatever that costs."""

_CANDIDATE = Arm.CANDIDATE  # looking up a member of an enum costs 0.1 µs in Python 3.11
_BOOKED_BY = attrgetter("worker", "live_fault")


def fresh_evidence(plan: Plan) -> Evidence:
    """Evidence with nothing in it and a random seed of its own."""
    return Evidence.begin(plan, int.from_bytes(os.urandom(8), "little"))


def lane_of(rollout: RolloutState, plan: Plan) -> Lane:
    """What workers are told of a rollout."""
    lane = Lane(rollout.name, rollout.trial, rollout.state, rollout.weight, share_of(rollout, plan), rollout.entry)
    return replace(lane, again=plan.again)


class RolloutRun(Resting):
    """A rollout at work. `added_at` is the monotonic time at which the last pair that mattered was added."""

    def __init__(self, plan: Plan, rollout: RolloutState, evidence: Evidence, pair_ledger: PairLedger) -> None:
        self.plan = plan
        self.rollout = self.saved = rollout
        self.rising: RolloutState | None = None
        self.lane = lane_of(rollout, plan)
        self.evidence = evidence
        self.pair_ledger = pair_ledger
        self.sample_pairs = SamplePairs()
        self.charts = Charts()
        self.failed: dict[str, tuple[str, float]] = {}  # by reason: the latest request's id and time
        self.unread = ""  # what was found in the latest answer of live that could not be read
        self.recorder: Recorder | None = None
        self.judging: RolloutJudging | None = None  # where a judge is asked about its pairs
        self.redact: tuple[str, ...] = ()  # whatever was to be hidden since the trial began: its pairs are still kept
        self.readings = Readings()
        self.unrecorded = 0  # pairs that recorders now closed had dropped
        self.protocol = ""
        self.is_spoken = False  # whether answers are those of language models
        self.token_pairs = {"usage": 0, "events": 0}  # pairs by what their tokens were counted by, since the start
        self.tripwire = Tripwire(plan.consecutive_failures)
        self._looked: Looked | None = None
        self._rest = Rest()
        self.planned = False  # whether a flush of the batch is due at a certain time
        self.filled_at = 0.0  # when a micro-batch was full the last time, by the loop's clock
        self.adding = False  # whether readings are being added in turns
        self.added_at = 0.0
        self.unsnapshot = False
        self.unwritable = ""  # why its evidence cannot be written
        self.snapshot_at = 0.0  # monotonic seconds of the last snapshot
        self._ready: dict[str, bool] = {}  # what each worker's health checks say of the candidate
        self.reader = reader_of(plan)
        self._rate = RateMeter()
        self.assessed_at = 0.0  # the rate of compared pairs at the last look at the evidence
        self._changed = True
        self._look_cost = 0.0
        self._looked_at = 0.0
        self._ask_cost = 0.0
        self._asked_at = 0.0
        self.budget = SampleBudget()

    @property
    def name(self) -> str:
        """The rollout's name, `ROUTE/CANDIDATE`."""
        return self.plan.name

    @property
    def weights(self) -> bool:
        """Whether the candidate has weight, is about to have it, or may have it still."""
        return bool(self.rollout.weight or self.lane.weight or (self.rising and self.rising.weight))

    @property
    def ledger(self) -> Ledger:
        """What became of every sampled request, those that came after the rollout's end among them."""
        return self.pair_ledger.ledger()

    @property
    def why_unparseable(self) -> str:
        """Why pairs could not be compared and which key to check, in a sentence; empty when all could be.

        What was found in an answer is left out where something is to be redacted: it may be the very thing.
        """
        latest = "" if pointers(self.redact) else self.unread
        return sentence(self.pair_ledger.unparseable, self.pair_ledger.compared, self.plan.aspects[0], latest)

    # --- pairs in ----------------------------------------------------------------------------------------------------

    def refresh(self, now: float) -> None:
        """Look again if the evidence has changed since the last look, so that what is journaled belongs together."""
        if self._looked is None or self._changed:
            self.look(now, self.rollout.blocked_by)

    def take(self, pair: Pair, kept: Pair | None = None) -> Tripped | None:
        """Read a pair and put it in its place, `kept` as it may be kept; the event when it trips the wire."""
        return self.place(pair if kept is None else kept, self.reader.read(pair))

    def place(self, pair: Pair, reading: Reading) -> Tripped | None:
        """Put a reading of `reader` in its place; the event when it trips the wire."""
        if not self.readings.add(reading):
            return None  # its place has been settled: nothing will come of it, so it is not here either
        self.pair_ledger.arrived(pair.worker, pair.time)
        self._use(pair, reading)
        if self.rollout.over or not self.tripwire.add(reading):
            return None
        self.added_at = time.perf_counter()
        return Tripped(pair.time, self.tripwire.count, reading.detail or reading.fault.value)

    def _use(self, pair: Pair, reading: Reading) -> None:
        """All that a pair is good for beside being evidence; after the end it is recorded and paid for, no more."""
        if pair.served is _CANDIDATE and self.rollout.state is State.PROMOTED and pair.stage >= self.rollout.entry:
            self.pair_ledger.answered_in_full(
                pair.time + (0.0 if math.isnan(pair.candidate.seconds) else pair.candidate.seconds)
            )
        self.budget.pay(pair, reading, self.reader.bounds)
        if self.recorder is not None:
            self.recorder.offer(pair, reading.request_hash)
        if self.rollout.over:
            return
        self.sample_pairs.add(pair, reading)
        if self.judging is not None:
            self.judging.offer(pair, reading)
        if reading.tokens:
            self.token_pairs["events" if reading.pieces else "usage"] += 1
        if reading.fault:
            self.failed[reading.fault.value] = pair.known_as, pair.time
        if reading.live_fault and reading.live_fault in PREDICTION_WORDS:
            self.unread = live_detail(reading.detail)
        if not self.protocol and any(one.live is not None for one in reading.aspects or (reading,)):
            self._recognise(pair)

    def _recognise(self, pair: Pair) -> None:
        """Say once by which protocol answers are read, which matters where the owner left that to `auto`."""
        found = [protocol_of(spec, pair, self.reader.bounds) for spec in self.plan.aspects]
        self.protocol = ", ".join(dict.fromkeys(filter(None, found)))
        self.is_spoken = is_spoken(self.plan.aspects[0], found[0])
        self.sample_pairs.most_body = MAX_SPOKEN if self.is_spoken else MAX_BODY
        if any(spec.protocol == "auto" for spec in self.plan.aspects):
            logs.event(log, "prediction.recognised", rollout=self.name, protocol=self.protocol)

    def mark(self, worker: str, sequence: int) -> None:
        """Every sequence below `sequence` is settled in this worker."""
        self.readings.mark(worker, sequence)

    def dropped(self, worker: str, sequence: int) -> None:
        """A pair was dropped unread: the worker's next report finds that it has not arrived."""
        self.readings.skip(worker, sequence)

    def counts(self, worker: str, counts: dict[str, int]) -> None:
        """A worker's totals for this trial, which come as long as it lives; most have no news."""
        account = self.pair_ledger.account(worker)
        before = replace(account)
        shed = account.report(counts)
        if account == before:
            return
        self.unsnapshot = True
        if self.rollout.over:
            return
        if shed > 0:
            self.evidence.shed(shed)
        self._changed = True

    def readiness(self, worker: str, ready: bool | None) -> None:
        """What a worker's health checks say of the candidate, `None` when they have said nothing."""
        self._rest.end()
        if ready is None:
            self._ready.pop(worker, None)
        else:
            self._ready[worker] = ready

    @property
    def ready(self) -> bool | None:
        """Whether some worker may send the candidate something; `None` when none knows."""
        return any(self._ready.values()) if self._ready else None

    def gone(self, worker: str) -> None:
        """Nothing more will come from a worker."""
        self._rest.end()
        self._ready.pop(worker, None)
        self.readings.gone(worker)

    def close_account(self, worker: str) -> None:
        """All that came from a worker that is gone has been added: what is missing will not come."""
        self.flush()
        self.evidence.gone(worker)
        self.pair_ledger.close(worker)

    def flush(self) -> None:
        """Add the waiting readings to the evidence, or after the end to what came late."""
        while self.flush_some():
            pass

    def flush_some(self) -> bool:
        """The same with one micro-batch of them; whether there was one."""
        batch = self.readings.cut()
        if not batch:
            return False
        over = self.rollout.over
        for (worker, live_fault), pairs in Counter(map(_BOOKED_BY, batch)).items():
            result = "late" if over else booking(live_fault)
            self.pair_ledger.book(worker, result, pairs, "" if over else live_fault.value)
        if over:
            self.evidence.costs.add_copies(batch)
            self.unsnapshot = True
            return True
        self.evidence.add(batch)
        if self.judging is not None:
            self.judging.ready(batch)
        self.charts.add(batch, self.plan)
        if not self._judges_quality:
            first = [one.aspects[0] if one.aspects else one for one in batch]  # truths are about the first prediction
            self.pair_ledger.outcomes.add(first, self.plan.aspects[0])
        self.added_at = time.perf_counter()
        self._changed = self.unsnapshot = True
        return True

    def take_verdicts(self, items: Sequence[Judged], not_judged: Mapping[str, int]) -> None:
        """Verdicts in request order, and how many drawn pairs of each aspect have none."""
        self.evidence.judged(items)
        for aspect, pairs in not_judged.items():
            self.evidence.not_judged(aspect, pairs)
        self.added_at = time.perf_counter()
        self._changed = self.unsnapshot = True

    # --- budgets -----------------------------------------------------------------------------------------------------

    def afford(self, now: float, auto: PairPace) -> bool:
        """Turn the share that budgets afford (monotonic seconds, the common pace); whether to tell the workers."""
        assessment, ledger = self.assessment, self.ledger
        if self.budget.rests(now, auto, ledger, self.rollout, self.plan, assessment):
            return False
        enough = enough_pairs(self.rollout, self._looked, self.plan)
        return self.budget.turn(now, ledger, auto, enough, self.rollout, self.plan, assessment)

    def told(self) -> Lane:
        """The lane as workers are to have it."""
        affords, asked = self.budget.affords, 0 if self.exposures is None else self.exposures.asked
        return replace(self.lane, affords=affords, asked=asked) if asked or affords != BUCKETS else self.lane

    # --- looks -------------------------------------------------------------------------------------------------------

    def may_look(self) -> bool:
        """Whether a look now keeps within its share, or is due whatever it costs."""
        return time.perf_counter() - self._looked_at >= min(self._look_cost / self._share, LOOK_LATEST)

    @property
    def _share(self) -> float:
        return PATIENT_SHARE if is_patient(self.rollout, self.plan) else LOOK_SHARE

    def crossed(self) -> bool:
        """Whether the budget has crossed, so that a look is due at once; asked as often as its share allows, and
        after `ASK_LATEST` at any rate."""
        began = time.perf_counter()
        if self.rollout.over or began - self._asked_at < min(self._ask_cost / self._share, ASK_LATEST):
            return False
        crossed = self.evidence.crossed()
        self._asked_at = time.perf_counter()
        self._ask_cost = self._asked_at - began
        return crossed

    def look(self, now: float, blocked_by: str | None) -> Looked:
        """Look at the evidence (again only if it changed); `now` in epoch seconds."""
        if self._rest.at > self._rate.at:
            self._rate.update(self._rate.count, self._rest.at)  # nothing came while it rested
        rate = self._rate.update(self.pair_ledger.compared, now)
        if self._looked is None or self._changed or rate < SLOWER * self.assessed_at:
            self.assessed_at = rate
            began = time.perf_counter()
            assessment = self.evidence.assess(rate, self._held, serving=self.serving)
            self._looked_at = time.perf_counter()
            self._look_cost = self._looked_at - began
            self._changed = False
        else:
            assessment = self._looked.assessment
        pairs, candidate_pairs = self.evidence.stage_pairs, self.evidence.stage_candidate_pairs
        self.charts.look(now, assessment, self.rollout.weight / 100)
        self._looked = Looked(now, assessment, pairs, candidate_pairs, blocked_by, rate, self.ready, self.srm)
        self._rest.begin(now, now)  # none begins; and no earlier one, by a clock that has been put back, is the later
        return self._looked

    @property
    def _held(self) -> int:
        """Workers with readings that wait for an earlier pair. With one worker a PASS just before a bad pair is as good
        as any: its order is that of the requests."""
        return self.readings.held if self.readings.workers > 1 else 0

    def close(self, now: float) -> None:
        """The rollout is about to end: take the last look, at all that was known by then, without a forecast. Readings
        beyond a micro-batch come late."""
        self.flush_some()
        assessment = self.evidence.assess(None, self._held, forecast=False, serving=self.serving)
        pairs, candidate_pairs = self.evidence.stage_pairs, self.evidence.stage_candidate_pairs
        self._looked, self._rest = Looked(now, assessment, pairs, candidate_pairs), Rest()
        self.charts.look(now, assessment, self.rollout.weight / 100)
        self._changed = False

    def renew(self, plan: Plan, counted: Mapping[str, Mapping[str, int]]) -> None:
        """A new trial: nothing of the old one's evidence goes into it. `counted` is what each worker has reported of a
        trial of this name before, which is over: workers count on from there."""
        self.evidence = fresh_evidence(plan)
        self.pair_ledger = PairLedger()
        self.unread = self.protocol = ""
        for worker, counts in counted.items():
            self.pair_ledger.account(worker).begin_at(counts)
        self.forget()
        late, self.readings = self.readings.late, Readings()
        self.readings.late = late
        self._rate = RateMeter()
        self.budget.renew()
        self._looked, self._rest, self.redact = None, Rest(), ()
        self.tripwire = Tripwire(plan.consecutive_failures)
        self.adopt(plan)

    def forget(self) -> None:
        """Let go of what is only there to be looked at."""
        self.sample_pairs = SamplePairs(self.sample_pairs.most_body)
        self.charts = Charts()

    def hide(self, entries: Iterable[str]) -> None:
        """Redact these as well in what is shown; what was to be hidden before stays so while the trial lasts."""
        self.redact = tuple(dict.fromkeys((*self.redact, *entries)))

    def adopt(self, plan: Plan) -> None:
        """The same trial under a changed plan."""
        self.plan = plan
        self.reader = reader_of(plan)
        self.tripwire.limit = plan.consecutive_failures  # those that have failed in a row by now still have
        self._changed = True

    def entered(self) -> None:
        """The rollout has entered another stage: evidence since then counts by itself, failures in a row anew."""
        self.evidence.enter_stage(self.rollout.entry, promoted=self.rollout.state is State.PROMOTED)
        self.tripwire = Tripwire(self.plan.consecutive_failures)
        self._changed = self.unsnapshot = True
