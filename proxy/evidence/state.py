"""The state of a trial's evidence: what is kept, dumped and merged, and nothing that can be derived."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from proxy.evidence.aspect import Aspect, context_of
from proxy.evidence.count_store import CountStore, LimitEpoch, budget_shares, burst_columns
from proxy.evidence.e_detector import EDetector
from proxy.evidence.families.rule import Slot
from proxy.evidence.input.batch import Batch
from proxy.evidence.input.blocks import OpenBlocks
from proxy.evidence.input.clusters import Clusters
from proxy.evidence.input.costs import CostBook
from proxy.evidence.input.dedup import RecentBodies
from proxy.evidence.input.labels import Waiting
from proxy.evidence.input.timed_rows import WIDTH, aged, facts
from proxy.evidence.input.units import UnitTotals
from proxy.evidence.input.verdicts import JudgedPairs
from proxy.evidence.process.bursts import Bursts
from proxy.evidence.process.wealth import Bools, Ints
from proxy.evidence.rules.registry import GUARDS, layout
from proxy.model import Guard, Mismatch, Plan
from proxy.model.reasons import Reason

MOST_CHAPTERS = 8
"""Limits one guard may have had in one trial; the next change needs a new version."""

MARKS = 64
"""Restart times that are remembered; more restarts than the tally keeps rows for."""


class EvidenceError(ValueError):
    """Evidence that cannot be loaded, merged or changed as asked."""


@dataclass(slots=True)
class EvidenceState:
    """All of it. `follows` are the restart times of the evidence this one follows (`None`: it makes its own), `blocks`
    the blocks of request time (`None`: each pair stands for itself), `judged` what is known of the pairs that a judge
    was drawn for, by prediction."""

    trial: str
    seed: int
    aspects: list[Aspect]
    tally: CountStore
    weights: list[float]
    warm_left: int
    stage: int = -1
    compared: int = 0
    stage_pairs: int = 0
    stage_candidate_pairs: int = 0
    repeats: int = 0
    shed: int = 0
    failures: dict[Reason, int] = field(default_factory=dict)
    mismatches: dict[Mismatch, int] = field(default_factory=dict)
    recent: RecentBodies = field(default_factory=RecentBodies)
    segments: dict[str, int] = field(default_factory=dict)
    marks: list[float] = field(default_factory=list)
    restarted: int = 0
    follows: list[float] | None = None
    causes: tuple[str, ...] = ()
    clusters: Clusters = field(default_factory=Clusters)
    watch: EDetector | None = None
    blocks: OpenBlocks | None = None
    waiting: Waiting = field(default_factory=Waiting)
    judged: dict[str, JudgedPairs] = field(default_factory=dict)
    costs: CostBook = field(default_factory=CostBook)
    units: UnitTotals = field(default_factory=UnitTotals)

    @property
    def guards(self) -> list[Guard]:
        """The guards in force, in order."""
        return [slot.guard for slot in self.tally.slots]

    @property
    def learning(self) -> bool:
        """Whether live's first answers are still being collected for a reference."""
        return any(one.is_learning(self.guards) for one in self.aspects) or (
            self.is_priced and self.costs.bound is None
        )

    @property
    def is_priced(self) -> bool:
        """Whether some guard counts what answers cost."""
        return any(GUARDS[guard.name].priced for guard in self.guards)

    def aspect_of(self, guard: Guard) -> Aspect:
        """The prediction that a guard judges; the first where it judges none."""
        return next((one for one in self.aspects if one.name == guard.aspect), self.aspects[0])

    def rebuild(self, plan: Plan) -> None:
        """Make the rules again, for what has become known of the kind or the reference; no width changes by that."""
        self.settle()
        before = self.tally.slots
        self.tally.slots = layout(tuple(self.guards), context_of(self.aspects, plan), self.seed)
        self.tally.blocks = self.tally.blocks.rearranged(before, self.tally.slots)

    def restart(self, time: float) -> None:
        """Begin a restart with the request of this time."""
        self.close_blocks()
        self.tally.restart()
        self.marks = [*self.marks, time][-MARKS:]
        self.restarted += 1

    def time(self, batch: Batch, numbers: Ints, current: Bools, segment: Ints | None) -> None:
        """Let the timed pairs of a batch wait for the rest of their blocks (n,), and count complete blocks if there are
        many. The pairs themselves are timed no more."""
        blocks, who = self.blocks, np.flatnonzero(batch.timed)
        if blocks is not None:
            keys = batch.keys[who].view(np.int64)
            blocks.add(numbers[who], keys, facts(batch, who, current, segment))
            if blocks.many:
                self.close_blocks()
        batch.timed = np.zeros(batch.size, dtype=bool)

    def close_blocks(self) -> None:
        """Count the timed pairs of complete blocks. They are left to gather, so it comes before whatever reads their
        counts or would have them counted elsewhere: in another restart, stage or minute of the watch."""
        if self.blocks is not None:
            self.tally.count_blocks(self.blocks.complete(), self.watch)

    def age_blocks(self) -> None:
        """A stage begins: what has been gathered of blocks, and waits, is not of it."""
        if self.tally.timings is not None:
            self.tally.timings.passes[1] = 0
        if self.blocks is not None:
            self.blocks.replace(aged(self.blocks.rows))
        self.settle()
        self.tally.blocks.enter_stage()

    def settle(self) -> None:
        """Sum up all blocks that are complete."""
        self.close_blocks()
        self.sum_up()

    def sum_up(self) -> None:
        """Sum up complete blocks for the PASS of other guards than those on latency."""
        if self.blocks is not None:
            self.tally.blocks.settle(self.tally.slots, self.blocks.start)

    def block_of(self, time: float | None = None) -> int | None:
        """The block of a request of this time, or the latest there is; `None` without blocks."""
        if self.blocks is None:
            return None
        if time is not None:
            return int(time // self.blocks.length)
        return max(self.blocks.front.values(), default=self.blocks.start)

    def take_blocks(self, length: float) -> None:
        """From now on blocks are so long, in seconds. What waits for others counts as it is; a trial that began without
        blocks has none till its end, and one that began with them keeps its own when the plan says none."""
        if self.blocks is None or not length or length == self.blocks.length:
            return
        self.tally.count_blocks(self.blocks.rest(), self.watch)
        self.tally.blocks.end(self.tally.slots)
        self.blocks = OpenBlocks(length, WIDTH)

    def new_watch(self, bursts: Bursts) -> EDetector:
        """A watch that begins now; `bursts` is what is known of the bursts of all pairs."""
        return EDetector(np.zeros_like(self.tally.repeats), bursts)

    def end_minute(self, watch: EDetector) -> None:
        """End the minute under way of a watch over this evidence."""
        self.close_blocks()
        fresh = self.tally.burst_sizes()
        watch.close(
            self.tally.slots,
            fresh,
            [max(sizes) for sizes in zip(fresh, self.tally.sizes_of(watch.bursts), strict=True)],
        )

    def segment_of(self, name: str) -> int:
        """Row of a segment: the first `top` names seen have their own, the rest share the last."""
        known = self.segments.get(name)
        if known is None:
            other = len(self.tally.segments) - 1
            known = len(self.segments)
            if known >= other:
                return other
            self.segments[name] = known
        return known

    def change_limits(self, plan: Plan, log_e: list[float]) -> None:
        """Close the epoch of each guard that changed; move the wealth of guards that left to those that came.

        Weights are shares of one capital: a guard that stays keeps at most its own, so Σ w_i E_i of the new guards at
        this moment is at most that of the old, and the pool stays an e-process.
        """
        self.settle()
        tally = self.tally
        old = {slot.guard.key: i for i, slot in enumerate(tally.slots)}
        slots = layout(tuple(plan.guards), context_of(self.aspects, plan), self.seed)
        full = [s.guard.key for s in slots if len(tally.closed.get(s.guard.key, ())) >= MOST_CHAPTERS]
        full = [name for name in full if name in old and self._changed(tally.slots[old[name]], slots, name)]
        if full:
            raise EvidenceError(f"the limit of {', '.join(full)} was changed {MOST_CHAPTERS} times in this trial")
        fresh = CountStore.empty(slots, len(tally.segments), blocks=tally.timings is not None)
        if fresh.timings is not None and tally.timings is not None:
            fresh.timings.paces = tally.timings.paces
        columns = _columns(tally.slots, slots)
        fresh.bursts, fresh.silent = tally.bursts.rearranged(columns), tally.silent
        fresh.late_bursts |= {key: own for key, own in tally.late_bursts.items() if key in fresh.late_bursts}
        fresh.blocks = tally.blocks.rearranged(tally.slots, slots)
        fresh.restarts = tally.restarts
        fresh.closed = {name: list(c) for name, c in tally.closed.items() if name in {s.guard.key for s in slots}}
        sizes = tally.burst_sizes()
        for i, slot in enumerate(slots):
            if slot.guard.key not in old:
                fresh.opened[i] = tally.restarts.total
            else:
                was = old[slot.guard.key]
                self._take_over(was, i, fresh, sizes[was])
        self.weights = self._reweigh(slots, old, log_e)
        if outcomes_of(tally.slots) != outcomes_of(slots):
            self.units = self.units.begin_anew()
        self.tally = fresh
        if self.watch is not None:  # a minute under way and sums under the old limits: the watch begins anew
            self.watch = self.new_watch(self.watch.bursts.rearranged(columns))

    @staticmethod
    def _changed(before: Slot, slots: tuple[Slot, ...], name: str) -> bool:
        return next(s.guard for s in slots if s.guard.key == name) != before.guard

    def _take_over(self, was: int, now: int, fresh: CountStore, burst: float) -> None:
        """Keep a guard's counts if its limit is the same, else close its epoch and begin an empty one; `burst` is the
        size of its bursts until now."""
        tally, before, after = self.tally, self.tally.slots[was], fresh.slots[now]
        source, target = slice(before.start, before.stop), slice(after.start, after.stop)
        sums, others = tally.timings_of(was), fresh.timings_of(now)
        if before.guard == after.guard:
            if sums is not None and others is not None:
                others[0].fails[:, others[2]] = sums[0].fails[:, sums[2]]
                others[0].passes[:, others[3]] = sums[0].passes[:, sums[3]]
            fresh.rows[:, target] = tally.rows[:, source]
            fresh.stage[target] = tally.stage[source]
            fresh.repeats[:, target] = tally.repeats[:, source]
            fresh.segments[:, target] = tally.segments[:, source]
            fresh.opened[now] = tally.opened[was]
            return
        epoch = LimitEpoch(
            before.guard,
            before.rule,
            tally.rows[:, source].copy(),
            tally.segments[:, source].copy(),
            tally.restarts,
            tally.opened[was],
            burst,
            None if sums is None else sums[0].fails[:, sums[2]].copy(),
        )
        fresh.closed.setdefault(after.guard.key, []).append(epoch)
        fresh.opened[now] = tally.restarts.total

    def _reweigh(self, slots: tuple[Slot, ...], old: dict[str, int], log_e: list[float]) -> list[float]:
        names = [slot.guard.key for slot in slots]
        come = sum(name not in old for name in names)
        if not come:
            return [self.weights[old[name]] for name in names]
        due = dict(zip(names, budget_shares(slots, blocks=self.tally.timings is not None), strict=True))
        kept = {name: min(due[name], self.weights[old[name]]) for name in names if name in old}
        freed = sum(
            (self.weights[i] - kept.get(name, 0.0)) * float(np.exp(min(0.0, log_e[i]))) for name, i in old.items()
        )
        return [kept.get(name, min(due[name], max(freed, 1e-9) / come)) for name in names]


def outcomes_of(slots: tuple[Slot, ...]) -> list[tuple[str, float, bool]]:
    """What is counted of users, and for how long after they began.

    >>> outcomes_of(())
    []
    """
    return [(slot.guard.outcome, slot.guard.within, slot.guard.in_points) for slot in slots if slot.guard.outcome]


def _columns(before: tuple[Slot, ...], after: tuple[Slot, ...]) -> list[int]:
    """Which column of `bursts` each column of other guards was; −1 for one that counts what was not counted before. A
    limit has no part in them, a tolerance has."""
    start, of = 0, {}
    for slot, count in zip(before, burst_columns(before), strict=True):
        of[slot.guard.key, slot.guard.relative, slot.guard.tolerance] = start
        start += count
    found = []
    for slot, count in zip(after, burst_columns(after), strict=True):
        first = of.get((slot.guard.key, slot.guard.relative, slot.guard.tolerance))
        found += [-1 if first is None else first + i for i in range(count)]
    return found
