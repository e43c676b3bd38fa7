"""Keeps the promises of a reload: whatever the file changes, evidence stays with its trial, weight only falls, and a
version that was rolled back is so when it comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.cli.judging import audit
from proxy.controller.admin.interface import ActionRefusedError
from proxy.controller.controller import Controller
from proxy.controller.recordings import journal_entries
from proxy.controller.store.interface import Retention
from proxy.model import BUCKETS, Outcome, State
from proxy.model.reasons import Reason
from tests.controller.controllers import (
    NAME,
    Shaky,
    config_text,
    desk_of,
    eventually,
    kinds,
    reload,
    running,
    to_canary,
    trial_of,
)
from tests.controller.worker import FakeWorker, answer

pytestmark = pytest.mark.usefixtures("quick")


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
    service = desk_of(controller)
    with pytest.raises(ActionRefusedError, match="still says fail"):
        await service.act(NAME, "retry", reason="", actor="ann")


async def test_changed_limits_keep_stage_and_evidence(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    await to_canary(controller, worker)
    assert await reload(controller, config_text(limit="20%"), tmp_path) == ""
    trial = controller.trials[NAME]
    assert (trial.rollout.state, trial.evidence.compared) == (State.CANARY, 400)
    assert kinds(controller)[-1] == "limits_changed"


async def test_changed_error_rates_are_in_force_at_once_and_the_journal_holds(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    """Not from the next restart on: what is journaled with the new plan was judged by the new plan."""
    worker.good(trial_of(controller), 20)
    await eventually(lambda: controller.trials[NAME].ledger.compared == 20)
    before = controller.trials[NAME].evidence.limits_hash
    text = config_text().replace("consecutive_failures", "false_rollback_rate: 5%\n        consecutive_failures")
    assert await reload(controller, text, tmp_path) == ""
    assert controller.trials[NAME].evidence.limits_hash != before
    (entry, *_) = await controller.store.journal(NAME, 1)
    assert (entry["kind"], "error rates" in entry["reason"]) == ("limits_changed", True)
    entries = await asyncio.to_thread(lambda: list(journal_entries(controller.store.path)))
    assert all(audit(entry, evidence).holds for entry, evidence in entries)


@pytest.mark.parametrize("instead", ["", "    segments: {header: x-tenant}\n"])
async def test_requests_are_sent_whole_as_long_as_a_trial_keeps_segments_by_a_field(
    tmp_path: Path, instead: str
) -> None:
    """Whatever the file says since, and after a restart with it: long requests must not leave their segment."""
    worker = FakeWorker(tmp_path)
    text = config_text().replace("protocol: v2, output: y, kind: label", "protocol: tensorflow, kind: label")
    by_field = text.replace("live: l\n", "live: l\n    segments: {request_field: /model}\n")
    later = text.replace("live: l\n", f"live: l\n{instead}")
    async with running(tmp_path, by_field) as first:
        await worker.connect()
        await worker.until(lambda: worker.lane(NAME) is not None)
        assert await reload(first, later, tmp_path) == ""
        trial = trial_of(first)
        assert first.executor.table().whole_requests == (trial,)
        assert worker.table.whole_requests == (trial,)
        worker.disconnect()
    async with running(tmp_path, later) as second:
        assert second.executor.table().whole_requests == (trial_of(second),) == (trial,)
        assert await reload(second, later.replace('version: "1"', 'version: "2"'), tmp_path) == ""
        assert second.executor.table().whole_requests == ()


async def test_a_trial_keeps_its_segments_and_failures_in_a_row_outlive_a_reload(
    controller: Controller, worker: FakeWorker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(4):
        worker.send(trial_of(controller), answer(1), Outcome(0, Reason.CONNECT))
    await eventually(lambda: controller.trials[NAME].tripwire.count == 4)
    text = config_text().replace("live: l\n", "live: l\n    segments: {header: x-tenant}\n")
    assert await reload(controller, text, tmp_path) == ""
    assert controller.trials[NAME].plan.segments is None
    assert [record.message for record in caplog.records if record.name == "understudy.registry"] == ["segments.kept"]
    worker.send(trial_of(controller), answer(1), Outcome(0, Reason.CONNECT))
    await eventually(lambda: controller.trials[NAME].rollout.cause == "tripwire")
    assert await reload(controller, text.replace('version: "1"', 'version: "2"'), tmp_path) == ""
    assert controller.trials[NAME].plan.segments is not None


async def test_a_rollout_taken_out_loses_its_lane_and_comes_back_with_its_evidence(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    await to_canary(controller, worker)
    without = config_text().replace("candidate: c", "candidate: d")
    assert await reload(controller, without, tmp_path) == ""
    await worker.until(lambda: worker.lane(NAME) is None or worker.lane(NAME).weight == 0)  # type: ignore[union-attr]
    service = desk_of(controller)
    assert [one["name"] for one in service.rollouts()] == ["r/d", "r/c"]
    with pytest.raises(ActionRefusedError, match="not in the file any more") as refused:
        await service.act(NAME, "retry", reason="", actor="ann")
    assert refused.value.status == 409
    assert await reload(controller, config_text(), tmp_path) == ""
    trial = controller.trials[NAME]
    assert (trial.rollout.state, trial.evidence.compared) == (State.SHADOW, 400)


async def test_a_removal_that_could_not_be_saved_is_saved_when_the_disk_works_again(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    await to_canary(controller, worker)
    controller.store.broken = True  # type: ignore[attr-defined]
    assert await reload(controller, config_text().replace("candidate: c", "candidate: d"), tmp_path) == ""
    await worker.until(lambda: worker.lane(NAME) is None or worker.lane(NAME).weight == 0)  # type: ignore[union-attr]
    assert kinds(controller)[-1] == "advanced"
    controller.store.broken = False  # type: ignore[attr-defined]
    await eventually(lambda: controller.executor.unsaved == [])
    assert "removed" in kinds(controller)


async def test_what_was_redacted_stays_redacted_when_the_rollout_is_taken_out(tmp_path: Path) -> None:
    redacting = "record: {path: p.jsonl, share: 100%, redact: [/outputs]}\n        consecutive_failures"
    text = config_text().replace("consecutive_failures", redacting)
    async with running(tmp_path, text) as controller:
        worker = await FakeWorker(tmp_path).connect()
        await worker.until(lambda: worker.lane(NAME))
        worker.good(trial_of(controller), 50)
        service = desk_of(controller)
        await eventually(lambda: service.pairs(NAME, "latest", 5))
        assert await reload(controller, config_text().replace("candidate: c", "candidate: d"), tmp_path) == ""
        assert NAME in controller.registry.ended
        shown = service.pairs(NAME, "latest", 5)
        assert shown
        assert all("[redacted]" in one["live"]["body"] and one["live"]["prediction"] is None for one in shown)
        charts = service.charts(NAME)
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
        service = desk_of(controller)
        await eventually(lambda: service.pairs(NAME, "latest", 5))
        for text in (redacting("/else"), config_text()):
            assert await reload(controller, text, tmp_path) == ""
            shown = service.pairs(NAME, "latest", 5)
            assert shown
            assert all("[redacted]" in one["live"]["body"] and one["live"]["prediction"] is None for one in shown)
        assert await reload(controller, config_text(version="2"), tmp_path) == ""
        assert (controller.trials[NAME].redact, service.pairs(NAME, "latest", 5)) == ((), [])
        worker.disconnect()


async def test_of_the_rollouts_that_ended_only_the_last_ones_keep_their_pairs(
    controller: Controller, worker: FakeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.controller.rollout_registry.SHOWN_ENDED", 1)
    worker.good(trial_of(controller), 50)
    service = desk_of(controller)
    await eventually(lambda: service.pairs(NAME, "latest", 5))
    text = config_text().replace("d: {url", 'e: {url: "http://127.0.0.1:5"}, d: {url')
    assert await reload(controller, text.replace("candidate: c", "candidate: d"), tmp_path) == ""
    assert service.pairs(NAME, "latest", 5)
    assert await reload(controller, text.replace("candidate: c", "candidate: e"), tmp_path) == ""
    assert list(controller.registry.ended) == [NAME, "r/d"]
    assert service.pairs(NAME, "latest", 5) == []


async def test_only_the_last_rollouts_that_ended_are_held_and_an_older_one_is_still_known_when_it_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.controller.rollout_registry.KEEP_ENDED", 1)
    monkeypatch.setattr(Shaky, "retention", Retention(ended=1))
    base = config_text().replace("d: {url", 'e: {url: "http://127.0.0.1:5"}, d: {url')
    texts = {one: base.replace("candidate: c", f"candidate: {one}") for one in "cde"}
    async with running(tmp_path, texts["c"]) as first:
        await desk_of(first).act(NAME, "abort", reason="smells", actor="ann")
        for one in "de":
            assert await reload(first, texts[one], tmp_path) == ""
        assert (list(first.trials), list(first.registry.ended)) == (["r/e"], ["r/d"])
        assert await reload(first, texts["c"], tmp_path) == ""
        assert (first.trials[NAME].rollout.state, first.trials[NAME].rollout.reason) == (State.ROLLED_BACK, "smells")
        assert await reload(first, texts["e"], tmp_path) == ""
    async with running(tmp_path, texts["d"]) as second:
        assert (list(second.trials), list(second.registry.ended)) == (["r/d"], ["r/e"])
        assert await reload(second, texts["c"], tmp_path) == ""
        assert second.trials[NAME].rollout.state is State.ROLLED_BACK


async def test_a_promoted_candidate_that_the_file_makes_live_is_completed(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    service = desk_of(controller)
    await service.act(NAME, "promote", reason="sure", actor="ann", full=True)
    await worker.weight(NAME, BUCKETS)
    done = config_text().replace("live: l", "live: c")  # the rollout's own entry may stay
    assert await reload(controller, done, tmp_path) == ""
    assert controller.registry.ended[NAME].rollout.state is State.COMPLETED
    assert kinds(controller)[-1] == "completed"
    assert await reload(controller, done.replace("candidate: c", "candidate: d"), tmp_path) == ""
    assert kinds(controller)[-1] == "began"
