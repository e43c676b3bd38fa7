"""Exposures: which users are on which arm since when, and what was posted of them until their time comes.

A *unit* is one user in one stage of a canary; without a sticky key it is one request. It begins with the user's first
request of the stage and settles `within` seconds later. Which arm it is on is the draw's word (`request.routing`), not
that of whoever answered in the end: one that got live's answer in the candidate's place stays on the candidate
(intention to treat).

`user` is the 64-bit number that the draw makes of the key: keyed by a secret, so nobody can tell the key from it. Its
bucket says which arm it is on at any weight.

The probability with which a unit was put on the candidate, given all that is known before:
- a user that is new to the trial: w, the stage's weight;
- one that was on live in an earlier stage of weight v: (w − v)/(1 − v), since its bucket is known to be at least v;
- one that was on the candidate is there again for certain, so it says nothing more and is no unit.

Where the weight changes, units whose time has not come are left out, on both arms alike (`switched`): the outcomes of
some would be those of both arms.

Memory is bounded: beyond `MOST` users a share of them is kept, by the upper bits of their numbers, which say nothing of
the arm (`halvings`).

Pure: time comes in as an argument. What a book holds follows from the events that it was told, in their order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from proxy.evidence.input.early_posts import EarlyPosts
from proxy.evidence.input.units import UnitBatch
from proxy.model import BUCKETS

MOST = 1 << 18
"""Users of a trial that are kept: those under way, and those that are known from before."""
CLOSED = 1 << 16
"""Requests without a sticky key that are known as over, the last ones of this controller."""
_SHARE_BITS = 40


@dataclass(slots=True)
class ExposedUnit:
    """A unit under way; `alias` is the number of the id by which its request is known, 0 for none."""

    number: int
    user: int
    weight: int
    share: float
    since: float
    entry: int
    alias: int = 0
    value: float = 0.0

    @property
    def candidate(self) -> bool:
        """Whether it is on the candidate."""
        return self.user % BUCKETS < self.weight


@dataclass(slots=True)
class ArmCounts:
    """What became of the units of one arm, and of what was posted of them."""

    exposed: int = 0
    switched: int = 0
    outcomes: int = 0
    late: int = 0


@dataclass(slots=True)
class ExposureBook:
    """All of one trial. `within` is in seconds, `points` says that a value is 0 or 1 and that one is enough, `outcome`
    is what is asked for."""

    within: float
    points: bool
    outcome: str = ""
    next_number: int = 0
    halvings: int = 0
    entry: int = -1
    weight: int = 0
    new_users: tuple[int, int] = (0, 0)
    """Users new to the trial since the stage began, on live and on the candidate."""
    live: ArmCounts = field(default_factory=ArmCounts)
    candidate: ArmCounts = field(default_factory=ArmCounts)
    unknown: int = 0
    unfit: int = 0
    left_out: int = 0
    lost: int = 0
    """Users whom nobody could tell: a worker's list, or the store's queue, was full."""
    open: dict[int, ExposedUnit] = field(default_factory=dict)
    known: dict[int, int] = field(default_factory=dict)
    """Users by their number: the weight of the last stage in which they were a unit."""
    _aliases: dict[int, int] = field(default_factory=dict)
    _over: OrderedDict[int, bool] = field(default_factory=OrderedDict)
    """Aliases of requests whose time has come, and whether they were the candidate's."""
    _early: EarlyPosts = field(default_factory=EarlyPosts)

    # --- exposures ---------------------------------------------------------------------------------------------------

    def expose(self, entry: int, weight: int, users: Iterable[tuple[int, int]], now: float) -> list[ExposedUnit]:
        """Users, each with the alias of its request (0: it has a sticky key), that a worker has seen in stage entry
        `entry` at this weight; the units that begin by that."""
        if entry < self.entry or not 0 < weight < BUCKETS:
            return []
        self._enter(entry, weight)
        began = []
        for user, alias in users:
            if not self._is_kept(user):
                self.left_out += 1
            elif (share := self._share_of(user)) is not None:
                began.append(self._begin(user, alias, share, now))
        while len(self.open) + len(self.known) > MOST:
            self._halve()
        return [unit for unit in began if unit.user in self.open]

    def _enter(self, entry: int, weight: int) -> None:
        """A stage, or another weight of one: what is under way has been on the arms of two."""
        if (entry, weight) != (self.entry, self.weight):
            self.entry, self.weight, self.new_users = entry, weight, (0, 0)

    def _share_of(self, user: int) -> float | None:
        """With what probability a user is put on the candidate now; `None` when it is no new unit."""
        before = self.known.get(user)
        if before is None:
            return self.weight / BUCKETS
        if user % BUCKETS < before or self.weight <= before:
            return None
        return (self.weight - before) / (BUCKETS - before)

    def _begin(self, user: int, alias: int, share: float, now: float) -> ExposedUnit:
        if (old := self.open.pop(user, None)) is not None:
            self._arm(old).switched += 1
        unit = ExposedUnit(self.next_number, user, self.weight, share, now, self.entry, alias)
        self.next_number += 1
        if user not in self.known:
            live, candidate = self.new_users
            self.new_users = (live, candidate + 1) if unit.candidate else (live + 1, candidate)
        self.known[user] = self.weight
        self._arm(unit).exposed += 1
        self.open[user] = unit
        if alias:
            self._aliases[alias] = user
        for name in (user, alias):
            values, too_old = self._early.take(name, now)
            self.unknown += too_old
            for value in values:
                self._add(unit, value)
        return unit

    # --- outcomes ----------------------------------------------------------------------------------------------------

    def post(self, name: int, value: float, now: float) -> str:
        """What was posted of a user, or by the alias of a request: `joined`, `late` (its time is over), `early` (waits
        for the exposure to be told), `left_out` (not among those kept), `unfit` (no 0 or 1) or `unknown`."""
        if self.points and not 0.0 <= value <= 1.0:
            self.unfit += 1
            return "unfit"
        user = self._aliases.get(name, name)
        unit = self.open.get(user)
        if unit is not None and now < unit.since + self.within:
            self._add(unit, value)
            return "joined"
        if unit is not None or user in self.known or name in self._over:
            self._late(name, user, unit)
            return "late"
        if self.halvings and not self._is_kept(user):
            self.left_out += 1
            return "left_out"
        self.unknown += self._early.expire(now)
        if self._early.add(name, value, now):
            return "early"
        self.unknown += 1
        return "unknown"

    def _add(self, unit: ExposedUnit, value: float) -> None:
        self._arm(unit).outcomes += 1
        unit.value = max(unit.value, value) if self.points else unit.value + value

    def _late(self, name: int, user: int, unit: ExposedUnit | None) -> None:
        if unit is not None:
            on_candidate = unit.candidate
        else:
            on_candidate = user % BUCKETS < self.known[user] if user in self.known else self._over[name]
        (self.candidate if on_candidate else self.live).late += 1

    def _arm(self, unit: ExposedUnit) -> ArmCounts:
        return self.candidate if unit.candidate else self.live

    # --- time --------------------------------------------------------------------------------------------------------

    def settle(self, now: float, entry: int, serving: bool, most: int = 1 << 62) -> UnitBatch:
        """Units whose time has come by `now`, at most so many, in the order in which they began. `entry` is the stage
        that the rollout is in, `serving` whether both arms answer in it: units of another one are left out."""
        self.unknown += self._early.expire(now)
        due: list[ExposedUnit] = []
        for unit in self.open.values():
            stays = serving and unit.entry == entry and unit.weight == self.weight
            if len(due) >= most or (stays and unit.since + self.within > now):
                break
            due.append(unit)
        for unit in due:
            self._close(unit)
            if unit.alias:
                self._over[unit.alias] = unit.candidate
        while len(self._over) > CLOSED:
            self._over.popitem(last=False)
        counted = [unit for unit in due if serving and unit.entry == entry and unit.weight == self.weight]
        for unit in due:
            if unit.entry != entry or not serving or unit.weight != self.weight:
                self._arm(unit).switched += 1
        return _batch_of(counted)

    def _close(self, unit: ExposedUnit) -> None:
        del self.open[unit.user]
        if unit.alias:
            self._aliases.pop(unit.alias, None)
            self.known.pop(unit.user, None)  # a request comes once

    # --- memory ------------------------------------------------------------------------------------------------------

    def _is_kept(self, user: int) -> bool:
        return not self.halvings or not (user >> _SHARE_BITS) & ((1 << self.halvings) - 1)

    def _halve(self) -> None:
        """Keep half as many users from now on."""
        self.halvings += 1
        for user in [user for user in self.open if not self._is_kept(user)]:
            self._close(self.open[user])
            self.left_out += 1
        for user in [user for user in self.known if not self._is_kept(user)]:
            del self.known[user]

    def change(self, within: float, points: bool, outcome: str) -> None:
        """Another outcome, or another time for it: everybody begins anew."""
        self.end()
        self.within, self.points, self.outcome, self.new_users = within, points, outcome, (0, 0)

    def end(self) -> None:
        """Nothing more is asked of those under way, and nobody is known any more."""
        for unit in self.open.values():
            self._arm(unit).switched += 1
        self.open, self.known, self._aliases = {}, {}, {}
        self._over.clear()
        self._early.clear()

    # --- events ------------------------------------------------------------------------------------------------------

    def replay(self, events: Iterable[Sequence[Any]]) -> UnitBatch:
        """Let happen what had happened (`exposed`, `posted`, `changed`), and give the units that have settled by it:
        most of them have counted already, which their numbers tell."""
        settled: list[UnitBatch] = []
        for kind, *values in events:
            if kind == "exposed":
                now, entry, weight, lost, users = values
                settled.append(self.settle(now, entry, serving=True))
                self.lost += lost
                self.expose(entry, weight, ((user, alias) for user, alias in users), now)
            elif kind == "posted":
                self.post(*values)
            else:
                self.change(*values)
        return joined(settled)

    # --- what is kept ------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        arms = {name: list(_values(getattr(self, name))) for name in ("live", "candidate")}
        units = [list(_values(unit)) for unit in self.open.values()]
        return {**plain, **arms, "open": units, "known": [list(item) for item in self.known.items()]}

    @classmethod
    def restored(cls, raw: dict[str, Any]) -> ExposureBook:
        """What `dump` gave."""
        book = cls(**{name: raw[name] for name in _PLAIN})
        book.new_users = (raw["new_users"][0], raw["new_users"][1])
        book.live, book.candidate = ArmCounts(*raw["live"]), ArmCounts(*raw["candidate"])
        book.open = {values[1]: ExposedUnit(*values) for values in raw["open"]}
        book.known = dict(raw["known"])
        book._aliases = {unit.alias: unit.user for unit in book.open.values() if unit.alias}
        return book


_PLAIN = (
    "within", "points", "outcome", "next_number", "halvings", "entry", "weight", "new_users", "unknown", "unfit",
    "left_out", "lost",
)  # fmt: skip


def _values(one: Any) -> Iterable[Any]:
    return (getattr(one, name) for name in type(one).__slots__)


def _batch_of(units: Sequence[ExposedUnit]) -> UnitBatch:
    """Units as evidence takes them; all are of the present stage."""
    return UnitBatch(
        np.array([unit.number for unit in units], dtype=np.int64),
        np.array([unit.candidate for unit in units], dtype=bool),
        np.array([unit.share for unit in units], dtype=np.float64),
        np.array([unit.value for unit in units], dtype=np.float64),
        np.ones(len(units), dtype=bool),
    )


def joined(batches: Sequence[UnitBatch]) -> UnitBatch:
    """Several batches, one after the other.

    >>> len(joined([]))
    0
    """
    if not batches:
        return _batch_of([])
    names = ("numbers", "candidate", "share", "value", "current")
    return UnitBatch(*(np.concatenate([getattr(one, name) for one in batches]) for name in names))
