"""Streams with a known truth, as columns: what is simulated, one function per truth.

Each takes a generator and a number of pairs and gives a `Batch`. The reference is the exact one of the distribution, so
that a limit can be hit exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

from proxy.evidence.input.batch import Batch, columns
from proxy.evidence.input.clusters import Clusters
from proxy.evidence.input.measures import MEASURES
from proxy.evidence.input.reference import Reference
from proxy.model import Arm
from tests.evidence.streams import make_reading

Rng = np.random.Generator
Truth = Callable[[Rng, int], Batch]


def batch(rng: Rng, n: int, **columns: np.ndarray) -> Batch:
    """Pairs in which everything is well except what `columns` says; measures by their name."""
    yes, no, nan = np.ones(n, bool), np.zeros(n, bool), np.full(n, np.nan)
    fields = {
        "keys": rng.integers(0, 2**64, n, dtype=np.uint64),
        **{name: yes.copy() for name in ("answered", "fresh", "timed")},
        **{name: no.copy() for name in ("live_broke", "failed", "candidate_first")},
        **{name: nan.copy() for name in ("live_seconds", "seconds", "live_first", "first", "live_token", "token")},
    }
    fields["mismatch"] = np.zeros(n, np.int64)
    measures = dict.fromkeys(MEASURES, nan)
    measures |= {name: values for name, values in columns.items() if name not in fields}
    fields |= {name: values for name, values in columns.items() if name in fields}
    return Batch(**fields, measures=measures)  # type: ignore[arg-type]


def quantiles(ppf: Callable[[np.ndarray], np.ndarray]) -> Reference:
    """The reference of a continuous distribution, from its quantile function."""
    at = np.unique([*(np.arange(1, 32) / 32), 1e-3, 5e-3, 0.01, 0.99, 0.995, 0.999])
    edges = ppf(np.arange(1, 10) / 10)
    quartiles = ppf(np.array([0.25, 0.75]))
    return Reference(
        median=float(ppf(np.array([0.5]))[0]),
        scale=float(quartiles[1] - quartiles[0]),
        thresholds=tuple(ppf(at).tolist()),
        edges=tuple(edges.tolist()),
        gap=1 / 32,
    )


UNIFORM = quantiles(lambda q: np.asarray(q))
NORMAL = quantiles(ndtri)


def events(measure: str, p: float) -> Truth:
    """A 0/1 measure that is 1 with probability p."""
    return lambda rng, n: batch(rng, n, **{measure: (rng.random(n) < p).astype(float)})


def mismatches(p: float) -> Truth:
    """A share p of answers that differ as answers, by each word alike."""

    def make(rng: Rng, n: int) -> Batch:
        return batch(rng, n, mismatch=np.where(rng.random(n) < p, rng.integers(1, 5, n), 0))

    return make


def jumps(p: float) -> Truth:
    """A share p of big changes."""
    return lambda rng, n: batch(rng, n, jump=np.where(rng.random(n) < p, 0.9, 0.01))


def shifted(mean: float, sd: float = 0.09, measure: str = "shift", reach: float = 1.0) -> Truth:
    """A normal difference with this mean, within ± `reach`; sd 0.09 is that of uniform scores with correlation 0.95."""

    def make(rng: Rng, n: int) -> Batch:
        return batch(rng, n, **{measure: np.clip(rng.normal(mean, sd, n), -reach, reach)})

    return make


def correlated(rng: Rng, n: int, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """Two standard normal columns with correlation rho."""
    live = rng.standard_normal(n)
    return live, rho * live + np.sqrt(1 - rho**2) * rng.standard_normal(n)


def scores(shift: float = 0.0, rho: float = 0.9, scrambled: float = 0.0) -> Truth:
    """Uniform scores with this (normal) correlation; the candidate's are moved, or a share drawn anew."""

    def make(rng: Rng, n: int) -> Batch:
        a, b = correlated(rng, n, rho)
        live, candidate = ndtr(a), np.clip(ndtr(b) + shift, 0.0, 1.0)
        anew = rng.random(n) < scrambled
        candidate[anew] = rng.random(int(anew.sum()))
        return score_batch(rng, live, candidate)

    return make


def score_batch(rng: Rng, live: np.ndarray, candidate: np.ndarray, **columns: np.ndarray) -> Batch:
    """All measures of two columns of scores in [0, 1]."""
    far = [np.abs(x - UNIFORM.median) / UNIFORM.scale for x in (candidate, live)]
    return batch(
        rng,
        len(live),
        live=live,
        candidate=candidate,
        differs=((live > 0.5) != (candidate > 0.5)).astype(float),
        shift=candidate - live,
        jump=np.abs(candidate - live),
        spread=np.clip(far[0] - far[1], -8, 8),
        **columns,
    )


def normals(delta: float, rho: float) -> Truth:
    """Unbounded normal answers, the candidate's moved by delta standard deviations."""

    def make(rng: Rng, n: int) -> Batch:
        live, candidate = correlated(rng, n, rho)
        return batch(rng, n, live=live, candidate=candidate + delta)

    return make


def crossing(mass: float) -> Truth:
    """Uniform scores of which this mass crosses 0.5 downwards: the distributions differ by exactly that there."""

    def make(rng: Rng, n: int) -> Batch:
        live = rng.random(n)
        moved = (live > 0.5) & (live <= 0.5 + mass)
        return batch(rng, n, live=live, candidate=np.where(moved, live - mass, live))

    return make


def psi_between(p: np.ndarray, q: np.ndarray) -> float:
    """The population stability index of two sets of shares."""
    return float(((q - p) * np.log(q / p)).sum())


def solved(shares: Callable[[float], np.ndarray], target: float, low: float, high: float) -> np.ndarray:
    """The shares whose index against ten equal bins is the target; it rises from `low` to `high`."""
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if psi_between(np.full(10, 0.1), shares(middle)) < target else (low, middle)
    return shares(low)


def tilted(target: float) -> np.ndarray:
    """Every bin a little fuller than the one before."""

    def shares(t: float) -> np.ndarray:
        q = np.exp(t * np.linspace(-1.0, 1.0, 10))
        return np.asarray(q / q.sum())

    return solved(shares, target, 0.0, 4.0)


def emptied(target: float, bins: int = 1) -> np.ndarray:
    """The first bins nearly emptied, the others fuller alike."""

    def shares(left: float) -> np.ndarray:
        return np.where(np.arange(10) < bins, left, (1.0 - bins * left) / (10 - bins))

    return solved(shares, target, 0.1, 1e-9)


def psi_of(target: float, how: Callable[[float], np.ndarray] = tilted, paired: bool = False) -> Truth:
    """Answers in ten bins whose population stability index is exactly the target; independent of live's, or `paired`:
    as many as can be stay in live's bin."""
    q = how(target)
    cumulative = np.cumsum(q)
    more = np.cumsum(np.maximum(q - 0.1, 0.0) / max(1e-12, float(np.maximum(q - 0.1, 0.0).sum())))

    def make(rng: Rng, n: int) -> Batch:
        live = rng.random(n)
        where = np.minimum((live * 10).astype(int), 9)
        bins = np.minimum(np.searchsorted(cumulative, rng.random(n)), 9)
        if paired:
            moved = np.minimum(np.searchsorted(more, rng.random(n)), 9)
            bins = np.where(rng.random(n) < q[where] / 0.1, where, moved)
        return batch(rng, n, live=live, candidate=(bins + rng.random(n)) / 10)

    return make


def times(factor: float = 1.0, tail: float = 0.0, tail_factor: float = 5.0) -> Truth:
    """Lognormal times, shared σ 0.5 and own σ 0.3; the candidate's times a factor, a share `tail` slower still."""

    def make(rng: Rng, n: int) -> Batch:
        shared, own = rng.normal(-4.0, 0.5, n), rng.normal(0.0, 0.3, (2, n))
        slow = np.where(rng.random(n) < tail, tail_factor, 1.0)
        live, candidate = np.exp(shared + own[0]), np.exp(shared + own[1]) * factor * slow
        return batch(rng, n, live_seconds=live, seconds=candidate)

    return make


def hedged(at: float, factor: float = 1.0, rho: float = 0.9, share: float = 0.5) -> Truth:
    """Lognormal times of σ 0.5 with this (normal) correlation, the candidate's times a factor. The candidate serves a
    share of the requests, and live is hedged there beyond this quantile of its own time: as readings say it."""
    late = float(np.exp(-4.0 + 0.5 * ndtri(at)))

    def make(rng: Rng, n: int) -> Batch:
        live, candidate = (np.exp(-4.0 + 0.5 * normal) for normal in correlated(rng, n, rho))
        candidate = candidate * factor
        serves, yes = rng.random(n) < share, np.ones(n, bool)
        by_field = {name: [value] * n for name, value in make_reading()._asdict().items()}
        by_field |= {"live_seconds": live, "seconds": candidate, "sequence": range(n)}
        by_field["served"] = [Arm.CANDIDATE if chosen else Arm.LIVE for chosen in serves]
        by_field["hedged"] = (serves & (candidate > late)).tolist()
        pairs = columns(by_field, 0, yes, yes)
        pairs.measures = dict.fromkeys(MEASURES, np.full(n, np.nan))
        return pairs

    return make


Whole = Callable[[Rng, int], tuple[np.ndarray, np.ndarray]]
"""Who asks each time (a number), and for which users the candidate is always wrong."""


def users(whole: Whole) -> Truth:
    """Disagreements of users whose requests are all alike; what counts is drawn as with `cluster_by`."""

    def make(rng: Rng, n: int) -> Batch:
        who, wrong = whole(rng, n)
        keys = rng.integers(0, 2**63, int(who.max()) + 1)
        chosen = np.array(Clusters().chosen(keys[who].tolist()))
        return batch(rng, n, differs=wrong[who].astype(float), fresh=chosen)

    return make


def always_there(count: int, wrong: int) -> Truth:
    """So many users, of whom some are always answered wrongly, who come in any order."""
    return users(lambda rng, n: (rng.integers(0, count, n), np.arange(count) < wrong))


def coming(length: int, at_once: int, wrong: float) -> Whole:
    """Users who each send so many requests and are gone, so many of them at a time; a share of them always wrong."""

    def whole(rng: Rng, n: int) -> tuple[np.ndarray, np.ndarray]:
        at = np.arange(n)
        lane = at % at_once
        begun = rng.integers(0, length, at_once)  # how far each one's session was at the first request
        who = (at // at_once + begun[lane]) // length * at_once + lane
        return who, rng.random(int(who.max()) + 1) < wrong

    return whole


def sessions(length: int, at_once: int, wrong: float) -> Truth:
    """The same as pairs."""
    return users(coming(length, at_once, wrong))


def heavy(share: float) -> Whole:
    """One user sends this share of the requests and is always answered wrongly; nobody else comes twice."""
    return lambda rng, n: (np.where(rng.random(n) < share, 0, np.arange(1, n + 1)), np.arange(n + 1) == 0)


def errors(extra: float, base: float = 0.001) -> Truth:
    """Independent failures: live's at the base rate, the candidate's at that and `extra`."""

    def make(rng: Rng, n: int) -> Batch:
        failed, broke = rng.random(n) < base + extra, rng.random(n) < base
        return batch(rng, n, failed=failed, live_broke=broke, answered=~broke)

    return make


def more_often(extra: float, base: float) -> Truth:
    """Independent events: in live's answers at the base rate, in the candidate's at that and `extra`."""

    def make(rng: Rng, n: int) -> Batch:
        theirs, ours = rng.random(n) < base + extra, rng.random(n) < base
        return batch(rng, n, event_increase=theirs.astype(float) - ours)

    return make


def everything(shift: float = 0.0, cycle: float = 0.0) -> Truth:
    """All columns at once: scores with correlation 0.95, equal times, equal rare failures. `cycle` is the amplitude, in
    standard deviations of the inputs, of a cycle that takes 5,000 pairs."""

    def make(rng: Rng, n: int) -> Batch:
        a, b = correlated(rng, n, 0.95)
        wave = cycle * np.sin(np.arange(n) * (2 * np.pi / 5000))
        live, candidate = ndtr(a + wave), np.clip(ndtr(b + wave) + shift, 0.0, 1.0)
        same = rng.random(n) < 0.95  # most decisions near the middle are the same too: 1 % differ
        candidate = np.where(same & ((live > 0.5) != (candidate > 0.5)), live, candidate)
        time = times()(rng, n)
        failed, broke = rng.random(n) < 0.001, rng.random(n) < 0.001
        return score_batch(
            rng,
            live,
            candidate,
            live_seconds=time.live_seconds,
            seconds=np.where(failed, np.inf, time.seconds),
            failed=failed,
            live_broke=broke,
            answered=~broke,
        )

    return make


def stalls(length: int, share: float, block: int) -> Truth:
    """Equal arms that stall now and then, independently, for `length` requests, adding a second to a `share` of all.

    One pair per `block` requests is chosen for latency, beforehand; 1 is every pair.
    """

    def make(rng: Rng, n: int) -> Batch:
        time = times()(rng, n)
        slow = []
        for _ in range(2):
            starts = rng.random(n) < share / length
            slow.append(np.convolve(starts, np.ones(length))[:n] > 0)
        timed = np.arange(n) % block == 0
        live, candidate = time.live_seconds + slow[0], time.seconds + slow[1]
        return batch(rng, n, live_seconds=live, seconds=candidate, timed=timed)

    return make


def bursts(copies: int, block: int, stall: float = 0.0) -> Truth:
    """`everything`, each request coming `copies` times in a row (the first is fresh), one latency pair per `block`.

    With `stall` both arms stall independently, now and then for 100 requests, that share of the time.
    """

    def make(rng: Rng, n: int) -> Batch:
        one = everything()(rng, -(-n // copies))
        again = np.repeat(np.arange(one.size), copies)[:n]
        columns = {name: values[again] for name, values in one.measures.items()}
        plain = ("failed", "live_broke", "answered", "live_seconds", "seconds")
        columns |= {name: getattr(one, name)[again] for name in plain}
        for name in ("live_seconds", "seconds") if stall else ():
            begins = rng.random(n) < stall / 100
            columns[name] = columns[name] + (np.convolve(begins, np.ones(100))[:n] > 0)
        at = np.arange(n)
        return batch(rng, n, fresh=at % copies == 0, timed=at % block == 0, **columns)

    return make


def projected(mean: float) -> Truth:
    """Four projections of vectors with one standard deviation between them; the first has moved by `mean`."""

    def make(rng: Rng, n: int) -> Batch:
        moved = np.clip(rng.normal(0.0, 0.5, (4, n)), -8.0, 8.0)
        moved[0] += mean
        return batch(rng, n, **{f"projection{i}": moved[i] for i in range(4)})

    return make
