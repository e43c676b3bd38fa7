"""Promise: what judges said, cost and failed to say is in the metrics, where a rollout is judged and nowhere else."""

from __future__ import annotations

from proxy.controller.admin.metrics import Metrics
from tests.controller.admin.test_metrics import NAME, FakeController, FakeSender, rollout, samples, value


def test_what_judges_said_is_seen_where_there_is_one() -> None:
    found = samples(Metrics(FakeController(), FakeSender()))
    assert value(found, "understudy_judge_verdicts_total", rollout=NAME, aspect="quality", verdict="win") == 3
    assert value(found, "understudy_judge_not_judged_total", rollout=NAME, aspect="quality", reason="timeout") == 4
    assert value(found, "understudy_judge_not_judged_total", rollout=NAME, aspect="quality", reason="budget") == 0
    assert value(found, "understudy_judge_up", judge="helpful") == 0
    assert value(found, "understudy_judge_moved", judge="helpful") == 1
    assert value(found, "understudy_judge_held", judge="helpful") == 12
    assert value(found, "understudy_judge_cost_total", judge="helpful") == 1.25
    assert value(found, "understudy_judge_duration_seconds_bucket", judge="helpful", le="0.25") == 3
    assert value(found, "understudy_embedded_pairs_total", rollout=NAME, aspect="alike") == 5
    without = samples(Metrics(FakeController(rollouts=[rollout(judges=[], similarities=[])]), FakeSender()))
    assert not [name for name in without if name.startswith("understudy_judge_")]
