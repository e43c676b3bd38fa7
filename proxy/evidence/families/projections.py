"""The rule of `max_mean_shift` for vectors: does the cloud of answers move? See `input.projections`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.evidence.input.batch import Batch, Placed
from proxy.evidence.input.projections import PROJECTION_NAMES, PROJECTIONS, REACH
from proxy.evidence.process.estimate import LEVEL, Estimate
from proxy.evidence.process.means import BINS, WEIGHTS, bins, centres, mean_intervals, sides
from proxy.evidence.process.prf import uniforms
from proxy.evidence.process.wealth import Counts, Floats, Ints, Numbers, block_gains, log_mean_exp


@dataclass(frozen=True, slots=True)
class Projections:
    """The rule of `max_mean_shift` for vectors. Categories: `PROJECTIONS` histograms of 513 bins, then failures."""

    width: int = PROJECTIONS * BINS + 1
    shed_at: int | None = None
    worst_at: int | None = PROJECTIONS * BINS

    @property
    def measures(self) -> tuple[str, ...]:
        """What it reads of a batch."""
        return PROJECTION_NAMES

    def place(self, batch: Batch, salt: int) -> Placed:
        """One bin per projection of each pair that gives evidence."""
        parts, owners = [], []
        for number, name in enumerate(PROJECTION_NAMES):
            who, value = batch.measured(name)
            index = bins(value, uniforms(batch.keys[who], salt ^ (number + 1)), -REACH, REACH)
            parts.append(index + number * BINS)
            owners.append(who)
        parts.append(np.full(len(batch.worst), PROJECTIONS * BINS))
        return np.concatenate([*owners, batch.worst]), np.concatenate(parts).astype(np.int64)

    def _logs(self, counts: Numbers, limit: float, *, fail: bool) -> Floats:
        """Log e-value of each projection and direction, (…, 2 `PROJECTIONS`)."""
        both = sides(-REACH, REACH, limit, fail=fail)
        failed = counts[..., -1:]
        each = [np.concatenate([counts[..., i * BINS : (i + 1) * BINS], failed], -1) for i in range(PROJECTIONS)]
        return np.stack([log_mean_exp(one @ side, WEIGHTS) for one in each for side in both], axis=-1)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "no projection's mean moved by more than `limit`"; counts (…, width) → (…)."""
        return log_mean_exp(self._logs(counts, limit, fail=True))

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "some projection's mean moved by at least `limit`"; counts (…, width) → (…)."""
        return np.asarray(self._logs(counts, limit, fail=False).min(axis=-1))

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (projections and directions, 1, bets); see `e_detector`."""
        both = sides(-REACH, REACH, limit, fail=True)
        each = [np.append(counts[i * BINS : (i + 1) * BINS], counts[-1]) for i in range(PROJECTIONS)]
        return np.stack([one @ side for one in each for side in both])[:, None]

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (width, projections and signs + 1): a failure is the worst; see
        `pass_blocks`."""
        moved = np.kron(np.eye(PROJECTIONS), centres(-REACH, REACH)[:, None])
        x = np.append(np.concatenate([moved, -moved], axis=1), np.full((1, 2 * PROJECTIONS), REACH), axis=0)
        unit = np.append(np.arange(PROJECTIONS * BINS) < BINS, True).astype(np.float64)
        return block_gains(x, unit, limit, REACH)

    def burst_values(self) -> Ints:
        """What each projection saw move, in bins, a failure as the largest for all, (width, `PROJECTIONS`); see
        `bursts`."""
        moved = np.arange(BINS)[:, None] - BINS // 2
        each = np.kron(np.eye(PROJECTIONS, dtype=np.int64), moved)
        return np.concatenate([each, np.full((1, PROJECTIONS), BINS // 2)])

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Largest moves that a projection sees, with their intervals: those of the projection, at a fourth of the error
        each. Failures have no value and are left out; counts (n, width)."""
        failed = counts[:, -1].tolist()
        each = counts[:, :-1].reshape(-1, BINS)
        totals = each.sum(-1)
        means = each @ centres(-REACH, REACH) / np.maximum(1, totals)
        level = LEVEL + float(np.log(PROJECTIONS))
        ends = mean_intervals(each, means, -REACH, REACH, level)
        low, high = (np.array(end).reshape(-1, PROJECTIONS) for end in ends)
        values, totals = np.abs(means).reshape(-1, PROJECTIONS).max(-1), totals.reshape(-1, PROJECTIONS)[:, 0]
        least = np.maximum(0.0, np.maximum(low, -high)).max(-1)
        most = np.maximum(np.abs(low), np.abs(high)).max(-1)
        rows = zip(values.tolist(), least.tolist(), most.tolist(), totals.tolist(), failed, strict=True)
        note = "in standard deviations of a random direction"
        return [Estimate(v, a, b, n + f, f, note) if n else Estimate(None, None, None, f, f) for v, a, b, n, f in rows]
