"""The controller's work, in turns: what takes long waits in a fair queue and is done piece by piece, so that the event
loop is never held for long and no rollout waits for another's expensive pairs.

A piece of work is an iterator: each step is done in one go, and others are served between two of them. Ordinary pairs
have no steps; those that follow each other in a line are done in a run, which is one step. Which line comes next, and
what has waited too long, is decided in `controller.fairness`.

Invariants
- A turn of the loop is held for `SLICE`, and for no more than one step beyond it; then the loop rests.
- What belongs to one name is done in the order in which it was put in, but for what is urgent.
- While a line is crowded, or a turn has had its share of ordinary pairs, who brings them is told to pause.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from proxy import logs
from proxy.controller.fairness import FairQueue
from proxy.model import Pair

log = logging.getLogger("understudy.controller")

SLICE = 0.005
"""Seconds of work after which everybody else is served."""

DIRECTLY = 0.005
"""Seconds of CPU in each turn of the loop in which ordinary pairs are read as they come, without a queue. The rest
stays in its link until the next turn, where it costs nothing."""

AT_ONCE = 8
"""Ordinary pairs after which it is asked again how much of that is left; each of them takes a hundredth of it."""

RUN = 0.001
"""Seconds after which a run of ordinary pairs is over: to ask after each whose turn it is costs a quarter of it."""

REST = 0.002
"""Seconds without a turn after a long step: a request to the admin port takes several turns of the loop, and is done in
them rather than with a step between any two."""

Steps = Iterator[None]
"""A piece of work; each item is a step that was done."""

Item = Pair | Callable[[], Steps]


@dataclass(slots=True)
class _Piece:
    """What is being done, and the seconds of CPU that it has taken: a busy machine makes no pair expensive."""

    steps: Steps
    is_pair: bool
    took: float = 0.0


class Work:
    """What waits to be done, by name. `begin` does an ordinary pair, and makes a piece of work of any other; `drop`
    hears of each pair that was too late, `pause` whether no more shall come now."""

    def __init__(
        self,
        begin: Callable[[Pair], Steps | None],
        drop: Callable[[Pair], None],
        pause: Callable[[bool], None],
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._begin, self._drop, self._pause, self._clock, self._cpu = begin, drop, pause, clock, cpu
        self._queue = FairQueue()
        self._under_way: dict[str, _Piece] = {}
        self._planned = self._crowded = self._over = self._paused = False
        self._until = 0.0  # by the CPU's clock, when the turn of the loop has had its share of work done directly
        self._free = 0  # pieces of that before it is asked for the time
        self.dropped = 0

    def __contains__(self, name: str) -> bool:
        """Whether something of this name waits or is under way."""
        return name in self._queue

    def may_do(self, name: str) -> bool:
        """Whether an ordinary piece of work of this name may be done directly, in no turn of its own. When the turn of
        the loop has had its share, no more shall come before the next."""
        if name in self._queue.waiting:
            return False
        if self._free:
            self._free -= 1
            return True
        self._free, now = AT_ONCE - 1, self._cpu()
        if not self._until:
            self._until = now + DIRECTLY
            asyncio.get_running_loop().call_soon(self._next_turn)
        elif now >= self._until and not self._over:
            self._over = True
            self._tell()
        return True

    def _next_turn(self) -> None:
        self._until, self._free, self._over = 0.0, 0, False
        self._tell()

    def _tell(self) -> None:
        """Say whether to pause, if that has changed."""
        pause = self._crowded or self._over
        if pause is not self._paused:
            self._paused = pause
            self._pause(pause)

    def put(self, name: str, item: Item, *, first: bool = False) -> None:
        """Let work wait for its turn, before all else of its name if it is to be `first`. A pair may be dropped;
        anything else is done in the end."""
        if not self._queue.add(name, item, size_of(item) if isinstance(item, Pair) else 0, first=first):
            assert isinstance(item, Pair)
            self._lose(item)
            return
        if not self._crowded and self._queue.crowds(name):
            self._crowded = True
            self._tell()
        if not self._planned:
            self._plan()

    def finish(self) -> None:
        """Do all that waits, now."""
        while self._step():
            pass

    def _plan(self, rest: float = 0.0) -> None:
        self._planned = True
        loop = asyncio.get_running_loop()
        if rest:
            loop.call_later(rest, self._turn)
        else:
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        began = self._clock()
        try:
            while self._step() and self._clock() - began < SLICE:
                pass
            if self._crowded and not self._queue.crowded:
                self._crowded = False
                self._tell()
        finally:
            self._planned = False
        if self._queue:
            self._plan(REST if self._clock() - began > 2 * SLICE else 0.0)

    def _step(self) -> bool:
        """Do one step of what comes next; whether there was anything. Counted is the CPU that it took: on a machine
        that is busy with something else, what waits would be held to be old. (To ask for it is a call of the kernel, so
        it is asked twice for a step and not in it.)"""
        queue, under_way = self._queue, self._under_way
        name = queue.next()
        if name is None:
            return False
        before, piece = self._cpu(), under_way.get(name)
        pairs = self._run(name, self._clock() + RUN) if piece is None else 0
        over = piece is not None and _is_over(piece.steps)
        took = self._cpu() - before
        queue.worked(name, took)
        if pairs:
            queue.learn(name, took / pairs, pairs)
        elif piece is not None:
            piece.took += took
            if over:
                self._end(name, piece)
        if name not in under_way:
            queue.finished(name)
        return True

    def _run(self, name: str, until: float) -> int:
        """Do the ordinary pairs that come next in a line, and take up the first piece of work that has steps; how many
        pairs that were."""
        queue, clock, pairs = self._queue, self._clock, 0
        for old in queue.too_old(name):
            self._lose(old)
        while (item := queue.take(name)) is not None:
            steps = self._begun(item)
            if steps is not None:
                self._under_way[name] = _Piece(steps, isinstance(item, Pair))
                break
            pairs += 1
            if clock() > until:
                break
        return pairs

    def _begun(self, item: Item) -> Steps | None:
        try:
            return self._begin(item) if isinstance(item, Pair) else item()
        except Exception:
            _broke()
            return None

    def _end(self, name: str, piece: _Piece) -> None:
        del self._under_way[name]
        if piece.is_pair:
            self._queue.learn(name, piece.took)

    def _lose(self, pair: Pair) -> None:
        self.dropped += 1
        self._drop(pair)


def size_of(pair: Pair) -> int:
    """Bytes that a pair takes while it waits, estimated from above."""
    live, candidate, again = pair.live, pair.candidate, pair.again
    kept = len(live.head) + len(live.body) + len(candidate.head) + len(candidate.body)
    if again is not None:
        kept += len(again.head) + len(again.body)
    return 1024 + len(pair.request_head) + len(pair.request_body) + kept


def _is_over(steps: Steps) -> bool:
    """Do a step; whether it was the last."""
    try:
        next(steps)
    except StopIteration:
        return True
    except Exception:
        _broke()
        return True
    return False


def _broke() -> None:
    """A bug with one pair must not end the judging of every rollout, and must not be hidden."""
    logs.unexpected(log, "controller.work_broke")
