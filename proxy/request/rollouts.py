"""A rollout as a worker sees it: its numbers from the routing table, its budget for copies, its part of the ledger.

A worker knows nothing of guards or verdicts. It is told a weight, a share and a stage number, and it keeps the books:

    sampled = sent + what was dropped (`model.DROPPED`, by why) + still under way

Invariants
- `sequence` numbers are given in request order, one per sampled request, and each is settled exactly once: sent, or
  counted under the reason why it was not.
- `mark` is the lowest sequence that is not settled: everything below it has been sent or counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from proxy.model import BUCKETS, REPORTED, Lane, State
from proxy.request.counts import Meters
from proxy.request.exposures import Exposures
from proxy.request.legs import Upstream
from proxy.request.routing import salt

FIRST_HEDGE = 0.25
"""`fallback.after: auto` until `ENOUGH` answers of live are known, seconds."""
SHORTEST_HEDGE = 0.02
ENOUGH = 100
LONG = 600.0
"""Seconds for which one long answer of live's says that its answers may be long."""
_RECENT: Final = 512


class Recent:
    """Live's last answers on one route: twice their p99 for `fallback.after: auto`, and whether they are long.

    >>> recent = Recent()
    >>> for _ in range(100): recent.add(0.05)
    >>> recent.refresh(); recent.after
    0.1
    """

    __slots__ = ("_at", "_long_until", "_seconds", "after")

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._at = 0
        self.after = FIRST_HEDGE
        self._long_until = 0.0

    def long(self, now: float) -> None:
        """An answer of live's at `now` (monotonic seconds) is beyond half of `mirror.max_body`."""
        self._long_until = now + LONG

    def are_long(self, now: float) -> bool:
        """Whether one was, of late."""
        return now < self._long_until

    def add(self, seconds: float) -> None:
        """One answer of live, seconds."""
        if len(self._seconds) < _RECENT:
            self._seconds.append(seconds)
        else:
            self._seconds[self._at] = seconds
            self._at = (self._at + 1) % _RECENT

    def refresh(self) -> None:
        """Take the quantile anew; called once a second, so that a request pays nothing for it."""
        if len(self._seconds) >= ENOUGH:
            ordered = sorted(self._seconds)
            self.after = max(SHORTEST_HEDGE, 2.0 * ordered[int(0.99 * (len(ordered) - 1))])


@dataclass(frozen=True)
class RolloutSettings:
    """What the owner wrote about one rollout, as the hot path wants it. Limits are this worker's part."""

    name: str
    trial: str
    version: str
    route: str
    max_in_flight: int
    max_body: int
    max_memory: int
    timeout: float
    max_duration: float
    drop: frozenset[bytes]
    set_lines: bytes
    fallback: bool
    fallback_after: float | None
    hold: float
    noise_floor: int
    counts_users: bool = False
    """Whether a guard counts users and what they do later: the controller is told whom the draw put on an arm."""
    paced: bool = False
    """Whether requests are spared when the link to the controller fills."""
    whole_requests: bool = True
    """Whether the controller needs all of a request's body, however long."""


@dataclass(eq=False)
class Trial:
    """One trial of one rollout in this worker; survives reloads that do not begin a new trial."""

    settings: RolloutSettings
    pool: Upstream
    meters: Meters = field(init=False)
    weight: int = 0
    share: int = 0
    affords: int = 0
    """Share of what the candidate serves that becomes a pair, basis points: all of it, but for a token budget."""
    stage: int = 0
    state: State = State.SHADOW
    ready: bool = False
    reads_requests: bool = False
    in_flight: int = 0
    memory: int = 0
    sampled: int = 0
    sent: int = 0
    shed: int = 0
    too_large: int = 0
    too_long: int = 0
    not_ready: int = 0
    client_gone: int = 0
    link_full: int = 0
    last_dropped: int = -1
    exposures: Exposures | None = None
    pending: dict[int, None] = field(default_factory=dict)
    _drawn: tuple[str, str, str, bytes] | None = None

    def __post_init__(self) -> None:
        self.draw_with(b"")  # nobody is drawn before the first table
        self.configure(self.settings, self.pool)

    def draw_with(self, secret: bytes) -> None:
        """Salts of this trial, which no caller can compute."""
        names = (self.settings.route, self.pool.name, self.settings.version)
        if self._drawn == (drawn := (*names, secret)):
            return
        self._drawn = drawn
        self.serve_salt = salt(*names, "serve", secret=secret)
        self.sample_salt = salt(*names, "sample", secret=secret)
        self.noise_salt = salt(*names, "noise", secret=secret)

    def configure(self, settings: RolloutSettings, pool: Upstream) -> None:
        """Take what a reload says of it."""
        self.settings, self.pool = settings, pool
        if settings.counts_users != (self.exposures is not None):
            self.exposures = Exposures(self.stage, self.weight) if settings.counts_users else None

    def counted_by(self, meters: Meters) -> None:
        """Its legs count here from now on."""
        self.meters = meters

    def apply(self, lane: Lane | None, *, read: bool = False) -> None:
        """Take the numbers of a routing table; without a line, or a candidate that is ready, there is no weight and no
        sampling. `read`: the controller reads requests, whatever the file says now."""
        self.reads_requests = read
        self.ready = self.pool.ready
        if lane is not None:
            self.weight, self.affords, self.stage, self.state = lane.weight, lane.affords, lane.stage, lane.state
            self.share = -(-lane.share * lane.affords // BUCKETS)
        if lane is None or not self.ready:
            self.weight = self.share = self.affords = 0
        if self.exposures is not None and lane is not None and self.weight:
            self.exposures.begin(self.stage, self.weight, lane.asked)

    def charge(self, size: int) -> bool:
        """Count `size` bytes more (or less) that are kept for its pairs; whether there is room for them."""
        self.memory += size
        return self.memory <= self.settings.max_memory

    def take_slot(self) -> None:
        """A leg that no client waits for has begun (`max_in_flight`)."""
        self.in_flight += 1

    def free_slot(self) -> None:
        """It has ended."""
        self.in_flight -= 1

    @property
    def whole_requests(self) -> bool:
        """Whether the controller needs all of a request's body: the file says so, or the plan by which it reads pairs,
        which keeps the segments that its trial began with."""
        return self.settings.whole_requests or self.reads_requests

    @property
    def held(self) -> bool:
        """Whether a candidate's answer is kept until it is whole or a stream, so that live can still answer instead."""
        return self.weight < BUCKETS and self.settings.fallback

    def begin(self) -> int:
        """Sequence of a request newly sampled."""
        sequence = self.sampled
        self.sampled = sequence + 1
        self.pending[sequence] = None
        return sequence

    def settle_sent(self, sequence: int) -> None:
        """The pair is on its way to the controller."""
        del self.pending[sequence]
        self.sent += 1

    def unsent(self, sequence: int) -> None:
        """A pair that was on its way did not get there: the link was full, or ended."""
        self.sent -= 1
        self.link_full += 1
        self.last_dropped = max(self.last_dropped, sequence)

    def settle_dropped(self, sequence: int, why: str) -> None:
        """There will be no pair; `why` is the name of a part of the ledger."""
        del self.pending[sequence]
        setattr(self, why, getattr(self, why) + 1)
        self.last_dropped = max(self.last_dropped, sequence)

    @property
    def mark(self) -> int:
        """Every sequence below this one is settled."""
        return next(iter(self.pending), self.sampled)

    def go_on(self, ledger: dict[str, int]) -> None:
        """Count on from where an earlier one of this trial ended: totals and sequences only grow in a worker's life."""
        for part, count in ledger.items():
            setattr(self, part, count)

    @property
    def ledger(self) -> dict[str, int]:
        """This trial's part of COUNTS."""
        return {name: getattr(self, name) for name in REPORTED}


def tell_users_again(trials: Iterable[Trial]) -> None:
    """Another controller is there, which may know of no user: those who come again are told anew."""
    for trial in trials:
        if trial.exposures is not None:
            trial.exposures.again()
