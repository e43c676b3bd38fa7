"""EXPOSED, a frame on the link for pairs: which users of a trial the draw has put on an arm since the last one."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from proxy.pairs.link import Frame, LinkError, frame

_EXPOSED = struct.Struct("<HHQQ")
_USER = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Exposed:
    """Users of `trial` (its index on this connection) whom the draw has seen in stage entry `stage` at `weight` (basis
    points): each its number, and that of its request's id where it has no sticky key (else 0). `lost` could not be
    told."""

    trial: int
    stage: int
    weight: int
    lost: int
    users: tuple[tuple[int, int], ...]


def encode_exposed(trial: int, stage: int, weight: int, lost: int, users: bytes) -> bytes:
    """An EXPOSED frame; `users` as `request.exposures` has them.

    >>> decode_exposed(encode_exposed(3, 2, 500, 0, _USER.pack(7, 0))[5:])
    Exposed(trial=3, stage=2, weight=500, lost=0, users=((7, 0),))
    """
    return frame(Frame.EXPOSED, _EXPOSED.pack(trial, weight, stage, lost) + users)


def decode_exposed(payload: bytes) -> Exposed:
    """What an EXPOSED frame says; raises `LinkError`."""
    try:
        trial, weight, stage, lost = _EXPOSED.unpack_from(payload)
        users = tuple(_USER.iter_unpack(payload[_EXPOSED.size :]))
    except struct.error as error:
        raise LinkError(f"not a list of users: {error}") from None
    return Exposed(trial, stage, weight, lost, users)
