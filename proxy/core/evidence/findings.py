"""Findings: what a person reads. Effect size, interval, evidence, forecast, and one sentence; never a p-value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from proxy.core.evidence.batch import Bools
from proxy.core.evidence.budget import Pool
from proxy.core.evidence.estimate import Estimate
from proxy.core.evidence.guards import Slot, judges
from proxy.core.evidence.ks import Ks
from proxy.core.evidence.mean import Labelled
from proxy.core.evidence.psi import Psi
from proxy.core.evidence.state import State
from proxy.core.evidence.tally import segment_shares
from proxy.core.evidence.timings import log_pass
from proxy.core.evidence.wealth import Counts, Floats, Numbers
from proxy.core.evidence.words import burst_words, forecast_words, gap_words, label_words, number, title
from proxy.core.model import Finding, Plan, Verdict
from proxy.core.reasons import NO_CREDENTIALS, Reason

FARTHEST = 10_000_000
"""Pairs beyond which a forecast is no help."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the evidence: what every finding needs. `parts` are the guards' evidence by segment, as logs,
    `bursts` the sizes of their bursts."""

    plan: Plan
    state: State
    pooled: Pool
    rate: float | None
    parts: list[list[float]]
    held: int = 0
    forecast: bool = True
    bursts: Sequence[float] = ()

    @property
    def level(self) -> float:
        """Log of the e-value that a PASS needs."""
        return float(-np.log(self.plan.false_promotion_rate))


def find(look: Look) -> tuple[Finding, ...]:
    """The finding of each guard over all traffic, in the plan's order, then those of its segments."""
    tally = look.state.tally
    names = list(look.state.segments)
    rows = tally.segments
    if len(names) + 1 == len(rows) and rows[-1].any():
        names.append("other")
    whole, parts = [], []
    for i, slot in enumerate(tally.slots):
        each = [tally.carried(slot)[None], tally.with_repeats(slot)[:1], rows[: len(names), slot.start : slot.stop]]
        estimates = slot.rule.estimates(np.concatenate(each), slot.guard.limit)
        whole.append(_whole(look, i, slot, estimates[0], estimates[1]))
        for s, (name, estimate) in enumerate(zip(names, estimates[2:], strict=True)):
            parts.append(_segment(look, i, slot, s, name, look.parts[i][s], estimate))
    return (*whole, *parts)


def asked_of(look: Look, slot: Slot) -> tuple[Numbers, Numbers]:
    """The counts (of latency guards the sums by blocks) that must all pass, and those of the trial that go on in each
    when more comes, both (m, width).

    Carried and of this stage alone; if bodies came again, both also with those: a body that comes often and goes wrong
    each time is a share of the requests, not one of them. The index has no bets for blocks of pairs, so it counts the
    pairs a second time as what its bursts make of them.
    """
    tally = look.state.tally
    if (own := tally.timings_of(tally.slots.index(slot))) is not None:
        timings, _, _, passes = own
        return timings.passes[:, passes], timings.passes[[0, 0], passes]
    carried = tally.carried(slot)
    counts, whole = [carried, tally.since_stage(slot)], [carried, carried]
    if tally.repeats[0, slot.start : slot.stop].any():
        every, since = tally.with_repeats(slot)
        counts, whole = [*counts, every, since], [*whole, every, every]
    both = np.stack([counts, whole])
    if isinstance(slot.rule, Psi):
        burst = (look.bursts or tally.burst_sizes())[tally.slots.index(slot)]
        both = np.concatenate([both, both / burst], axis=1)
    return both[0], both[1]


def pass_of(look: Look, slot: Slot) -> tuple[Callable[[Numbers], Floats], Counts]:
    """How a guard judges what `asked_of` gives, and what one pair that is the worst for a PASS adds to it."""
    tally = look.state.tally
    if (own := tally.timings_of(tally.slots.index(slot))) is not None:
        timings, rule, *_ = own
        return lambda sums: log_pass(rule, sums), timings.worst(rule)
    one = np.zeros(slot.rule.width, np.int64)
    if slot.rule.worst_at is not None:
        one[slot.rule.worst_at] = 1
    return lambda counts: slot.rule.log_pass(counts, slot.guard.limit), one


def passes(look: Look, slot: Slot) -> bool:
    """Whether a guard passes now: on the carried evidence and on this stage's alone, for all requests."""
    counts, _ = asked_of(look, slot)
    judge, worst = pass_of(look, slot)
    # What a worker holds back waits for a pair that is slow to answer, perhaps because it is a bad one. With one worker
    # the evidence just before it is as good as any; with several, those moments would be chosen in each by itself.
    if not (judge(counts + look.held * worst) >= look.level).all():
        return False
    state = look.state
    if state.blocks is not None:
        state.settle()
        if not (state.tally.blocks.log_pass(state.tally.slots, state.tally.slots.index(slot)) >= look.level).all():
            return False
    # The index has no place for an answer that never came, so somebody else must vouch for those.
    if isinstance(slot.rule, Psi) and counts[0][-1]:
        errors = next((other for other in look.state.tally.slots if other.guard.name == "max_extra_errors"), None)
        return errors is not None and passes(look, errors)
    return True


LADDER = np.concatenate([[0], 64 * 2 ** np.arange(18)])
"""Numbers of pairs, or blocks, that a forecast tries first."""
RUNGS = 48
"""Steps between two of them: a forecast is right to 2 %."""


def pairs_until_pass(look: Look, slot: Slot, pairs: int) -> int | None:
    """Pairs of this guard until a pass if what was seen goes on, 0 if it passes now, `None` if it will not.

    The profile of the `pairs` so far is added to all counts that must pass until they do, and that of the blocks so
    far to the blocks.
    """
    if not pairs:
        return None
    counts, whole = asked_of(look, slot)
    (judge, _), now, profile = pass_of(look, slot), counts[:, None], whole[:, None] / pairs

    def enough(more: Floats) -> Bools:
        return np.asarray((judge(now + more[:, None] * profile) >= look.level).all(axis=0))

    by_pairs, by_blocks = _first(enough), blocks_until_pass(look, slot)
    if by_pairs is None or by_blocks is None:
        return None
    blocks = look.state.tally.blocks.count[0, look.state.tally.slots.index(slot)]
    return max(by_pairs, round(by_blocks * pairs / max(1, int(blocks))))


def blocks_until_pass(look: Look, slot: Slot) -> int | None:
    """Blocks of request time until the stake on them passes, if those so far go on; 0 now, `None` if it will not."""
    state = look.state
    if state.blocks is None or not slot.directions:
        return 0
    state.settle()
    tally = state.tally
    i = tally.slots.index(slot)
    return _first(lambda more: np.asarray((tally.blocks.log_pass(tally.slots, i, more) >= look.level).all(axis=0)))


def _first(enough: Callable[[Floats], Bools]) -> int | None:
    """The first number, to 2 %, that is enough."""
    rung = enough(LADDER)
    if not rung.any():
        return None
    at = int(rung.argmax())
    if at == 0:
        return 0
    low, high = LADDER[at - 1 : at + 1]
    between = low + (high - low) * np.arange(1, RUNGS + 1) // RUNGS
    steps = enough(between)
    return int(between[steps.argmax()] if steps.any() else high)


def _whole(look: Look, i: int, slot: Slot, estimate: Estimate, every: Estimate) -> Finding:
    tally, guard = look.state.tally, slot.guard
    counts = tally.carried(slot)
    caused = guard.name in look.state.causes
    passed = passes(look, slot)
    verdict = Verdict.FAIL if caused else Verdict.PASS if passed else Verdict.WATCHING
    share = 1.0 if caused else float(np.exp(min(0.0, look.pooled.shares[i])))
    more = pairs_until_pass(look, slot, estimate.pairs) if look.forecast and not caused else None
    burst = look.bursts[i]
    sentence = _sentence(look, slot, estimate, verdict, share, more, counts)
    said = (sentence, burst_words(burst), _repeated(slot, estimate, every))
    return Finding(
        guard=guard.name,
        segment=None,
        verdict=verdict,
        value=_finite(estimate.value),
        low=_finite(estimate.low),
        high=_finite(estimate.high),
        limit=guard.limit,
        evidence=share,
        pairs=estimate.pairs,
        eta_seconds=_eta(look, slot, estimate, more),
        reason=", ".join(filter(None, said)),
        burst_size=burst,
        value_with_repeats=_finite(every.value),
        pairs_with_repeats=every.pairs,
    )


def _segment(look: Look, i: int, slot: Slot, s: int, name: str, log_e: float, estimate: Estimate) -> Finding:
    tally, guard = look.state.tally, slot.guard
    weight = look.state.weights[i] * 0.5 * float(segment_shares(len(tally.segments))[s])
    share = float(np.exp(min(0.0, log_e + np.log(weight * look.plan.false_rollback_rate))))
    # A segment is named as failing when its own part alone crossed; otherwise the whole guard's finding says it.
    verdict = Verdict.FAIL if guard.name in look.state.causes and share >= 1.0 else Verdict.WATCHING
    return Finding(
        guard=guard.name,
        segment=name,
        verdict=verdict,
        value=_finite(estimate.value),
        low=_finite(estimate.low),
        high=_finite(estimate.high),
        limit=guard.limit,
        evidence=share,
        pairs=estimate.pairs,
        eta_seconds=None,
        reason=_effect(slot, estimate) + f" in {name or '(none)'}",
        burst_size=look.bursts[i],
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _eta(look: Look, slot: Slot, estimate: Estimate, more: int | None) -> float | None:
    """Seconds until `more` pairs of this guard, at the present rate and this guard's share of the pairs."""
    if more is None or not look.rate or not look.state.compared:
        return 0.0 if more == 0 else None
    return more / (look.rate * min(1.0, estimate.pairs / look.state.compared))


def _effect(slot: Slot, estimate: Estimate) -> str:
    name = title(slot.guard)
    if estimate.value is None:
        return f"{name}: nothing to compare yet, limit {number(slot.guard, slot.guard.limit)}"
    value, low, high = (number(slot.guard, x) for x in (estimate.value, estimate.low, estimate.high))
    return f"{name} now {value} ({low} – {high}), limit {number(slot.guard, slot.guard.limit)}"


def _sentence(
    look: Look, slot: Slot, estimate: Estimate, verdict: Verdict, share: float, more: int | None, counts: Counts
) -> str:
    parts = [_effect(slot, estimate)]
    scale = round(1.0 / look.plan.false_rollback_rate)
    if verdict is Verdict.FAIL:
        parts += [_speaker(look, look.state.tally.slots.index(slot)), "the evidence against it is enough: fail"]
    else:
        parts.append(f"evidence {share * scale:.0f} of {scale}" if share * scale >= 0.5 else f"evidence 0 of {scale}")
        outlook = _outlook(look, slot, estimate, more, counts) if look.forecast else ""
        parts.append("pass" if verdict is Verdict.PASS else outlook)
    if estimate.failed:
        parts.append(f"{estimate.failed} failed answers count as the worst")
    if estimate.note:
        parts.append(estimate.note)
    if isinstance(slot.rule, Labelled):
        waiting, delay = look.state.waiting, look.plan.prediction.label_delay
        parts.append(label_words(waiting.labelled, waiting.unlabelled, 1 << waiting.halvings, delay))
    failures = look.state.failures
    if verdict is Verdict.FAIL and 2 * failures.get(Reason.UNAUTHORIZED, 0) > sum(failures.values()):
        parts.append(f"mostly unauthorized: {NO_CREDENTIALS}")
    if look.state.repeats > look.state.compared // 2:
        parts.append("more than half of the requests were repeats and gave no evidence to fail")
    return ", ".join(part for part in parts if part)


def _repeated(slot: Slot, estimate: Estimate, every: Estimate) -> str:
    """What it comes to over all requests, where bodies that came again make that another figure."""
    low, high = estimate.low, estimate.high
    if (
        every.value is None
        or low is None
        or high is None
        or every.pairs == estimate.pairs
        or low <= every.value <= high
    ):
        return ""
    return f"{number(slot.guard, every.value)} over all {every.pairs:,} pairs, repeats included"


def _speaker(look: Look, i: int) -> str:
    """Which part of the traffic the evidence for a FAIL is from, when that is not all of it: the effect over all pairs
    may then lie within the limit."""
    if look.state.watch is not None:
        return "seen by the watch after promotion"
    tally, slot = look.state.tally, look.state.tally.slots[i]
    parts = look.parts[i]
    if parts:
        shares = np.log(segment_shares(len(parts))) + parts
        at = int(shares.argmax())
        if shares[at] > tally.log_whole(i, look.bursts[i]):
            name = [*look.state.segments, "other"][at]
            return f"mostly in {name or '(none)'}"
    counts = tally.loudest(i)
    if counts is None:
        return ""
    (late,) = slot.rule.estimates(counts[None], slot.guard.limit)
    if late.value is None:
        return ""
    value, low, high = (number(slot.guard, x) for x in (late.value, late.low, late.high))
    return f"{value} ({low} – {high}) over the last {late.pairs:,} pairs"


def _outlook(look: Look, slot: Slot, estimate: Estimate, more: int | None, counts: Counts) -> str:
    """When a pass may come, or what stands in its way."""
    if not judges(slot.guard, look.state.kind):
        return f"it cannot judge predictions of kind {look.state.kind.value}"
    if estimate.value is None:
        return gap_words(slot.guard)
    if isinstance(slot.rule, Ks | Psi):
        since = look.state.tally.since_stage(slot)
        if moved := slot.rule.moved(counts) or (more is None and slot.rule.moved(since)):
            return moved
    if isinstance(slot.rule, Psi) and more == 0:
        return "no pass before max_extra_errors passes too, because failed answers have no bin"
    if more is not None:
        blocks = look.state.tally.timings_of(look.state.tally.slots.index(slot)) is not None
        return forecast_words(more, "latency blocks" if blocks else "pairs")
    shed_at = slot.rule.shed_at
    if shed_at is not None and counts[shed_at]:
        without = counts.copy()
        without[shed_at] = 0
        scaled = without.astype(np.float64) * (FARTHEST / max(1, estimate.pairs))
        if float(slot.rule.log_pass(scaled, slot.guard.limit)) >= look.level:
            return "no pass while copies are shed: lower the stage's mirror share or raise mirror.max_in_flight"
    return "no pass in sight at this level"
