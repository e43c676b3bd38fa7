"""One coarse sweep per worker instead of a timer per request.

A timer costs 1 to 2 µs to make and cancel, on every request, for something that almost never happens. Here a thing that
may be late is *watched*: it lies in a slot of a wheel, and when the slot's time comes it is asked (`check`) what is due
and when to look again. A connection that is used all the time is asked once per period, not once per request; what it
needs for its answer (when the request was sent) it keeps anyway.

The price is precision: a deadline is noticed up to one tick late. That is right for timeouts, and wrong for hedging,
which has a finer clock of its own (`PreciseTimer`), running only while there is something to hedge.

Invariants
- A watched thing is asked no later than one tick after the earliest time it was watched for.
- It is in one slot at most, and in none once it is forgotten: what has ended is held by nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.request.ports import Timed, Watched

TICK = 0.05
FINE = 0.002


class TimerWheel:
    """Slots of `TICK` seconds holding what is to be looked at then. Times are monotonic seconds.

    >>> class Egg:
    ...     slot = 0
    ...     def check(self, now): return 0.0 if now >= 3.0 else 3.0
    >>> wheel, egg = TimerWheel(), Egg()
    >>> wheel.watch(egg, 1.0); wheel.sweep(1.2); egg.slot > 0
    True
    >>> wheel.sweep(3.2); egg.slot
    0
    >>> wheel.watch(egg, 9.0); wheel.forget(egg); len(wheel)
    0
    """

    def __init__(self) -> None:
        self._slots: dict[int, dict[Watched, None]] = {}
        self._next = 0
        self.before = self._swept = 0.0
        """The sweep before the one under way: what had come in by then has been read by now."""

    def __len__(self) -> int:
        """How many things are watched."""
        return sum(map(len, self._slots.values()))

    def watch(self, thing: Watched, due: float) -> None:
        """See to it that `thing.check` is called soon after `due`, or sooner if it is watched already."""
        slot = int(due / TICK) + 1
        if thing.slot:
            if thing.slot <= slot:
                return
            self.forget(thing)
        thing.slot = slot
        self._slots.setdefault(slot, {})[thing] = None
        if slot < self._next:
            self._next = slot

    def forget(self, thing: Watched) -> None:
        """Watch a thing no more, if it is watched."""
        slot, thing.slot = thing.slot, 0
        things = self._slots.get(slot)
        if things is not None:
            things.pop(thing, None)

    def sweep(self, now: float) -> None:
        """Ask everything whose slot has come."""
        self.before, self._swept = self._swept, now
        last = int(now / TICK)
        if not self._slots:
            self._next = last + 1
            return
        first, self._next = self._next, last + 1
        due = range(first, last + 1) if last - first < len(self._slots) else sorted(s for s in self._slots if s <= last)
        for slot in due:
            for thing in self._slots.pop(slot, ()):
                if thing.slot != slot:  # forgotten, or watched anew, since this sweep began
                    continue
                thing.slot = 0
                again = thing.check(now)
                if again:
                    self.watch(thing, max(again, now))


class PreciseTimer:
    """Calls `fire(key)` within `FINE` seconds after each key's due time; its timer runs only while there are keys."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop, self._clock = loop, clock
        self._due: dict[Timed, float] = {}
        self._running = False

    def add(self, key: Timed, due: float) -> None:
        """Call `key.late()` after `due` unless it is discarded before."""
        self._due[key] = due
        if not self._running:
            self._running = True
            self._loop.call_later(FINE, self._tick)

    def discard(self, key: Timed) -> None:
        """Forget a key; nothing when it is not there."""
        self._due.pop(key, None)

    def _tick(self) -> None:
        now = self._clock()
        try:
            for key in [key for key, due in self._due.items() if due <= now]:
                if self._due.pop(key, None) is not None:
                    key.late()
        finally:  # one that raises must not stop the clock of all the others
            self._running = bool(self._due)
            if self._running:
                self._loop.call_later(FINE, self._tick)
