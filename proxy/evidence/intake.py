"""What a reading may say, decided one by one in request order: the only part of the evidence where order matters.

A run is readings that may be counted together: no restart, no minute of the watch and no freezing of the reference
falls inside it. Cutting there is what makes the state the same for every way of batching the same stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxy.evidence.aspect import Aspect, parts_of
from proxy.evidence.e_detector import BLOCK
from proxy.evidence.families.late import ByVerdicts
from proxy.evidence.families.rule import Slot
from proxy.evidence.input.batch import Batch, by_candidate, faultless
from proxy.evidence.input.labels import Entry, loss
from proxy.evidence.input.reference import WARMUP
from proxy.evidence.input.units import UnitBatch
from proxy.evidence.input.verdicts import JudgedPairs
from proxy.evidence.process.prf import key_of
from proxy.evidence.process.restarts import EVERY
from proxy.evidence.process.wealth import Bools, Floats, Ints
from proxy.evidence.rules.outcome_drop import OutcomeDrop
from proxy.evidence.rules.quality_drop import Labelled
from proxy.evidence.state import EvidenceState
from proxy.model import Kind, Plan, PredictionSpec, Reading
from proxy.model.judged import Judged
from proxy.model.reasons import Reason

KINDS_FROM = 50
"""Live answers from which `kind: auto` is decided."""


@dataclass(slots=True)
class Run:
    """Readings that are counted together, by field, with what was decided about each: whether its body is fresh, its
    stage the present one, and that stage warm; and its block of request time. `parts` are the readings as each of the
    plan's predictions sees them."""

    readings: Sequence[Reading]
    fields: dict[str, tuple[Any, ...]]
    fresh: Bools
    current: Bools
    warm: Bools
    blocks: Ints | None
    parts: list[Sequence[Reading]]
    costs: Floats | None = None  # in bounds, (2, n); see `input.costs`


def restart_due(state: EvidenceState, reading: Reading) -> float | None:
    """The request time at which a restart begins before this reading; `None` if none does."""
    if state.follows is not None:
        done = len(state.marks)
        due = done < len(state.follows) and reading.time >= state.follows[done]
        return state.follows[done] if due else None
    due = reading.live_fault is Reason.NONE and state.compared >= (state.restarted + 1) * EVERY
    return reading.time if due else None


def length(state: EvidenceState, readings: Sequence[Reading], start: int) -> int:
    """How many readings from `start` on can be counted together for certain, at least one.

    Each reading brings a restart nearer by at most one, and if live said something also the freezing of the reference
    and the choice of the kind, so none of them can fall inside a run that is no longer than what is missing.
    """
    most = len(readings) - start
    if state.follows is None:
        most = min(most, (state.restarted + 1) * EVERY - state.compared)
    elif len(state.marks) < len(state.follows):
        most = _before(readings, start, state.follows[len(state.marks)], most)
    if learning := learners(state):
        most = _until_said(readings, start, most, min(map(answers_missing, learning)))
    if state.costs.missing and state.is_priced:
        most = min(most, state.costs.missing)
    if state.watch is not None:
        minute = readings[start].time // BLOCK if state.watch.minute is None else state.watch.minute
        most = _before(readings, start, (minute + 1) * BLOCK, most)
    return max(1, most)


def _until_said(readings: Sequence[Reading], start: int, most: int, missing: int) -> int:
    """How many of the next `most` readings come until live has said something in `missing` of them. Where no values are
    read it never does, and nothing is ever learned."""
    for n in range(most):
        one = readings[start + n]
        if one.live is not None or one.aspects:
            missing -= 1
            if missing <= 0:
                return n + 1
    return most


def _before(readings: Sequence[Reading], start: int, time: float, most: int) -> int:
    """How many of the next `most` readings come before the first one of this time or later."""
    return next((i for i in range(most) if readings[start + i].time >= time), most)


def book(state: EvidenceState, plan: Plan, readings: Sequence[Reading]) -> Run:
    """Count of a run what its values do not matter for, and decide what each reading may say."""
    # One transposition instead of an attribute access per reading and field.
    fields = dict(zip(Reading._fields, zip(*readings, strict=True), strict=True))
    fresh = np.array(state.recent.news(fields["request_hash"], fields["time"]), dtype=bool)
    if plan.cluster_by:
        fresh &= _drawn_of_cluster(state, fields["cluster"])
    current = np.array(fields["stage"]) >= state.stage
    warm = np.ones(len(readings), dtype=bool)
    if state.warm_left > 0:
        cold = np.flatnonzero(current)[: state.warm_left]
        warm[cold] = False
        state.warm_left -= len(cold)
    answered = faultless(fields["live_fault"])
    state.compared += int(answered.sum())
    state.repeats += int((answered & ~fresh).sum())
    state.stage_pairs += int((answered & current).sum())
    state.stage_candidate_pairs += int((answered & current & by_candidate(fields["served"])).sum())
    for fault in filter(None, fields["fault"]):
        state.failures[fault] = state.failures.get(fault, 0) + 1
    for word in filter(None, fields["mismatch"]):
        state.mismatches[word] = state.mismatches.get(word, 0) + 1
    if state.watch is not None:
        state.watch.open(fields["time"][0])
    parts = parts_of(readings, plan)
    for aspect, part in zip(state.aspects, parts, strict=True):
        _seen(aspect, part, readings)
    blocks = state.blocks.numbers(fields["worker"], fields["time"]) if state.blocks is not None else None
    costs = _book_costs(state, fields, answered & fresh)
    return Run(readings, fields, fresh, current, warm, blocks, parts, costs)


def _book_costs(state: EvidenceState, fields: dict[str, tuple[Any, ...]], usable: Bools) -> Floats | None:
    """Add up what answers cost, and give it in bounds where a guard counts it; `usable` (n,) may teach the bound."""
    book = state.costs
    book.totals.add(fields)
    if not state.is_priced:
        return None
    book.freeze()
    if book.bound is None:
        book.learn(fields["live_cost"], usable)
    return book.scaled(fields)


def _drawn_of_cluster(state: EvidenceState, clusters: Sequence[str]) -> Bools:
    """Whether a reading is the one of its cluster that counts; one without a cluster does."""
    named = [i for i, name in enumerate(clusters) if name]
    counts = np.ones(len(clusters), dtype=bool)
    counts[named] = state.clusters.chosen([key_of(state.seed, "cluster", clusters[i]) for i in named])
    return counts


def _seen(aspect: Aspect, part: Sequence[Reading], readings: Sequence[Reading]) -> None:
    """Count what a prediction shows of live's answers: their kinds while these decide, and how many cannot be read as
    it though they can as another."""
    if aspect.kind is Kind.AUTO:
        for one in part:
            if one.live is not None:
                aspect.kinds[one.live.kind.value] = aspect.kinds.get(one.live.kind.value, 0) + 1
    if aspect.name:
        aspect.unread += sum(
            bool(one.live_fault) and not whole.live_fault for one, whole in zip(part, readings, strict=True)
        )


def learners(state: EvidenceState) -> list[Aspect]:
    """The predictions of which the kind, or what the reference is made of, is not known yet."""
    guards = state.guards
    return [one for one in state.aspects if one.kind is Kind.AUTO or one.is_learning(guards)]


def answers_missing(aspect: Aspect) -> int:
    """How many more of live's answers decide the kind or freeze the reference."""
    if aspect.kind is Kind.AUTO:
        return KINDS_FROM - sum(aspect.kinds.values())
    return WARMUP - len(aspect.learned)


def keep_for_labels(state: EvidenceState, slot: Slot, plan: Plan, readings: Sequence[Reading], batch: Batch) -> None:
    """Let comparable pairs wait for their labels, and count those whose time has come. `readings` are those of the
    prediction that the guard of this slot judges."""
    keys, delay = batch.keys.tolist(), plan.prediction_of(slot.guard).label_delay
    aspect = state.aspect_of(slot.guard)
    unknown = aspect.kind is Kind.NUMBER and aspect.reference is None  # the unit of an error is still being learned
    for i, reading in enumerate(readings):
        for entry in state.waiting.settle(reading.time - delay):
            _settle(state, slot, entry)
        live, candidate = reading.live, reading.candidate
        if live is None or candidate is None or not batch.fresh[i] or unknown:
            continue
        if live.kind is candidate.kind is aspect.kind:
            state.waiting.add(reading.id, live, candidate, keys[i], reading.stage, reading.time)


def _settle(state: EvidenceState, slot: Slot, entry: Entry) -> None:
    """Count the difference of the two losses of a request."""
    if isinstance(slot.rule, Labelled):
        at = slot.rule.label_bin(entry.candidate - entry.live, entry.key, slot.salt)
        current = entry.stage >= state.stage
        state.tally.count_late(slot, at, state.block_of(entry.time), state.watch, current=current)


def count_verdict(state: EvidenceState, plan: Plan, judged: Judged) -> None:
    """Count a judge's verdict for the guards on it, in the order of requests per worker; like a pair, it may be a
    repeat, of a user whose other request counts, of an earlier stage, or in a segment."""
    pairs = state.judged.setdefault(judged.aspect, JudgedPairs())
    pairs.judged += 1
    (fresh,) = pairs.recent.news([judged.key], [judged.time])
    if plan.cluster_by and judged.cluster:
        (drawn,) = pairs.clusters.chosen([key_of(state.seed, "cluster", judged.cluster)])
        fresh &= drawn
    tally, block = state.tally, state.block_of(judged.time)
    segment = state.segment_of(judged.segment) if len(tally.segments) else None
    current = judged.stage >= state.stage
    for slot in judged_slots(tally.slots, judged.aspect):
        at = slot.rule.verdict_at(judged, slot.salt) if isinstance(slot.rule, ByVerdicts) else None
        if at is not None:
            tally.count_late(slot, at, block, state.watch, current=current, fresh=fresh, segment=segment)
        else:
            pairs.without_floor += 1


def count_units(state: EvidenceState, units: UnitBatch) -> None:
    """Count users whose time has come, in the order in which they began; one that has counted already does not
    again."""
    slot = next((slot for slot in state.tally.slots if isinstance(slot.rule, OutcomeDrop)), None)
    if slot is None or not isinstance(slot.rule, OutcomeDrop):
        return
    counted = state.units.take(units, slot.guard.tolerance)
    if len(counted):
        places, current = slot.rule.places(counted, state.seed, slot.salt)
        state.tally.count_units(slot, places, current, state.watch)


def judged_slots(slots: Iterable[Slot], aspect: str) -> list[Slot]:
    """Those of the guards on a judge's verdicts of this prediction."""
    return [slot for slot in slots if slot.guard.aspect == aspect and isinstance(slot.rule, ByVerdicts)]


def label(state: EvidenceState, aspect: Aspect, spec: PredictionSpec, name: str, truth: Any) -> bool:
    """Note the truth of a request that waits for it; whether there is one, and the truth fits the kind."""
    pair = state.waiting.pair(name)
    if pair is None:
        return False
    scale = aspect.reference.scale if aspect.reference is not None else 1.0
    live, candidate = (loss(aspect.kind, row, truth, spec.low, spec.high, scale) for row in pair)
    if live is None or candidate is None:
        return False
    state.waiting.label(name, live, candidate)
    return True
