"""The answer of `/v1/embeddings`, and how alike two vectors are."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

Vector = NDArray[np.float32]
MAX_EMBEDDINGS: Final = 8 << 20
"""Bytes of an answer with embeddings that are read: 64 of 4,096 numbers are 5 MB."""


def read_embeddings(body: bytes, count: int) -> list[Vector] | None:
    """The vectors of an answer, in the order of the texts; `None` where it is anything but `count` finite ones of one
    length, none of them zero.

    >>> said = b'{"data": [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [1, 0]}]}'
    >>> [vector.tolist() for vector in read_embeddings(said, 2)], read_embeddings(said, 3), read_embeddings(b"[]", 1)
    ([[1.0, 0.0], [0.0, 2.0]], None, None)
    """
    try:
        data = orjson.loads(body)["data"]
        found: dict[int, Vector] = {}
        for entry in data:
            with np.errstate(over="ignore"):  # what is no float32 is not finite below
                found[entry["index"]] = np.array(entry["embedding"], dtype=np.float32)
        vectors = [found[place] for place in range(count)]
        good = len(data) == count and len({vector.shape for vector in vectors}) == 1 and vectors[0].ndim == 1
        good = good and all(np.isfinite(vector).all() and vector.any() for vector in vectors)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return vectors if good else None


def similarity_of(one: Vector, other: Vector) -> float:
    """The cosine of two vectors, opposite ones as unlike as unrelated ones: 0 to 1; 0 where they are not of one length.

    >>> similarity_of(np.array([1, 0], np.float32), np.array([1, 1], np.float32))
    0.7071...
    """
    if one.shape != other.shape:
        return 0.0
    a, b = one.astype(np.float64), other.astype(np.float64)
    norm = math.sqrt(float(a @ a) * float(b @ b))
    cosine = float(a @ b) / norm if norm > 0 else 0.0
    return min(1.0, max(0.0, cosine)) if math.isfinite(cosine) else 0.0
