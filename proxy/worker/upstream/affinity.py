"""Which endpoint a key belongs to: rendezvous hashing with bounded load.

Each endpoint has a score for each key, and the highest one has the request (Thaler and Ravishankar, "Using name-based
mappings to increase hit rates", 1998). When an endpoint leaves, its keys alone move, each to its next; when one comes,
it takes from each of the others the keys that are now its own.

An endpoint that has its part of what is under way already is passed over: none gets more than `FACTOR` times the mean,
rounded up (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2018). So one key that
everybody sends does not sink one endpoint, and keys move for as long as theirs is full only.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

_ABOVE: Final = 5
_MEAN: Final = 4
FACTOR: Final = _ABOVE / _MEAN
"""How far above the mean the load of one endpoint may be."""
_MASK: Final = 0xFFFFFFFF


def identity(text: bytes) -> int:
    """32 bits that stand for a key or an endpoint, the same in every process."""
    return int.from_bytes(blake2b(text, digest_size=4).digest(), "big")


def score(key: int, node: int) -> int:
    """How much a node is the key's, 0 to 2³² - 1: the finalizer of MurmurHash3, which is one to one."""
    x = key ^ node
    x = (x ^ x >> 16) * 0x85EBCA6B & _MASK
    x = (x ^ x >> 13) * 0xC2B2AE35 & _MASK
    return x ^ x >> 16


def load_bound(under_way: int, nodes: int) -> int:
    """The most that one of so many nodes may have once one more request is under way.

    >>> load_bound(0, 4), load_bound(7, 4), load_bound(8, 4)
    (1, 3, 3)
    """
    return -(-_ABOVE * (under_way + 1) // (_MEAN * nodes))


def choose_node(key: int, nodes: Sequence[int], loads: Sequence[int]) -> int:
    """Index of the key's node: the highest score of those whose load is below the bound. One node at least.

    `nodes` are identities, `loads` what is under way at each of them.

    >>> nodes = [identity(b"10.0.0.%d" % n) for n in range(4)]
    >>> here = choose_node(identity(b"ann"), nodes, [0] * 4)
    >>> choose_node(identity(b"ann"), nodes, [9 * (n == here) for n in range(4)]) == here
    False
    """
    most = load_bound(sum(loads), len(nodes))
    best, found = -1, 0
    for at, node in enumerate(nodes):
        if loads[at] < most:
            mine = score(key, node)
            if mine > best:
                best, found = mine, at
    return found


def ranked(key: int, nodes: Sequence[int]) -> list[int]:
    """Indices of nodes by what they score for a key, the highest first: the first whose load is below the bound is what
    `choose_node` gives.

    >>> nodes = [identity(b"10.0.0.%d" % n) for n in range(4)]
    >>> ranked(7, nodes)[0] == choose_node(7, nodes, [0] * 4)
    True
    """
    return sorted(range(len(nodes)), key=lambda at: -score(key, nodes[at]))
