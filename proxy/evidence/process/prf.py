"""Keyed mixing: the only "randomness" of the evidence, and it is a function of its arguments.

Rounding a value to a bin and drawing one row of a batched request need a uniform number that neither the client nor the
order of arrival can influence, and that comes out the same however the stream is cut into batches. So it is computed:
splitmix64's finaliser (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), keyed by the
trial's secret random seed, over (worker incarnation, pair sequence, purpose). The request id is left out on purpose:
ids repeat, and a client chooses them.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 2.0**-53


@lru_cache(maxsize=1024)
def key_of(seed: int, *words: str) -> int:
    """A 64-bit key from the trial's seed and some words.

    >>> key_of(1, "round", "max_ks") == key_of(1, "round", "max_ks"), key_of(1, "a") == key_of(2, "a")
    (True, False)
    """
    return hashed(seed, "\0".join(words))


def hashed(seed: int, text: str) -> int:
    """64 bits of a text, keyed by the trial's seed.

    >>> hashed(1, "r1") == hashed(1, "r1"), hashed(1, "r1") == hashed(2, "r1")
    (True, False)
    """
    keyed = _keyed(seed).copy()
    keyed.update(text.encode())
    return int.from_bytes(keyed.digest(), "little")


@lru_cache(maxsize=64)
def _keyed(seed: int) -> hashlib.blake2b:
    """The hash of nothing: to copy it costs half of what it costs to mix in the key anew."""
    return hashlib.blake2b(digest_size=8, key=(seed & _MASK).to_bytes(8, "little"))


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser, elementwise: a bijection of 64-bit numbers that looks random.

    >>> hex(int(mix(np.array([0], dtype=np.uint64))[0]))  # first output of splitmix64 seeded with 0
    '0xe220a8397b1dcdaf'
    """
    z = values + _GOLDEN  # and from here on in place: making arrays takes longer than what is done to them
    z ^= z >> _S30
    z *= _FIRST
    z ^= z >> _S27
    z *= _SECOND
    z ^= z >> _S31
    return z


def pair_keys(workers: NDArray[np.uint64], sequences: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One key per pair from the worker incarnation's key and the pair's sequence, both (n,).

    >>> keys = pair_keys(np.array([1, 1, 2], np.uint64), np.array([0, 1, 0], np.uint64))
    >>> len(set(keys.tolist()))
    3
    """
    return mix(workers ^ mix(sequences))


def uniforms(keys: NDArray[np.uint64], purpose: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), one per pair, for one purpose (a key of `key_of`).

    >>> keys = pair_keys(np.zeros(10_000, np.uint64), np.arange(10_000, dtype=np.uint64))
    >>> abs(float(uniforms(keys, key_of(7, "round")).mean()) - 0.5) < 0.01
    True
    """
    return (mix(keys ^ np.uint64(purpose)) >> _S11).astype(np.float64) * _TO_UNIT
