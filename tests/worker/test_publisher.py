"""Promise: a full link drops pairs and counts them, and afterwards the controller waits for none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.model import Lane, State
from proxy.pairs import link
from proxy.pairs.exposed import decode_exposed
from proxy.pairs.link import Frame, FrameReader
from proxy.request.rollouts import RolloutSettings, Trial, tell_users_again
from proxy.rollout.pair_budget import EASY, FULL
from proxy.worker.publisher import DELAY, PATIENT, Publisher
from proxy.worker.timers import TimerWheel
from proxy.worker.turn import TurnScheduler
from proxy.worker.upstream.dialling import Settings
from proxy.worker.upstream.pool import Pool


class Wire:
    """A channel that takes frames, or refuses them while it is full."""

    def __init__(self) -> None:
        self.full = False
        self.taken: list[tuple[Frame, bytes]] = []
        self.waiting = 0

    def send(self, data: bytes) -> bool:
        if not self.full:
            self.taken += FrameReader().feed(data)
        return not self.full


def trial() -> Trial:
    settings = RolloutSettings(
        name="r/v2", trial="r/v2|1", version="1", route="r", max_in_flight=1, max_body=1, max_memory=1, timeout=1.0,
        drop=frozenset(), set_lines=b"", fallback=False, fallback_after=None, hold=0.1, noise_floor=0,
        max_duration=9.0,
    )  # fmt: skip
    upstream = Settings("v2", ("http://127.0.0.1:1",), timeout=1.0, connect_timeout=1.0, max_connections=1)
    return Trial(settings, Pool(upstream, TimerWheel(), TurnScheduler(asyncio.get_running_loop())))


async def test_after_a_full_link_the_mark_says_what_will_not_come() -> None:
    wire, one = Wire(), trial()
    publisher = Publisher(asyncio.get_running_loop())
    publisher.connected(wire)  # type: ignore[arg-type]

    def pair() -> None:
        publisher.pair(one, one.begin(), 0, 0.0, 0, b"id", b"", b"", b"")

    def tick() -> None:
        publisher.mark([one])
        publisher.flush()

    for full in (False, True, False):
        wire.full = full
        for _ in range(5):
            pair()
        tick()
    tick()
    assert one.ledger["link_full"] == 5
    marks = [link.decode_mark(payload).sequence for kind, payload in wire.taken if kind is Frame.MARK]
    assert max(marks) >= 10, "the controller would wait for ever for sequences 5 to 9"
    named = [kind for kind, _ in wire.taken if kind is Frame.TRIAL]
    assert len(named) == 2, "the index is named again after its frame was lost"


class Later:
    """A loop of which only the timers are kept: what is due, by the seconds until then."""

    def __init__(self) -> None:
        self.due: dict[float, Callable[[], None]] = {}

    def call_later(self, delay: float, work: Callable[[], None]) -> None:
        assert delay not in self.due, "one timer for all that waits as long"
        self.due[delay] = work

    def pass_(self, delay: float) -> None:
        self.due.pop(delay)()


@pytest.mark.parametrize(("weight", "failed", "delay"), [(0, False, PATIENT), (500, False, DELAY), (0, True, DELAY)])
async def test_a_pair_waits_longer_where_the_candidate_answers_nobody_and_has_not_failed(
    weight: int, failed: bool, delay: float
) -> None:
    wire, one, clock = Wire(), trial(), Later()
    one.weight = weight
    publisher = Publisher(clock)  # type: ignore[arg-type]
    publisher.connected(wire)  # type: ignore[arg-type]
    for _ in range(2):
        publisher.pair(one, one.begin(), 0, 0.0, 0, b"id", b"", b"", b"", b"", failed)
    assert list(clock.due) == [delay]
    assert not wire.taken
    clock.pass_(delay)
    assert [kind for kind, _ in wire.taken] == [Frame.TRIAL, Frame.PAIR, Frame.PAIR]
    publisher.pair(one, one.begin(), 0, 0.0, 0, b"id", b"", b"", b"", b"", failed)
    assert list(clock.due) == [delay], "the next batch has a timer of its own"


async def test_a_failure_takes_along_what_waits_longer() -> None:
    wire, one, clock = Wire(), trial(), Later()
    publisher = Publisher(clock)  # type: ignore[arg-type]
    publisher.connected(wire)  # type: ignore[arg-type]
    for failed in (False, True):
        publisher.pair(one, one.begin(), 0, 0.0, 0, b"id", b"", b"", b"", b"", failed)
    clock.pass_(DELAY)
    assert [kind for kind, _ in wire.taken] == [Frame.TRIAL, Frame.PAIR, Frame.PAIR]
    clock.pass_(PATIENT)
    assert len(wire.taken) == 3


async def test_a_new_link_does_not_begin_with_pairs_of_the_old_one() -> None:
    """Their trial has no name there; the controller would close the link, and so on."""
    old, new, one = Wire(), Wire(), trial()
    publisher = Publisher(asyncio.get_running_loop())

    def pair() -> None:
        publisher.pair(one, one.begin(), 0, 0.0, 0, b"id", b"", b"", b"")

    publisher.connected(old)  # type: ignore[arg-type]
    pair()
    publisher.connected(new)  # type: ignore[arg-type]
    pair()
    publisher.flush()
    assert [kind for kind, _ in new.taken] == [Frame.TRIAL, Frame.PAIR]
    assert (one.sent, one.link_full) == (1, 1)


async def test_a_link_that_fills_has_less_room_and_has_it_again_without_a_write() -> None:
    """Where nothing is sampled nothing is written: the worker must see by itself that what waited has gone."""
    wire, one = Wire(), trial()
    publisher = Publisher(asyncio.get_running_loop())
    publisher.connected(wire)  # type: ignore[arg-type]
    rooms = []
    for waiting in (0, EASY, (EASY + FULL) // 2, FULL, 2 * FULL):
        wire.waiting = waiting
        publisher.pair(one, one.begin(), 0, 0.0, 0, b"id", b"", b"", b"")
        publisher.flush()
        rooms.append(publisher.room)
    assert rooms == [10_000, 10_000, 5_000, 0, 0]
    wire.waiting = 0
    assert publisher.room == 10_000


async def test_users_wait_for_the_next_controller_and_are_told_with_the_weight_at_which_they_were_seen() -> None:
    """The weight is taken away while no controller is heard of, and comes back with the next one."""
    wire, one = Wire(), trial()
    one.configure(replace(one.settings, counts_users=True), one.pool)
    publisher = Publisher(asyncio.get_running_loop())
    lane = Lane("r/v2", "r/v2|1", State.CANARY, 2000, 0, 3, asked=5)
    one.apply(lane)
    assert one.exposures is not None
    one.exposures.saw(7, 0)
    one.weight = 0
    one.apply(None)
    one.apply(lane)
    publisher.exposed([one])
    one.weight = 0
    publisher.connected(wire)  # type: ignore[arg-type]
    tell_users_again([one])
    publisher.exposed([one])
    wire.full = True
    publisher.flush()
    wire.full = False
    publisher.exposed([one])
    publisher.flush()
    told = [decode_exposed(payload) for kind, payload in wire.taken if kind is Frame.EXPOSED]
    assert [(one.stage, one.weight, one.users) for one in told] == [(3, 2000, ((7, 0),))]
