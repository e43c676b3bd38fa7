"""Restarts: a break late in a trial must not wait until early good evidence is used up.

FAIL evidence of a guard is `½·E⁽⁰⁾ + Σ_j w_j·E⁽ʲ⁾`: E⁽⁰⁾ over the whole trial, E⁽ʲ⁾ started at the j-th restart and 1
before. `w_j = T(j−1) − T(j)` with `T(j) = 1 / (2(1 + ln(1+j)))`, so all weights sum to one, the mixture is an
e-process, and those from j + 1 on sum to T(j). They fall like 1/(j ln² j), about as slowly as weights that have a sum
can: a break after 10⁹ good pairs (j = 10⁶) needs 20 nats more than one at the beginning, where 1/(2j(j+1)) needs 28.

Counts are kept per *row*: row 0 is the base, every further row what was counted since its restart. On overflow the two
oldest restarts are added into the base and their terms dropped, which only lowers E.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from proxy.evidence.process.wealth import Counts, Floats, log_sum

ROWS = 20
"""Row 0 (the base) and 19 restarts."""

EVERY = 1000
"""Compared pairs between restarts."""


def log_weights(j: Floats) -> Floats:
    """Log of w_j for j ≥ 1, (n,), to full precision however large j is.

    >>> weights = np.exp(log_weights(np.arange(1.0, 1001.0)))
    >>> bool(np.isclose(weights.sum() + np.exp(log_rest(1000)), 0.5))
    True
    >>> log_weights(np.array([1e15])).round(1).tolist()
    [-42.4]
    """
    # The difference of the two reciprocals in T as a product: for large j it would vanish as a difference.
    return np.asarray(np.log(0.5 * np.log1p(1.0 / j) / ((1.0 + np.log(j)) * (1.0 + np.log1p(j)))))


def log_rest(j: int) -> float:
    """Log of T(j), what all restarts after the j-th weigh together.

    >>> log_rest(0) == math.log(0.5)
    True
    """
    return -math.log(2.0 * (1.0 + math.log1p(j)))


@dataclass(frozen=True, slots=True)
class Restarts:
    """Which restarts are kept: `ordinals[i]` is the j of row i + 1; `total` restarts so far, dropped ones included."""

    ordinals: tuple[int, ...] = ()
    total: int = 0

    @property
    def row(self) -> int:
        """The row that counts now."""
        return len(self.ordinals)

    def start(self, *tables: Counts) -> Restarts:
        """Begin a restart; on overflow fold the two oldest into the base, changing `tables` (ROWS, width) in place.

        >>> rows, restarts = np.ones((ROWS, 1), np.int64), Restarts()
        >>> for _ in range(20): restarts = restarts.start(rows)
        >>> restarts.total, restarts.row, int(rows[0, 0]), int(rows.sum())
        (20, 18, 3, 20)
        """
        kept = self
        if kept.row == ROWS - 1:
            for rows in tables:
                rows[0] += rows[1] + rows[2]
                rows[1:-2] = rows[3:].copy()
                rows[-2:] = 0
            kept = replace(kept, ordinals=kept.ordinals[2:])
        # The row that is about to count is empty, except in the doctest above, where nothing depends on it.
        return Restarts((*kept.ordinals, kept.total + 1), kept.total + 1)

    def since(self, rows: Counts, opened: int = 0) -> tuple[Counts, Floats]:
        """Counts since each kept start after restart number `opened`, with log weights; the first is the whole.

        Returns `(k, width)` suffix sums and `(k,)` log weights, base first.
        """
        first = next((i for i, j in enumerate(self.ordinals) if j > opened), len(self.ordinals))
        suffixes = np.cumsum(rows[: self.row + 1][::-1], axis=0)[::-1]
        kept = np.concatenate([suffixes[:1], suffixes[first + 1 :]]) if first else suffixes
        relative = np.asarray(self.ordinals[first:], dtype=np.float64) - opened
        return kept, np.concatenate([[np.log(0.5)], log_weights(relative)])

    def mixture(self, log_e: Floats, logs: Floats, opened: int = 0) -> float:
        """Log of the mixture, with the terms that have not started yet at 1: they weigh T(J) together.

        >>> Restarts().mixture(np.array([0.0]), np.array([np.log(0.5)]))  # nothing seen: E = 1
        0.0
        """
        unstarted = log_rest(self.total - opened)
        return log_sum([*(log_e + logs).tolist(), unstarted])
