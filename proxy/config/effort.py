"""How long a good candidate needs to pass a stage, from what each guard's limit costs (`evidence.families.effort`)."""

from __future__ import annotations

from math import exp, inf, log

from proxy.evidence.pass_blocks import BETS, LOG_WEIGHTS
from proxy.evidence.rules.registry import GUARDS
from proxy.model import Guard, Kind, Plan, Stage, State

CANDIDATE_PAIRS = 200
"""Pairs of a canary stage that must be answered by the candidate (fewer if `min_pairs` is less)."""
WAITING = 2048
"""Requests that count in each `label_delay` at least, where more come and each has its label (see
`evidence.input.labels`)."""


def pairs_to_pass(guard: Guard, false_promotion_rate: float = 0.05) -> float:
    """Pairs until a guard passes for a good candidate (for latency guards blocks of one); infinite when it never can.

    >>> round(pairs_to_pass(Guard("max_disagreement", 0.02)), -1), pairs_to_pass(Guard("p99_latency", 1.2, True))
    (650.0, 3300.0)
    """
    return GUARDS[guard.name].effort.pairs(guard, false_promotion_rate)


def clump_blocks(guard: Guard, kind: Kind, false_promotion_rate: float = 0.05) -> float:
    """Blocks of request time until a guard passes for a good candidate (`evidence.pass_blocks`), however full;
    0 for a guard that is taken by blocks already, or not by these.

    >>> round(clump_blocks(Guard("max_extra_errors", 0.02), Kind.LABEL))
    198
    >>> clump_blocks(Guard("p99_latency", 1.2, True), Kind.LABEL)
    0.0
    """
    known = GUARDS[guard.name]
    if known.effort.reach is None:
        return 0.0
    largest, limit = known.effort.reach(kind), known.scale.apart(guard.limit, guard.relative)
    if limit >= largest:
        return 0.0
    bet, weight = float(BETS[0]), float(LOG_WEIGHTS[0])
    growth = log(1 + bet * (limit - known.effort.kept * limit) / (largest - limit))
    return (log(1 / false_promotion_rate) - weight) / growth if growth else inf


def is_latency(guard: Guard) -> bool:
    """Whether a guard counts by latency blocks instead of by pairs."""
    return GUARDS[guard.name].timed


def pairs_per_second(stage: Stage, rate: float) -> float:
    """Pairs of a stage at `rate` requests per second on the route.

    >>> from proxy.model import State
    >>> pairs_per_second(Stage(State.SHADOW, 10.0), 5e1), pairs_per_second(Stage(State.CANARY, 20.0, mirror=25.0), 5e1)
    (5.0, 20.0)
    """
    share, weight = stage.share / 10_000, stage.weight / 10_000
    return rate * (share if stage.kind is State.SHADOW else weight + (1 - weight) * share)


def seconds_to_pass(plan: Plan, stage: Stage, rate: float) -> tuple[float, str]:
    """Seconds until a good candidate passes a stage at `rate` requests per second on the route, and what takes longest.

    >>> from proxy.model import Guard, Plan, Stage, State
    >>> plan = Plan("r/c", "r", "l", "c", "1", (), (Guard("p99_latency", 1.2, True),))
    >>> seconds_to_pass(plan, Stage(State.SHADOW, 100.0), rate=1000.0)
    (69.57..., 'p99_latency')
    """
    weight = stage.weight / 10_000
    pairs = pairs_per_second(stage, rate)
    # A block counts when at least one request falls into it (arrivals taken as Poisson).
    block = plan.latency_block
    spacing = block / (1 - exp(-pairs * block)) if block else 1 / pairs
    each = max(1.0, pairs * spacing)
    waits = {"min_time": stage.min_time, "min_pairs": stage.min_pairs / pairs}
    if stage.kind is State.CANARY:
        waits["pairs answered by the candidate"] = min(CANDIDATE_PAIRS, stage.min_pairs) / (rate * weight)
    for guard in plan.guards:
        kind = GUARDS[guard.name]
        if kind.effort.blocks is not None:
            blocks = kind.effort.blocks(guard, each, plan.false_promotion_rate)
            waits[guard.key] = blocks * spacing + plan.warmup / pairs
            continue
        count = kind.effort.pairs(guard, plan.false_promotion_rate)
        if kind.by_users:
            waits |= _until_users(guard, count, weight, rate)
            continue
        asked_twice = plan.noise_floor if plan.noise_floor and kind.noise_floor else 1.0
        judged = plan.prediction_of(guard).judge_share if kind.judged else 1.0
        waits[guard.key] = count / (pairs * asked_twice * judged)
        if block:
            blocks = clump_blocks(guard, plan.prediction_of(guard).kind, plan.false_promotion_rate)
            waits[guard.key] = max(waits[guard.key], blocks * spacing)
        if kind.labelled:
            delay = plan.prediction_of(guard).label_delay
            waits[guard.key] = delay + count / min(pairs, WAITING / delay)
    slowest = max(waits, key=lambda name: waits[name])
    return waits[slowest], slowest


def _until_users(guard: Guard, users: float, weight: float, rate: float) -> dict[str, float]:
    """Seconds until so many users (at even weights) have counted, if each request is another user; nothing in shadow,
    where nobody has the candidate."""
    spread = 4.0 * weight * (1.0 - weight)
    return {guard.key: guard.within + users / (spread * rate)} if spread > 0.0 else {}
