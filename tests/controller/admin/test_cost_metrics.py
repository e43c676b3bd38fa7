"""Promise: what answers and copies cost is in the metrics of rollouts whose arms both have a price, and no others."""

from __future__ import annotations

from proxy.controller.admin.metrics import Metrics
from tests.controller.admin.test_metrics import NAME, FakeController, FakeSender, rollout, samples, value


def test_what_arms_and_copies_cost_is_seen_where_both_have_a_price() -> None:
    arms = {"live": {"total": 1.5, "mean": 0.015}, "candidate": {"total": 3.0, "mean": 0.03}}
    cost = {**arms, "currency": "$", "pairs": 100, "ratio": 2.0, "copies": 3.5, "counted": 0}
    one = rollout(cost=cost, cost_budget={"share": 0.125})
    found = samples(Metrics(FakeController(rollouts=[one]), FakeSender()))
    assert value(found, "understudy_cost_total", rollout=NAME, arm="live") == 1.5
    assert value(found, "understudy_cost_total", rollout=NAME, arm="candidate") == 3.0
    assert value(found, "understudy_cost_pairs_total", rollout=NAME) == 100
    assert value(found, "understudy_copy_cost_total", rollout=NAME) == 3.5
    assert value(found, "understudy_cost_budget_share_ratio", rollout=NAME) == 0.125
    without = samples(Metrics(FakeController(rollouts=[rollout(cost=None)]), FakeSender()))
    assert "understudy_cost_total" not in without
