"""Judging again: recorded pairs under any limits, and a journal's evidence under its own.

The same readings, evidence and findings as in a running controller, over a file instead of a link: nothing here knows
how a verdict is reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from proxy.evidence import Evidence, EvidenceError, Tripwire
from proxy.evidence.input.costs import cost_figures
from proxy.evidence.rules.registry import GUARDS
from proxy.model import Assessment, Plan, Reading, Verdict
from proxy.model.judged import Judged
from proxy.model.reasons import PREDICTION_WORDS
from proxy.money import money_text
from proxy.pairs.recording import Recorded
from proxy.predictions import booking, reader_of
from proxy.predictions.unparseable import live_detail
from proxy.rollout.serialization import plan_from

LOOK_EVERY = 100
"""Pairs between two looks: a controller looks several times a second, which is about this at common rates."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a file of pairs comes to. `failed_at` and `passed_at` count pairs until the first look that said so (0: none
    did); `tripped_at` the same for failures in a row. `booked` counts pairs by what became of them, `unparseable` that
    part of them by reason word."""

    assessment: Assessment
    pairs: int
    failed_at: int = 0
    passed_at: int = 0
    tripped_at: int = 0
    booked: Mapping[str, int] = field(default_factory=dict)
    candidate_failures: Mapping[str, int] = field(default_factory=dict)
    unparseable: Mapping[str, int] = field(default_factory=dict)
    unread: str = ""
    """What was found in the latest answer of live that could not be read."""
    response_mismatches: Mapping[str, int] = field(default_factory=dict)
    cost: Mapping[str, Any] | None = None
    """What the answers of each arm cost (`cost_figures`), where both have a price."""

    @property
    def verdict(self) -> Verdict:
        """`fail` when the budget crossed or the wire was tripped, else what the last look said."""
        return Verdict.FAIL if self.tripped_at else self.assessment.verdict


class Verdicts(NamedTuple):
    """What judges said of one pair: verdicts, the aspects of those that have none, and what is new of it for whoever
    keeps verdicts."""

    items: Sequence[Judged] = ()
    not_judged: Sequence[str] = ()
    fresh: Sequence[Any] = ()


class Bench:
    """Judges pairs one after the other under a plan, as a controller would have."""

    def __init__(self, plan: Plan, seed: int = 0) -> None:
        self._plan = plan
        self._reader = reader_of(plan)
        self._evidence = Evidence.begin(plan, seed)
        self._wire = Tripwire(plan.consecutive_failures)
        self._batch: list[Any] = []
        self._verdicts: list[Judged] = []
        self._booked = {"compared": 0, "live_failed": 0, "unparseable": 0}
        self._unparseable: dict[str, int] = {}
        self._unread = ""
        self._stage = -1
        self.pairs = self.failed_at = self.passed_at = self.tripped_at = 0

    def read(self, recorded: Recorded) -> Reading:
        """The reading of a pair."""
        return self._reader.read(recorded.pair)._replace(request_hash=recorded.request_hash)

    def judged(self, verdicts: Verdicts) -> None:
        """What judges said of an earlier pair, or of the one that is added next."""
        self._verdicts += verdicts.items
        for aspect in verdicts.not_judged:
            self._evidence.not_judged(aspect, 1)

    def judge_moved(self, aspect: str) -> None:
        """The judge of this prediction has changed: what it said is no evidence."""
        self._evidence.judge_moved(aspect)

    def add(self, recorded: Recorded, reading: Reading | None = None) -> None:
        """One more pair. Its trial and stage are those of the recording: a new stage begins where one began then."""
        reading = reading or self.read(recorded)
        if reading.stage > self._stage:
            self._flush()
            self._stage = reading.stage
            self._evidence.enter_stage(reading.stage)
        self._booked[booking(reading.live_fault)] += 1
        if reading.live_fault in PREDICTION_WORDS:
            word = reading.live_fault.value
            self._unparseable[word] = self._unparseable.get(word, 0) + 1
            self._unread = live_detail(reading.detail)
        self._batch.append(reading)
        self.pairs += 1
        if self._wire.add(reading) and not self.tripped_at:
            self.tripped_at = self.pairs
        if self.pairs % LOOK_EVERY == 0:
            self.look()

    def _flush(self) -> None:
        if self._batch:
            self._evidence.add(self._batch)
            self._batch = []
        if self._verdicts:
            self._evidence.judged(self._verdicts)
            self._verdicts = []

    def look(self, rate: float | None = None) -> Assessment:
        """The findings now."""
        self._flush()
        assessment = self._evidence.assess(rate)
        if assessment.verdict is Verdict.FAIL and not self.failed_at:
            self.failed_at = self.pairs
        if assessment.verdict is Verdict.PASS and not self.passed_at:
            self.passed_at = self.pairs
        return assessment

    def judgement(self) -> Judgement:
        """What it all came to."""
        return Judgement(
            self.look(),
            self.pairs,
            self.failed_at,
            self.passed_at,
            self.tripped_at,
            dict(self._booked),
            dict(self._evidence.candidate_failures),
            dict(self._unparseable),
            self._unread,
            dict(self._evidence.response_mismatches),
            cost_figures(self._plan, self._evidence.costs),
        )


def judge(plan: Plan, pairs: Iterable[Recorded]) -> Judgement:
    """What recorded pairs come to under a plan. They are taken in the order in which they stand."""
    bench = Bench(plan)
    for recorded in pairs:
        bench.add(recorded)
    return bench.judgement()


def judge_trials(plan: Plan, pairs: Iterable[Recorded]) -> dict[str, Judgement]:
    """The same for each trial that was recorded by itself, by its name; the one whose pairs come last stands last.

    A file goes on when another version is tried: what one version did says nothing of another.
    """
    benches: dict[str, Bench] = {}
    for recorded in pairs:
        trial = recorded.pair.trial
        benches[trial] = benches.pop(trial) if trial in benches else Bench(plan)
        benches[trial].add(recorded)
    return {trial: bench.judgement() for trial, bench in benches.items()}


@dataclass(frozen=True, slots=True)
class Audit:
    """One journal entry judged again: what it said then, what its evidence says now, and each difference in words."""

    number: int
    rollout: str
    time: float
    kind: str
    reason: str
    then: str
    now: str
    differences: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the evidence gives the same verdict, causes and hashes."""
        return not self.differences


def audit(entry: Mapping[str, Any], evidence: bytes) -> Audit:
    """Judge a journal entry (as `Store.journal` gives it) by the evidence saved with it. Never raises."""
    detail = entry["detail"]
    now, differences = "", []
    try:
        kept = Evidence.load(plan_from(detail["plan"]), evidence)
        hashes = {"state_hash": kept.state_hash, "limits_hash": kept.limits_hash}
        assessment = kept.assess(serving=_judged_users(detail))
        now = assessment.verdict.value
        found = {"verdict": now, "causes": list(assessment.causes), **hashes}
        looked = bool(detail["findings"])  # nobody had looked when a trial began: there is no verdict to compare
        names = ("verdict", "causes", *hashes) if looked else tuple(hashes)
        differences = [f"{name} was {detail[name]}, is {found[name]}" for name in names if detail[name] != found[name]]
    except (EvidenceError, KeyError, TypeError, ValueError) as error:
        differences = [f"cannot be judged again: {error}"]
    head = (entry["number"], entry["rollout"], entry["time"], entry["kind"], entry["reason"])
    return Audit(*head, then=str(detail.get("verdict")), now=now, differences=tuple(differences))


def _judged_users(detail: Mapping[str, Any]) -> bool:
    """Whether guards that count users were judged too: in shadow, and after the promotion, they are not."""
    return any(GUARDS[one["guard"]].by_users for one in detail["findings"] if one["guard"] in GUARDS)


def summary_words(summary: Iterable[dict[str, Any]], currency: str) -> list[str]:
    """What each judge was asked, a line each."""
    lines = []
    for one in summary:
        words = [f"{one['asked']:,} verdicts", f"{one['known']:,} more from memory" if one["known"] else ""]
        words += [f"{n:,} {why}" for why, n in one["not_judged"].items()]
        words += [f"first {one['first'] * 100:.0f} %"] if one["first"] is not None else []
        words += [f"anchors {one['anchors']}"] if one["anchors"] else []
        lines.append(f"judge {one['judge']}: {', '.join(filter(None, words))}, {money_text(one['cost'], currency)}")
    return lines
