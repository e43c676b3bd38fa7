"""Keeps the promise of an ended rollout: what is shown of it is what was known when it was decided, by the API, the
webhook, the journal and after a restart alike; pairs that come afterwards are counted, until nothing is pending."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.cli.table import overview
from proxy.controller.controller import Controller
from proxy.controller.report import ledger_json
from proxy.rfc3339 import rfc3339
from tests.controller.controllers import (
    NAME,
    config_text,
    desk_of,
    eventually,
    kinds,
    reload,
    running,
    to_canary,
    trial_of,
)
from tests.controller.worker import FakeWorker

pytestmark = pytest.mark.usefixtures("quick")
SHOWN = ("state", "since", "verdict", "findings", "repeats", "candidate_failures", "stage", "reason")


def shown(controller: Controller) -> dict[str, Any]:
    one = desk_of(controller).rollout(NAME)
    assert one is not None
    return {key: one[key] for key in SHOWN}


async def test_pairs_after_the_decision_change_nothing_that_is_shown(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    await to_canary(controller, worker)
    trial, service = controller.trials[NAME], desk_of(controller)
    worker.bad(trial_of(controller), 5, stage=1)
    worker.good(trial_of(controller), 20, stage=1)
    await eventually(lambda: trial.ledger.compared == 425)
    await eventually(lambda: "pass expected" in (service.rollout(NAME) or {})["findings"][0]["reason"])
    await service.act(NAME, "abort", reason="tickets", actor="ann")
    then, drawn = shown(controller), len(trial.charts.dump()["points"])
    decided = ledger_json(trial.ledger)
    worker.bad(trial_of(controller), 30, stage=1)
    worker.good(trial_of(controller), 30, stage=1)
    worker.counts(trial_of(controller), sampled=500, shed=10, sent=485)
    await eventually(lambda: trial.ledger.sampled == 500)
    await eventually(lambda: trial.ledger.late == 60)
    assert shown(controller) == then
    assert (service.rollout(NAME) or {})["ledger"]["late"] == 60
    assert len(trial.charts.dump()["points"]) == drawn
    counts = service.counts()
    assert (counts.pairs[NAME, "compared"], counts.pairs[NAME, "late"]) == (425, 60)
    assert trial.ledger.pending == 5  # and all of them are accounted for
    [change] = [one for one in controller.store.saves if one.kind == "rolled_back"]  # type: ignore[attr-defined]
    assert [change.detail["verdict"], change.detail["findings"]] == [then["verdict"], then["findings"]]
    told = change.event.data
    assert [told["verdict"], told["findings"]] == [then["verdict"], []], "an abort rests on no finding"
    assert change.event.data["ledger"] == decided
    assert change.event.data["stage"] == "canary-5"
    assert all(finding["eta_seconds"] is None for finding in then["findings"])
    assert not any("expected" in finding["reason"] for finding in then["findings"])
    await reload_and_look_again(controller, then, tmp_path)


async def test_what_was_under_way_at_the_end_does_not_stay_pending(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    """One pair comes late, one copy is shed, one pair is lost on the link: each is booked as what became of it."""
    trial, service, name = controller.trials[NAME], desk_of(controller), trial_of(controller)
    worker.good(name, 20)
    worker.counts(name, sampled=23, sent=20)
    await eventually(lambda: trial.ledger.compared == 20 and trial.ledger.sampled == 23)
    one = await service.act(NAME, "abort", reason="tickets", actor="ann")
    assert one["ledger"]["pending"] == 3
    worker.good(name, 1)
    worker.counts(name, sampled=23, shed=1, sent=22)
    await eventually(lambda: (service.rollout(NAME) or {})["ledger"]["pending"] == 0)
    found = (service.rollout(NAME) or {})["ledger"]
    assert {part: found[part] for part in ("sampled", "compared", "late", "shed", "link_full")} == {
        "sampled": 23, "compared": 20, "late": 1, "shed": 1, "link_full": 1,
    }  # fmt: skip
    await controller.stop()
    async with running(tmp_path) as other:
        assert (desk_of(other).rollout(NAME) or {})["ledger"] == found


async def reload_and_look_again(controller: Controller, then: dict[str, Any], folder: Path) -> None:
    """Neither other limits and stages in the file nor another controller tell the past anew."""
    text = config_text(limit="90%").replace("{canary: 5%, min_pairs: 100}", "{canary: 7%}")
    assert await reload(controller, text, folder) == ""
    assert shown(controller) == then
    await controller.stop()
    async with running(folder, text) as other:
        assert shown(other) == then


async def test_a_retry_goes_on_with_the_evidence_and_the_books_of_the_decision(
    controller: Controller, worker: FakeWorker
) -> None:
    worker.good(trial_of(controller), 20)
    trial, service = controller.trials[NAME], desk_of(controller)
    await eventually(lambda: trial.ledger.compared == 20)
    await service.act(NAME, "abort", reason="", actor="ann")
    assert (trial.rollout.ended_in, trial.rollout.since >= trial.rollout.entered_at) == ("shadow", True)
    worker.good(trial_of(controller), 7)
    await eventually(lambda: trial.ledger.late == 7)
    await service.act(NAME, "retry", reason="", actor="ann")
    assert (trial.evidence.compared, trial.rollout.ended_at, trial.rollout.ended_in) == (20, 0.0, "")
    worker.good(trial_of(controller), 3)
    worker.counts(trial_of(controller))
    await eventually(lambda: trial.ledger.compared == 23)
    one = service.rollout(NAME) or {}
    assert one["since"] == rfc3339(trial.rollout.entered_at)
    assert (one["ledger"]["late"], one["ledger"]["pending"], one["ledger"]["sampled"]) == (7, 0, 30)


async def test_an_abort_after_promotion_is_told_as_such(controller: Controller, worker: FakeWorker) -> None:
    await to_canary(controller, worker)
    service = desk_of(controller)
    await service.act(NAME, "promote", reason="", actor="ann", full=True)
    await worker.weight(NAME, 10_000)
    one = await service.act(NAME, "abort", reason="support tickets", actor="ann")
    assert (one["stage"]["name"], one["stage"]["index"], one["weight"]) == ("promoted", 2, 0.0)
    assert kinds(controller)[-1] == "rolled_back"
    assert controller.store.saves[-1].event.data["stage"] == "promoted"  # type: ignore[attr-defined]
    assert f"ended in stage promoted at {one['since']}" in overview([one])
    assert "\n  ! support tickets\n" in overview([one]), "status says why, where no guard does"
    by_guard = {
        **one,
        "reason": "too far off",
        "findings": [{**one["findings"][0], "reason": "too far off", "verdict": "fail"}],
    }
    assert overview([by_guard]).count("too far off") == 1


async def test_pairs_of_a_rollout_that_left_the_file_and_of_a_trial_that_was_replaced_are_counted(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    first = trial_of(controller)
    worker.good(first, 2)
    trial = controller.trials[NAME]
    await eventually(lambda: trial.ledger.compared == 2)
    gone = config_text().replace("candidate: c\n", "candidate: d\n")
    assert await reload(controller, gone, tmp_path) == ""
    worker.good(first, 3)
    await eventually(lambda: trial.ledger.late == 3)
    assert (desk_of(controller).rollout(NAME) or {})["ledger"]["compared"] == 2
    assert await reload(controller, config_text(version="2"), tmp_path) == ""
    worker.good(first, 4)
    await eventually(lambda: desk_of(controller).counts().dropped["replaced"] == 4)
