"""Restarts: a break late in a trial must not wait until early good evidence is used up.

FAIL evidence of a guard is `½·E⁽⁰⁾ + Σ_j w_j·E⁽ʲ⁾`: E⁽⁰⁾ over the whole trial, E⁽ʲ⁾ started at the j-th restart and 1
before. `w_j = T(j−1) − T(j)` with `T(j) = 1 / (2(1 + ln(1+j)))`, so all weights sum to one, the mixture is an
e-process, and those from j + 1 on sum to T(j). They fall like 1/(j ln² j), about as slowly as weights that have a sum
can: a break after 10⁹ good pairs (j = 10⁶) needs 20 nats more than one at the beginning, where 1/(2j(j+1)) needs 28.

Counts are kept per *row*: row 0 is the base, every further row what was counted since its restart. On overflow the row
that is nearest to its neighbours for its age is added to the one before, so what is kept reaches back over the whole
trial, each start about twice as old as the next: at 5,000 pairs a second 19 restarts in a row would be four seconds.

Counts cannot say what a restart that goes was worth: its term is dropped, which only lowers E. Sums of logs can: two
terms go on with the same factors, so they are one term of their weighted mean (`poured`), with the weight of both.
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

NEAR = 2
"""Restarts by which two ages may differ and are as good as the same."""


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

    def crowded(self) -> int | None:
        """The row that goes when the next restart begins; `None` while there is room."""
        if self.row < ROWS - 1:
            return None
        ages = [self.total + 1 + NEAR - ordinal for ordinal in (0, *self.ordinals)]
        return min(range(1, self.row), key=lambda row: ages[row - 1] / ages[row + 1])

    def start(self, *tables: Counts) -> Restarts:
        """Begin a restart; without room a row is added to the one before, in `tables` (ROWS, width) in place.

        >>> rows, restarts = np.zeros((ROWS, 1), np.int64), Restarts()
        >>> for _ in range(40):
        ...     restarts = restarts.start(rows)
        ...     rows[restarts.row] += 1
        >>> restarts.total, restarts.row, restarts.since(rows)[0][:, 0].tolist()[:9]
        (40, 19, [40, 37, 33, 29, 25, 21, 19, 17, 15])
        """
        kept, gone = self, self.crowded()
        if gone is not None:
            for rows in tables:
                rows[gone - 1] += rows[gone]
                rows[gone:-1] = rows[gone + 1 :].copy()
                rows[-1] = 0
            kept = replace(kept, ordinals=(*kept.ordinals[: gone - 1], *kept.ordinals[gone:]))
        return Restarts((*kept.ordinals, kept.total + 1), kept.total + 1)

    def poured(self, row: int, opened: int = 0) -> tuple[int, float] | None:
        """Into which row the term of this row goes when it is given up, and what share of both their weights it has;
        `None` of a restart before number `opened`, which has no term.

        >>> Restarts((1, 2), 2).poured(1), Restarts((1, 2), 2).poured(1, opened=1)
        ((0, 0.2904701079017974), None)
        """
        if self.ordinals[row - 1] <= opened:
            return None
        before = row - 1 if row > 1 and self.ordinals[row - 2] > opened else 0
        weights = np.exp(self.shares(opened))
        first = len(self.ordinals) + 1 - (len(weights) - 1)  # the row of the first start that has a term
        mine, other = float(weights[row - first + 1]), float(weights[before - first + 1 if before else 0])
        return before, mine / (mine + other)

    def shares(self, opened: int = 0) -> Floats:
        """Log weights of each kept start after restart number `opened`, the first is the whole, where each has those of
        the restarts that were poured into it: with `log_rest` of those to come they sum to one.

        >>> restarts = Restarts((3, 7, 8), 8)
        >>> bool(np.isclose(np.exp(restarts.shares()).sum() + np.exp(log_rest(8)), 1.0))
        True
        """
        starts = np.array([j - opened for j in self.ordinals if j > opened], np.float64)
        ends = np.append(starts[1:], self.total - opened + 1.0)[: len(starts)]
        # T(j − 1) − T(k − 1) as a product, as in `log_weights`
        between = 0.5 * np.log1p((ends - starts) / starts) / ((1.0 + np.log(starts)) * (1.0 + np.log(ends)))
        whole = 1.0 - np.exp(log_rest(int(starts[0]) - 1 if len(starts) else 0))
        return np.asarray(np.log(np.append(whole, between)))

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
