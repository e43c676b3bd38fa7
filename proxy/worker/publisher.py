"""Pairs on their way to the controller: gathered into batches, sent, and dropped by count when the link is full.

Nothing here ever waits. A pair is handed over as bytes; a little later, or when there are enough of them, one write
carries them all: soon where the candidate answers clients or has failed, later where nobody waits for what is found.
What the link does not take is booked as `link_full`, and MARK tells the controller which sequences it must not wait
for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from proxy.model import BUCKETS
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.exposed import encode_exposed
from proxy.pairs.link import Frame
from proxy.request.exposures import Exposures
from proxy.request.rollouts import Trial
from proxy.rollout.pair_budget import EASY, room_in

DELAY: Final = 0.01
"""Seconds a pair may wait for others to share a write with."""
PATIENT: Final = 0.05
"""The same where the candidate answers nobody: to be woken costs the controller as much as two or three pairs."""
BATCH: Final = 128 * 1024
"""Bytes after which a batch does not wait."""
MAX_BACKLOG: Final = 16 * 1024 * 1024
"""Bytes that may wait for the controller; a pair beyond them is dropped and counted."""


class Publisher:
    """The worker's end of the link for pairs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._channel: Channel | None = None
        self._index: dict[str, int] = {}
        self._free: list[int] = []
        self._marked: dict[Trial, int] = {}
        self._batch: list[bytes] = []
        self._booked: list[tuple[Trial, int]] = []
        self._exposed: list[tuple[Exposures, int]] = []
        self._size = 0
        self._planned = self._soon = False
        self.backlog = 0
        """Bytes in the batch and in the socket, as of the last write."""

    @property
    def room(self) -> int:
        """The part of the pairs that there is room for, basis points: all, but where many wait (`room_in`)."""
        if self.backlog + self._size <= EASY:
            return BUCKETS
        if self._channel is not None:  # what it was at the last write may be long ago: few pairs come now
            self.backlog = self._channel.waiting
        return room_in(self.backlog + self._size)

    def connected(self, channel: Channel | None) -> None:
        """The link is there, or (`None`) gone. A new controller learns the trials and the marks anew."""
        self._channel = channel
        self._lose()

    def pair(
        self,
        trial: Trial,
        sequence: int,
        stage: int,
        time: float,
        flags: int,
        name: bytes,
        head: bytes,
        body: bytes,
        outcomes: bytes,
        given: bytes = b"",
        failed: bool = False,
    ) -> None:
        """Send a pair, or book it as `link_full`. `name` is our id, `given` the caller's, if any; `failed`: the
        candidate has."""
        if self._channel is None or self.backlog + self._size > MAX_BACKLOG:
            trial.settle_dropped(sequence, "link_full")
            return
        index = self._index_of(trial)
        frame = link.pack_pair(index, stage, sequence, time, flags, name, head, body, outcomes, given)
        self._add(trial, sequence, frame, failed or trial.weight > 0)

    def observation(
        self, observer: Trial, sequence: int, time: float, flags: int, head: bytes, body: bytes, outcome: bytes
    ) -> None:
        """Send what was observed of a request for `drift`. Pairs come first: it is booked as `link_full` as soon as a
        quarter of what may wait does."""
        if self._channel is None or self.backlog + self._size > MAX_BACKLOG // 4:
            observer.settle_dropped(sequence, "link_full")
            return
        index = self._index_of(observer)
        self._add(observer, sequence, link.pack_observation(index, time, flags, head, body, outcome), False)

    def _add(self, trial: Trial, sequence: int, frame: bytes, soon: bool) -> None:
        self._batch.append(frame)
        self._booked.append((trial, sequence))
        self._size += len(frame)
        trial.settle_sent(sequence)
        if self._size > BATCH:
            self.flush()
        elif soon:
            if not self._soon:
                self._soon = True
                self._loop.call_later(DELAY, self._flush_soon)
        elif not self._planned:
            self._planned = True
            self._loop.call_later(PATIENT, self._flush_planned)

    def _index_of(self, trial: Trial) -> int:
        key = trial.settings.trial
        index = self._index.get(key)
        if index is None:
            # None is free only as long as they are used without a gap.
            index = self._index[key] = self._free.pop() if self._free else len(self._index)
            self._batch.append(link.note(Frame.TRIAL, {"index": index, "trial": key}))
        return index

    def _flush_planned(self) -> None:
        self._planned = False
        self.flush()

    def _flush_soon(self) -> None:
        self._soon = False
        self.flush()

    def flush(self) -> None:
        """Write what is gathered."""
        if not self._batch:
            return
        channel = self._channel
        if channel is None or not channel.send(b"".join(self._batch)):
            self._lose()
        self._batch, self._booked, self._exposed, self._size = [], [], [], 0
        self.backlog = channel.waiting if channel is not None else 0

    def _lose(self) -> None:
        """What is gathered will not arrive: book its pairs, and name trials and marks again to whoever listens next."""
        for trial, sequence in self._booked:
            trial.unsent(sequence)
        for exposures, lost in self._exposed:
            exposures.untold(lost)
        self._batch, self._booked, self._exposed, self._size = [], [], [], 0
        self._index.clear()
        self._free.clear()
        self._marked.clear()

    def returned(self, trial: Trial) -> None:
        """A trial is configured again: whoever took it for over has not kept which of its sequences are settled."""
        self._marked.pop(trial, None)

    def retire(self, trial: Trial) -> None:
        """A trial is over and all of it is settled: say so, and release it."""
        self.mark([trial])
        self._marked.pop(trial, None)
        index = self._index.pop(trial.settings.trial, None)
        if index is not None:
            self._free.append(index)

    def mark(self, trials: list[Trial]) -> None:
        """Tell the controller which sequences are settled, where some of them will not come."""
        for trial in trials:
            done = self._marked.get(trial, -1)
            if trial.last_dropped >= done or trial not in self._marked:
                mark = trial.mark
                if mark > done and self._channel is not None:
                    self._batch.append(link.encode_mark(self._index_of(trial), mark))
                    self._marked[trial] = mark
        self.flush()

    def exposed(self, trials: Iterable[Trial]) -> None:
        """Tell which users the draw has put on an arm since the last time; where there is no room they wait."""
        if self._channel is None or self.backlog > MAX_BACKLOG // 4:
            return
        for trial in trials:
            if trial.exposures is not None and trial.exposures.waits:
                exposures = trial.exposures
                lost, users = exposures.take()
                told = encode_exposed(self._index_of(trial), exposures.stage, exposures.weight, lost, users)
                self._batch.append(told)
                self._exposed.append((exposures, lost))

    def aside(self, data: bytes) -> bool:
        """Send a frame that may be lost, as long as there is room enough for pairs; whether it was taken."""
        return self._channel is not None and self.backlog <= MAX_BACKLOG // 4 and self._channel.send(data)

    def counts(self, payload: dict[str, Any]) -> bool:
        """Send the totals; whether the link took them. A lost report is made good by the next."""
        if self._channel is None:
            return False
        taken = self._channel.send(link.note(Frame.COUNTS, payload))
        self.backlog = self._channel.waiting
        return taken
