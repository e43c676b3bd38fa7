"""Promise: expensive pairs of one rollout block neither the event loop nor another rollout; pairs are read in order,
and what is dropped is counted."""

from __future__ import annotations

import asyncio
import gc
import gzip
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from proxy.controller.controller import Controller
from proxy.controller.fairness import DEAR, MAX_LENGTH
from proxy.controller.readings import MOST, Readings, weight_of
from proxy.controller.rollout_run import RolloutRun, fresh_evidence
from proxy.controller.work import AT_ONCE, DIRECTLY, RUN, SLICE, Steps, Work
from proxy.model import Arm, Kind, Outcome, Pair
from proxy.pairs.ledger import PairLedger
from proxy.rollout.machine import begin
from tests.controller.controllers import eventually, running
from tests.controller.worker import HEAD, OK, FakeWorker, answer
from tests.dear import DEAREST, GZIP, outcome
from tests.evidence.streams import make_reading

TWO = """
upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2"}, d: {url: "http://127.0.0.1:3"}}
routes:
  - name: dear
    match: {path: /dear}
    live: l
    prediction: {protocol: v2, output: y, kind: label}
    rollouts: [{candidate: c, stages: [{canary: 50%, min_pairs: 100000}], guards: {max_disagreement: 5%}}]
  - name: other
    match: {path: /other}
    live: l
    prediction: {protocol: v2, output: y, kind: label}
    rollouts: [{candidate: d, stages: [{shadow: 100%, min_pairs: 100000}], guards: {max_disagreement: 5%}}]
"""
PAD = b"[" + b",".join([b'{"x":0}'] * 60_000) + b"]"


def padded(label: int) -> Outcome:
    """An answer that weighs little and takes some 10 ms to read."""
    body = b'{"outputs":[{"name":"y","datatype":"INT64","shape":[1],"data":[%d]}],"pad":%s}' % (label, PAD)
    return Outcome(200, head=GZIP, body=gzip.compress(body), seconds=0.01, first=0.01)


@pytest.fixture(autouse=True, scope="module")
def nothing_old_to_look_through() -> Iterator[None]:
    """Beside thousands of tests a collection of all garbage takes longer than what is measured here."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[Controller, FakeWorker, RolloutRun, RolloutRun]]:
    async with running(folder, TWO) as controller:
        worker = await FakeWorker(folder).connect()
        await worker.until(lambda: worker.lane("dear/c"))
        dear, other = (controller.trials[name] for name in ("dear/c", "other/d"))
        yield controller, worker, dear, other


class Holds:
    """Watches the loop: the CPU seconds between two of its turns, the longest of them."""

    def __init__(self) -> None:
        self.longest, self._at = 0.0, time.thread_time()
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest, self._at = max(self.longest, now - self._at), now

    def stop(self) -> float:
        self._task.cancel()
        return self.longest


async def test_dear_pairs_hold_up_neither_the_loop_nor_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.controller.intake.PATIENT", 0.0)  # a wait by the clock, in which dear pairs may be read
    async with two(tmp_path) as (controller, worker, dear, other):
        holds = Holds()
        for _ in range(12):
            worker.send(dear.plan.trial, padded(1), padded(1))
        worker.good(other.plan.trial, 300)
        await eventually(lambda: other.ledger.compared == 300)
        assert dear.ledger.compared < 8, "the other waited for all of these"
        await eventually(lambda: not controller.intake.waits(dear))
        assert holds.stop() < 0.2


async def test_a_rollback_waits_for_no_backlog_and_what_was_dropped_is_counted(tmp_path: Path) -> None:
    async with two(tmp_path) as (controller, worker, dear, _):
        for _ in range(40):  # each 20 ms and more, all at once
            worker.send(dear.plan.trial, padded(1), padded(2), served=Arm.CANDIDATE)
        for _ in range(200):
            worker.send(dear.plan.trial, padded(1), answer(2), served=Arm.CANDIDATE)
            await asyncio.sleep(0)
            if dear.rollout.over:
                break
        await worker.weight("dear/c", 0)
        worker.counts(dear.plan.trial)
        await eventually(lambda: dear.ledger.pending == 0 and not controller.intake.waits(dear))
        assert dear.ledger.link_full == controller.intake.dropped > 0


async def test_readings_wait_longer_where_the_candidate_answers_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.controller.intake.PATIENT", 3600.0)
    async with two(tmp_path) as (_, worker, serving, shadow):
        await eventually(lambda: serving.weights)
        assert not shadow.weights
        for trial in (shadow, serving):
            worker.send(trial.plan.trial, answer(1), answer(1), stage=1)
        await eventually(lambda: serving.pair_ledger.compared == 1)
        assert (len(shadow.readings.ready), shadow.pair_ledger.compared) == (1, 0)


async def test_pairs_marks_and_reports_of_a_dear_rollout_keep_their_order(tmp_path: Path) -> None:
    async with two(tmp_path) as (controller, worker, dear, _):
        worker.send(dear.plan.trial, padded(1), answer(1))
        for label in range(3):
            worker.send(dear.plan.trial, answer(label), answer(label))
        worker.send(dear.plan.trial, answer(1), answer(1), skip=2)
        worker.counts(dear.plan.trial, sampled=7, sent=5)
        worker.mark(dear.plan.trial)
        worker.disconnect()
        controller.connections.expect([99])
        await eventually(lambda: dear.ledger.compared == 5)
        await eventually(lambda: not dear.pair_ledger.workers)
        assert (dear.ledger.pending, dear.ledger.link_full, dear.readings.late) == (0, 2, 0)


def test_in_steps_the_evidence_is_the_same(tmp_path: Path) -> None:
    from proxy.config import parse

    plan = parse(TWO, directory=tmp_path).plans["dear/c"]
    evidence = fresh_evidence(plan).dump()
    dumps = []
    for in_steps in (False, True):
        trial = RolloutRun(plan, begin(plan, 1000.0)[0], type(fresh_evidence(plan)).load(plan, evidence), PairLedger())
        for number in range(12):
            pair = Pair(plan.trial, 0, "w", number, f"i{number}", 1e3 + number, Arm.LIVE, HEAD, b"%d" % number,
                        padded(number % 3), answer(number % 2), padded(0) if number % 4 == 0 else None)  # fmt: skip
            if in_steps:
                *_, reading = trial.reader.steps(pair)
                assert reading is not None
                trial.place(pair, reading)
                trial.flush_some()
            else:
                trial.take(pair)
        trial.flush()
        dumps.append(trial.evidence.dump())
    assert dumps[0] == dumps[1]


@pytest.mark.parametrize("name", DEAREST)
def test_one_micro_batch_of_the_dearest_readings_takes_its_bounded_time(name: str, tmp_path: Path) -> None:
    from tests.controller.test_hostile_answers import plan_for

    spec, *_ = case = DEAREST[name]()
    plan = plan_for(spec.kind)
    plan = plan.__class__(**{**{f: getattr(plan, f) for f in plan.__slots__}, "prediction": spec})
    trial = RolloutRun(plan, begin(plan, 1000.0)[0], fresh_evidence(plan), PairLedger())
    pair = Pair("t", 0, "w", 0, "i", 1e3, Arm.LIVE, HEAD, b"{}", outcome(case), outcome(case))
    *_, reading = trial.reader.steps(pair)
    assert reading is not None
    for number in range(3):
        trial.place(pair, reading._replace(sequence=number, request_hash=number))
    longest = 0.0
    while trial.readings.ready:
        began = time.thread_time()
        trial.flush_some()
        longest = max(longest, time.thread_time() - began)
    assert trial.pair_ledger.compared == 3
    assert longest < 0.4


# --- micro-batches ---------------------------------------------------------------------------------------------------


def test_a_micro_batch_is_bounded_by_what_it_is_to_compare() -> None:
    readings = Readings()
    wide = (0.5,) * 9500
    expected = [make_reading(n, *([wide, wide] if n % 3 == 0 else [0.5, 0.5]), kind=Kind.VECTOR) for n in range(30)]
    for reading in expected:
        assert readings.add(reading)
    assert readings.many
    cut = []
    while batch := readings.cut():
        assert len(batch) == 1 or sum(map(weight_of, batch)) <= MOST
        cut.append(batch)
    assert [reading for batch in cut for reading in batch] == expected
    assert len(cut) > 5
    assert not readings.many


def test_what_was_dropped_holds_nothing_up() -> None:
    readings = Readings()
    readings.add(make_reading(1))
    assert not readings.ready
    assert readings.held == 1
    readings.skip("w1", 0)
    readings.skip("w1", 3)
    readings.add(make_reading(2))
    readings.add(make_reading(4))
    assert [reading.sequence for reading in readings.cut()] == [1, 2, 4]
    assert not readings.add(make_reading(3))
    assert readings.late == 1


# --- turns -----------------------------------------------------------------------------------------------------------


class Clock:
    """Time that only work takes."""

    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        return self.now


def worked(clock: Clock, log: list[str], name: str, steps: int, cost: float) -> Steps:
    for _ in range(steps):
        clock.now += cost
        log.append(name)
        yield


def pair_of(trial: str, number: int = 0) -> Pair:
    outcome = Outcome(200, head=OK, body=orjson.dumps(number))
    return Pair(trial, 0, "w", number, str(number), 1e3, Arm.LIVE, HEAD, b"", outcome, outcome)


async def test_a_turn_is_over_after_its_slice_and_others_are_served_between_two_steps() -> None:
    clock, log, turns, loop = Clock(), list[str](), list[float](), asyncio.get_running_loop()
    work = Work(lambda pair: worked(clock, log, pair.trial, 3, 0.03), lambda _: None, lambda _: None, clock, clock)

    def turn() -> None:
        turns.append(clock.now)
        if "a" in work or "b" in work:
            loop.call_soon(turn)

    for number in range(2):
        work.put("a", pair_of("a", number))
    work.put("b", lambda: worked(clock, log, "b", 20, 0.001))
    turn()
    await eventually(lambda: "a" not in work and "b" not in work)
    assert max(after - before for before, after in itertools.pairwise(turns)) < SLICE + 0.03 + 1e-9
    assert log[:2] in (["a", "b"], ["b", "a"])
    assert log.index("a", 1 + log.index("a")) > 19, "all of the other's work costs less than one step of this"


async def test_ordinary_pairs_are_done_in_runs_that_hold_another_line_up_no_longer_than_a_step() -> None:
    clock, log, order = Clock(), list[tuple[str, int, float]](), list[str]()

    def read(pair: Pair) -> None:
        clock.now += 0.0001
        log.append((pair.trial, pair.sequence, clock.now))
        if pair.sequence == 5:
            work.put(pair.trial, lambda: worked(clock, order, "add", 1, 0.0), first=True)
        elif pair.sequence == 6:
            order.append("read")

    work = Work(read, lambda _: None, lambda _: None, clock, clock)
    for number in range(300):
        for name in "ab":
            work.put(name, pair_of(name, number))
    await eventually(lambda: "a" not in work and "b" not in work)
    for name in "ab":
        mine = [(number, at) for one, number, at in log if one == name]
        assert [number for number, _ in mine] == list(range(300))
        most = 2 * (RUN + 0.0001) + 1e-9  # a run of the other, and the pair after which it is over
        assert max(after - before for (_, before), (_, after) in itertools.pairwise(mine)) <= most
    runs = sum(before[0] != after[0] for before, after in itertools.pairwise(log))
    assert runs < 100, "many pairs in a run"
    assert order == ["add", "read", "add", "read"], "what is urgent is done before the next pair of its line"


async def test_an_ordinary_pair_that_breaks_ends_neither_its_run_nor_the_work(caplog: pytest.LogCaptureFixture) -> None:
    done = list[int]()

    def read(pair: Pair) -> None:
        if pair.sequence % 2:
            raise ZeroDivisionError
        done.append(pair.sequence)

    work = Work(read, lambda _: None, lambda _: None)
    for number in range(20):
        work.put("a", pair_of("a", number))
    await eventually(lambda: "a" not in work)
    assert done == list(range(0, 20, 2))
    assert "controller.work_broke" in caplog.text


async def test_a_machine_that_is_busy_with_something_else_makes_no_pair_old() -> None:
    clock, cpu, log, lost = Clock(), Clock(), list[str](), list[Pair]()

    def steps(pair: Pair) -> Iterator[None]:
        for _ in range(3):
            clock.now, cpu.now = clock.now + 0.05, cpu.now + DEAR
            yield
        log.append(pair.trial)

    work = Work(steps, lost.append, lambda _: None, clock, cpu)
    for number in range(40):
        work.put("a", pair_of("a", number))
    await eventually(lambda: "a" not in work)
    assert (len(log), lost) == (40, [])


async def test_who_floods_is_held_up_until_there_is_room() -> None:
    clock, log, pauses = Clock(), list[str](), list[bool]()
    work = Work(lambda pair: worked(clock, log, pair.trial, 1, 1e-5), lambda _: None, pauses.append, clock, clock)
    for number in range(MAX_LENGTH + 9):
        work.put("a", pair_of("a", number))
    assert pauses == [True]
    await eventually(lambda: "a" not in work)
    assert pauses == [True, False]
    assert (len(log), work.dropped) == (MAX_LENGTH + 9, 0)


async def test_work_that_breaks_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    clock, log = Clock(), list[str]()

    def breaks(_: Pair) -> Iterator[None]:
        log.append("broke")
        raise ZeroDivisionError
        yield

    work = Work(breaks, lambda _: None, lambda _: None, clock, clock)
    work.put("a", pair_of("a"))
    work.put("a", lambda: worked(clock, log, "a", 1, 0.0))
    await eventually(lambda: "a" not in work)
    assert log == ["broke", "a"]
    assert "controller.work_broke" in caplog.text


async def test_ordinary_pairs_need_no_turn_but_when_one_is_over_no_more_come_before_the_next() -> None:
    clock, pauses = Clock(), list[bool]()
    work = Work(lambda pair: worked(clock, [], pair.trial, 1, 0.0), lambda _: None, pauses.append, clock, clock)
    count = 0
    while not pauses:
        assert work.may_do("a")
        clock.now += 0.0001
        count += 1
    assert DIRECTLY <= count / 10_000 <= DIRECTLY + AT_ONCE / 10_000
    assert pauses == [True]
    assert work.may_do("a"), "the one in hand is done"
    assert pauses == [True]
    await asyncio.sleep(0)
    assert pauses == [True, False]
    work.put("a", pair_of("a"))
    assert not work.may_do("a"), "behind what waits"
    assert work.may_do("b")


async def test_a_pause_lasts_until_no_line_is_crowded_and_the_turn_is_over() -> None:
    clock, pauses, loop = Clock(), list[bool](), asyncio.get_running_loop()
    work = Work(lambda pair: worked(clock, [], pair.trial, 1, 1e-5), lambda _: None, pauses.append, clock, clock)
    for number in range(MAX_LENGTH + 1000):  # more than a turn takes
        work.put("a", pair_of("a", number))
    turned = loop.create_future()
    assert work.may_do("b")
    clock.now += DIRECTLY
    assert all(work.may_do("b") for _ in range(AT_ONCE))
    loop.call_soon(turned.set_result, None)
    await turned
    assert pauses == [True], "said once"
    await eventually(lambda: "a" not in work)
    assert pauses == [True, False]


async def test_a_snapshot_holds_the_loop_for_so_long_and_forgets_nobody(tmp_path: Path) -> None:
    async with two(tmp_path) as (controller, _, *trials):
        for keeper in controller._keepers:
            keeper.cancel()
        saved = []
        for more in (True, True, True):
            for trial in trials:
                trial.unsnapshot = True
            assert (await controller._snapshot(0.0))[1] is more
            saved += [trial.name for trial in trials if not trial.unsnapshot]
        assert saved in (["dear/c", "other/d", "dear/c"], ["other/d", "dear/c", "other/d"])
        assert await controller._snapshot() != (0.0, False)
        assert not any(trial.unsnapshot for trial in trials)
