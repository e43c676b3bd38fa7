"""How much work one message may be, whatever it weighs on the wire: every protocol asks here before it does the work.

A kilobyte inflates to a megabyte, and a megabyte of `[],[],…` takes a hundred times as long to read as a megabyte of
text. One event loop reads the answers of every rollout, so each answer is bounded in what is expensive, one by one:

    inflated   bytes with the content coding undone                                     `mirror.max_body`
    values     JSON values, elements of tensors                                         one for 4 bytes of it
    members    members of JSON objects                                                  one for 8
    nodes      JSON arrays and objects, items of rankings, words of a text             one for 16
    parts      events and lines of a stream, protobuf fields, elements of BYTES tensors one for 128

but never fewer than at `mirror.max_body: 1MiB`. A quarter as much may be in JSON inside a text, half as many values
where JSON has NaN, half as many cells as nodes in CSV, and a quarter as many elements where `jmespath` looks through
them. What is beyond is `decompressed_too_large` or `too_many_elements`, and found out before it is read.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.model.reasons import Reason
from proxy.predictions.unreadable import Unreadable

MAX_BODY = 1 << 20
"""The default of `mirror.max_body`, in bytes."""

VALUES, MEMBERS, NODES, PARTS = MAX_BODY // 4, MAX_BODY // 8, MAX_BODY // 16, MAX_BODY // 128
"""The least that is allowed of each."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one message; the defaults are those of the default `mirror.max_body`."""

    inflated: int = MAX_BODY
    values: int = VALUES
    members: int = MEMBERS
    nodes: int = NODES
    parts: int = PARTS

    @classmethod
    def of(cls, max_body: int) -> Bounds:
        """The bounds that `mirror.max_body` sets.

        >>> Bounds.of(4 << 20).nodes, Bounds.of(1024)
        (262144, Bounds(inflated=1024, values=262144, members=131072, nodes=65536, parts=8192))
        """
        return cls(
            max_body,
            max(VALUES, max_body // 4),
            max(MEMBERS, max_body // 8),
            max(NODES, max_body // 16),
            max(PARTS, max_body // 128),
        )

    @property
    def halved(self) -> Bounds:
        """Half of each: what lies beyond that is near the bound."""
        return Bounds(self.inflated // 2, self.values // 2, self.members // 2, self.nodes // 2, self.parts // 2)


DEFAULT = Bounds()
UNBOUNDED = Bounds(*[1 << 62] * 5)
"""For what has been checked before."""


def too_many(found: int, most: int, what: str) -> Unreadable:
    """What is raised beyond a bound.

    >>> too_many(70_000, 65_536, "words").detail
    '70,000 words, at most 65,536 are read'
    """
    return Unreadable(Reason.TOO_MANY_ELEMENTS, f"{found:,} {what}, at most {most:,} are read")


def check_json(text: bytes, bounds: Bounds) -> None:
    """Raise `Unreadable` when a text that may be JSON holds more than the bounds allow; it is not parsed for that.

    >>> check_json(b"[" + b"[]," * 70_000 + b"0]", DEFAULT)
    Traceback (most recent call last):
    proxy.predictions.unreadable.Unreadable: 70,001 arrays and objects, at most 65,536 are read
    """
    if len(text) > bounds.nodes:  # each takes a byte
        check_texts([text], bounds)


def check_texts(texts: Sequence[bytes], bounds: Bounds) -> None:
    """The same of several texts together; raises `Unreadable`.

    >>> check_texts([b"[1]", b'{"a": 2}'], DEFAULT)
    """
    if sum(map(len, texts)) <= bounds.nodes:
        return
    most = (bounds.nodes, bounds.members, bounds.values)
    found = _summed(texts)
    if any(map(operator.gt, found, most)):  # what stands in strings does not count, and takes time to find
        found = _summed(list(map(_outside_strings, texts)))
    for number, limit, what in zip(found, most, ("arrays and objects", "members", "values"), strict=True):
        if number > limit:
            raise too_many(number, limit, what)


def elements(text: bytes) -> int:
    """At most how many values, arrays, objects and members a text of JSON holds.

    >>> elements(b'{"a": [1, 2]}')
    5
    """
    return sum(_counted(text)) + 1


def _counted(text: bytes) -> tuple[int, int, int]:
    """Arrays and objects; members; commas, which is all values but one of each array."""
    return text.count(b"[") + text.count(b"{"), text.count(b":"), text.count(b",")


def _summed(texts: Sequence[bytes]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*map(_counted, texts), strict=True)))


def _outside_strings(text: bytes) -> bytes:
    """A text of JSON without what stands in its strings.

    >>> _outside_strings(b'{"a,b": "[\\\\"]", "c": 1}')
    b'{: , : 1}'
    """
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(plain.split(b'"')[::2])
