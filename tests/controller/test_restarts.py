"""Keeps the promise that a restart changes nothing: the next controller goes on where the last one was, and tells from
what workers hold which way down was cut short, which weight they took away themselves, and what will never arrive."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config import parse
from proxy.controller.controller import Controller
from proxy.errors import StoreError
from proxy.model import Outcome, State, Table
from proxy.model.reasons import Reason
from tests.controller.controllers import (
    HOOK,
    NAME,
    Rounds,
    Shaky,
    config_text,
    desk_of,
    eventually,
    kinds,
    running,
    to_canary,
    trial_of,
)
from tests.controller.worker import FakeWorker, answer

pytestmark = pytest.mark.usefixtures("quick")


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


async def test_what_is_known_of_a_roll_back_that_was_not_saved_is_journaled_by_the_next_controller(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as first:
        worker = await FakeWorker(tmp_path).connect()
        await to_canary(first, worker)
        first.store.broken = True  # type: ignore[attr-defined]
        await desk_of(first).act(NAME, "abort", reason="support tickets", actor="ann")
        await worker.weight(NAME, 0)
        worker.disconnect()
    async with running(tmp_path) as second:
        assert second.trials[NAME].rollout.weight == 500, "so much is saved"
        await worker.connect()
        await eventually(lambda: kinds(second) == ["rolled_back"])
        (entry, *_) = await second.store.journal(NAME, 1)
        assert (entry["detail"]["to"]["cause"], entry["actor"]) == ("unfinished", "understudy")
        assert "rolled_back by ann: support tickets" in entry["reason"]
        worker.disconnect()


def ruin(path: Path) -> None:
    """What a reader of a torn page meets."""
    for suffix in ("", "-wal"):
        Path(f"{path}{suffix}").write_bytes(b"not a database any more" * 500)
    raise sqlite3.DatabaseError("database disk image is malformed")


async def test_an_unsound_file_found_under_way_costs_no_rollout_its_end(tmp_path: Path) -> None:
    """Those that ended long ago and change no more go into the new file too: a version that failed stays out."""
    async with running(tmp_path) as first:
        await desk_of(first).act(NAME, "abort", reason="enough", actor="ann")
        with pytest.raises(StoreError, match="malformed"):
            await first.store.run(lambda _: ruin(first.store.path))
        await eventually(lambda: first._renewed)
        assert desk_of(first).counts().store_set_aside == 1
    async with running(tmp_path) as second:
        rollout = second.trials[NAME].rollout
        assert (rollout.state, rollout.reason) == (State.ROLLED_BACK, "enough")


async def secret_told(folder: Path) -> str:
    """What a worker is told to draw with."""
    worker = await FakeWorker(folder).connect()
    await eventually(lambda: worker.tables)
    worker.disconnect()
    return worker.tables[-1].secret


async def test_the_split_outlives_controllers_and_an_unsound_file(tmp_path: Path) -> None:
    """Workers draw with the secret in their table, so who had the candidate has it again."""
    async with running(tmp_path) as first:
        secret = await secret_told(tmp_path)
        with pytest.raises(StoreError, match="malformed"):
            await first.store.run(lambda _: ruin(first.store.path))
        await eventually(lambda: first._renewed)
    async with running(tmp_path):
        assert await secret_told(tmp_path) == secret
    assert len(bytes.fromhex(secret)) == 32


def take_away(folder: Path) -> None:
    for file in folder.glob("u.db*"):
        file.unlink()


async def test_a_store_that_is_taken_away_under_way_costs_no_rollout_its_end(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        await desk_of(first).act(NAME, "abort", reason="enough", actor="ann")
        take_away(tmp_path)
        await eventually(lambda: first._renewed)
        assert desk_of(first).counts().store_renewed == 1
        assert (tmp_path / "u.db").exists()
        shutil.copytree(
            tmp_path, tmp_path / "killed", ignore=shutil.ignore_patterns("*.sock")
        )  # as it stands, should everything be killed now
    for folder in (tmp_path, tmp_path / "killed"):
        async with running(folder) as second:
            rollout = second.trials[NAME].rollout
            assert (rollout.state, rollout.reason) == (State.ROLLED_BACK, "enough")
            assert [entry["kind"] for entry in await second.store.journal(NAME, 9)] == ["rolled_back", "began"]


STRAIGHT = config_text().replace("{shadow: 100%, min_pairs: 100}, ", "")
"""A rollout that is served from its first look on."""


@pytest.mark.parametrize("unsound", [False, True])
async def test_a_candidate_of_which_nothing_is_known_any_more_does_not_serve(tmp_path: Path, unsound: bool) -> None:
    async with running(tmp_path, STRAIGHT) as first:
        await eventually(lambda: first.trials[NAME].rollout.weight == 500)
        await desk_of(first).act(NAME, "abort", reason="enough", actor="ann")
    (tmp_path / "u.db").write_bytes(b"rubbish" * 1000) if unsound else (tmp_path / "u.db").unlink()
    async with running(tmp_path, STRAIGHT) as second:
        await Rounds(second).more(3)
        rollout = second.trials[NAME].rollout
        assert (rollout.state, rollout.weight, rollout.cause) == (State.ROLLED_BACK, 0, "lost")
        assert kinds(second) == ["rolled_back"]
        assert await second.store.delivery_counts(HOOK) == {"waiting": 1}
        await desk_of(second).act(NAME, "retry", reason="I know", actor="ann")
        await eventually(lambda: second.trials[NAME].rollout.weight == 500)
    async with running(tmp_path, STRAIGHT) as third:
        assert third.trials[NAME].rollout.weight == 500


async def test_workers_know_of_a_roll_back_when_no_store_does(tmp_path: Path) -> None:
    async with running(tmp_path, STRAIGHT) as first:
        worker = await FakeWorker(tmp_path).connect()
        await worker.weight(NAME, 500)
        await desk_of(first).act(NAME, "abort", reason="enough", actor="ann")
        await worker.weight(NAME, 0)
        worker.disconnect()
    late = FakeWorker(tmp_path, slot=1, name="w1", pid=2)
    late.table = worker.table
    take_away(tmp_path)  # with the lock, so that it looks like a first start
    async with running(tmp_path, STRAIGHT) as second:
        await worker.connect()
        await eventually(lambda: "rolled_back" in kinds(second))
        assert second.trials[NAME].rollout.cause == "unfinished"
        await desk_of(second).act(NAME, "retry", reason="I know", actor="ann")
        await worker.weight(NAME, 500)
        await late.connect()
        await late.weight(NAME, 500)
        assert kinds(second)[-2:] == ["retried", "advanced"]
        worker.disconnect()
        late.disconnect()


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
        await desk_of(second).act(NAME, "retry", reason="", actor="ann")
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
        service, trial = desk_of(second), second.trials[NAME]
        service.tree({"workers": [{"slot": 0, "pid": 12}, {"slot": 1, "pid": 11}]})
        await alive.connect()
        rounds = Rounds(second)
        await rounds.more(3)
        assert trial.ledger.pending == 10, "the worker in slot 0 may be the old one still"
        heir = await FakeWorker(tmp_path, name="w2", pid=12).connect()
        await eventually(lambda: trial.pair_ledger.workers == ("w1",))
        assert (trial.ledger.sampled, trial.ledger.pending, trial.ledger.link_full) == (50, 5, 5)
        alive.counts(trial_of(second), sampled=25, shed=5)
        await eventually(lambda: trial.ledger.pending == 0)
        for one in (alive, heir):
            one.disconnect()


@pytest.mark.parametrize("end", [Controller.stop, Controller.depose])
async def test_a_controller_that_has_ended_looks_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[Controller], Awaitable[None]]
) -> None:
    """What it decided then nobody would wait for, nor have saved."""
    monkeypatch.setattr("proxy.controller.intake.BATCH_TIME", 1.0)
    controller = Controller(parse(config_text(), directory=tmp_path), "", Shaky(tmp_path / "u.db"))
    await controller.start(tmp_path)
    worker = await FakeWorker(tmp_path).connect()
    await worker.until(lambda: worker.lane(NAME))
    trial = controller.trials[NAME]
    worker.good(trial_of(controller), 5)
    await eventually(lambda: trial.planned)
    await end(controller)
    looked, state = trial.looked, trial.rollout.state
    await eventually(lambda: not trial.planned)
    for _ in range(5):
        controller.on_pair(worker.send(trial_of(controller), answer(0), Outcome(0, Reason.CONNECT)))
    worker.disconnect()
    assert (trial.looked, trial.rollout.state) == (looked, state)
