"""Vectors in a few numbers: does the cloud of answers move? Fixed random projections as witnesses.

A vector's direction x/|x| is projected on `WITNESSES` random sign vectors, which is the sum of its coordinates with
signs; for directions spread evenly over d dimensions that is about standard normal. The difference candidate − live of
each, cut at ±8, is a bounded mean (`mean`). Signs come from the trial's seed, so that nobody outside can know which
directions are looked at. FAIL averages the witnesses' e-values, so one that sees a move is enough (it has an eighth
of the stake); PASS is the least of them, as for the thresholds of KS: all must have kept the limit.
A move that is orthogonal to every witness is not seen by them; `min_similarity` sees it.

Source: an average of e-values is one under any dependence (arXiv 2210.01948); random projections keep distances:
Johnson and Lindenstrauss, Contemporary Mathematics 26, 1984.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from proxy.evidence.input.batch import Batch, Ints, Placed
from proxy.evidence.process.estimate import LEVEL, Estimate
from proxy.evidence.process.prf import mix, uniforms
from proxy.evidence.process.wealth import Counts, Floats, Numbers, block_gains, log_mean_exp
from proxy.evidence.rules.mean import BINS, WEIGHTS, bins, centres, mean_intervals, sides

WITNESSES = 4
WITNESS_NAMES = tuple(f"witness{number}" for number in range(WITNESSES))
REACH = 8.0


WIDE = 4096
"""Coordinates beyond which the signs of few vectors are kept: they take 32 bytes each."""


def signs(key: int, size: int) -> Floats:
    """Random signs (size, `WITNESSES`), a function of the key.

    >>> s = signs(1, 1000)
    >>> s.shape, bool(np.all(np.abs(s) == 1.0)), bool(np.all(np.abs(s.mean(0)) < 0.2))
    ((1000, 4), True, True)
    """
    return _signs(key, size) if size <= WIDE else _wide_signs(key, size)


def _drawn(key: int, size: int) -> Floats:
    at = np.arange(size * WITNESSES, dtype=np.uint64) ^ np.uint64(key)
    return ((mix(at) >> np.uint64(63)).astype(np.float64) * 2.0 - 1.0).reshape(size, WITNESSES)


_signs, _wide_signs = lru_cache(maxsize=64)(_drawn), lru_cache(maxsize=2)(_drawn)


def projected(vector: Sequence[float], key: int) -> Floats:
    """What each witness sees of a vector, (`WITNESSES`,); zeros for a zero vector.

    >>> bool(np.allclose(projected((3.0, 4.0), 7), projected((6e200, 8e200), 7)))
    True
    """
    x = np.asarray(vector, dtype=np.float64)
    largest = float(np.abs(x).max())
    if largest == 0.0:
        return np.zeros(WITNESSES)
    x = x / largest  # so that squares neither overflow nor vanish
    return np.asarray((x / np.sqrt(x @ x)) @ signs(key, len(x)))


@dataclass(frozen=True, slots=True)
class Witnesses:
    """The rule of `max_mean_shift` for vectors. Categories: `WITNESSES` histograms of 513 bins, then failures."""

    width: int = WITNESSES * BINS + 1
    shed_at: int | None = None
    worst_at: int | None = WITNESSES * BINS

    def place(self, batch: Batch, salt: int) -> Placed:
        """One bin per witness of each pair that gives evidence."""
        parts, owners = [], []
        for number, name in enumerate(WITNESS_NAMES):
            who, value = batch.measured(name)
            index = bins(value, uniforms(batch.keys[who], salt ^ (number + 1)), -REACH, REACH)
            parts.append(index + number * BINS)
            owners.append(who)
        parts.append(np.full(len(batch.worst), WITNESSES * BINS))
        return np.concatenate([*owners, batch.worst]), np.concatenate(parts).astype(np.int64)

    def _logs(self, counts: Numbers, limit: float, *, fail: bool) -> Floats:
        """Log e-value of each witness and direction, (…, 2 `WITNESSES`)."""
        both = sides(-REACH, REACH, limit, fail=fail)
        failed = counts[..., -1:]
        each = [np.concatenate([counts[..., i * BINS : (i + 1) * BINS], failed], -1) for i in range(WITNESSES)]
        return np.stack([log_mean_exp(one @ side, WEIGHTS) for one in each for side in both], axis=-1)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "no witness's mean moved by more than `limit`"; counts (…, width) → (…)."""
        return log_mean_exp(self._logs(counts, limit, fail=True))

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "some witness's mean moved by at least `limit`"; counts (…, width) → (…)."""
        return np.asarray(self._logs(counts, limit, fail=False).min(axis=-1))

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (witnesses and directions, 1, bets); see `after_promotion`."""
        both = sides(-REACH, REACH, limit, fail=True)
        each = [np.append(counts[i * BINS : (i + 1) * BINS], counts[-1]) for i in range(WITNESSES)]
        return np.stack([one @ side for one in each for side in both])[:, None]

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (width, witnesses and signs + 1), a failure as the worst; see `pass_blocks`."""
        moved = np.kron(np.eye(WITNESSES), centres(-REACH, REACH)[:, None])
        x = np.append(np.concatenate([moved, -moved], axis=1), np.full((1, 2 * WITNESSES), REACH), axis=0)
        unit = np.append(np.arange(WITNESSES * BINS) < BINS, True).astype(np.float64)
        return block_gains(x, unit, limit, REACH)

    def burst_values(self) -> Ints:
        """What each witness saw move, in bins, a failure as the largest for all, (width, `WITNESSES`); see `bursts`."""
        moved = np.arange(BINS)[:, None] - BINS // 2
        each = np.kron(np.eye(WITNESSES, dtype=np.int64), moved)
        return np.concatenate([each, np.full((1, WITNESSES), BINS // 2)])

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Largest moves that a witness sees, with their intervals: those of the witness, at a fourth of the error each.
        Failures have no value and are left out; counts (n, width)."""
        failed = counts[:, -1].tolist()
        each = counts[:, :-1].reshape(-1, BINS)
        totals = each.sum(-1)
        means = each @ centres(-REACH, REACH) / np.maximum(1, totals)
        level = LEVEL + float(np.log(WITNESSES))
        ends = mean_intervals(each, means, -REACH, REACH, level)
        low, high = (np.array(end).reshape(-1, WITNESSES) for end in ends)
        values, totals = np.abs(means).reshape(-1, WITNESSES).max(-1), totals.reshape(-1, WITNESSES)[:, 0]
        least = np.maximum(0.0, np.maximum(low, -high)).max(-1)
        most = np.maximum(np.abs(low), np.abs(high)).max(-1)
        rows = zip(values.tolist(), least.tolist(), most.tolist(), totals.tolist(), failed, strict=True)
        note = "in standard deviations of a random direction"
        return [Estimate(v, a, b, n + f, f, note) if n else Estimate(None, None, None, f, f) for v, a, b, n, f in rows]
