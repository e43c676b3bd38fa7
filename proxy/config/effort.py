"""How many pairs, and so how long, a good candidate needs to pass a stage.

Estimates for planning, not promises: the expected growth of each guard's PASS evidence per pair, for a candidate at a
quarter of its limits, against the evidence that is needed. The formulas are those of the e-processes (an e-value grows
by its expected log per pair); the constants that depend on the traffic (how much two good models differ) are stated.
"""

from __future__ import annotations

from math import exp, log

from proxy.evidence.input.measures import CLIP
from proxy.evidence.pass_blocks import BETS as BLOCK_BETS
from proxy.evidence.pass_blocks import LOG_WEIGHTS
from proxy.evidence.process.discordance import BETS
from proxy.model import Guard, Kind, Plan, Stage, State

P99_PASS = 3300, 690
"""Blocks of one pair, and of very many, until `p99_latency: 1.2x` passes for equal arms with lognormal times."""
MEDIAN_PASS = 100, 12
"""The same for a median limit."""
SHARE_PASS = 595
"""Blocks until an absolute p99 passes, however many pairs they have: in a stall all pairs of one are slow together."""
TABLE_PASS = 1000
"""Pairs until a guard on the whole distribution passes: 500 to learn live's thresholds, then its evidence."""
SPREAD = 0.14
"""Assumed standard deviation of the difference between two good scores on [0, 1]."""
FAILING = 0.001
"""Assumed share of requests on which a good arm fails, by itself."""
CLEAN = 1.0
"""Nats that the mixture over a rate's bets costs while nothing differs: a good candidate's answers are of the same form
as live's on every request, not on all but a quarter of the limit."""
CANDIDATE_PAIRS = 200
"""Pairs of a canary stage that must be answered by the candidate (fewer if `min_pairs` is less)."""


WAITING = 2048
"""Requests that count in each `label_delay` at least, where more come and each has its label (see
`evidence.input.labels`)."""


EXCESS = frozenset({"max_disagreement", "min_similarity"})
"""Guards that count, under a noise floor, only the pairs for which live is asked twice."""


def _rate(limit: float, truth: float) -> float:
    """Growth per pair of the evidence that a rate is below `limit` when it is `truth`: their relative entropy, nats."""
    event = truth * log(truth / limit) if truth else 0.0
    return event + (1 - truth) * log((1 - truth) / (1 - limit))


def _discordance(margin: float) -> float:
    """Growth per pair of the evidence that one arm fails less than `margin` more often, when each fails on `FAILING` of
    the requests by itself: that of the best of the bets."""
    bets = [bet / (1 - margin) for bet in BETS.tolist()] if margin < 1 else []
    return max(
        (
            (1 - 2 * FAILING) * log(1 + bet * margin)
            + FAILING * (log(1 - bet * (1 - margin)) + log(1 + bet * (1 + margin)))
            for bet in bets
        ),
        default=float("inf"),
    )


def blocks_to_pass(guard: Guard, each: float, false_promotion_rate: float = 0.05) -> float:
    """Blocks until a latency guard passes for a good candidate; `each` is how many pairs a block has. What a block says
    grows with its pairs, up to what it can say at all.

    >>> from proxy.model import Guard
    >>> [round(blocks_to_pass(Guard("p99_latency", 1.2, True), each)) for each in (1, 3, 10, 100)]
    [3300, 1282, 807, 695]
    """
    if guard.limit <= 0:
        return float("inf")
    if guard.name == "p99_latency" and not guard.relative:
        needed = log(1 / false_promotion_rate) + log(10)
        return max(SHARE_PASS, needed / _rate(0.01, 0.0025) / int(each))
    one, many = P99_PASS if guard.name == "p99_latency" else MEDIAN_PASS
    return float(many + (one - many) / int(each) ** 1.35)


def pairs_to_pass(guard: Guard, false_promotion_rate: float = 0.05) -> float:
    """Pairs until a guard passes for a good candidate (for latency guards blocks of one); infinite when it never can.

    >>> from proxy.model import Guard
    >>> round(pairs_to_pass(Guard("max_disagreement", 0.02)), -1), pairs_to_pass(Guard("p99_latency", 1.2, True))
    (650.0, 3300.0)
    """
    if is_latency(guard):
        return blocks_to_pass(guard, 1.0, false_promotion_rate)
    needed = log(1 / false_promotion_rate) + log(10)  # the second: what a mixture over ten bets costs at most
    if guard.limit <= 0:
        return float("inf")
    if guard.name in ("max_disagreement", "max_big_change") and guard.limit < 1:
        return needed / _rate(guard.limit, guard.limit / 4)
    if guard.name == "max_response_mismatch" and guard.limit < 1:
        return (log(1 / false_promotion_rate) + CLEAN) / _rate(guard.limit, 0.0)
    if guard.name == "max_extra_errors":
        return needed / _discordance(guard.limit)
    if guard.name in ("max_mean_shift", "max_quality_drop", "max_spread_change"):
        return needed / min(0.5 * guard.limit, guard.limit**2 / (2 * SPREAD**2))
    return TABLE_PASS


def clump_blocks(guard: Guard, kind: Kind, false_promotion_rate: float = 0.05) -> float:
    """Blocks of request time until a guard passes for a good candidate (`evidence.pass_blocks`), however full;
    0 for a guard that is taken by blocks already, or not by these.

    >>> from proxy.model import Guard
    >>> round(clump_blocks(Guard("max_extra_errors", 0.02), Kind.LABEL))
    198
    >>> clump_blocks(Guard("p99_latency", 1.2, True), Kind.LABEL)
    0.0
    """
    limit = 1 - guard.limit if guard.name == "min_similarity" else guard.limit
    wide = guard.name == "max_spread_change" or kind in (Kind.NUMBER, Kind.TEXT, Kind.VECTOR)
    largest = CLIP if wide and guard.name in ("max_mean_shift", "max_spread_change") else 1.0
    if is_latency(guard) or guard.name == "max_psi" or limit >= largest:
        return 0.0
    kept = limit / 4 if guard.name in ("max_disagreement", "max_big_change", "min_similarity") else 0.0
    bet, weight = float(BLOCK_BETS[0]), float(LOG_WEIGHTS[0])
    growth = log(1 + bet * (limit - kept) / (largest - limit))
    return (log(1 / false_promotion_rate) - weight) / growth if growth else float("inf")


def is_latency(guard: Guard) -> bool:
    """Whether a guard counts by latency blocks instead of by pairs."""
    return guard.name in ("p99_latency", "median_latency", "time_to_first_token", "time_per_token")


def seconds_to_pass(plan: Plan, stage: Stage, rate: float) -> tuple[float, str]:
    """Seconds until a good candidate passes a stage at `rate` requests per second on the route, and what takes longest.

    >>> from proxy.model import Guard, Plan, Stage, State
    >>> plan = Plan("r/c", "r", "l", "c", "1", (), (Guard("p99_latency", 1.2, True),))
    >>> seconds_to_pass(plan, Stage(State.SHADOW, 100.0), rate=1000.0)
    (69.57..., 'p99_latency')
    """
    share = stage.share / 10_000
    weight = stage.weight / 10_000
    pairs = rate * (share if stage.kind is State.SHADOW else weight + (1 - weight) * share)
    # A block counts when at least one request falls into it (arrivals taken as Poisson).
    block = plan.latency_block
    spacing = block / (1 - exp(-pairs * block)) if block else 1 / pairs
    each = max(1.0, pairs * spacing)
    waits = {"min_time": stage.min_time, "min_pairs": stage.min_pairs / pairs}
    if stage.kind is State.CANARY:
        waits["pairs answered by the candidate"] = min(CANDIDATE_PAIRS, stage.min_pairs) / (rate * weight)
    for guard in plan.guards:
        if is_latency(guard):
            blocks = blocks_to_pass(guard, each, plan.false_promotion_rate)
            waits[guard.name] = blocks * spacing + plan.warmup / pairs
            continue
        count = pairs_to_pass(guard, plan.false_promotion_rate)
        asked_twice = plan.noise_floor if plan.noise_floor and guard.name in EXCESS else 1.0
        waits[guard.name] = count / (pairs * asked_twice)
        if block:
            blocks = clump_blocks(guard, plan.prediction.kind, plan.false_promotion_rate)
            waits[guard.name] = max(waits[guard.name], blocks * spacing)
        if guard.name == "max_quality_drop":
            delay = plan.prediction.label_delay
            waits[guard.name] = delay + count / min(pairs, WAITING / delay)
    slowest = max(waits, key=lambda name: waits[name])
    return waits[slowest], slowest
