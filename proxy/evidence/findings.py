"""Findings: what a person reads. Effect size, interval, evidence, forecast, and one sentence; never a p-value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from proxy.evidence.count_store import segment_shares
from proxy.evidence.families.late import ByVerdicts
from proxy.evidence.families.rule import Slot
from proxy.evidence.input.timings import distinct_passes, log_pass
from proxy.evidence.process.budget import BudgetPool
from proxy.evidence.process.estimate import Estimate
from proxy.evidence.process.wealth import Bools, Counts, Floats, Ints, Numbers
from proxy.evidence.rules.ks import Ks
from proxy.evidence.rules.psi import Psi
from proxy.evidence.rules.registry import GUARDS, judges
from proxy.evidence.state import EvidenceState
from proxy.evidence.words import burst_words, cut_cost_words, forecast_words, in_unit, judged_words, label_words, title
from proxy.model import Finding, Plan, Verdict, guard_key
from proxy.model.reasons import NO_CREDENTIALS, Reason
from proxy.money import money_text
from proxy.rollout.requirements import rough

FARTHEST = 10_000_000
"""Pairs beyond which a forecast is no help."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the evidence: what every finding needs. `parts` are the guards' evidence by segment, as logs,
    `bursts` the sizes of their bursts."""

    plan: Plan
    state: EvidenceState
    pooled: BudgetPool
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
        counts = [tally.carried(slot)[None], rows[: len(names), slot.start : slot.stop]]
        repeats = tally.repeats[:1, slot.start : slot.stop]
        if repeats.any():  # without any it is the same estimate
            counts.append(counts[0] + repeats)
        own, *each = slot.rule.estimates(np.concatenate(counts), slot.guard.limit)
        whole.append(_whole(look, i, slot, own, each[-1] if len(each) > len(names) else own))
        if GUARDS[slot.guard.name].by_users:  # users are counted over all traffic alone
            continue
        for s, (name, estimate) in enumerate(zip(names, each, strict=False)):
            parts.append(_segment(look, i, slot, s, name, look.parts[i][s], estimate))
    return (*whole, *parts)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a PASS of a guard asks of its counts, or of latency of its sums by blocks. `now` (m, width) must all pass;
    `whole` (m, width) are those of the trial that go on in each when more comes; `worst` (width,) is what one pair that
    is the worst adds; `judge` gives the log e-values (…, width) → (…)."""

    now: Numbers
    whole: Numbers
    worst: Counts
    judge: Callable[[Numbers], Floats]


def asked_of(look: Look, i: int) -> Asked:
    """What a PASS of guard i asks: carried and of this stage alone.

    If bodies came again, both also with those: a body that comes often and goes wrong each time is a share of the
    requests, not one of them. The index has no bets for blocks of pairs, so it counts the pairs a second time as what
    its bursts make of them.
    """
    tally = look.state.tally
    slot = tally.slots[i]
    if (own := tally.timings_of(i)) is not None:
        timings, rule, _, passes = own
        sums, worst = distinct_passes(rule, timings.passes[:, passes], timings.worst(rule))
        return Asked(sums, sums[[0, 0]], worst, partial(log_pass, rule))
    carried = tally.carried(slot)
    counts, whole = [carried, tally.since_stage(slot)], [carried, carried]
    if tally.repeats[0, slot.start : slot.stop].any():
        every, since = tally.with_repeats(slot)
        counts, whole = [*counts, every, since], [*whole, every, every]
    both = np.stack([counts, whole])
    if isinstance(slot.rule, Psi):
        both = np.concatenate([both, both / (look.bursts or tally.burst_sizes())[i]], axis=1)
    one = np.zeros(slot.rule.width, np.int64)
    if slot.rule.worst_at is not None:
        one[slot.rule.worst_at] = 1
    return Asked(both[0], both[1], one, partial(slot.rule.log_pass, limit=slot.guard.limit))


def passes(look: Look, i: int, asked: Asked) -> bool:
    """Whether a guard passes now: on the carried evidence and on this stage's alone, for all requests."""
    # What a worker holds back waits for a pair that is slow to answer, perhaps because it is a bad one. With one worker
    # the evidence just before it is as good as any; with several, those moments would be chosen in each by itself.
    if not (asked.judge(asked.now + look.held * asked.worst) >= look.level).all():
        return False
    tally = look.state.tally
    if tally.is_silent(tally.slots[i]):
        return False
    if look.state.blocks is not None and not (tally.blocks.log_pass(tally.slots, i) >= look.level).all():
        return False
    # The index has no place for an answer that never came, so somebody else must vouch for those.
    if isinstance(tally.slots[i].rule, Psi) and asked.now[0][-1]:
        beside = GUARDS[tally.slots[i].guard.name].beside
        wanted = guard_key(beside, tally.slots[i].guard.aspect)
        other = next((j for j, slot in enumerate(tally.slots) if slot.guard.key == wanted), None)
        return other is not None and passes(look, other, asked_of(look, other))
    return True


LADDER = np.concatenate([[0], 64 * 2 ** np.arange(18)])
"""Numbers of pairs, or blocks, that a forecast tries first."""
RUNGS = 48
"""Steps between two of them: a forecast is right to 2 %."""
AT_ONCE = 6
"""How many of either are tried at once."""


def pairs_until_pass(look: Look, i: int, asked: Asked, pairs: int) -> int | None:
    """Pairs of a guard until a pass if what was seen goes on, 0 if it passes now, `None` if it will not.

    The profile of the `pairs` so far is added to all counts that must pass until they do, and that of the blocks so
    far to the blocks.
    """
    if not pairs:
        return None
    now, profile = asked.now[:, None], asked.whole[:, None] / pairs

    def enough(more: Ints) -> Bools:
        return np.asarray((asked.judge(now + more[:, None] * profile) >= look.level).all(axis=0))

    by_pairs = _first(enough)
    by_blocks = blocks_until_pass(look, i) if by_pairs is not None else None
    if by_pairs is None or by_blocks is None:
        return None
    blocks = look.state.tally.blocks.count[0, i]
    return max(by_pairs, round(by_blocks * pairs / max(1, int(blocks))))


def blocks_until_pass(look: Look, i: int) -> int | None:
    """Blocks of request time until the stake on them passes, if those so far go on; 0 now, `None` if it will not."""
    tally = look.state.tally
    if look.state.blocks is None or not tally.slots[i].directions:
        return 0
    return _first(lambda more: np.asarray((tally.blocks.log_pass(tally.slots, i, more) >= look.level).all(axis=0)))


def _first(enough: Callable[[Ints], Bools]) -> int | None:
    """The first number, to 2 %, that is enough.

    >>> [_first(lambda more: more >= least) for least in (0, 1, 1000, 10**9)]
    [0, 1, 1002, None]
    """
    at = _first_of(LADDER, enough)
    if at is None or at == 0:
        return at
    low, high = LADDER[at - 1 : at + 1]
    between = low + (high - low) * np.arange(1, RUNGS + 1) // RUNGS
    step = _first_of(between, enough)
    return int(high if step is None else between[step])


def _first_of(numbers: Ints, enough: Callable[[Ints], Bools]) -> int | None:
    """Which of some numbers is the first that is enough; most of the later ones are not tried."""
    for start in range(0, len(numbers), AT_ONCE):
        found = enough(numbers[start : start + AT_ONCE])
        if found.any():
            return start + int(found.argmax())
    return None


def _whole(look: Look, i: int, slot: Slot, estimate: Estimate, every: Estimate) -> Finding:
    tally, guard = look.state.tally, slot.guard
    counts = tally.carried(slot)
    caused = guard.key in look.state.causes
    asked = asked_of(look, i)
    passed = passes(look, i, asked)
    verdict = Verdict.FAIL if caused else Verdict.PASS if passed else Verdict.INCONCLUSIVE
    share = 1.0 if caused else float(np.exp(min(0.0, look.pooled.shares[i])))
    ahead = look.forecast and not caused and not tally.is_silent(slot)
    more = pairs_until_pass(look, i, asked, estimate.pairs) if ahead else None
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
        aspect=guard.aspect,
    )


def _segment(look: Look, i: int, slot: Slot, s: int, name: str, log_e: float, estimate: Estimate) -> Finding:
    tally, guard = look.state.tally, slot.guard
    weight = look.state.weights[i] * 0.5 * float(segment_shares(len(tally.segments))[s])
    share = float(np.exp(min(0.0, log_e + np.log(weight * look.plan.false_rollback_rate))))
    # A segment is named as failing when its own part alone crossed; otherwise the whole guard's finding says it.
    verdict = Verdict.FAIL if guard.key in look.state.causes and share >= 1.0 else Verdict.INCONCLUSIVE
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
        aspect=guard.aspect,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _eta(look: Look, slot: Slot, estimate: Estimate, more: int | None) -> float | None:
    """Seconds until `more` pairs of this guard, at the present rate and this guard's share of the pairs; of users
    nobody knows how many come."""
    if GUARDS[slot.guard.name].by_users and more:
        return None
    if more is None or not look.rate or not look.state.compared:
        return 0.0 if more == 0 else None
    return more / (look.rate * min(1.0, estimate.pairs / look.state.compared))


def _effect(slot: Slot, estimate: Estimate) -> str:
    name = title(slot.guard)
    if estimate.value is None:
        return f"{name}: nothing to compare yet, limit {in_unit(slot.guard, slot.guard.limit)}"
    value, low, high = (in_unit(slot.guard, x) for x in (estimate.value, estimate.low, estimate.high))
    return f"{name} now {value} ({low} – {high}), limit {in_unit(slot.guard, slot.guard.limit)}"


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
    if slot.guard.aspect and (unread := look.state.aspect_of(slot.guard).unread):
        parts.append(f"{unread:,} of live's answers could not be read as `{slot.guard.aspect}`")
    if isinstance(slot.rule, ByVerdicts) and (pairs := look.state.judged.get(slot.guard.aspect)):
        parts.append(judged_words(pairs.judged, pairs.unjudged, pairs.without_floor))
    if GUARDS[slot.guard.name].priced:
        parts += cut_cost_words(look.state.costs.totals, cut=bool(estimate.note))
    if GUARDS[slot.guard.name].labelled:
        waiting, delay = look.state.waiting, look.plan.prediction_of(slot.guard).label_delay
        parts.append(label_words(waiting.labelled, waiting.unlabelled, 1 << waiting.halvings, delay))
    failures = look.state.failures
    if verdict is Verdict.FAIL and 2 * failures.get(Reason.UNAUTHORIZED, 0) > sum(failures.values()):
        parts.append(f"mostly unauthorized: {NO_CREDENTIALS}")
    if look.state.repeats > look.state.compared // 2 and not GUARDS[slot.guard.name].by_users:
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
    return f"{in_unit(slot.guard, every.value)} over all {every.pairs:,} pairs, repeats included"


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
    value, low, high = (in_unit(slot.guard, x) for x in (late.value, late.low, late.high))
    return f"{value} ({low} – {high}) over the last {late.pairs:,} {GUARDS[slot.guard.name].counts}"


def _spent_until(look: Look, slot: Slot, estimate: Estimate, more: int) -> str:
    """How long that takes, and what the copies of it cost, where they have a price."""
    each, seconds = look.state.costs.totals.each, _eta(look, slot, estimate, more)
    if not each or not seconds or look.rate is None:
        return ""
    return f", {rough(seconds)}, {money_text(each * seconds * look.rate, look.plan.currency)} of copies"


def _outlook(look: Look, slot: Slot, estimate: Estimate, more: int | None, counts: Counts) -> str:
    """When a pass may come, or what stands in its way."""
    if not judges(slot.guard, kind := look.state.aspect_of(slot.guard).kind):
        return f"it cannot judge predictions of kind {kind.value}"
    if look.state.tally.is_silent(slot):
        return "the judge has changed or is wrong about its anchors: its verdicts count neither to fail nor to pass"
    if estimate.value is None:
        return GUARDS[slot.guard.name].gap(slot.guard)
    if isinstance(slot.rule, Ks | Psi):
        since = look.state.tally.since_stage(slot)
        if moved := slot.rule.moved(counts) or (more is None and slot.rule.moved(since)):
            return moved
    if isinstance(slot.rule, Psi) and more == 0:
        return f"no pass before {GUARDS[slot.guard.name].beside} passes too, because failed answers have no bin"
    if more is not None:
        timed = look.state.tally.timings_of(look.state.tally.slots.index(slot)) is not None
        known = GUARDS[slot.guard.name]
        what = "latency blocks" if timed else "judged pairs" if isinstance(slot.rule, ByVerdicts) else known.counts
        return forecast_words(more, what) + _spent_until(look, slot, estimate, more)
    shed_at = slot.rule.shed_at
    if shed_at is not None and counts[shed_at]:
        without = counts.copy()
        without[shed_at] = 0
        scaled = without.astype(np.float64) * (FARTHEST / max(1, estimate.pairs))
        if float(slot.rule.log_pass(scaled, slot.guard.limit)) >= look.level:
            return "no pass while copies are shed: lower the stage's mirror share or raise mirror.max_in_flight"
    return "no pass expected at this level"
