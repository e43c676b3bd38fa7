"""Passes a stream of frames on as it comes, looking at nothing but their heads.

A relay stands between a worker and a leader on another host. It copies no frame and waits for none to be complete: what
came in one read goes out in one write. Only frames of the kinds that it is asked to note are gathered; of these, those
that are to be kept do not go on.

Invariants
- What goes on is what came, in the same order, less the frames that are kept, whatever the cuts (property test).
- A length is never trusted: a frame over `MAX_FRAME`, one to be noted over `MAX_NOTE`, and unknown kinds raise
  `LinkError`.
"""

from __future__ import annotations

import struct
from collections.abc import Collection

from proxy.pairs.link import MAX_FRAME, Frame, LinkError

MAX_NOTE = 64 * 1024 * 1024
"""Bytes of a frame that is gathered."""

_HEAD = struct.Struct("<IB")
_unpack, _SIZE = _HEAD.unpack_from, _HEAD.size
_KINDS = {int(kind): kind for kind in Frame}


class FrameGate:
    """`noted` are the kinds that `feed` also gives back whole, `kept` those of them that do not go on.

    >>> from proxy.pairs.link import frame
    >>> gate = FrameGate({Frame.COUNTS, Frame.REQUESTS}, kept={Frame.REQUESTS})
    >>> pair, counts, entry = frame(Frame.PAIR, b"p"), frame(Frame.COUNTS, b"{}"), frame(Frame.REQUESTS, b"r")
    >>> on, notes = gate.feed(pair + counts + entry + pair)
    >>> b"".join(on) == pair + counts + pair, [(kind.name, payload) for kind, payload in notes]
    (True, [('COUNTS', b'{}'), ('REQUESTS', b'r')])
    """

    __slots__ = ("_held", "_kept", "_kind", "_left", "_note", "_passes", "_stays")

    def __init__(self, noted: Collection[Frame], kept: Collection[Frame] = ()) -> None:
        self._kept = frozenset(map(int, kept))
        self._passes = frozenset(_KINDS) - frozenset(map(int, noted)) - self._kept
        self._held = b""  # a head that is not complete
        self._left = 0  # bytes of the present frame that have not come
        self._kind = Frame.HELLO  # of that frame, where it is noted
        self._note: bytearray | None = None  # what has come of it then
        self._stays = False  # whether it does not go on

    @property
    def amid(self) -> bool:
        """Whether a part of a frame has gone on and the rest has not: nothing else may be written in between."""
        return self._left > 0 and not self._stays

    def feed(self, data: bytes) -> tuple[list[bytes], list[tuple[Frame, bytes]]]:
        """What is to go on, and the noted frames that are complete now. Raises `LinkError`."""
        if self._held:
            data, self._held = self._held + data, b""
        on, notes, passes = list[bytes](), list[tuple[Frame, bytes]](), self._passes
        start, at, end = 0, 0, len(data)
        if self._left:
            stays, at = self._stays, self._go_on(data, 0, notes)
            start = at if stays else 0
        while end - at >= _SIZE:
            length, kind = _unpack(data, at)
            if kind in passes and length <= MAX_FRAME:  # nearly all of them, so asked first
                at += _SIZE + length
                continue
            stays = self._begin(length, kind)
            if stays and at > start:
                on.append(data[start:at])
            at = self._go_on(data, at + _SIZE, notes)
            start = at if stays else start
        if at > end:
            self._left, at = at - end, end
        elif at < end:
            self._held = data[at:]
        if at > start:
            on.append(data if at - start == end else data[start:at])
        return on, notes

    def _begin(self, length: int, kind: int) -> bool:
        """A frame to be noted begins; whether it stays here."""
        found = _KINDS.get(kind)
        if found is None:
            raise LinkError(f"unknown kind of frame: {kind}")
        most = MAX_FRAME if kind in self._passes else MAX_NOTE
        if length > most:
            raise LinkError(f"{found.name} of {length} bytes, at most {most} allowed")
        self._kind, self._note, self._left, self._stays = found, bytearray(), length, kind in self._kept
        return self._stays

    def _go_on(self, data: bytes, at: int, notes: list[tuple[Frame, bytes]]) -> int:
        """Take what is here of the present frame; where it ends, or the data."""
        come = min(self._left, len(data) - at)
        self._left -= come
        if self._note is not None:
            self._note += data[at : at + come]
        if not self._left:
            if self._note is not None:
                notes.append((self._kind, bytes(self._note)))
            self._note, self._stays = None, False
        return at + come
