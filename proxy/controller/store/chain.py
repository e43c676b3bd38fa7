"""The journal as a chain: each entry's hash covers what it says and the hash before it, so that none can be changed,
removed or moved without being found.

    hash(n) = SHA-256(JSON of [hash(n-1), n, rollout, time, kind, actor, reason, detail, token, digest of the evidence])

Entries of all rollouts are one chain, numbered without a gap. The store keeps its head (the last number and hash) with
every entry, in one transaction. Retention takes entries away from its middle and signs that off: a `SignedOff` range
with the hashes on both its sides, so that what is left can still be checked.

What cannot be found: whoever can write to the whole store can also build the whole chain anew, sign off what they have
removed, or set back all that counts entries (the head, the numbers that were given, what is told in the outbox). For
that a copy of the head is kept elsewhere: webhooks and the API carry it.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace

import orjson

BEGINNING = "0" * 64
"""The hash before the first entry."""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """An entry's number and its hash: all up to it is what was so when this was noted."""

    number: int = 0
    hash: str = BEGINNING

    @classmethod
    def read(cls, text: str) -> ChainHead:
        """`NUMBER:HASH`; raises `ValueError`.

        >>> str(ChainHead.read("12:" + "AB" * 32))[:8]
        '12:ababa'
        """
        number, _, value = text.strip().partition(":") if isinstance(text, str) else ("", "", "")
        if not number.isdigit() or len(value) != 64 or set(value.lower()) - set("0123456789abcdef"):
            raise ValueError(f"found {str(text)[:100]!r}, expected NUMBER:HASH with 64 hexadecimal digits")
        return cls(int(number), value.lower())

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


@dataclass(frozen=True, slots=True)
class ChainedEntry:
    """A journal entry as it is stored: `detail` is the JSON text, `digest` that of its evidence."""

    number: int
    rollout: str
    time: float
    kind: str
    actor: str
    reason: str
    detail: str
    token: str
    digest: str
    previous: str = ""
    hash: str = ""

    def expected(self) -> str:
        """The hash that what it says has behind `previous`."""
        said = [self.previous, self.number, self.rollout, float(self.time), self.kind, self.actor, self.reason]
        return hashlib.sha256(orjson.dumps([*said, self.detail, self.token, self.digest])).hexdigest()

    def misread(self) -> list[str]:
        """Its fields that hold what is never written there: SQLite keeps anything in any column.

        >>> ChainedEntry(4, "r/c", "soon", "advanced", b"ann", "", "", "", "").misread()  # type: ignore[arg-type]
        ['time', 'actor']
        """
        texts = ("rollout", "kind", "actor", "reason", "detail", "token", "digest", "previous", "hash")
        wrong: list[str] = [] if isinstance(self.time, float | int) else ["time"]
        return wrong + [name for name in texts if not _is_text(getattr(self, name))]

    def behind(self, head: ChainHead) -> ChainedEntry:
        """The same as the next entry of a chain."""
        placed = replace(self, number=head.number + 1, previous=head.hash)
        return replace(placed, hash=placed.expected())

    @property
    def head(self) -> ChainHead:
        """The chain's head once this is its last entry."""
        return ChainHead(self.number, self.hash)


def _is_text(value: object) -> bool:
    """Whether it is a text that UTF-8 can have: what was read of other bytes is none."""
    return isinstance(value, str) and not any("\ud800" <= one <= "\udfff" for one in value)


def digest_of(evidence: bytes) -> str:
    """What stands for evidence in an entry's hash: it may have megabytes."""
    return hashlib.sha256(evidence).hexdigest()


@dataclass(frozen=True, slots=True)
class SignedOff:
    """Entries `low` to `high` that retention took away; the hashes before the first and of the last."""

    low: int
    high: int
    before: str
    after: str

    @property
    def unchained(self) -> bool:
        """Whether these were written before there was a chain: they may still be there."""
        return self.before == self.after


def sign_off(ranges: Iterable[SignedOff], removed: Iterable[tuple[int, str, str]]) -> list[SignedOff]:
    """The ranges once more entries are gone: each removed one by number, the hash before it, its own.

    >>> sign_off([SignedOff(1, 2, "a", "c")], [(3, "c", "d"), (7, "g", "h")])
    [SignedOff(low=1, high=3, before='a', after='d'), SignedOff(low=7, high=7, before='g', after='h')]
    """
    gone = [SignedOff(number, number, before, own) for number, before, own in removed if own]
    found: list[SignedOff] = []
    for one in sorted([*ranges, *gone], key=lambda one: one.low):
        if found and not found[-1].unchained and one.low == found[-1].high + 1 and one.before == found[-1].after:
            found[-1] = replace(found[-1], high=one.high, after=one.after)
        else:
            found.append(one)
    return found


class ChainCheck:
    """Checks entries, the oldest first, against the ranges that are signed off; then the head."""

    def __init__(self, ranges: Iterable[SignedOff]) -> None:
        self.faults: list[str] = []
        """What was found, in words."""
        self._ranges = {one.low: one for one in ranges if self._is_range(one)}
        self._lows = sorted(self._ranges)
        self._at = ChainHead()
        self.checked = self.unchained = 0
        """Entries that are part of the chain, and older ones that were written before there was one."""
        self.hashes: dict[int, str] = {}
        """The hashes that are known: of each entry and at both sides of each range."""

    @property
    def taken_away(self) -> int:
        """How many entries retention signed off."""
        return sum(one.high - one.low + 1 for one in self._ranges.values() if not one.unchained)

    def add(self, entry: ChainedEntry, evidence: object) -> None:
        """The next entry with its evidence, which is bytes if nobody has changed it."""
        if entry.number < 1:
            self.faults.append(f"entry {entry.number} is there, and the first one is 1: it was put in")
            return
        covering = self._range_at(entry.number)
        if covering is not None and covering.unchained and not entry.hash:
            self.unchained += 1
            return
        if covering is not None:
            self.faults.append(f"entry {entry.number} is there, though retention says that it was taken away")
        self._skip_to(entry.number, entry.previous)
        self.checked += 1
        if entry.previous != self._at.hash:
            self.faults.append(f"entry {entry.number} does not follow the one before it: one of them was replaced")
        if wrong := entry.misread():
            self.faults.append(f"entry {entry.number} was changed: what it has as {', '.join(wrong)} is never written")
        elif entry.expected() != entry.hash:
            self.faults.append(f"entry {entry.number} ({entry.kind} of {entry.rollout}) was changed")
        if not isinstance(evidence, bytes) or digest_of(evidence) != entry.digest:
            self.faults.append(f"the evidence of entry {entry.number} was changed, or is gone")
        self._at = entry.head
        self.hashes[entry.number] = entry.hash

    def end(self, head: ChainHead, highest: int, numbered: int = 0) -> None:
        """All entries were given: compare with the head that the store keeps, the highest number that is there, and the
        highest that it has ever given."""
        self._skip_to(head.number + 1, head.hash)
        if highest > head.number:
            self.faults.append(f"entries {head.number + 1} to {highest} stand behind the head, {head.number}")
        elif self._at != head:
            self.faults.append(f"the last entry, {self._at.number}, is not the head that was saved with it")

        if numbered > max(head.number, highest):
            self.faults.append(
                f"{numbered} entries were written, and the last one is {head.number}: its end was removed"
            )

    def hear(self, told: Iterable[ChainHead]) -> None:
        """Compare with what deliveries of webhooks say that was written."""
        for one in sorted(set(told), key=lambda one: one.number):
            if one.number > self._at.number:
                self.faults.append(f"a webhook tells of entry {one.number}, and the last one is {self._at.number}")
            elif self.hashes.get(one.number, one.hash) != one.hash:
                self.faults.append(f"a webhook tells of entry {one.number} with another hash: the chain was built anew")

    def compare(self, noted: ChainHead) -> None:
        """Compare with a head that was noted elsewhere."""
        if noted.number > self._at.number:
            self.faults.append(f"entry {noted.number} was noted, and the last one is {self._at.number}")
        elif (here := self.hashes.get(noted.number)) is None:
            self.faults.append(f"entry {noted.number} was noted; retention took it away, so it cannot be compared")
        elif here != noted.hash:
            self.faults.append(f"entry {noted.number} was noted with another hash: the chain was built anew")

    def _is_range(self, one: SignedOff) -> bool:
        if isinstance(one.high, int) and one.low <= one.high:
            return True
        self.faults.append(f"what retention signed off from entry {one.low} on was changed")
        return False

    def _range_at(self, number: int) -> SignedOff | None:
        at = bisect_right(self._lows, number)
        one = self._ranges[self._lows[at - 1]] if at else None
        return one if one is not None and number <= one.high else None

    def _skip_to(self, number: int, previous: str) -> None:
        """Pass over what retention took away before `number`; what it did not is missing."""
        while (one := self._ranges.get(self._at.number + 1)) and one.high < number and one.before == self._at.hash:
            self._at = ChainHead(one.high, one.after)
            self.hashes[one.high] = one.after
        if self._at.number + 1 < number:
            low, high = self._at.number + 1, number - 1
            which = f"entry {low} is" if low == high else f"entries {low} to {high} are"
            self.faults.append(f"{which} missing")
            self._at = ChainHead(number - 1, previous)


def told_heads(data: Iterable[object]) -> tuple[ChainHead, ...]:
    """The journal entries that deliveries come from, by their data; what names none is left out.

    >>> told_heads(['{"journal": {"number": 3, "hash": "ab"}}', "{}", "no JSON", b"\\xff"])
    (ChainHead(number=3, hash='ab'),)
    """
    found = []
    for text in data:
        try:
            entry = orjson.loads(text)["journal"]  # type: ignore[arg-type]
            found.append(ChainHead(int(entry["number"]), str(entry["hash"])))
        except (ValueError, TypeError, KeyError, IndexError):
            continue
    return tuple(found)
