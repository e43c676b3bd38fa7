"""`Evidence`: readings in, an `Assessment` out. The one class of this room that changes.

The way of a reading: `add` decides in request order what it may say (repeat, warm-up, stage, segment), `batch` turns
readings into columns, `measures` compares the predictions, each guard's rule places the pair in a category,
`count_store` counts it. `assess` reads nothing but the counts.

Invariants
- The state is integers, frozen thresholds and a seed. However the same readings are cut into batches, it is the same.
- Nothing is ever subtracted, and a FAIL, once assessed, stays.
- Bounded in memory, whatever the traffic sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from proxy.evidence import hashes, intake, joining, snapshot
from proxy.evidence.aspect import begun, context_of
from proxy.evidence.ceiling import Ceiling
from proxy.evidence.comparison import Comparison
from proxy.evidence.count_store import CountStore, budget_shares
from proxy.evidence.divergences import Divergence, PairedHistogram, divergences, histogram
from proxy.evidence.e_detector import ALARM
from proxy.evidence.facts import TrialFacts
from proxy.evidence.findings import Look, find
from proxy.evidence.input.batch import columns
from proxy.evidence.input.blocks import OpenBlocks
from proxy.evidence.input.labels import Waiting
from proxy.evidence.input.timed_rows import WIDTH
from proxy.evidence.input.units import UnitBatch
from proxy.evidence.input.verdicts import JudgedPairs
from proxy.evidence.intake import Run
from proxy.evidence.pass_blocks import MANY
from proxy.evidence.process.budget import BudgetPool, pool
from proxy.evidence.process.prf import key_of, uniforms
from proxy.evidence.process.wealth import CERTAIN, Counts
from proxy.evidence.rules.registry import GUARDS, layout
from proxy.evidence.state import EvidenceError, EvidenceState
from proxy.model import Assessment, Kind, Plan, Reading, Verdict
from proxy.model.judged import Judged

__all__ = ["Evidence", "EvidenceError"]


class Evidence(TrialFacts):
    """All that is known of one trial. Make one with `begin`, or `load` what `dump` gave."""

    def __init__(self, plan: Plan, state: EvidenceState) -> None:
        self._plan = plan
        self._state = state
        self._ceiling: Ceiling | None = None
        self._draw_key, self._signs_key = key_of(state.seed, "row"), key_of(state.seed, "signs")
        self._derive()

    def _derive(self) -> None:
        """What follows from the guards and the kind."""
        slots = self._state.tally.slots
        each = zip(self._state.aspects, self._plan.aspects, strict=True)
        self._comparisons = [Comparison.of(aspect, spec, slots) for aspect, spec in each]
        self._labels = next((slot for slot in slots if GUARDS[slot.guard.name].labelled), None)
        self._tokens = any(rule.quantity == "token" for rule in self._state.tally.timed)

    # --- life --------------------------------------------------------------------------------------------------------

    @classmethod
    def begin(cls, plan: Plan, seed: int) -> Evidence:
        """Evidence of a new trial. `seed` is 64 random bits that no client can know."""
        aspects = begun(plan)
        slots = layout(tuple(plan.guards), context_of(aspects, plan), seed)
        segments = plan.segments.top + 1 if plan.segments is not None else 0
        state = EvidenceState(
            trial=plan.trial,
            seed=seed,
            aspects=aspects,
            tally=CountStore.empty(slots, segments, blocks=plan.latency_block > 0),
            weights=budget_shares(slots, blocks=plan.latency_block > 0),
            warm_left=plan.warmup,
            blocks=OpenBlocks(plan.latency_block, WIDTH) if plan.latency_block else None,
            waiting=Waiting(key_of(seed, "labels")),
        )
        return cls(plan, state)

    def dump(self) -> bytes:
        """Everything, exactly, with a version."""
        return snapshot.dump(self._state)

    @classmethod
    def load(cls, plan: Plan, data: bytes) -> Evidence:
        """What `dump` gave. If the plan's limits have changed since, they change now, as `change_limits` says.

        Raises `EvidenceError` when the bytes are not a dump of this version, or of another trial.
        """
        state = snapshot.load_state(plan, data)
        (evidence := cls(plan, state)).change_limits(plan)
        return evidence

    def merge(self, other: Evidence) -> Evidence:
        """The evidence of both, as if one had seen all; the order of merging makes no difference.

        Raises `EvidenceError` when the two count different things: another state hash, limits, restarts or segments.
        """
        if self.state_hash != other.state_hash or self.limits_hash != other.limits_hash:
            raise EvidenceError("the two count different things: their hashes differ")
        return Evidence(self._plan, joining.merge(self._state, other._state))

    def follower(self) -> Evidence:
        """Empty evidence that counts exactly what this one counts: same seed, thresholds, segments, stage and restarts
        (told apart by request time from now on). For another worker or replica; `merge` joins what they saw. With
        `latency_block` each of them must see whole blocks: what two saw of one block would count as two."""
        return Evidence(self._plan, joining.follower(self._state))

    # --- counting ----------------------------------------------------------------------------------------------------

    def add(self, readings: Sequence[Reading]) -> None:
        """Count readings, which must come in request order per worker. Never raises for what a reading holds."""
        state, at = self._state, 0
        while at < len(readings):
            while (mark := intake.restart_due(state, readings[at])) is not None:
                self._restart(mark)
            if state.watch is not None and state.watch.due(readings[at].time):
                state.end_minute(state.watch)
            run = intake.book(state, self._plan, readings[at : at + intake.length(state, readings, at)])
            self._count(run)
            self._learn()
            at += len(run.readings)

    def _restart(self, mark: float) -> None:
        """Begin a restart with the request of this time."""
        state, ceiling, self._ceiling = self._state, self._ceiling, None
        state.close_blocks()
        at_most = ceiling.bounds(state.tally) if ceiling is not None and ceiling.fits(state.tally) else None
        state.restart(mark)
        if ceiling is not None and at_most is not None:
            self._ceiling = ceiling.restarted(state.tally, at_most)

    def _count(self, run: Run) -> None:
        state = self._state
        batch = columns(run.fields, state.seed, run.fresh, run.warm, run.costs, tokens=self._tokens)
        draw = uniforms(batch.keys, self._draw_key)
        for comparison, part in zip(self._comparisons, run.parts, strict=True):
            comparison.measure(part, batch, draw, self._signs_key)
        if self._labels is not None:
            part = run.parts[state.aspects.index(state.aspect_of(self._labels.guard))]
            intake.keep_for_labels(state, self._labels, self._plan, part, batch)
        segment = None
        if len(state.tally.segments):
            segment = np.array([state.segment_of(name) for name in run.fields["segment"]], dtype=np.int64)
        if run.blocks is not None:
            state.time(batch, run.blocks, run.current, segment)
        state.tally.count(batch, run.current, segment, state.watch, run.blocks)
        if state.tally.blocks.pairs.new > MANY:
            state.sum_up()

    def _learn(self) -> None:
        """Where enough of live's first answers are known: choose the kind that most have, or freeze the reference."""
        state = self._state
        due = [one for one in intake.learners(state) if intake.answers_missing(one) <= 0]
        for aspect in due:
            aspect.learn()
        if due:
            state.rebuild(self._plan)
            self._derive()

    def outcome(self, request_id: str, truth: Any) -> bool:
        """The truth of an earlier request has come; whether that request waits for it and it fits the kind.

        It counts as quality evidence `label_delay` after its request; the first label of a request wins.
        """
        if self._labels is None:
            return False
        guard = self._labels.guard
        return intake.label(
            self._state, self._state.aspect_of(guard), self._plan.prediction_of(guard), request_id, truth
        )

    def judged(self, items: Sequence[Judged]) -> None:
        """Count verdicts of a judge, in the order of their requests per worker; none of one that has changed."""
        for one in items:
            if one.aspect not in self._state.tally.silent:
                intake.count_verdict(self._state, self._plan, one)

    def count_units(self, units: UnitBatch) -> None:
        """Count users of both arms whose time has come; those that counted before do not again."""
        intake.count_units(self._state, units)
        self._ceiling = None

    def not_judged(self, aspect: str, n: int) -> None:
        """Count `n` pairs that were drawn and not judged: they say nothing, but are told."""
        self._state.judged.setdefault(aspect, JudgedPairs()).unjudged += n

    def drawn_pairs(self, aspect: str) -> int:
        """Pairs that were drawn for the judge of this prediction, judged or not, as its guards tell them."""
        pairs = self._state.judged.get(aspect, JudgedPairs())
        return pairs.judged + pairs.unjudged

    def judge_moved(self, aspect: str) -> None:
        """The judge of this prediction has changed, or is none: what its guards count is no evidence any more, neither
        to fail nor to pass. A FAIL that was assessed stays."""
        self._state.tally.silent.add(aspect)
        self._ceiling = None

    def shed(self, n: int) -> None:
        """Count `n` shed copies: the worst value for the PASS of latency and error guards, nothing for FAIL."""
        if n < 0:
            raise ValueError(f"{n} copies cannot be shed")
        self._state.close_blocks()
        self._state.tally.shed(n, self._state.block_of())
        self._state.shed += n

    def gone(self, worker: str) -> None:
        """Nothing more will come from this worker: blocks of request time do not wait for it."""
        if self._state.blocks is not None:
            self._state.blocks.gone(worker)

    def enter_stage(self, entry: int, *, promoted: bool = False) -> None:
        """A stage begins: PASS needs new evidence, latency warms up again, FAIL evidence gets a restart.

        `entry` is the stage's entry number, which only grows; one already entered changes nothing. `promoted` begins
        the watch: from then on the verdict is that of the e-detector of `e_detector`.
        """
        state = self._state
        state.close_blocks()
        if promoted and state.watch is None:
            self._ceiling = None
            state.watch = state.new_watch(state.tally.bursts.copy())
        if entry <= state.stage:
            return
        first = state.stage < 0
        state.stage = entry
        state.stage_pairs = state.stage_candidate_pairs = 0
        state.warm_left = self._plan.warmup
        state.tally.stage[:] = 0
        state.tally.repeats[1] = 0
        state.age_blocks()
        if not first or state.compared:
            state.tally.restart()

    def change_limits(self, plan: Plan) -> None:
        """From now on pairs are judged by the limits of `plan`; earlier ones stay judged by the limit then in force.

        PASS restarts for each guard whose limit changed. Error rates and what else the plan says of evidence are in
        force at once. Raises `EvidenceError` for another trial, or when a guard's limit has been changed too often.
        """
        if plan.trial != self._state.trial:
            raise EvidenceError(f"another trial: {plan.trial!r} is not {self._state.trial!r}")
        if tuple(slot.guard for slot in self._state.tally.slots) != tuple(plan.guards):
            self._state.change_limits(plan, self.log_e())
        self._state.take_blocks(plan.latency_block)
        self._plan = plan
        self._derive()

    # --- judging -----------------------------------------------------------------------------------------------------

    def log_e(self) -> list[float]:
        """Log FAIL e-value of each guard, in the plan's order: all traffic, restarts, epochs, segments and bursts."""
        self._state.close_blocks()
        tally = self._state.tally
        return [tally.log_fail(i, burst=burst) for i, burst in enumerate(tally.burst_sizes())]

    def assess(
        self, rate: float | None = None, held: int = 0, *, forecast: bool = True, serving: bool = False
    ) -> Assessment:
        """Every guard's finding and the pooled verdict. `rate` is compared pairs per second now, for forecasts; of a
        rollout that has ended there is none to make.

        `held` workers have readings that wait for an earlier pair: for a PASS each of those pairs counts as the worst.
        `serving`: the candidate answers some users and live others. Guards that count users ask for a PASS only then.

        A FAIL latches: this call stores it.
        """
        state = self._state
        if not state.tally.slots:
            return Assessment(Verdict.INCONCLUSIVE)
        state.settle()
        bursts = state.tally.burst_sizes()
        parts = [state.tally.log_segments(i, burst) for i, burst in enumerate(bursts)]
        pooled = self._pool(self._logs(bursts, parts))
        if pooled.crossed and not state.causes:
            state.causes = tuple(state.tally.slots[i].guard.key for i in pooled.causes())
        findings = find(Look(self._plan, state, pooled, rate, parts, held, forecast, bursts))
        if not serving:
            findings = tuple(f for f in findings if not GUARDS[f.guard].by_users or f.key in state.causes)
        whole = [finding for finding in findings if finding.segment is None]
        if state.causes:
            verdict = Verdict.FAIL
        elif state.watch is None and all(finding.verdict is Verdict.PASS for finding in whole):
            verdict = Verdict.PASS
        else:
            verdict = Verdict.INCONCLUSIVE
        used = 1.0 if state.causes else float(np.exp(min(0.0, pooled.total)))
        return Assessment(verdict, findings, state.causes, used)

    def crossed(self) -> bool:
        """Whether `assess` would say FAIL now, for a fraction of its cost: to be asked after every batch."""
        state = self._state
        tally = state.tally
        if not tally.slots or state.causes:
            return bool(state.causes)
        state.close_blocks()
        if (
            self._ceiling is not None
            and self._ceiling.fits(tally)
            and not self._pool(self._ceiling.logs(tally)).crossed
        ):
            return False
        # Bursts only ever take evidence away, so they need not be looked at before there is enough without them.
        logs = self._logs([1.0] * len(tally.slots))
        bounded = state.watch is None and not len(tally.segments)
        self._ceiling = Ceiling.of(tally, logs) if bounded else None
        return self._pool(logs).crossed and self._pool(self._logs(tally.burst_sizes())).crossed

    def _logs(self, bursts: list[float], parts: list[list[float]] | None = None) -> list[float]:
        """Log evidence of each guard; after promotion that of the watch. `bursts` are the sizes of the guards' bursts,
        `parts` their evidence by segment."""
        state = self._state
        if state.watch is not None:
            slots = state.tally.slots
            return [-CERTAIN if state.tally.is_silent(slot) else state.watch.log_m(slot) for slot in slots]
        each = parts if parts is not None else [None] * len(bursts)
        return [state.tally.log_fail(i, part, burst) for i, (part, burst) in enumerate(zip(each, bursts, strict=True))]

    def _pool(self, logs: list[float]) -> BudgetPool:
        """The budget of the trial; after promotion that of the watch."""
        rate = self._plan.false_rollback_rate if self._state.watch is None else float(np.exp(-ALARM))
        return pool(logs, self._state.weights, rate)

    def divergences(self) -> tuple[Divergence, ...]:
        """PSI, KS, Jensen-Shannon and Wasserstein as far as `max_psi` and `max_ks` count them: for reading only."""
        return divergences(self._state.tally)

    def histogram(self) -> PairedHistogram | None:
        """Both arms' answers over the KS thresholds, for plotting; `None` without `max_ks` or before it has learned."""
        return histogram(self._state.tally)

    # --- facts -------------------------------------------------------------------------------------------------------

    @property
    def kind(self) -> Kind:
        """The kind of prediction (of several that of the first); `AUTO` until most of live's first 50 show it."""
        return self._state.aspects[0].kind

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of all predictions by their names."""
        return {one.name: one.kind for one in self._state.aspects}

    @property
    def scale(self) -> float:
        """The unit of the numbers that labels are about: live's interquartile range once it is known, 1 before."""
        guard = self._labels.guard if self._labels is not None else None
        aspect = self._state.aspects[0] if guard is None else self._state.aspect_of(guard)
        return aspect.reference.scale if aspect.reference is not None else 1.0

    @property
    def state_hash(self) -> str:
        """What is counted and how: extractor, bins, thresholds and seed. Only equal ones merge."""
        return hashes.state_hash(self._state)

    @property
    def limits_hash(self) -> str:
        """The limits in force and those before them, in order, with the error rates."""
        return hashes.limits_hash(self._state, self._plan)

    @property
    def nbytes(self) -> int:
        """Bytes of the counts, the part that grows with guards and segments (and with nothing else)."""
        return self._state.tally.nbytes

    @property
    def counts(self) -> Counts:
        """A copy of all FAIL counts, (20, width), for tests and audits."""
        self._state.close_blocks()
        return self._state.tally.rows.copy()
