"""Quality against delayed outcomes: the truth arrives later, by request id, and each arm's loss becomes known.

d = ℓ(c, y) − ℓ(l, y) with ℓ in [0, 1]: 0/1 for labels, rankings (their first) and texts, the squared error for scores
and probabilities (Brier), the absolute error in eighths of interquartile ranges, cut at 1, for numbers.

Labels count in request order, `label_delay` after their request, whenever they came until then. Counted as they come,
a truth that takes longer for one class (a fraud is known weeks after a payment that was none) would let the early
class decide. So the evidence is about the requests that have a label within `label_delay`: where a label comes later or
never does, its request counts for nobody, and the finding says how many those are. The first label of a request wins;
when an id was used again, the latest request has it.

Memory holds 4,096 requests, or 2 MiB, with few enough values to keep. Where more come within `label_delay`, a share of
them waits, chosen by a keyed hash of the request id: never by what was answered, nor by whether a label came already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import inf
from typing import Annotated, Any, NamedTuple

from proxy.evidence.process.prf import hashed
from proxy.json_types import counts_of
from proxy.model import Kind, Prediction, make

WAITING = 4096
"""Requests that wait for their label."""
WAITING_BYTES = 2 * 1024 * 1024
"""Bytes of requests that wait for their label, estimated from above."""
MOST_VALUES = 64
"""Values or characters of a row beyond which it is not kept."""
_LONG = (str, tuple)


def loss(kind: Kind, row: Any, truth: Any, low: float, high: float, scale: float) -> float | None:
    """ℓ(row, truth) in [0, 1], or `None` when the truth does not fit the kind.

    >>> loss(Kind.SCORE, 0.8, 1, 0.0, 1.0, 1.0), loss(Kind.LABEL, "cat", "dog", 0.0, 1.0, 1.0)
    (0.03999999999999998, 1.0)
    >>> loss(Kind.PROBABILITIES, (0.25, 0.75), 1, 0.0, 1.0, 1.0), loss(Kind.SCORE, 0.8, "yes", 0.0, 1.0, 1.0)
    (0.0625, None)

    A label is compared as what was predicted, since a CSV file cannot say whether its 7 is a number or a text:

    >>> pairs = (7, "007"), ("007", "007"), ("7", 7), ("007", 7)
    >>> [loss(Kind.LABEL, row, truth, 0.0, 1.0, 1.0) for row, truth in pairs]
    [0.0, 0.0, 0.0, 1.0]
    """
    if kind in (Kind.LABEL, Kind.TEXT, Kind.RANKING):
        said = row[0] if kind is Kind.RANKING else row
        return float(said != (_as_text(truth) if isinstance(said, str) else _as_number(truth)))
    truth = _as_number(truth)
    if isinstance(truth, bool):
        truth = int(truth)
    if not isinstance(truth, int | float) or truth != truth:
        return None
    if kind is Kind.SCORE:
        return float(min(1.0, abs(row - truth) / (high - low)) ** 2)  # cut first: the square of 1e308 is an error
    if kind is Kind.NUMBER:
        return float(min(1.0, abs(row - truth) / (8.0 * scale)))
    if kind is Kind.PROBABILITIES and 0 <= truth < len(row) and truth == int(truth):
        return float(min(1.0, 0.5 * sum((p - (i == truth)) ** 2 for i, p in enumerate(row))))
    return None


_NUMBER = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,19})?")
_TRUTHS = {"true": True, "false": False}


def _as_text(truth: Any) -> Any:
    """A truth beside a text: whole numbers, true and false as JSON writes them.

    >>> _as_text(7), _as_text(7.0), _as_text(True), _as_text("007")
    ('7', '7', 'true', '007')
    """
    if isinstance(truth, bool):
        return "true" if truth else "false"
    return str(int(truth)) if isinstance(truth, int) or (isinstance(truth, float) and truth.is_integer()) else truth


def _as_number(truth: Any) -> Any:
    """A truth beside a number, true or false: what a text says of these, in any case; other texts stay.

    >>> _as_number("007"), _as_number("0.5"), _as_number("True"), _as_number("cat"), _as_number("1_0")
    (7, 0.5, True, 'cat', '1_0')
    """
    if not isinstance(truth, str):
        return truth
    if match := _NUMBER.fullmatch(truth):
        return float(truth) if match[1] else int(truth)
    return _TRUTHS.get(truth.lower(), truth)


def _is_short(row: Any) -> bool:
    """Whether a row is short enough to be kept until its label comes."""
    return type(row) is float or not isinstance(row, _LONG) or len(row) <= MOST_VALUES


class Entry(NamedTuple):
    """A request that waits: both arms' rows, and once its label has come their losses in the place of these."""

    live: Any
    candidate: Any
    key: int
    stage: int
    time: float
    labelled: bool = False


LabelsJson = Annotated[dict[str, int], counts_of("counted", "unlabelled", "left_out", "waiting")]
"""Requests `counted` with their label, `unlabelled` when their time had come, `left_out` for memory; and labels
that are `waiting` for theirs."""


class Waiting:
    """Requests that wait until they count, by request id and in request order.

    `labelled` and `unlabelled` are those whose time has come, with and without a label by then; `left_out` those that
    gave way for memory or were not chosen. One in 2^`halvings` is chosen now. Before `oldest` none waits.
    """

    __slots__ = ("_bytes", "_entries", "_salt", "halvings", "labelled", "left_out", "oldest", "unlabelled")

    def __init__(self, salt: int = 0, entries: Iterable[Sequence[Any]] = (), counted: Sequence[int] = (0, 0, 0, 0)):
        self._salt = salt
        self._entries: dict[str, Entry] = {}
        self._bytes = 0
        self.oldest = inf  # the time of the first of them, or -inf where that is to be looked up
        self.labelled, self.unlabelled, self.left_out, self.halvings = counted
        for name, live, candidate, *rest in entries:
            self._keep(name, Entry(_row(live), _row(candidate), *rest))

    @property
    def entries(self) -> list[list[Any]]:
        """All that wait, oldest first."""
        return [[name, *entry] for name, entry in self._entries.items()]

    @property
    def counted(self) -> list[int]:
        """The figures that are not about who waits now."""
        return [self.labelled, self.unlabelled, self.left_out, self.halvings]

    @property
    def known(self) -> int:
        """Requests that wait and have their label."""
        return sum(entry.labelled for entry in self._entries.values())

    @property
    def labels(self) -> LabelsJson | None:
        """What became of the requests; `None` before the first label."""
        waiting = self.known
        if not self.labelled and not waiting:
            return None
        gone = {"counted": self.labelled, "unlabelled": self.unlabelled, "left_out": self.left_out}
        return {**gone, "waiting": waiting}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, name: str, live: Prediction, candidate: Prediction, key: int, stage: int, time: float) -> None:
        """Let a request wait if it is chosen and each answer is one short row; `time` is its own, in seconds."""
        rows, others = live[1], candidate[1]
        if not (len(rows) == len(others) == 1 and _is_short(rows[0]) and _is_short(others[0])):
            return
        if name in self._entries:
            self._drop(name)
        if self.halvings and not self._chosen(name):
            self.left_out += 1
            return
        self._keep(name, make(Entry, (rows[0], others[0], key, stage, time, False)))
        if len(self._entries) > WAITING or self._bytes > WAITING_BYTES:
            self._make_room()

    def pair(self, name: str) -> tuple[Any, Any] | None:
        """Live's and the candidate's row for this request; `None` where it does not wait for a label."""
        entry = self._entries.get(name)
        return None if entry is None or entry.labelled else (entry.live, entry.candidate)

    def key(self, name: str) -> int:
        """What `add` was told of this request, which waits."""
        return self._entries[name].key

    def label(self, name: str, live_loss: float, loss: float) -> None:
        """The label of a request that waits has come: what it makes of both arms' rows."""
        entry = self._entries[name]
        known = entry._replace(live=live_loss, candidate=loss, labelled=True)
        self._bytes += _size(name, known) - _size(name, entry)
        self._entries[name] = known

    def settle(self, before: float) -> list[Entry]:
        """Let go of the requests of `before` and earlier; those that have a label by now, in request order."""
        settled = [] if self.oldest > before else self._take(before)
        if self.halvings and 8 * len(self._entries) < WAITING and 8 * self._bytes < WAITING_BYTES:
            self.halvings -= 1  # fewer come than did: twice as many of the next may wait
        return settled

    def _take(self, before: float) -> list[Entry]:
        settled = []
        while self._entries:
            name, entry = next(iter(self._entries.items()))
            if entry.time > before:
                self.oldest = entry.time
                break
            self._drop(name)
            if entry.labelled:
                self.labelled += 1
                settled.append(entry)
            else:
                self.unlabelled += 1
        return settled

    def merge(self, other: Waiting) -> Waiting:
        """The requests of both; merging in either order gives the same."""
        entries = sorted([*self.entries, *other.entries], key=lambda entry: (entry[5], repr(entry)))
        counted = [a + b for a, b in zip(self.counted[:3], other.counted[:3], strict=True)]
        merged = Waiting(self._salt, entries, [*counted, max(self.halvings, other.halvings)])
        merged._make_room()
        return merged

    def copy(self) -> Waiting:
        """A copy that shares no mutable part."""
        return Waiting(self._salt, self.entries, self.counted)

    def _keep(self, name: str, entry: Entry) -> None:
        if not self._entries:
            self.oldest = entry.time
        self._entries[name] = entry
        self._bytes += _size(name, entry)

    def _drop(self, name: str) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._bytes -= _size(name, entry)
            if not self._entries:
                self.oldest = inf
            elif entry.time == self.oldest:  # it may have been the first
                self.oldest = -inf

    def _make_room(self) -> None:
        while len(self._entries) > WAITING or self._bytes > WAITING_BYTES:
            self.halvings += 1
            gone = [name for name in self._entries if not self._chosen(name)]
            self.left_out += len(gone)
            for name in gone:
                self._drop(name)

    def _chosen(self, name: str) -> bool:
        return hashed(self._salt, name) < 1 << max(0, 64 - self.halvings)


def _size(name: str, entry: Entry) -> int:
    live, candidate = entry.live, entry.candidate
    if type(live) is type(candidate) is float:  # the usual case
        return 480 + 4 * len(name)
    values = sum(40 * len(row) if isinstance(row, str | tuple) else 40 for row in (live, candidate))
    return 400 + 4 * len(name) + values


def _row(row: Any) -> Any:
    return tuple(row) if isinstance(row, list) else row
