"""Vectors in a few numbers: does the cloud of answers move? Fixed random projections as projections.

A vector's direction x/|x| is projected on `PROJECTIONS` random sign vectors, which is the sum of its coordinates with
signs; for directions spread evenly over d dimensions that is about standard normal. The difference candidate − live of
each, cut at ±8, is a bounded mean (`mean`). Signs come from the trial's seed, so that nobody outside can know which
directions are looked at. FAIL averages the projections' e-values, so one that sees a move is enough (it has an eighth
of the stake); PASS is the least of them, as for the thresholds of KS: all must have kept the limit.
A move that is orthogonal to every projection is not seen by them; `min_similarity` sees it.

Source: an average of e-values is one under any dependence (arXiv 2210.01948); random projections keep distances:
Johnson and Lindenstrauss, Contemporary Mathematics 26, 1984.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from proxy.evidence.process.prf import mix
from proxy.evidence.process.wealth import Floats

PROJECTIONS = 4
PROJECTION_NAMES = tuple(f"projection{number}" for number in range(PROJECTIONS))
REACH = 8.0


WIDE = 4096
"""Coordinates beyond which the signs of few vectors are kept: they take 32 bytes each."""


def signs(key: int, size: int) -> Floats:
    """Random signs (size, `PROJECTIONS`), a function of the key.

    >>> s = signs(1, 1000)
    >>> s.shape, bool(np.all(np.abs(s) == 1.0)), bool(np.all(np.abs(s.mean(0)) < 0.2))
    ((1000, 4), True, True)
    """
    return _signs(key, size) if size <= WIDE else _wide_signs(key, size)


def _drawn(key: int, size: int) -> Floats:
    at = np.arange(size * PROJECTIONS, dtype=np.uint64) ^ np.uint64(key)
    return ((mix(at) >> np.uint64(63)).astype(np.float64) * 2.0 - 1.0).reshape(size, PROJECTIONS)


_signs, _wide_signs = lru_cache(maxsize=64)(_drawn), lru_cache(maxsize=2)(_drawn)


def projected(vector: Sequence[float], key: int) -> Floats:
    """What each projection sees of a vector, (`PROJECTIONS`,); zeros for a zero vector.

    >>> bool(np.allclose(projected((3.0, 4.0), 7), projected((6e200, 8e200), 7)))
    True
    """
    x = np.asarray(vector, dtype=np.float64)
    largest = float(np.abs(x).max())
    if largest == 0.0:
        return np.zeros(PROJECTIONS)
    x = x / largest  # so that squares neither overflow nor vanish
    return np.asarray((x / np.sqrt(x @ x)) @ signs(key, len(x)))
