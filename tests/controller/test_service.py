"""Keeps the promises of what is seen of a controller and done to it by hand: it reads as designed, refuses in words
what cannot be, says what it lacks, and counts what was lost."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from proxy.controller.admin.interface import ActionRefusedError
from proxy.controller.admin.rollout_view import FindingJson
from proxy.controller.controller import Controller
from proxy.controller.service import ControllerService
from proxy.controller.streams import MAX_EVENTS
from proxy.controller.supervisor_link import SupervisorLink
from proxy.evidence.input.labels import WAITING
from proxy.model import Outcome
from proxy.model.reasons import Reason
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.ledger import PairLedger
from tests.controller.controllers import NAME, config_text, desk_of, eventually, kinds, running, trial_of
from tests.controller.worker import FakeWorker, answer

pytestmark = pytest.mark.usefixtures("quick")


async def test_a_person_is_told_when_an_action_could_not_be_saved(controller: Controller, worker: FakeWorker) -> None:
    service = desk_of(controller)
    controller.store.broken = True  # type: ignore[attr-defined]
    with pytest.raises(ActionRefusedError) as refused:
        await service.act(NAME, "promote", reason="", actor="ann", full=True)
    assert refused.value.status == 503
    assert worker.lane(NAME).weight == 0  # type: ignore[union-attr]
    after = await service.act(NAME, "abort", reason="enough", actor="ann")
    assert (after["state"], after["weight"]) == ("rolled_back", 0.0)


async def test_a_person_is_answered_while_the_disk_hangs(
    controller: Controller, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.controller.service.ACT_DEADLINE", 0.05)
    monkeypatch.setattr("proxy.controller.store.sqlite.database.HANGS", 0.0)
    service, answers = desk_of(controller), threading.Event()
    service.tree({"workers": [{"slot": 0, "pid": 1}]})
    await eventually(lambda: service.ready() == (True, []))
    stuck = asyncio.ensure_future(controller.store.run(lambda _: answers.wait() and None))
    with pytest.raises(ActionRefusedError, match="once it can be saved") as refused:
        await service.act(NAME, "pause", reason="", actor="ann")
    assert refused.value.status == 503
    after = await service.act(NAME, "abort", reason="out", actor="ann")
    assert (after["state"], after["weight"]) == ("rolled_back", 0.0)
    assert "no answer for" in service.ready()[1][0]
    assert not service.counts().store_ok
    answers.set()
    await stuck
    await eventually(lambda: kinds(controller) == ["began", "paused", "rolled_back"])
    await eventually(lambda: service.ready() == (True, []))


async def test_a_reload_that_nobody_answered_in_time_does_not_answer_the_next_one(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.controller.supervisor_link.RELOAD_DEADLINE", 0.01)
    channel = Channel(lambda *_: None)
    supervisor = SupervisorLink(channel)
    service = ControllerService(controller, supervisor)
    with pytest.raises(ActionRefusedError, match="no supervisor"):
        await service.reload("token:ci")
    monkeypatch.setattr(channel, "send", lambda _: True)
    with pytest.raises(ActionRefusedError, match="the log will have") as refused:
        await service.reload("token:ci")
    assert refused.value.status == 503
    monkeypatch.setattr("proxy.controller.supervisor_link.RELOAD_DEADLINE", 10.0)
    asked = asyncio.ensure_future(service.reload("token:ci"))
    await asyncio.sleep(0)
    supervisor.reloaded({"number": 2, "ok": False, "error": "of the second one"})
    supervisor.reloaded({"number": 3, "ok": True})
    assert await asked == (True, "")


async def test_a_reload_that_is_never_answered_costs_the_next_ones_nothing(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results were told apart by their order: after one that was missing each answered the one before."""
    sent: list[dict[str, Any]] = []
    channel = Channel(lambda *_: None)
    monkeypatch.setattr(channel, "send", lambda data: not sent.append(link.read_note(data[5:])))
    service = ControllerService(controller, supervisor := SupervisorLink(channel))
    monkeypatch.setattr("proxy.controller.supervisor_link.RELOAD_DEADLINE", 0.01)
    with pytest.raises(ActionRefusedError, match="the log will have"):
        await service.reload("token:ci")
    monkeypatch.setattr("proxy.controller.supervisor_link.RELOAD_DEADLINE", 1.0)
    two = [asyncio.ensure_future(service.reload("token:ci")) for _ in range(2)]
    await asyncio.sleep(0)
    for asked, error in ((sent[2], "refused"), (sent[1], "")):
        supervisor.reloaded({"number": asked["number"], "ok": not error, "error": error})
    assert await asyncio.gather(*two) == [(True, ""), (False, "refused")]


async def test_outcomes_join_once_within_the_horizon_and_the_rest_is_counted_as_unknown(tmp_path: Path) -> None:
    text = config_text().replace("max_disagreement: 10%", "max_disagreement: 50%, max_quality_drop: 10%")
    async with running(tmp_path, text) as controller:
        service, worker = desk_of(controller), await FakeWorker(tmp_path).connect()
        await worker.until(lambda: worker.lane(NAME))
        last = WAITING + 9
        worker.good(trial_of(controller), last + 1)
        await eventually(lambda: controller.trials[NAME].ledger.compared == last + 1)
        first, latest = {"id": "w0-0", "label": 0}, {"id": f"w0-{last}", "label": 0}
        assert await service.outcomes([first, latest, {"id": "nobody's", "label": 0}]) == {"joined": 1, "unknown": 2}
        assert await service.outcomes([latest]) == {"joined": 0, "unknown": 1}, "the first one wins"
        assert service.counts().outcomes == {"joined": 1, "unknown": 3}
        worker.disconnect()
    async with running(tmp_path, text) as controller:
        service = desk_of(controller)
        before = {"id": f"w0-{last - 1}", "label": 0}
        assert await service.outcomes([before]) == {"joined": 1, "unknown": 0}, "what waits outlives the process"


async def test_what_the_queues_of_the_controller_lose_is_counted(controller: Controller, worker: FakeWorker) -> None:
    service = desk_of(controller)
    queues = ("order", "replaced", "pairs", "record", "events", "observations")
    assert service.counts().dropped == dict.fromkeys(queues, 0)
    service.subscribe()
    for number in range(MAX_EVENTS + 5):
        controller.streams.tell("x", float(number), {})
    worker.good(trial_of(controller), 1)
    worker.mark(trial_of(controller))
    worker._sequence[trial_of(controller)] = 0  # comes again
    worker.good(trial_of(controller), 1)
    await eventually(lambda: service.counts().dropped["order"] == 1)
    assert service.counts().dropped["events"] >= 5


async def test_pairs_lost_with_a_worker_are_booked_and_the_parts_sum_up(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    trial = controller.trials[NAME]
    worker.good(trial_of(controller), 20)
    worker.send(trial_of(controller), answer(1), answer(1), skip=3)  # arrived, but three before it did not
    worker.counts(trial_of(controller), sampled=30, sent=22, shed=4)
    await eventually(lambda: trial.ledger.sampled == 30 and trial.ledger.compared == 20)
    assert (trial.ledger.pending, trial.ledger.link_full) == (5, 1)  # one waits here for the three before it
    service = desk_of(controller)
    worker.disconnect()
    service.tree({"supervisor": 1, "workers": [{"slot": 0, "pid": 99}], "controller": 2})
    await eventually(lambda: trial.ledger.pending == 0)
    assert (trial.ledger.compared, trial.ledger.shed, trial.ledger.link_full) == (21, 4, 5)
    assert service.counts().requests[("r", "l", "served", "200")] == 7


async def test_answers_of_live_that_fail_or_cannot_be_read_have_parts_of_their_own(
    controller: Controller, worker: FakeWorker
) -> None:
    trial = trial_of(controller)
    worker.send(trial, Outcome(503), answer(1))
    worker.send(trial, Outcome(200, body=b"<html>"), answer(1))
    worker.send(trial, answer(1), Outcome(200, body=b"<html>"))
    await eventually(lambda: controller.trials[NAME].pair_ledger.compared == 1)
    ledger = controller.trials[NAME].ledger
    assert (ledger.compared, ledger.live_failed, ledger.unparseable, ledger.pending) == (1, 1, 1, 0)


MISTYPED = config_text(limit="2%").replace("output: y", "output: yy")


async def test_a_wrong_prediction_is_nobodys_failure_and_says_which_key(tmp_path: Path) -> None:
    async with running(tmp_path, MISTYPED) as controller:
        worker = await FakeWorker(tmp_path).connect()
        await eventually(lambda: worker.tables and worker.lane(NAME))
        name = trial_of(controller)
        for _ in range(40):
            worker.send(name, answer(1), answer(1))
        worker.send(name, answer(1), Outcome(0, Reason.CONNECT))
        service = desk_of(controller)
        await eventually(lambda: controller.trials[NAME].ledger.unparseable == 41)
        [shown] = service.rollouts()
        assert (shown["state"], shown["candidate_failures"]) == ("shadow", {"connect": 1})
        assert shown["unparseable"] == {"missing_output": 41}
        assert shown["why_unparseable"] == (
            "live's answers cannot be read: missing_output at yy: 41 of 41 pairs; check `prediction.output` "
            "(output `yy` is missing; found `y`)"
        )
        assert service.counts().unparseable == {(NAME, "missing_output"): 41}
        controller.trials[NAME].hide(["/outputs"])
        assert "found" not in service.rollouts()[0]["why_unparseable"]
        worker.disconnect()


def test_why_pairs_are_unparseable_outlives_the_controller() -> None:
    pair_ledger = PairLedger()
    pair_ledger.book("w", "unparseable", 3, "not_json")
    assert PairLedger.load(pair_ledger.dump()).unparseable == {"not_json": 3}
    earlier = {name: value for name, value in pair_ledger.dump().items() if name != "unparseable"}
    assert PairLedger.load(earlier).unparseable == {}


async def test_what_is_done_by_hand_is_journaled_with_who_and_why(controller: Controller, worker: FakeWorker) -> None:
    service = desk_of(controller)
    await service.act(NAME, "pause", reason="holiday", actor="ann")
    with pytest.raises(ActionRefusedError) as refused:
        await service.act(NAME, "pause", reason="", actor="ann")
    assert refused.value.status == 409
    with pytest.raises(ActionRefusedError) as refused:
        await service.act("r/nobody", "pause", reason="", actor="ann")
    assert refused.value.status == 404
    newest = (await service.journal(NAME, 1))[0]
    assert (newest["kind"], newest["actor"], newest["reason"]) == ("paused", "ann", "holiday")
    assert newest["detail"]["config_hash"] == controller.config_hash
    assert newest["detail"]["plan"]["version"] == "1"
    assert newest["evidence_bytes"] > 0


async def test_a_rollout_reads_as_the_design_says(controller: Controller, worker: FakeWorker) -> None:
    worker.bad(trial_of(controller), 3)
    worker.counts(trial_of(controller))
    service = desk_of(controller)
    await eventually(lambda: service.rollout(NAME)["ledger"]["compared"] == 3)  # type: ignore[index]
    await eventually(lambda: "97 more" in str(service.rollout(NAME)["stage"]["waiting_for"]))  # type: ignore[index]
    shown = service.rollout(NAME)
    assert shown is not None
    assert {k: shown[k] for k in ("name", "route", "live", "candidate", "version", "state", "paused", "weight")} == {
        "name": NAME, "route": "r", "live": "l", "candidate": "c", "version": "1", "state": "shadow", "paused": False,
        "weight": 0.0,
    }  # fmt: skip
    assert (shown["stage"]["index"], shown["stage"]["name"]) == (0, "shadow")
    assert "97 more pairs" in shown["stage"]["waiting_for"]
    assert shown["stage"]["needs"][0] == {"what": "pairs", "have": 3, "want": 100}
    assert set(shown["findings"][0]) == set(FindingJson.__annotations__)
    worst = service.pairs(NAME, "worst", 2)
    assert worst is not None
    assert [pair["difference"] for pair in worst] == [1.0, 1.0]


async def test_readiness_names_what_is_missing(controller: Controller, worker: FakeWorker) -> None:
    service = desk_of(controller)
    assert service.ready() == (False, ["no worker is known yet"])
    service.tree({"workers": [{"slot": 0, "pid": 1}, {"slot": 1, "pid": 2}]})
    await eventually(lambda: service.processes()["workers"][0]["connected"])
    assert service.ready() == (False, ["not connected: worker 1"])
    service.tree({"workers": [{"slot": 0, "pid": 1}]})
    assert service.ready() == (True, [])
    controller.store.error = "disk full"
    assert service.ready() == (False, ["the store cannot save: disk full"])
    controller.store.error = ""
    controller.trials[NAME].unwritable = "TypeError: x"
    assert service.ready() == (False, [f"rollout {NAME} cannot be saved: TypeError: x"])


async def test_it_is_not_ready_before_a_table_is_in_force_at_every_worker(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    service = desk_of(controller)
    service.tree({"supervisor": 1, "workers": [{"slot": 0, "pid": 1}, {"slot": 1, "pid": 2}], "controller": 2})
    mute = await FakeWorker(tmp_path, slot=1, name="w1", pid=2, acks=False).connect()
    await mute.until(lambda: mute.tables)
    await eventually(lambda: service.ready() == (False, ["no routing table in force yet: worker 1"]))
    mute.disconnect()
    again = await FakeWorker(tmp_path, slot=1, name="w1", pid=2).connect()
    await eventually(lambda: service.ready() == (True, []))
    again.disconnect()


async def test_what_is_rolled_back_makes_no_pairs_and_none_are_said(controller: Controller) -> None:
    service, budget = desk_of(controller), controller.trials[NAME].budget
    budget.idle, budget.told_idle = "promoted, and watched", 2300
    assert "Meanwhile 0.23 of its pairs are made" in service.rollout(NAME)["stage"]["waiting_for"]  # type: ignore[index]
    after = await service.act(NAME, "abort", reason="enough", actor="ann")
    budget.idle, budget.told_idle = "promoted, and watched", 2300
    after = service.rollout(NAME) or after
    assert after["stage"]["waiting_for"] == "Waits for a new version, retry or restart."
    assert after["idle_budget"] is None
