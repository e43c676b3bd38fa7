"""How bursty differences are: by how much the sum of a block of pairs varies more than if pairs were independent.

Pairs that go wrong together, five in a row, say less than five that go wrong apart: bets on single pairs would take
them for five. So evidence for a FAIL is counted a second time with the counts divided by the *size of the bursts*,

    D = max(1, over B ∈ {3, 10, 30, 100, 300}: mean of ½(S₂ⱼ − S₂ⱼ₊₁)² / (B · variance of a pair)),

S the sums of neighbouring blocks of B pairs, and the lesser of the two is what counts. Neighbours are compared, never a
block with the mean of all: a lasting break makes one pair of neighbours differ, not all of them. At B = 300, where that
one would weigh for long, the largest difference is left out. What is under way is not in a finished block yet, so for
B ≤ 100 the last 2B pairs are one sample more. This is the design effect of sampling
theory (Kish, "Survey Sampling", 1965), estimated by Carlstein's non-overlapping blocks (Annals of Statistics 14(3),
1986). It is an estimate: what is proved is that nothing fails sooner for it.

State: integer sums, and the last pairs as they came. Two states merge by adding up what is finished in each; what was
unfinished is left out, since no block goes across two streams.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from proxy.evidence.process.wealth import Floats, Ints

SIZES = np.array([3, 10, 30, 100, 300])
"""Pairs of a block."""
UNDER_WAY = 100
"""Blocks up to this size are also taken as they end with the latest pair."""
KEPT = 2 * UNDER_WAY
LENGTH = 3000
"""Pairs that are gathered before their blocks are summed: a multiple of two blocks of every size."""


@dataclass(slots=True)
class Bursts:
    """Block sums of `k` columns of small integers, one value per pair. Sums of squares stay in int64 up to 10¹¹ pairs.

    `recent` (k, KEPT + LENGTH) has from KEPT on the `fill` values whose blocks are not summed yet; of those before them
    the last `past` are known.
    """

    recent: NDArray[np.int16]
    sums: Ints  # (k,) of the values whose blocks are summed, as those below
    squares: Ints  # (k,)
    blocks: Ints  # (sizes,) how many pairs of neighbours
    differences: Ints  # (sizes, k) sums of (S₂ⱼ − S₂ⱼ₊₁)²
    largest: Ints  # (k,) the largest of them at the largest size
    pairs: int = 0
    past: int = 0
    fill: int = 0

    @classmethod
    def empty(cls, columns: int) -> Bursts:
        """Nothing seen of this many columns."""
        sums, squares, blocks = (np.zeros(count, np.int64) for count in (columns, columns, len(SIZES)))
        differences = np.zeros((len(SIZES), columns), np.int64)
        recent, largest = np.zeros((columns, KEPT + LENGTH), np.int16), np.zeros(columns, np.int64)
        return cls(recent, sums, squares, blocks, differences, largest)

    def add(self, values: NDArray[np.number]) -> None:
        """Add the values of n pairs in request order, (k, n).

        >>> bursts = Bursts.empty(1)
        >>> bursts.add(np.array([[1, 0] * 1800])), bursts.fill, bursts.blocks.tolist()
        (None, 600, [500, 150, 50, 15, 5])
        """
        at, n = 0, values.shape[1]
        while at < n:
            start, most = KEPT + self.fill, min(n - at, LENGTH - self.fill)
            self.recent[:, start : start + most] = values[:, at : at + most]
            self.fill, at = self.fill + most, at + most
            if self.fill == LENGTH:
                self._sum_up()
                self.recent[:, :KEPT] = self.recent[:, LENGTH:]
                self.past = KEPT

    def _sum_up(self) -> None:
        """Move what is gathered into the sums."""
        values = self.recent[:, KEPT : KEPT + self.fill].astype(np.int64)
        until = np.zeros((len(values), self.fill + 1), np.int64)
        np.cumsum(values, axis=1, out=until[:, 1:])
        self.sums += until[:, -1]
        self.squares += np.einsum("ij,ij->i", values, values)
        self.pairs += self.fill
        for i, size in enumerate(SIZES.tolist()):
            count = self.fill // (2 * size)
            apart = _apart(until[:, : 2 * size * count + 1], size)
            self.blocks[i] += count
            self.differences[i] += np.einsum("ij,ij->i", apart, apart)
        np.maximum(self.largest, (apart**2).max(axis=1, initial=0), out=self.largest)  # the last size is the largest
        self.fill = 0

    def settled(self) -> Bursts:
        """A copy in which all that is gathered is summed, as far as its blocks are finished."""
        copy = self.copy()
        copy._sum_up()
        copy.recent[:] = 0
        copy.past = 0
        return copy

    def sizes(self) -> Floats:
        """D of each column, (k,): at least 1, and 1 while nothing varies.

        >>> rng, bursts = np.random.default_rng(1), Bursts.empty(2)
        >>> bursts.add(np.stack([rng.random(60_000) < 0.05, np.repeat(rng.random(6_000) < 0.05, 10)]))
        >>> np.round(bursts.sizes()).tolist()
        [1.0, 10.0]
        """
        summed = self.settled()
        pairs = max(1, summed.pairs)
        variance = summed.squares / pairs - (summed.sums / pairs) ** 2
        blocks, differences = summed.blocks.astype(np.float64), summed.differences.astype(np.float64)
        blocks[-1] -= 1
        differences[-1] -= summed.largest
        known, end = self.past + self.fill, KEPT + self.fill
        until = np.cumsum(self.recent[:, :end], axis=1, dtype=np.int64)
        until = np.concatenate([np.zeros((len(until), 1), np.int64), until], axis=1)
        for i, size in enumerate(SIZES.tolist()):
            if size <= UNDER_WAY and 2 * size <= known:
                blocks[i] += 1
                differences[i] += _apart(until[:, end - 2 * size : end + 1], size)[:, 0] ** 2
        expected = 2.0 * np.maximum(1.0, blocks * SIZES)[:, None] * np.maximum(variance, 1e-300)
        return np.asarray(np.where(variance > 0.0, differences / expected, 0.0).max(axis=0, initial=1.0))

    def merge(self, other: Bursts) -> Bursts:
        """What is finished in both, added; merging in either order gives the same."""
        a, b = self.settled(), other.settled()
        a.pairs += b.pairs
        np.maximum(a.largest, b.largest, out=b.largest)
        for mine, theirs in zip(a.arrays[:-1], b.arrays[:-1], strict=True):
            mine += theirs
        return replace(a, largest=b.largest)

    def rearranged(self, columns: list[int]) -> Bursts:
        """A copy with these columns; −1 stands for one of which nothing is known."""
        # One column of zeros more, which −1 finds.
        sums, squares, apart, largest = (
            np.concatenate([array, np.zeros((*array.shape[:-1], 1), np.int64)], axis=-1)[..., columns]
            for array in (self.sums, self.squares, self.differences, self.largest)
        )
        recent = np.concatenate([self.recent, np.zeros((1, KEPT + LENGTH), np.int16)])[columns]
        return Bursts(recent, sums, squares, self.blocks.copy(), apart, largest, self.pairs, self.past, self.fill)

    @property
    def arrays(self) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """The sums, in the order of a snapshot."""
        return self.sums, self.squares, self.blocks, self.differences, self.largest

    def copy(self) -> Bursts:
        """A copy that shares no mutable part."""
        sums, squares, blocks, apart, largest = (array.copy() for array in self.arrays)
        return Bursts(self.recent.copy(), sums, squares, blocks, apart, largest, self.pairs, self.past, self.fill)


def _apart(until: Ints, size: int) -> Ints:
    """By how much the sums of each two neighbouring blocks differ; `until` (k, 2 · size · m + 1) are running sums."""
    ends = until[:, :: 2 * size]
    return np.asarray(2 * until[:, size :: 2 * size] - ends[:, :-1] - ends[:, 1:])


class TakenByBlocks:
    """A rule that has nothing to say of bursts, because it takes its pairs by blocks of request time."""

    @property
    def measures(self) -> tuple[str, ...]:
        """What it reads of a batch."""
        return ()

    @property
    def _block(self) -> int:
        """Categories of an order array."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Categories."""
        raise NotImplementedError

    @property
    def shed_at(self) -> int | None:
        """Category of shed copies: they were to run second, after live."""
        return self._block - 1

    @property
    def worst_at(self) -> int | None:
        """Category of a pair that is the worst for a PASS."""
        return self.shed_at

    def burst_values(self) -> Ints:
        """No columns."""
        return np.zeros((self.width, 0), np.int64)

    def pass_gains(self, limit: float) -> Floats:
        """No directions."""
        return np.ones((self.width, 1))
