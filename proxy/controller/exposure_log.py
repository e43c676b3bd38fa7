"""One trial's users while a controller knows of them: the book, and the events that are not in the store yet.

The store has the events in the order in which they happened, in numbered parts; a controller that starts replays them.
Where that has become long, the book as it is takes their place.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from proxy.evidence.input.exposures import ExposureBook, joined
from proxy.evidence.input.units import UnitBatch
from proxy.model import Guard, Plan
from proxy.pairs.exposed import Exposed
from proxy.request.routing import number_of_key, salt

MOST_WAITING = 256
"""Events that wait for the store; users of the next are counted as lost."""
LONG = 2_000
"""Parts in the store after which they are summed up."""


class ExposureLog:
    """A trial's users. `secret` is the store's, as the draw has it (`request.routing`)."""

    def __init__(self, plan: Plan, guard: Guard, secret: bytes) -> None:
        names = (plan.route, plan.candidate, plan.version)
        self._serve, self._sample = salt(*names, "serve", secret=secret), salt(*names, "sample", secret=secret)
        self.book = ExposureBook(guard.within, guard.in_points, guard.outcome)
        self.waiting: list[list[Any]] = []
        self.next_part = 1
        self.parts = 0
        """Parts in the store."""

    # --- events ------------------------------------------------------------------------------------------------------

    def exposed(self, told: Exposed, now: float) -> None:
        """What a worker says of users."""
        full = len(self.waiting) >= MOST_WAITING
        users, lost = ((), told.lost + len(told.users)) if full else (told.users, told.lost)
        self.book.lost += lost
        if users:
            self.book.expose(told.stage, told.weight, users, now)
            self.waiting.append(["exposed", now, told.stage, told.weight, lost, users])

    def configure(self, guard: Guard) -> None:
        """The guard as it is now; the first event says what was asked for."""
        asked, book = (guard.within, guard.in_points, guard.outcome), self.book
        if (book.within, book.points, book.outcome) != asked or not (self.parts or self.waiting):
            book.change(*asked)
            self.waiting.append(["changed", *asked])

    @property
    def asked(self) -> int:
        """A number above 0 for what is asked of users: users are told anew where it changes."""
        return 1 + zlib.crc32(repr((self.book.within, self.book.points, self.book.outcome)).encode())

    def number_of(self, entry: Mapping[str, Any]) -> int:
        """The number of the user, or of the request, that an outcome is of."""
        if "key" in entry:
            return number_of_key(self._serve, str(entry["key"]).encode("utf-8", "surrogatepass"))
        return number_of_key(self._sample, str(entry["id"]).encode("utf-8", "surrogatepass"))

    # --- what the store has ------------------------------------------------------------------------------------------

    def load(self, parts: Iterable[tuple[int, bytes]]) -> UnitBatch:
        """Go on from what the store has; the units that settled on the way."""
        settled = []
        for part, data in parts:
            self.next_part, self.parts = part + 1, self.parts + 1
            value = orjson.loads(zlib.decompress(data))
            if isinstance(value, dict):
                self.book = ExposureBook.restored(value)
            else:
                settled.append(self.book.replay(value))
        return joined(settled)

    def packed(self, more: Sequence[list[Any]] = ()) -> bytes:
        """All events that wait, and these, as a part of the store."""
        return zlib.compress(orjson.dumps([*self.waiting, *more]), 1)

    def kept(self, events: int) -> None:
        """The store has a part with the first of those that wait."""
        del self.waiting[:events]
        self.next_part += 1
        self.parts += 1

    def whole(self) -> bytes:
        """The book as it is, as a part of the store in place of all others."""
        return zlib.compress(orjson.dumps(self.book.dump()), 1)

    @property
    def is_long(self) -> bool:
        """Whether it is time to sum up."""
        return self.parts > LONG

    def summed_up(self, events: int) -> None:
        """The store has the book as one part, with the first of the events that wait."""
        del self.waiting[:events]
        self.next_part += 1
        self.parts = 1
