"""Keeps the controller's promises over real sockets and a real store: good candidates climb and bad ones lose their
traffic before anything is saved, a failing disk forbids climbing only, and a restart goes on where it was."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.channel import Channel
from proxy.config import parse
from proxy.control.controller import Controller
from proxy.control.store import Change, Store
from proxy.control.streams import MAX_EVENTS
from proxy.control.surface import Desk
from proxy.control.trials import Trial
from proxy.control.view import RefusedError
from proxy.core.evidence.quality import WAITING
from proxy.core.model import BUCKETS, Arm, Outcome, State, Table
from proxy.core.reasons import Reason
from proxy.errors import StoreError
from tests.control.worker import FakeWorker, answer

CONFIG = """
upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2", version: "VERSION"}, d: {url: "http://127.0.0.1:3"}}
routes:
  - name: r
    live: l
    prediction: {protocol: v2, output: y, kind: label}
    rollouts:
      - candidate: c
        stages: [{shadow: 100%, min_pairs: 100}, {canary: 5%, min_pairs: 100}]
        consecutive_failures: 5
        guards: {max_disagreement: LIMIT}
webhooks: [{url: "http://127.0.0.1:4/hook", secret: x, events: [rollout.rolled_back, rollout.promoted]}]
"""
NAME, HOOK = "r/c", "http://127.0.0.1:4/hook"
FAST = 0.02


def config_text(version: str = "1", limit: str = "10%", more: str = "") -> str:
    return CONFIG.replace("VERSION", version).replace("LIMIT", limit) + more


class Shaky(Store):
    """A store whose disk can be told to fail; `saves` are those that went through."""

    broken = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.saves: list[Change] = []

    async def save(self, change: Change) -> None:
        if self.broken:
            self.error = "disk full"
            self.failures += 1
            raise StoreError("disk full")
        await super().save(change)
        self.saves.append(change)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.control.controller.TICK", FAST)
    monkeypatch.setattr("proxy.control.controller.SNAPSHOT", FAST)
    monkeypatch.setattr("proxy.control.trials.LOOK_SHARE", 1.0)


@asynccontextmanager
async def running(folder: Path, text: str | None = None) -> AsyncIterator[Controller]:
    text = text or config_text()
    controller = Controller(parse(text, directory=folder), text, Shaky(folder / "u.db"))
    await controller.start(folder)
    try:
        yield controller
    finally:
        await controller.stop()


@pytest.fixture
async def controller(tmp_path: Path) -> AsyncIterator[Controller]:
    async with running(tmp_path) as one:
        yield one


@pytest.fixture
async def worker(controller: Controller, tmp_path: Path) -> AsyncIterator[FakeWorker]:
    one = await FakeWorker(tmp_path).connect()
    await one.until(lambda: one.lane(NAME))
    yield one
    one.disconnect()


async def eventually(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # what is waited for here has no event of its own
            await asyncio.sleep(0.005)


def kinds(controller: Controller) -> list[str]:
    return [change.kind for change in controller.store.saves]  # type: ignore[attr-defined]


def trial_of(controller: Controller) -> str:
    return controller.trials[NAME].plan.trial


async def to_canary(controller: Controller, worker: FakeWorker) -> None:
    worker.good(trial_of(controller), 400)
    await worker.weight(NAME, 500)


class Rounds:
    """Counts rounds of looks."""

    def __init__(self, controller: Controller) -> None:
        self.count = 0
        controller.alive = self._one

    def _one(self) -> None:
        self.count += 1

    async def more(self, count: int) -> None:
        goal = self.count + count
        await eventually(lambda: self.count >= goal)


# --- up and down -----------------------------------------------------------------------------------------------------


async def test_a_good_candidate_climbs_and_each_step_is_saved_before_it_is_published(
    controller: Controller, worker: FakeWorker
) -> None:
    await to_canary(controller, worker)
    stage = worker.lane(NAME).stage  # type: ignore[union-attr]
    worker.good(trial_of(controller), 400, stage=stage, served=Arm.CANDIDATE)
    await worker.weight(NAME, BUCKETS)
    assert kinds(controller) == ["began", "advanced", "promoted"]
    numbers = [change.table for change in controller.store.saves]  # type: ignore[attr-defined]
    assert [table.number for table in worker.tables][-2:] == numbers[-2:]
    assert await controller.store.delivery_counts(HOOK) == {"waiting": 1}


async def test_a_bad_candidate_loses_its_traffic_is_saved_and_announced_once(
    controller: Controller, worker: FakeWorker
) -> None:
    await to_canary(controller, worker)
    worker.bad(trial_of(controller), 200, stage=1)
    await worker.weight(NAME, 0)
    await eventually(lambda: kinds(controller)[-1] == "rolled_back")
    delivery = await controller.store.next_delivery(HOOK, 1e12)
    assert delivery is not None
    data = delivery.event.data
    assert (data["rollout"], data["weight"], data["verdict"], data["state"]) == (NAME, 0.0, "fail", "rolled_back")
    assert data["findings"][0]["guard"] == "max_disagreement"
    assert controller.decisions.figures.rollback[NAME][0] < 1.0


async def test_a_way_down_overtakes_a_climb_that_is_being_saved(
    controller: Controller, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, entered, goes_on = controller.store.save, asyncio.Event(), asyncio.Event()

    async def slow(change: Change) -> None:
        if change.kind == "advanced":
            entered.set()
            await goes_on.wait()
        await save(change)

    monkeypatch.setattr(controller.store, "save", slow)
    worker.good(trial_of(controller), 400)
    await asyncio.wait_for(entered.wait(), 10)
    for _ in range(5):
        worker.send(trial_of(controller), answer(0), Outcome(0, Reason.CONNECT))
    await eventually(lambda: controller.trials[NAME].rollout.state is State.ROLLED_BACK)
    goes_on.set()
    await eventually(lambda: kinds(controller) == ["began", "advanced", "rolled_back"])
    rounds = Rounds(controller)
    await rounds.more(3)
    assert controller.trials[NAME].rollout.state is State.ROLLED_BACK
    assert all(lane.weight == 0 for table in worker.tables for lane in table.lanes)


async def test_traffic_leaves_before_the_save_and_the_save_waits_for_every_worker(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    quiet = await FakeWorker(tmp_path, slot=1, name="w1", pid=2).connect()
    await to_canary(controller, worker)
    quiet.acks = False
    before = kinds(controller)
    worker.bad(trial_of(controller), 200, stage=1)
    await quiet.weight(NAME, 0)
    await worker.weight(NAME, 0)
    assert kinds(controller) == before
    quiet.disconnect()  # a worker that is gone is not waited for
    await eventually(lambda: kinds(controller) == [*before, "rolled_back"])


async def test_failures_in_a_row_trip_the_wire_at_once(controller: Controller, worker: FakeWorker) -> None:
    await to_canary(controller, worker)
    for _ in range(5):
        worker.send(trial_of(controller), answer(1), Outcome(0, Reason.CONNECT), stage=1, served=Arm.CANDIDATE)
    await worker.weight(NAME, 0)
    rollout = controller.trials[NAME].rollout
    assert (rollout.cause, rollout.state) == ("tripwire", State.ROLLED_BACK)
    assert "5 candidate failures in a row" in rollout.reason


# --- a disk that fails -----------------------------------------------------------------------------------------------


async def test_a_failing_disk_forbids_climbing_but_not_rolling_back(controller: Controller, worker: FakeWorker) -> None:
    await to_canary(controller, worker)
    store = controller.store
    assert isinstance(store, Shaky)
    store.broken = True
    worker.good(trial_of(controller), 400, stage=1, served=Arm.CANDIDATE)
    await eventually(lambda: store.failures > 0)
    assert controller.trials[NAME].rollout.state is State.CANARY
    worker.bad(trial_of(controller), 400, stage=1)
    await worker.weight(NAME, 0)
    await eventually(lambda: controller.decisions.unsaved == [NAME])
    assert await store.delivery_counts(HOOK) == {}
    store.broken = False
    await eventually(lambda: kinds(controller)[-1] == "rolled_back")
    assert await store.delivery_counts(HOOK) == {"waiting": 1}
    assert BUCKETS not in [lane.weight for table in worker.tables for lane in table.lanes]


async def test_a_person_is_told_when_an_action_could_not_be_saved(controller: Controller, worker: FakeWorker) -> None:
    desk = Desk(controller, Channel(lambda *_: None))
    controller.store.broken = True  # type: ignore[attr-defined]
    with pytest.raises(RefusedError) as refused:
        await desk.act(NAME, "promote", reason="", actor="ann", full=True)
    assert refused.value.status == 503
    assert worker.lane(NAME).weight == 0  # type: ignore[union-attr]
    after = await desk.act(NAME, "abort", reason="enough", actor="ann")
    assert (after["state"], after["weight"]) == ("rolled_back", 0.0)


# --- restarts --------------------------------------------------------------------------------------------------------


async def test_a_restart_goes_on_with_stage_evidence_and_ledger(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        worker = await FakeWorker(tmp_path).connect()
        await to_canary(first, worker)
        worker.good(trial_of(first), 50, stage=1)
        worker.counts(trial_of(first))
        await eventually(lambda: first.trials[NAME].ledger.compared == 450)
        worker.disconnect()
        evidence = first.trials[NAME].evidence
        hashes = (evidence.state_hash, evidence.limits_hash)
    drawn = first.trials[NAME].charts.dump()["points"]
    async with running(tmp_path) as second:
        trial = second.trials[NAME]
        went_on = trial.charts.dump()["points"]
        assert [point["time"] for point in went_on[: len(drawn)]] == [point["time"] for point in drawn]
        assert (trial.rollout.state, trial.rollout.weight, trial.evidence.stage_pairs) == (State.CANARY, 500, 50)
        assert (trial.evidence.state_hash, trial.evidence.limits_hash) == hashes
        assert kinds(second) == []
        await worker.connect()
        worker.good(trial_of(second), 10, stage=1)
        worker.mark(trial_of(second))
        worker.counts(trial_of(second))
        await eventually(lambda: trial.ledger.compared == 460)
        assert (trial.ledger.sampled, trial.ledger.pending, trial.ledger.link_full) == (460, 0, 0)
        worker.disconnect()


async def test_a_disk_that_hangs_and_a_look_that_breaks_stop_no_later_look(
    controller: Controller, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, works_again = asyncio.Event(), asyncio.Event()

    async def hangs(*_: object) -> None:
        entered.set()
        await works_again.wait()

    monkeypatch.setattr(controller.store, "snapshot", hangs)
    worker.good(trial_of(controller), 10)
    await asyncio.wait_for(entered.wait(), 10)
    rounds = Rounds(controller)
    await rounds.more(3)
    look, calls = controller._look, list[int]()

    def breaks(trial: Trial) -> None:
        calls.append(rounds.count)
        if len(calls) < 3:
            raise ZeroDivisionError
        look(trial)

    monkeypatch.setattr(controller, "_look", breaks)
    await rounds.more(3)
    assert calls[0] == calls[1] == calls[2], "a controller whose looks break is not alive"
    works_again.set()


def lowered(table: Table) -> Table:
    """The next table of the same controller, with no weight for anybody."""
    return replace(table, number=table.number + 1, lanes=tuple(replace(lane, weight=0) for lane in table.lanes))


async def test_an_unfinished_roll_back_is_completed_and_the_weight_does_not_come_back(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        worker = await FakeWorker(tmp_path).connect()
        await to_canary(first, worker)
        worker.disconnect()
    seen = len(worker.tables)
    worker.table = lowered(worker.table)  # a table that was published, and whose change was never saved
    async with running(tmp_path) as second:
        await worker.connect()
        await eventually(lambda: kinds(second) == ["rolled_back"])
        assert second.trials[NAME].rollout.cause == "unfinished"
        assert [lane.weight for table in worker.tables[seen:] for lane in table.lanes] in ([0], [0, 0])
        assert worker.tables[-1].number > seen
        worker.disconnect()


async def test_an_old_table_is_no_roll_back_of_what_has_been_retried_since(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        old = await FakeWorker(tmp_path, name="old", pid=3).connect()
        await to_canary(first, old)
        old.disconnect()
    worker, away = FakeWorker(tmp_path), FakeWorker(tmp_path, slot=1, name="w1", pid=2)
    worker.table = away.table = lowered(old.table)
    async with running(tmp_path) as second:
        await worker.connect()
        await eventually(lambda: kinds(second) == ["rolled_back"])
        await Desk(second, Channel(lambda *_: None)).act(NAME, "retry", reason="", actor="ann")
        worker._sequence[trial_of(second)] = 1000  # other bodies than before: a repeat is no evidence
        worker.good(trial_of(second), 400, stage=second.trials[NAME].rollout.entry)
        worker.mark(trial_of(second))
        await worker.weight(NAME, 500)
        await away.connect()
        await away.weight(NAME, 500)
        assert kinds(second) == ["rolled_back", "retried", "advanced"]
        worker.disconnect()
        away.disconnect()


async def test_weight_that_a_worker_took_away_itself_is_restored_and_journaled(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        worker = await FakeWorker(tmp_path).connect()
        await to_canary(first, worker)
        worker.disconnect()
    other = FakeWorker(tmp_path, slot=1, name="w1", pid=2)
    other.table, worker.lost, other.lost = worker.table, True, True
    async with running(tmp_path) as second:
        for one in (worker, other):
            await one.connect()
            await one.weight(NAME, 500)
        await Rounds(second).more(3)
        assert kinds(second) == ["restored"], "once, however many workers"
        for one in (worker, other):
            one.disconnect()


async def test_a_worker_that_missed_a_climb_is_no_sign_of_a_roll_back(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    await to_canary(controller, worker)
    behind = FakeWorker(tmp_path, slot=1, name="w1", pid=2)
    behind.table = worker.tables[0]
    assert behind.table.lanes[0].weight == 0
    await behind.connect()
    await behind.weight(NAME, 500)
    assert kinds(controller) == ["began", "advanced"]
    behind.disconnect()


@pytest.mark.parametrize(
    ("admin", "base"),
    [
        ("{listen: 127.0.0.1:0}", "http://127.0.0.1:4711"),
        ("{listen: 0.0.0.0:9090, token: t}", f"http://{socket.gethostname()}:4711"),
        ("{listen: '[::]:9090', token: t}", f"http://{socket.gethostname()}:4711"),
        (
            "{listen: 0.0.0.0:9090, token: t, url: https://models.example/understudy/}",
            "https://models.example/understudy",
        ),
    ],
)
async def test_webhooks_link_to_the_rollout_where_a_person_can_reach_it(tmp_path: Path, admin: str, base: str) -> None:
    async with running(tmp_path, config_text(more=f"admin: {admin}\n")) as controller:
        controller.admin_port = 4711
        worker = await FakeWorker(tmp_path).connect()
        await worker.until(lambda: worker.lane(NAME))
        worker.bad(trial_of(controller), 200)
        await eventually(lambda: kinds(controller)[-1] == "rolled_back")
        change = controller.store.saves[-1]  # type: ignore[attr-defined]
        assert change.event.data["console_url"] == f"{base}/#/r/c"
        worker.disconnect()


async def test_outcomes_join_once_within_the_horizon_and_the_rest_is_counted_as_unknown(tmp_path: Path) -> None:
    text = config_text().replace("max_disagreement: 10%", "max_disagreement: 50%, max_quality_drop: 10%")
    async with running(tmp_path, text) as controller:
        desk, worker = Desk(controller, Channel(lambda *_: None)), await FakeWorker(tmp_path).connect()
        await worker.until(lambda: worker.lane(NAME))
        last = WAITING + 9
        worker.good(trial_of(controller), last + 1)
        await eventually(lambda: controller.trials[NAME].ledger.compared == last + 1)
        first, latest = {"id": "w0-0", "label": 0}, {"id": f"w0-{last}", "label": 0}
        assert await desk.outcomes([first, latest, {"id": "nobody's", "label": 0}]) == {"joined": 1, "unknown": 2}
        assert await desk.outcomes([latest]) == {"joined": 0, "unknown": 1}, "the first one wins"
        assert desk.counts().outcomes == {"joined": 1, "unknown": 3}
        worker.disconnect()
    async with running(tmp_path, text) as controller:
        desk = Desk(controller, Channel(lambda *_: None))
        before = {"id": f"w0-{last - 1}", "label": 0}
        assert await desk.outcomes([before]) == {"joined": 1, "unknown": 0}, "what waits outlives the process"


async def test_what_the_queues_of_the_controller_lose_is_counted(controller: Controller, worker: FakeWorker) -> None:
    desk = Desk(controller, Channel(lambda *_: None))
    assert desk.counts().dropped == {"order": 0, "record": 0, "events": 0}
    desk.subscribe()
    for number in range(MAX_EVENTS + 5):
        controller.streams.tell("x", float(number), {})
    worker.good(trial_of(controller), 1)
    worker.mark(trial_of(controller))
    worker._sequence[trial_of(controller)] = 0  # comes again
    worker.good(trial_of(controller), 1)
    await eventually(lambda: desk.counts().dropped["order"] == 1)
    assert desk.counts().dropped["events"] >= 5


# --- the ledger ------------------------------------------------------------------------------------------------------


async def test_the_account_of_a_worker_that_died_with_the_controller_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        dead, alive = FakeWorker(tmp_path, pid=10), FakeWorker(tmp_path, slot=1, name="w1", pid=11)
        for one in (dead, alive):
            await one.connect()
            one.good(trial_of(first), 20)
            one.counts(trial_of(first), sampled=25)
        await eventually(lambda: first.trials[NAME].ledger.pending == 10)
    dead.disconnect()
    alive.disconnect()
    async with running(tmp_path) as second:
        desk, trial = Desk(second, Channel(lambda *_: None)), second.trials[NAME]
        desk.tree({"workers": [{"slot": 0, "pid": 12}, {"slot": 1, "pid": 11}]})
        await alive.connect()
        rounds = Rounds(second)
        await rounds.more(3)
        assert trial.ledger.pending == 10, "the worker in slot 0 may be the old one still"
        heir = await FakeWorker(tmp_path, name="w2", pid=12).connect()
        await eventually(lambda: trial.books.workers == ("w1",))
        assert (trial.ledger.sampled, trial.ledger.pending, trial.ledger.link_full) == (50, 5, 5)
        alive.counts(trial_of(second), sampled=25, shed=5)
        await eventually(lambda: trial.ledger.pending == 0)
        for one in (alive, heir):
            one.disconnect()


async def test_pairs_lost_with_a_worker_are_booked_and_the_parts_sum_up(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    trial = controller.trials[NAME]
    worker.good(trial_of(controller), 20)
    worker.send(trial_of(controller), answer(1), answer(1), skip=3)  # arrived, but three before it did not
    worker.counts(trial_of(controller), sampled=30, sent=22, shed=4)
    await eventually(lambda: trial.ledger.sampled == 30 and trial.ledger.compared == 20)
    assert (trial.ledger.pending, trial.ledger.link_full) == (5, 1)  # one waits here for the three before it
    desk = Desk(controller, Channel(lambda *_: None))
    worker.disconnect()
    desk.tree({"supervisor": 1, "workers": [{"slot": 0, "pid": 99}], "controller": 2})
    await eventually(lambda: trial.ledger.pending == 0)
    assert (trial.ledger.compared, trial.ledger.shed, trial.ledger.link_full) == (21, 4, 5)
    assert desk.counts().requests[("r", "l", "served", "200")] == 7


async def test_answers_of_live_that_fail_or_cannot_be_read_have_parts_of_their_own(
    controller: Controller, worker: FakeWorker
) -> None:
    trial = trial_of(controller)
    worker.send(trial, Outcome(503), answer(1))
    worker.send(trial, Outcome(200, body=b"<html>"), answer(1))
    worker.send(trial, answer(1), Outcome(200, body=b"<html>"))
    await eventually(lambda: controller.trials[NAME].books.compared == 1)
    ledger = controller.trials[NAME].ledger
    assert (ledger.compared, ledger.live_failed, ledger.unparseable, ledger.pending) == (1, 1, 1, 0)


# --- reload ----------------------------------------------------------------------------------------------------------


async def reload(controller: Controller, text: str, folder: Path) -> str:
    return await controller.reload(parse(text, directory=folder), text, controller.generation + 1)


async def test_a_new_version_starts_at_weight_0_with_nothing_of_the_old_evidence(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    await to_canary(controller, worker)
    assert await reload(controller, config_text(version="2"), tmp_path) == ""
    trial = controller.trials[NAME]
    assert (trial.rollout.state, trial.ledger.sampled, trial.evidence.compared) == (State.SHADOW, 0, 0)
    await worker.weight(NAME, 0)
    assert worker.lane(NAME).trial == trial.plan.trial  # type: ignore[union-attr]
    assert kinds(controller)[-1] == "began"


async def test_a_token_budget_reaches_workers_without_a_decision(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    """The number of the table stays: nothing was decided, so nothing has to be saved."""
    await worker.until(lambda: worker.lane(NAME) is not None)
    text = config_text().replace("consecutive_failures: 5", "mirror: {max_tokens_per_minute: 60}")
    number = worker.tables[-1].number
    assert await reload(controller, text, tmp_path) == ""
    await worker.until(lambda: (lane := worker.lane(NAME)) is not None and lane.affords == 100)
    worker.good(trial_of(controller), 20)  # some 30 tokens each, by their length
    await worker.until(lambda: (lane := worker.lane(NAME)) is not None and lane.affords == 0)
    assert await reload(controller, config_text(), tmp_path) == ""
    await worker.until(lambda: (lane := worker.lane(NAME)) is not None and lane.affords == BUCKETS)
    assert (worker.tables[-1].number, kinds(controller)) == (number, ["began"])


async def test_a_version_that_comes_back_before_it_was_judged_starts_with_empty_books(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    """The worker has counted the first time too and counts on; the ledger must not."""
    first = trial_of(controller)
    worker.good(first, 20)
    worker.counts(first)
    await eventually(lambda: controller.trials[NAME].ledger.compared == 20)
    for version in ("2", "1"):
        assert await reload(controller, config_text(version=version), tmp_path) == ""
    worker.mark(first)
    worker.good(first, 3)
    worker.counts(first)
    await eventually(lambda: controller.trials[NAME].ledger.compared == 3)
    ledger = controller.trials[NAME].ledger
    assert (ledger.sampled, ledger.link_full, ledger.pending) == (3, 0, 0)


async def test_a_failed_version_that_comes_back_is_still_rolled_back_with_its_evidence(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    worker.bad(trial_of(controller), 200)
    await eventually(lambda: kinds(controller)[-1] == "rolled_back")
    reason = controller.trials[NAME].rollout.reason
    assert await reload(controller, config_text(version="2"), tmp_path) == ""
    assert controller.trials[NAME].rollout.state is State.SHADOW
    assert await reload(controller, config_text(version="1"), tmp_path) == ""
    trial = controller.trials[NAME]
    assert (trial.rollout.state, trial.rollout.reason) == (State.ROLLED_BACK, reason)
    assert trial.evidence.compared > 0
    desk = Desk(controller, Channel(lambda *_: None))
    with pytest.raises(RefusedError, match="still says fail"):
        await desk.act(NAME, "retry", reason="", actor="ann")


async def test_changed_limits_keep_stage_and_evidence(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    await to_canary(controller, worker)
    assert await reload(controller, config_text(limit="20%"), tmp_path) == ""
    trial = controller.trials[NAME]
    assert (trial.rollout.state, trial.evidence.compared) == (State.CANARY, 400)
    assert kinds(controller)[-1] == "limits_changed"


async def test_a_rollout_taken_out_loses_its_lane_and_comes_back_with_its_evidence(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    await to_canary(controller, worker)
    without = config_text().replace("candidate: c", "candidate: d")
    assert await reload(controller, without, tmp_path) == ""
    await worker.until(lambda: worker.lane(NAME) is None or worker.lane(NAME).weight == 0)  # type: ignore[union-attr]
    desk = Desk(controller, Channel(lambda *_: None))
    assert [one["name"] for one in desk.rollouts()] == ["r/d", "r/c"]
    assert await reload(controller, config_text(), tmp_path) == ""
    trial = controller.trials[NAME]
    assert (trial.rollout.state, trial.evidence.compared) == (State.SHADOW, 400)


async def test_what_was_redacted_stays_redacted_when_the_rollout_is_taken_out(tmp_path: Path) -> None:
    redacting = "record: {path: p.jsonl, share: 100%, redact: [/outputs]}\n        consecutive_failures"
    text = config_text().replace("consecutive_failures", redacting)
    async with running(tmp_path, text) as controller:
        worker = await FakeWorker(tmp_path).connect()
        await worker.until(lambda: worker.lane(NAME))
        worker.good(trial_of(controller), 50)
        desk = Desk(controller, Channel(lambda *_: None))
        await eventually(lambda: desk.pairs(NAME, "latest", 5))
        assert await reload(controller, config_text().replace("candidate: c", "candidate: d"), tmp_path) == ""
        assert NAME in controller.ended
        shown = desk.pairs(NAME, "latest", 5)
        assert shown
        assert all("[redacted]" in one["live"]["body"] and one["live"]["prediction"] is None for one in shown)
        charts = desk.charts(NAME)
        assert charts is not None
        assert charts["predictions"] is None
        worker.disconnect()


async def test_what_was_redacted_stays_redacted_while_its_trial_lasts(tmp_path: Path) -> None:
    def redacting(entry: str) -> str:
        rule = f"record: {{path: p.jsonl, share: 100%, redact: [{entry}]}}\n        consecutive_failures"
        return config_text().replace("consecutive_failures", rule)

    async with running(tmp_path, redacting("/outputs")) as controller:
        worker = await FakeWorker(tmp_path).connect()
        await worker.until(lambda: worker.lane(NAME))
        worker.good(trial_of(controller), 50)
        desk = Desk(controller, Channel(lambda *_: None))
        await eventually(lambda: desk.pairs(NAME, "latest", 5))
        for text in (redacting("/else"), config_text()):
            assert await reload(controller, text, tmp_path) == ""
            shown = desk.pairs(NAME, "latest", 5)
            assert shown
            assert all("[redacted]" in one["live"]["body"] and one["live"]["prediction"] is None for one in shown)
        assert await reload(controller, config_text(version="2"), tmp_path) == ""
        assert (controller.trials[NAME].redact, desk.pairs(NAME, "latest", 5)) == ((), [])
        worker.disconnect()


async def test_of_the_rollouts_that_ended_only_the_last_ones_keep_their_pairs(
    controller: Controller, worker: FakeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.control.controller.SHOWN_ENDED", 1)
    worker.good(trial_of(controller), 50)
    desk = Desk(controller, Channel(lambda *_: None))
    await eventually(lambda: desk.pairs(NAME, "latest", 5))
    text = config_text().replace("d: {url", 'e: {url: "http://127.0.0.1:5"}, d: {url')
    assert await reload(controller, text.replace("candidate: c", "candidate: d"), tmp_path) == ""
    assert desk.pairs(NAME, "latest", 5)
    assert await reload(controller, text.replace("candidate: c", "candidate: e"), tmp_path) == ""
    assert list(controller.ended) == [NAME, "r/d"]
    assert desk.pairs(NAME, "latest", 5) == []


async def test_a_promoted_candidate_that_the_file_makes_live_is_completed(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    desk = Desk(controller, Channel(lambda *_: None))
    await desk.act(NAME, "promote", reason="sure", actor="ann", full=True)
    await worker.weight(NAME, BUCKETS)
    done = config_text().replace("live: l", "live: c").replace("candidate: c", "candidate: d")
    assert await reload(controller, done, tmp_path) == ""
    assert controller.ended[NAME].rollout.state is State.COMPLETED
    assert kinds(controller)[-2:] == ["completed", "began"]


# --- several on one route --------------------------------------------------------------------------------------------

SECOND = """      - candidate: d
        stages: [{canary: 10%, min_pairs: 100}]
        guards: {max_disagreement: 10%}
"""


async def test_only_one_rollout_of_a_route_has_weight_and_the_other_says_whom_it_waits_for(tmp_path: Path) -> None:
    text = config_text().replace("webhooks:", SECOND + "webhooks:")
    async with running(tmp_path, text) as controller:
        worker = await FakeWorker(tmp_path).connect()
        await worker.weight("r/d", 1000)  # its first stage is a canary
        worker.good(trial_of(controller), 400)
        await eventually(lambda: controller.trials[NAME].rollout.blocked_by == "r/d")
        desk = Desk(controller, Channel(lambda *_: None))
        with pytest.raises(RefusedError, match="r/d serves"):
            await desk.act(NAME, "promote", reason="", actor="ann")
        await desk.act("r/d", "abort", reason="", actor="ann")
        await worker.weight(NAME, 500)
        assert all(sum(lane.weight > 0 for lane in table.lanes) <= 1 for table in worker.tables)
        worker.disconnect()


# --- by hand and to be seen ------------------------------------------------------------------------------------------


async def test_what_is_done_by_hand_is_journaled_with_who_and_why(controller: Controller, worker: FakeWorker) -> None:
    desk = Desk(controller, Channel(lambda *_: None))
    await desk.act(NAME, "pause", reason="holiday", actor="ann")
    with pytest.raises(RefusedError) as refused:
        await desk.act(NAME, "pause", reason="", actor="ann")
    assert refused.value.status == 409
    with pytest.raises(RefusedError) as refused:
        await desk.act("r/nobody", "pause", reason="", actor="ann")
    assert refused.value.status == 404
    newest = (await desk.journal(NAME, 1))[0]
    assert (newest["kind"], newest["actor"], newest["reason"]) == ("paused", "ann", "holiday")
    assert newest["detail"]["config_hash"] == controller.config_hash
    assert newest["detail"]["plan"]["version"] == "1"
    assert newest["evidence_bytes"] > 0


async def test_a_rollout_reads_as_the_design_says(controller: Controller, worker: FakeWorker) -> None:
    worker.bad(trial_of(controller), 3)
    worker.counts(trial_of(controller))
    desk = Desk(controller, Channel(lambda *_: None))
    await eventually(lambda: desk.rollout(NAME)["ledger"]["compared"] == 3)  # type: ignore[index]
    await eventually(lambda: desk.rollout(NAME)["findings"])  # type: ignore[index]
    shown = desk.rollout(NAME)
    assert shown is not None
    assert {k: shown[k] for k in ("name", "route", "live", "candidate", "version", "state", "paused", "weight")} == {
        "name": NAME, "route": "r", "live": "l", "candidate": "c", "version": "1", "state": "shadow", "paused": False,
        "weight": 0.0,
    }  # fmt: skip
    assert (shown["stage"]["index"], shown["stage"]["name"]) == (0, "shadow")
    assert "97 more pairs" in shown["stage"]["waiting_for"]
    assert shown["stage"]["needs"][0] == {"what": "pairs", "have": 3, "want": 100}
    assert set(shown["findings"][0]) == {
        "guard", "segment", "verdict", "value", "low", "high", "limit", "unit", "evidence", "pairs", "eta_seconds",
            "reason",
    }  # fmt: skip
    worst = desk.pairs(NAME, "worst", 2)
    assert worst is not None
    assert [pair["difference"] for pair in worst] == [1.0, 1.0]


async def test_readiness_names_what_is_missing(controller: Controller, worker: FakeWorker) -> None:
    desk = Desk(controller, Channel(lambda *_: None))
    assert desk.ready() == (False, ["no worker is known yet"])
    desk.tree({"workers": [{"slot": 0, "pid": 1}, {"slot": 1, "pid": 2}]})
    await eventually(lambda: desk.processes()["workers"][0]["connected"])
    assert desk.ready() == (False, ["not connected: worker 1"])
    desk.tree({"workers": [{"slot": 0, "pid": 1}]})
    assert desk.ready() == (True, [])
    controller.store.error = "disk full"
    assert desk.ready() == (False, ["the store cannot save: disk full"])
