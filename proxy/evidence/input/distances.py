"""How far two rows of one kind are from each other: one function per kind, and for wide rows one over whole arrays.

Rows are tuples. Where an answer holds many values its rows come as one array (rows, width), since a loop over a hundred
thousand of them would hold up every rollout; `far` then gives the distance of every row in one go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np

from proxy.evidence.process.wealth import Floats

DEEPEST = 400
"""Places of a ranking that are compared: 0.9 to that power is too small to change a sum of doubles."""


def total_variation(a: Sequence[float], b: Sequence[float]) -> float:
    """Half the L1 distance of two distributions over the same classes, in [0, 1].

    >>> total_variation((0.5, 0.5), (0.75, 0.25))
    0.25
    """
    if isinstance(a, np.ndarray):
        return float(total_variations(a[None], np.asarray(b)[None])[0])
    return min(1.0, 0.5 * sum(abs(x - y) for x, y in zip(a, b, strict=True)))


def total_variations(a: Floats, b: Floats) -> Floats:
    """The same of every row, (rows, width) → (rows,).

    >>> total_variations(np.array([[0.5, 0.5]]), np.array([[0.75, 0.25]])).tolist()
    [0.25]
    """
    return np.asarray(np.minimum(1.0, 0.5 * np.abs(a - b).sum(-1)))


def confidence(row: Sequence[float]) -> float:
    """One number of a row of probabilities: P(second class) if there are two, else that of the top class.

    >>> confidence((0.25, 0.75)), confidence((0.2, 0.5, 0.3))
    (0.75, 0.5)
    """
    if len(row) == 2:
        return row[1]
    return float(row.max()) if isinstance(row, np.ndarray) else max(row)


def confidences(rows: Floats) -> Floats:
    """The same of every row, (rows, width) → (rows,).

    >>> confidences(np.array([[0.25, 0.75]])).tolist(), confidences(np.array([[0.2, 0.5, 0.3]])).tolist()
    ([0.75], [0.5])
    """
    return np.asarray(rows[:, 1] if rows.shape[1] == 2 else rows.max(axis=1))


def top(row: Sequence[float]) -> int:
    """Index of the largest, the first if several.

    >>> top((0.2, 0.4, 0.4))
    1
    """
    return int(row.argmax()) if isinstance(row, np.ndarray) else row.index(max(row))


def cosine_distance(a: Sequence[float], b: Sequence[float]) -> float:
    """1 − cosine, cut to [0, 1] (opposite vectors are as far as orthogonal ones); a zero vector is far from others.

    >>> cosine_distance((1.0, 0.0), (0.0, 2.0)), cosine_distance((1.0, 1.0), (2.0, 2.0)) < 1e-12
    (1.0, True)
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    scale = float(max(np.abs(x).max(), np.abs(y).max()))
    if scale == 0.0:
        return 0.0
    x, y = x / scale, y / scale  # so that squares neither overflow nor vanish
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return min(1.0, max(0.0, 1.0 - float(x @ y) / norm)) if norm > 0.0 else 1.0


def cosine_distances(a: Floats, b: Floats) -> Floats:
    """The same of every row, (rows, width) → (rows,).

    >>> cosine_distances(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 2.0], [0.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    scale = np.maximum(np.abs(a).max(-1), np.abs(b).max(-1))
    known = np.where(scale > 0.0, scale, 1.0)[:, None]
    x, y = a / known, b / known
    norm = np.sqrt(np.einsum("ij,ij->i", x, x) * np.einsum("ij,ij->i", y, y))
    alike = np.einsum("ij,ij->i", x, y) / np.where(norm > 0.0, norm, 1.0)
    return np.asarray(np.where(scale > 0.0, np.clip(np.where(norm > 0.0, 1.0 - alike, 1.0), 0.0, 1.0), 0.0))


def vectors_differ(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two vectors differ in any value.

    >>> vectors_differ((1.0, 2.0), (1.0, 2.0)), vectors_differ(np.array([1.0]), np.array([2.0]))
    (False, True)
    """
    return not np.array_equal(a, b) if isinstance(a, np.ndarray) else a != b


def rank_biased_distance(a: Sequence[Any], b: Sequence[Any], p: float = 0.9) -> float:
    """1 − rank-biased overlap, normalised to the longer list (Webber, Moffat, Zobel, ACM TOIS 28(4), 2010).

    >>> rank_biased_distance("abc", "abc"), rank_biased_distance("abc", "xyz")
    (0.0, 1.0)
    """
    powers, weights = _weights(p)
    depth = min(max(len(a), len(b)), DEEPEST)
    if not depth:
        return 0.0
    seen_a: set[Any] = set()
    seen_b: set[Any] = set()
    agreement, common = 0.0, 0  # items that both have named so far: counted as they come, since a ranking may be long
    mine, yours = len(a), len(b)
    for d in range(depth):
        if d < mine and (item := a[d]) not in seen_a:
            seen_a.add(item)
            common += item in seen_b
        if d < yours and (item := b[d]) not in seen_b:
            seen_b.add(item)
            common += item in seen_a
        agreement += powers[d] * common / (d + 1)
    return min(1.0, max(0.0, 1.0 - agreement / weights[depth - 1]))


@lru_cache(maxsize=8)
def _weights(p: float) -> tuple[list[float], list[float]]:
    """The weight of each place of a ranking, and of all up to it."""
    powers = [p**d for d in range(DEEPEST)]
    return powers, list(accumulate(powers))


def text_distance(a: str, b: str) -> float:
    """1 − Dice coefficient of the two bags of words, ignoring case: order does not matter, wording does.

    >>> text_distance("yes it is", "Yes it is"), text_distance("yes it is", "no"), text_distance("a a b", "a a a")
    (0.0, 1.0, 0.33333333333333337)
    """
    if a == b:
        return 0.0
    mine, yours = a.lower().split(), b.lower().split()
    x, y = Counter(mine), Counter(yours)
    shared = x.keys() & y.keys()
    common = sum(map(min, map(x.__getitem__, shared), map(y.__getitem__, shared)))
    total = len(mine) + len(yours)
    return 1.0 - 2.0 * common / total if total else 0.0


def relative_change(a: float, b: float) -> float:
    """|a − b| as a share of the larger of the two, at most 1.

    >>> relative_change(10.0, 5.0), relative_change(0.0, 0.0)
    (0.5, 0.0)
    """
    larger = max(abs(a), abs(b))
    return min(1.0, abs(a - b) / larger) if larger else 0.0


LARGE = 256
"""Values of an answer from which its rows are compared as one array."""

_FAR: dict[Callable[[Any, Any], float], Callable[[Floats, Floats], Floats]] = {
    total_variation: total_variations,
    cosine_distance: cosine_distances,
}


def mean_distance(distance: Callable[[Any, Any], float], a: Sequence[Any], b: Sequence[Any]) -> float:
    """The mean over the rows of two answers, tuples of rows or arrays (rows, width).

    >>> mean_distance(total_variation, ((0.5, 0.5),), ((0.75, 0.25),))
    0.25
    """
    if len(a) == 1:
        return distance(a[0], b[0])
    if isinstance(a, np.ndarray):
        return float(_FAR[distance](a, np.asarray(b)).mean())
    return sum(map(distance, a, b)) / len(a)
