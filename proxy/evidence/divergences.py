"""Divergences between the two arms' answers: for reading, never for deciding.

PSI, Kolmogorov-Smirnov, Jensen-Shannon and Wasserstein, as people know them, but debiased: a plug-in divergence of two
*equal* samples is positive, and the smaller the sample the larger, which is what makes fixed thresholds on it roll back
good models. `divergences` takes them from the counts of `max_psi` (10 × 10 table on live's deciles) and `max_ks`
(histograms over its thresholds), over the whole trial; `recent` from two columns of answers, for everybody else.
Intervals are 95 % at any time: exact for KS (at its thresholds), asymptotic (arXiv 2103.06476) for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import erfc

import numpy as np

from proxy.evidence.count_store import CountStore
from proxy.evidence.families.rule import Rule
from proxy.evidence.input.batch import Batch
from proxy.evidence.input.reference import freeze
from proxy.evidence.process.estimate import intervals
from proxy.evidence.process.wealth import Counts, Floats, Numbers
from proxy.evidence.rules.ks import BINS, Ks
from proxy.evidence.rules.psi import Psi, asymptotic_log_e

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Divergence:
    """One divergence: value and interval in its own unit (Wasserstein: that of the answers; others: none)."""

    name: str
    value: float
    low: float
    high: float
    pairs: int
    aspect: str = ""


@dataclass(frozen=True, slots=True)
class PairedHistogram:
    """Counts of both arms between `edges` (k); the first and last bin are open, so there are k + 1 of each."""

    edges: tuple[float, ...]
    live: tuple[int, ...]
    candidate: tuple[int, ...]


def divergences(tally: CountStore) -> tuple[Divergence, ...]:
    """All divergences that the configured guards keep counts for."""
    every = ((slot.guard.aspect, _of(slot.rule, tally.carried(slot))) for slot in tally.slots)
    return tuple(replace(one, aspect=aspect) for aspect, found in every for one in found)


def recent(live: Floats, candidate: Floats) -> tuple[Divergence, ...]:
    """All divergences of two columns (n,) of answers to the same requests, with live's own quantiles as thresholds.

    >>> rng = np.random.default_rng(1)
    >>> live = rng.normal(size=1000)
    >>> [d.name for d in recent(live, live + 0.5) if 0.0 < d.low < d.value < d.high]
    ['psi', 'jensen_shannon', 'ks', 'wasserstein']
    """
    known = np.isfinite(live) & np.isfinite(candidate)
    if known.sum() < 2:
        return ()
    reference = freeze(live[known])
    found: list[Divergence] = []
    batch = _column_batch(live[known], candidate[known])
    rules: tuple[Rule, ...] = (Psi(reference.edges), Ks(reference.thresholds, reference.gap))
    for rule in rules:
        counts = np.bincount(rule.place(batch, 0)[1], minlength=rule.width)
        with np.errstate(over="ignore", invalid="ignore"):  # answers may lie further apart than the largest number
            found += _of(rule, counts)
    return tuple(found)


def _column_batch(live: Floats, candidate: Floats) -> Batch:
    """A batch of pairs of which nothing is known but their answers."""
    n = len(live)
    yes, no, unknown = np.ones(n, dtype=bool), np.zeros(n, dtype=bool), np.full(n, np.nan)
    times = (unknown,) * 6
    columns = {"live": live, "candidate": candidate}
    alike = np.zeros(n, dtype=np.int64)
    return Batch(np.zeros(n, dtype=np.uint64), yes, no, no, yes, no, no, *times, alike, columns)


def _of(rule: Rule, counts: Counts) -> list[Divergence]:
    """Two divergences of a rule that counts the answers' distributions, none of any other."""
    if not isinstance(rule, Psi | Ks):
        return []
    (estimate,) = rule.estimates(counts[None], 0.0)
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return []
    name = "psi" if isinstance(rule, Psi) else "ks"
    first = Divergence(name, estimate.value, estimate.low, estimate.high, estimate.pairs)
    return [first, _jensen_shannon(rule.table(counts)) if isinstance(rule, Psi) else _wasserstein(rule, counts)]


def histogram(tally: CountStore, aspect: str = "") -> PairedHistogram | None:
    """Both arms' answers over the KS thresholds; `None` without `max_ks` or before they are frozen."""
    for slot in tally.slots:
        if slot.guard.aspect == aspect and isinstance(slot.rule, Ks) and slot.rule.thresholds:
            counts, last = tally.carried(slot), len(slot.rule.thresholds) + 1
            live, candidate = counts[BINS : BINS + last].tolist(), counts[:last].tolist()
            return PairedHistogram(slot.rule.thresholds, tuple(live), tuple(candidate))
    return None


def jensen_shannon(joint: Floats, n: float) -> tuple[float, float]:
    """Debiased Jensen-Shannon divergence (nats) of the margins of a joint table (k, k) of probabilities, and the sd of
    one pair's influence.

    Second-order (delta method) bias: ½ [f_pp p(1−p) + f_qq q(1−q) + 2 f_pq (J_bb − pq)] / n summed over bins, with f_pp
    = q/2p(p+q), f_qq = p/2q(p+q), f_pq = −1/2(p+q). Source: Lin, "Divergence measures based on the Shannon entropy",
    IEEE Trans. Inf. Theory 37(1), 1991, for the divergence.

    >>> jensen_shannon(np.array([[0.5, 0.0], [0.0, 0.5]]), 1000.0)[0]
    0.0
    """
    joint = np.maximum(joint, _TINY)
    p, q = joint.sum(1), joint.sum(0)
    middle = p + q
    on_p, on_q = 0.5 * np.log(2 * p / middle), 0.5 * np.log(2 * q / middle)
    plain = float(p @ on_p + q @ on_q)
    both = np.diagonal(joint) - p * q
    curved = 0.5 * q / (p * middle) * p * (1 - p) + 0.5 * p / (q * middle) * q * (1 - q) - both / middle
    influence = on_p[:, None] + on_q[None, :]
    variance = float((joint * influence**2).sum() - (joint * influence).sum() ** 2)
    return max(0.0, plain - float(curved.sum()) / (2 * n)), float(np.sqrt(max(variance, _TINY)))


def _jensen_shannon(table: Numbers) -> Divergence:
    n = float(table.sum())
    joint = (table + 0.5 / len(table)) / (n + 0.5 * len(table))
    value, sd = jensen_shannon(joint, n)
    return Divergence("jensen_shannon", value, *_asymptotic(value, sd, n), int(n))


def wasserstein(below: Floats, n: float, widths: Floats) -> tuple[float, float]:
    """Debiased 1-Wasserstein distance ∫|F_c − F_l| over thresholds, and a bound on the sd of one pair's influence.

    `below` (T, 2) counts pairs with only the candidate's, and only live's answer at or below each threshold; `widths`
    (T,) is what each threshold stands for on the axis. E|D̂| exceeds |D| where D is small: the excess of a folded normal
    with D̂'s own variance is taken off. The influence's sd is bounded by the sum of the thresholds' (they are not
    independent), so the interval is wide rather than short.

    >>> round(wasserstein(np.array([[90.0, 10.0]]), 1000.0, np.array([0.5]))[0], 6)
    0.04
    """
    d = (below[:, 0] - below[:, 1]) / n
    variance = np.maximum((below.sum(1) / n - d**2) / n, _TINY**2)
    sd = np.sqrt(variance)
    ratio = np.abs(d) / sd
    tail = np.array([0.5 * erfc(x / np.sqrt(2.0)) for x in ratio])
    excess = sd * np.sqrt(2 / np.pi) * np.exp(-0.5 * ratio**2) - 2 * np.abs(d) * tail
    return float(np.maximum(0.0, np.abs(d) - excess) @ widths), float((sd * np.sqrt(n)) @ widths)


def _wasserstein(rule: Ks, counts: Numbers) -> Divergence:
    n = float(counts[:BINS].sum())
    cells, _ = rule.cells(counts)
    last = len(rule.thresholds)
    edges = np.asarray(rule.thresholds)
    widths = np.append(np.diff(edges), 0.0)
    value, sd = wasserstein(cells[:last, 1:], n, widths)
    return Divergence("wasserstein", value, *_asymptotic(value, sd, n), int(n))


def _asymptotic(value: float, sd: float, n: float) -> tuple[float, float]:
    """95 % asymptotic anytime interval of a value at least 0."""
    at, spread, pairs = np.array([value]), np.array([max(sd, _TINY)]), np.array([n])
    (low,), (high,) = intervals(
        lambda m: asymptotic_log_e(at, spread, pairs, m, 1.0),
        lambda m: asymptotic_log_e(at, spread, pairs, m, -1.0),
        at,
        -1e3 * max(1.0, value),
        1e3 * max(1.0, value),
    )
    return max(0.0, low), high
