"""Promise: what was answered as taken is in the store and counts after any restart, once; what could not be saved does
not count; a long log is summed up without losing anybody; and the worker's number of a user is the controller's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.controller import exposure_log
from proxy.controller.outcome_keeper import IN_TURN, OutcomeKeeper, in_turns
from proxy.controller.rollout_outcomes import users_json
from proxy.controller.rollout_run import RolloutRun, fresh_evidence
from proxy.controller.store.sqlite.store import SqliteStore
from proxy.errors import StoreError
from proxy.evidence import Evidence
from proxy.model import BUCKETS, Guard, Stage, State
from proxy.pairs.exposed import Exposed
from proxy.pairs.ledger import PairLedger
from proxy.request.routing import number_of_key, salt
from proxy.rollout.events import RolloutState
from tests.controller.store.stores import change
from tests.evidence.streams import make_plan

SECRET = bytes(range(32))
GUARD = Guard("max_outcome_drop", 0.02, False, 1.0, outcome="conversion", within=60.0, in_points=True)
STAGES = (Stage(State.SHADOW, 100.0), Stage(State.CANARY, 50.0))
PLAN = replace(make_plan(GUARD), stages=STAGES)
NAMES = (PLAN.route, PLAN.candidate, PLAN.version)


def run_of(evidence: Evidence | None = None, entry: int = 2) -> RolloutRun:
    state = RolloutState(PLAN.name, PLAN.trial, 0.0, State.CANARY, 1, entry, weight=5000)
    return RolloutRun(PLAN, state, evidence or fresh_evidence(PLAN), PairLedger())


class Life:
    """A keeper over one store, which may end and begin again. `now` is the time."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, 0.0

    async def begin(self, evidence: Evidence | None = None) -> None:
        self.store = SqliteStore(self.path)
        self.run = run_of(evidence)
        self.keeper = OutcomeKeeper(self.store, SECRET.hex, lambda: self.now)
        await self.keeper.follow({PLAN.name: self.run})

    async def again(self, *, with_evidence: bool = True) -> None:
        """Die, and begin anew from the store, and from evidence as it is now or as it was at first."""
        await self.store.close()
        await self.begin(Evidence.load(PLAN, self.run.evidence.dump()) if with_evidence else None)

    def expose(self, keys: list[str], entry: int = 2) -> None:
        serve = salt(*NAMES, "serve", secret=SECRET)
        users = tuple((number_of_key(serve, key.encode()), 0) for key in keys)
        self.keeper.exposed(PLAN.trial, Exposed(0, entry, 5000, 0, users))

    async def post(self, *keys: str) -> dict[str, int]:
        return dict(await self.keeper.post([{"key": key, "name": "conversion", "value": 1} for key in keys]))

    def figures(self, what: str) -> int:
        found = users_json(self.run)
        assert found is not None
        return sum(int(found[arm][what]) for arm in ("live", "candidate"))


@pytest.fixture
async def life(tmp_path: Path) -> Any:
    one = Life(tmp_path / "s.db")
    await one.begin()
    yield one
    await one.store.close()


KEYS = [f"user-{n}" for n in range(40)]


async def test_what_was_taken_counts_after_a_restart_once(life: Life) -> None:
    life.expose(KEYS)
    assert await life.post(*KEYS[:10], "nobody") == {"joined": 10, "early": 1}
    await life.again(with_evidence=False)
    assert (life.figures("exposed"), life.figures("outcomes")) == (40, 10)
    life.now = 61.0
    life.keeper.settle()
    assert (life.figures("counted"), life.figures("with_value"), life.figures("waiting")) == (40, 10, 0)
    before = life.run.evidence.dump()
    await life.again()
    life.keeper.settle()
    assert life.run.evidence.dump() == before
    await life.again(with_evidence=False)  # a snapshot from before: they count again, from what the store has
    life.keeper.settle()
    assert (life.figures("counted"), life.figures("with_value")) == (40, 10)


async def test_an_outcome_that_could_not_be_saved_does_not_count(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    life.expose(KEYS)
    real = life.store.put_exposures

    async def broken(*_: Any) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(life.store, "put_exposures", broken)
    with pytest.raises(StoreError, match="disk full"):
        await life.post(KEYS[0])
    assert life.figures("outcomes") == 0
    monkeypatch.setattr(life.store, "put_exposures", real)
    assert await life.post(KEYS[0]) == {"joined": 1}
    await life.again(with_evidence=False)
    assert (life.figures("exposed"), life.figures("outcomes")) == (40, 1)


async def test_a_long_log_is_summed_up_and_nobody_is_lost(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure_log, "LONG", 3)
    await life.store.save(replace(change(1), saved=replace(change(1).saved, rollout=life.run.saved, plan=PLAN)))
    for at, key in enumerate(KEYS):
        life.now = float(at)
        life.expose([key])
        await life.post(key)
        await life.keeper.save()
    assert len(await life.store.exposures(PLAN.trial)) <= 4
    life.now = 70.0
    life.keeper.settle()
    counted = life.figures("counted")
    assert 0 < counted < 40
    await life.again()
    life.now = 200.0
    life.keeper.settle()
    assert (life.figures("counted"), life.figures("with_value"), life.figures("exposed")) == (40, 40, 40)


async def test_an_ended_rollout_forgets_its_users_and_keeps_its_figures(life: Life) -> None:
    await life.store.save(replace(change(1), saved=replace(change(1).saved, rollout=life.run.saved, plan=PLAN)))
    life.expose(KEYS)
    await life.post(*KEYS)
    life.run.rollout = replace(life.run.rollout, state=State.ROLLED_BACK, weight=0)
    assert await life.post(KEYS[0]) == {"ended": 1}, "told apart from a user that nobody knows"
    await life.keeper.save()
    exposures = life.run.exposures
    assert exposures is not None
    assert (exposures.book.known, exposures.book.open) == ({}, {})
    assert (life.figures("exposed"), life.figures("switched")) == (40, 40)
    assert len(await life.store.exposures(PLAN.trial)) == 1


async def test_a_store_that_cannot_be_read_is_asked_again_and_users_wait_for_it(tmp_path: Path) -> None:
    life = Life(tmp_path / "s.db")
    store = SqliteStore(life.path)
    real, failing = store.exposures, [True]

    async def exposures(trial: str) -> list[tuple[int, bytes]]:
        if failing:
            failing.clear()
            raise StoreError("away")
        return await real(trial)

    store.exposures = exposures  # type: ignore[method-assign]
    life.store, life.run = store, run_of()
    life.keeper = OutcomeKeeper(store, SECRET.hex, lambda: life.now)
    await life.keeper.follow({PLAN.name: life.run})
    assert life.run.exposures is None
    life.expose(KEYS)
    await life.keeper.save()
    assert life.figures("exposed") == 40
    await store.close()


def test_a_mismatch_of_users_holds_a_climb_and_is_told() -> None:
    life = Life(Path("unused"))
    life.run = run_of()
    life.run.exposures = exposure_log.ExposureLog(PLAN, GUARD, SECRET)
    book = life.run.exposures.book
    book.expose(
        2, 5000, [(n * BUCKETS + (n % 4 > 0) * 6000, 0) for n in range(400)], 0.0
    )  # a quarter is the candidate's
    assert life.run.srm == "", "it is only reported"
    life.run.rollout = replace(life.run.rollout, entry=3)
    assert life.run.sample_ratio is None, "pairs do not stand in for users"
    life.run.rollout = replace(life.run.rollout, entry=2)
    life.run.plan = replace(PLAN, on_srm="hold")
    assert "the candidate has 100 of 400 users (25.0 %) where 50.0 % are expected" in life.run.srm
    looked = life.run.look(10.0, None)
    assert looked.srm == life.run.srm


async def test_an_outcome_that_was_renamed_while_nobody_was_there_begins_anew(life: Life) -> None:
    life.expose(KEYS)
    assert await life.post(*KEYS[:10]) == {"joined": 10}
    renamed = replace(PLAN, guards=(replace(GUARD, outcome="revenue"),))
    await life.store.close()
    life.store, life.run = SqliteStore(life.path), run_of()
    life.run.plan = renamed
    life.keeper = OutcomeKeeper(life.store, SECRET.hex, lambda: life.now)
    await life.keeper.follow({PLAN.name: life.run})
    assert (life.figures("exposed"), life.figures("switched"), life.figures("waiting")) == (40, 40, 0)
    assert await life.post(KEYS[0]) == {"unasked": 1}, "no rollout asks for an outcome of this name"
    life.expose(KEYS)
    life.now = 61.0
    life.keeper.settle()
    assert life.run.evidence.units.settled == 80


async def test_users_begin_with_new_numbers_where_the_log_has_lost_some_that_have_counted(life: Life) -> None:
    """Their exposures were not saved when the controller died, the evidence was."""
    life.expose(KEYS)
    life.now = 61.0
    life.keeper.settle()
    await life.again()
    assert life.figures("exposed") == 0
    life.expose(["another"])
    life.now = 122.0
    life.keeper.settle()
    assert life.figures("counted") == 41


async def test_many_outcomes_in_one_post_leave_turns_to_others(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    turns, done = 0, asyncio.Event()

    async def others() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    async def at_once(*_: Any) -> None:
        pass

    monkeypatch.setattr(life.store, "put_exposures", at_once)
    other = asyncio.create_task(others())
    began = turns
    assert await life.post(*(f"nobody-{n}" for n in range(8 * IN_TURN))) == {"early": 8 * IN_TURN}
    done.set()
    await other
    assert turns - began >= 16, "as many while keys are hashed as while outcomes are joined"


async def test_turns_lose_none() -> None:
    assert [one async for one in in_turns(range(5 * IN_TURN + 1))] == list(range(5 * IN_TURN + 1))


async def test_workers_hear_that_something_else_is_asked_of_users(life: Life) -> None:
    first = life.run.told().asked
    assert first
    for guard in (replace(GUARD, within=90.0), replace(GUARD, outcome="revenue"), replace(GUARD, in_points=False)):
        life.run.plan = replace(PLAN, guards=(guard,))
        await life.keeper.follow({PLAN.name: life.run})
        assert life.run.told().asked not in {0, first}
    life.run.plan = replace(PLAN, guards=())
    await life.keeper.follow({PLAN.name: life.run})
    assert life.run.told().asked == 0


async def test_late_for_one_rollout_is_not_told_as_early_for_another_that_asks_for_the_same(life: Life) -> None:
    other = replace(PLAN, name="other/v2", route="other")
    runs = {PLAN.name: life.run, other.name: RolloutRun(other, life.run.rollout, fresh_evidence(other), PairLedger())}
    assert other.trial != PLAN.trial
    await life.keeper.follow(runs)
    life.expose(KEYS[:1])
    life.now = 61.0
    assert await life.post(*KEYS[:2]) == {"late": 1, "early": 1}
