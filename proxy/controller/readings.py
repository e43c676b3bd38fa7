"""Readings of one trial on their way into its evidence: put in request order, then taken out in micro-batches.

A micro-batch is bounded by what it is to compare, not only by its length: a reading may hold one label or a quarter of
a million values, and those that wait for an earlier pair are let go all at once.
"""

from __future__ import annotations

from proxy.evidence import ReorderBuffer
from proxy.model import Reading

EACH, ROW = 32, 8
"""What a reading, and a row of it, costs beside its values and texts, in values."""
CHARACTERS = 8
"""Characters of a text that cost no more than a value: its words are counted by a loop in C."""

FULL = 16_384
"""Of that, what makes a micro-batch, which takes 5 ms: 512 readings of one value each."""

MOST = FULL + FULL // 8
"""What is added to the evidence in one go: with the reading that makes a batch full, which is seldom long."""


class Readings:
    """What waits; what is `ready` may be added now. `late` counts readings whose place in the request order had been
    settled."""

    def __init__(self) -> None:
        self.late = 0
        self._orders: dict[str, ReorderBuffer] = {}
        self.ready: list[Reading] = []
        self._weight = 0

    @property
    def full(self) -> bool:
        """Whether there is enough for a micro-batch."""
        return self._weight >= FULL

    @property
    def many(self) -> bool:
        """Whether it takes more than one micro-batch to add them."""
        return self._weight > MOST

    @property
    def held(self) -> int:
        """Workers with readings that wait for an earlier pair."""
        return sum(1 for order in self._orders.values() if len(order))

    @property
    def workers(self) -> int:
        """Workers that have sent something."""
        return len(self._orders)

    def add(self, reading: Reading) -> bool:
        """Take a reading; whether it came in time."""
        order = self._orders.get(reading.worker)
        if order is None:
            order = self._order(reading.worker)
        if order.follows(reading.sequence):  # in order already: the usual case
            self._ready(reading)
            return True
        late, ready = order.late, order.add(reading)
        if order.late > late:
            self.late += 1
            return False
        if ready:
            self._let_go(ready)
        return True

    def mark(self, worker: str, sequence: int) -> None:
        """Every sequence below `sequence` is settled in this worker."""
        self._let_go(self._order(worker).mark(sequence))

    def skip(self, worker: str, sequence: int) -> None:
        """This sequence has been dropped here."""
        self._let_go(self._order(worker).skip(sequence))

    def gone(self, worker: str) -> None:
        """Nothing more will come from a worker: what waits for its earlier pairs waits no longer."""
        order = self._orders.pop(worker, None)
        if order is not None:
            self._let_go(order.lost())

    def cut(self) -> list[Reading]:
        """The next micro-batch."""
        ready = self.ready
        if self._weight <= MOST:
            self.ready, self._weight = [], 0
            return ready
        total = count = 0
        for reading in ready:
            weight = weight_of(reading)
            if count and total + weight > MOST:
                break
            total, count = total + weight, count + 1
        self.ready, self._weight = ready[count:], self._weight - total
        return ready[:count]

    def _order(self, worker: str) -> ReorderBuffer:
        found = self._orders.get(worker)
        if found is None:
            found = self._orders[worker] = ReorderBuffer()
        return found

    def _let_go(self, ready: list[Reading]) -> None:
        for reading in ready:
            self._ready(reading)

    def _ready(self, reading: Reading) -> None:
        self.ready.append(reading)
        live = reading.live
        if reading.aspects or live is None or reading.candidate is None or len(live[1]) != 1:
            self._weight += weight_of(reading)
        elif type(first := live[1][0]) is float:  # these two are the usual cases
            self._weight += EACH
        else:
            self._weight += EACH + ROW + len(first) if type(first) is tuple else weight_of(reading)


def weight_of(reading: Reading) -> int:
    """How much a reading is to compare, in values.

    >>> from tests.evidence.streams import make_reading
    >>> weight_of(make_reading()), weight_of(make_reading(0, (0.5,) * 100, (0.5,) * 100))
    (32, 140)
    """
    if reading.aspects:
        return sum(map(weight_of, reading.aspects))
    live, candidate = reading.live, reading.candidate
    if live is None or candidate is None:
        return EACH
    rows = live.rows
    first = rows[0]
    if isinstance(first, tuple):
        return EACH + len(rows) * (ROW + len(first))
    if isinstance(first, str):
        characters = sum(len(row) for arm in (rows, candidate.rows) for row in map(str, arm))
        return EACH + ROW * len(rows) + characters // CHARACTERS
    return EACH + (ROW * len(rows) if len(rows) > 1 else 0)
