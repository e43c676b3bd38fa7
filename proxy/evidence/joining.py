"""Two states into one: what workers or replicas that count the same things saw apart.

Counts add up, whatever the order. What knows who came after whom (bursts, blocks that are not complete) is joined as
far as it is finished in each.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.evidence.count_store import CountStore
from proxy.evidence.input.blocks import OpenBlocks
from proxy.evidence.input.clusters import Clusters
from proxy.evidence.input.costs import CostBook
from proxy.evidence.input.dedup import RecentBodies
from proxy.evidence.input.labels import Waiting
from proxy.evidence.input.timed_rows import WIDTH
from proxy.evidence.process.bursts import Bursts
from proxy.evidence.process.prf import key_of
from proxy.evidence.snapshot import PLAIN
from proxy.evidence.state import EvidenceError, EvidenceState
from proxy.model import Kind


def follower(state: EvidenceState) -> EvidenceState:
    """An empty state that counts exactly as `state` does."""
    tally = CountStore.empty(state.tally.slots, len(state.tally.segments), blocks=state.tally.timings is not None)
    tally.silent = set(state.tally.silent)
    follows = list(state.marks)
    other = EvidenceState(
        trial=state.trial,
        seed=state.seed,
        aspects=[replace(one, kinds={}, learned=[], unread=0) for one in state.aspects],
        tally=tally,
        weights=list(state.weights),
        warm_left=0,
        stage=state.stage,
        segments=dict(state.segments),
        follows=follows,
        waiting=Waiting(key_of(state.seed, "labels")),
        blocks=None if state.blocks is None else OpenBlocks(state.blocks.length, WIDTH),
        costs=CostBook(state.costs.bound),
    )
    if state.watch is not None:
        other.watch = other.new_watch(Bursts.empty(len(tally.bursts.sums)))
    for _ in range(state.restarted - len(follows)):
        tally.restart()
        other.restarted += 1
    return other


def merge(a: EvidenceState, b: EvidenceState) -> EvidenceState:
    """One state of two that count the same things; the order makes no difference, to the bit.

    Counts are added; restarts that one has not reached yet are made up; the recent bodies are the last 1,000 of both.
    A block of request time is one thing: where both saw some of it, what is joined must still wait in both.
    """
    if (a.watch is None) != (b.watch is None):
        raise EvidenceError("one of the two is watched after promotion, the other not yet")
    if a.learning or b.learning or any(one.kind is Kind.AUTO for one in a.aspects):
        raise EvidenceError("live's first answers are still being learned from")
    a, b = copied(a), copied(b)
    for one in (a, b):
        one.settle()
    for behind, ahead in ((a, b), (b, a)):
        while behind.restarted < ahead.restarted:
            behind.restart(_mark(ahead, behind.restarted))
    if a.tally.restarts != b.tally.restarts or a.marks != b.marks:
        raise EvidenceError("the two restarted at different moments")
    segments, shorter = sorted((a.segments, b.segments), key=len, reverse=True)
    if list(segments)[: len(shorter)] != list(shorter):
        raise EvidenceError("the two have different segments")
    for name in ("rows", "stage", "segments", "repeats"):
        mine = getattr(a.tally, name)
        mine += getattr(b.tally, name)
    a.tally.bursts = a.tally.bursts.merge(b.tally.bursts)
    if a.blocks is not None and b.blocks is not None:
        a.tally.blocks, a.blocks = a.tally.blocks.merge(b.tally.blocks), a.blocks.merge(b.blocks)
    for key, theirs_l in b.tally.late_bursts.items():
        a.tally.late_bursts[key] = a.tally.late_bursts[key].merge(theirs_l)
    a.tally.silent |= b.tally.silent
    for name, theirs_j in b.judged.items():
        a.judged[name] = a.judged[name].merge(theirs_j) if name in a.judged else theirs_j
    if a.tally.timings is not None and b.tally.timings is not None:
        a.tally.timings = a.tally.timings.merge(b.tally.timings)
    for name, epochs in a.tally.closed.items():
        for mine_c, theirs_c in zip(epochs, b.tally.closed[name], strict=True):
            mine_c.rows[:] += theirs_c.rows
            mine_c.segments[:] += theirs_c.segments
            if mine_c.fails is not None and theirs_c.fails is not None:
                mine_c.fails[:] += theirs_c.fails
    for name in ("compared", "stage_pairs", "stage_candidate_pairs", "repeats", "shed"):
        setattr(a, name, getattr(a, name) + getattr(b, name))
    for reason, n in b.failures.items():
        a.failures[reason] = a.failures.get(reason, 0) + n
    a.failures = dict(sorted(a.failures.items()))
    for word, n in b.mismatches.items():
        a.mismatches[word] = a.mismatches.get(word, 0) + n
    a.mismatches = dict(sorted(a.mismatches.items()))
    for mine_a, theirs_a in zip(a.aspects, b.aspects, strict=True):
        mine_a.unread += theirs_a.unread
    a.segments = dict(segments)
    a.warm_left = min(a.warm_left, b.warm_left)
    a.recent, a.clusters = a.recent.merge(b.recent), a.clusters.merge(b.clusters)
    a.waiting = a.waiting.merge(b.waiting)
    a.costs.totals = a.costs.totals.merge(b.costs.totals)
    a.follows = None if a.follows is None or b.follows is None else a.follows
    if a.watch is not None and b.watch is not None:
        a.watch = a.watch.merge(b.watch, a.end_minute)
    a.causes = tuple(slot.guard.key for slot in a.tally.slots if slot.guard.key in a.causes + b.causes)
    return a


def _mark(state: EvidenceState, number: int) -> float:
    """Request time of a restart by its number; raises `EvidenceError` for one that is forgotten."""
    at = number - (state.restarted - len(state.marks))
    if at < 0:
        raise EvidenceError("the two are too far apart to be joined")
    return state.marks[at]


def copied(state: EvidenceState) -> EvidenceState:
    """A copy that shares no mutable part."""
    tally = state.tally
    closed = {
        name: [
            replace(
                c,
                rows=c.rows.copy(),
                segments=c.segments.copy(),
                fails=None if c.fails is None else c.fails.copy(),
            )
            for c in epochs
        ]
        for name, epochs in tally.closed.items()
    }
    copy = CountStore(
        tally.slots,
        tally.rows.copy(),
        tally.stage.copy(),
        tally.segments.copy(),
        tally.repeats.copy(),
        tally.bursts.copy(),
        {key: bursts.copy() for key, bursts in tally.late_bursts.items()},
        tally.blocks.copy(),
        list(tally.opened),
        tally.restarts,
        closed,
        None if tally.timings is None else tally.timings.copy(),
        set(tally.silent),
    )
    fields = {name: getattr(state, name) for name in PLAIN}
    fields |= {"weights": list(state.weights), "segments": dict(state.segments), "marks": list(state.marks)}
    return EvidenceState(
        seed=state.seed,
        aspects=[one.copy() for one in state.aspects],
        tally=copy,
        failures=dict(state.failures),
        mismatches=dict(state.mismatches),
        recent=RecentBodies(state.recent.entries),
        clusters=Clusters(*state.clusters.entries),
        waiting=state.waiting.copy(),
        costs=state.costs.copy(),
        units=state.units.copy(),
        watch=None if state.watch is None else state.watch.copy(),
        blocks=None if state.blocks is None else state.blocks.copy(),
        judged={name: pairs.copy() for name, pairs in state.judged.items()},
        **fields,
    )
