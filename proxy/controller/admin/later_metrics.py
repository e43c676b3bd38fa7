"""What became known later of requests and users, as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import Metric

from proxy.controller.admin.families import counter, gauge
from proxy.model import Arm

_RESULTS = ("exposed", "counted", "with_value", "waiting", "switched", "outcomes", "late")
_LEFT = ("unknown", "unfit", "left_out", "lost")


def later_families(current: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    """Labels of all rollouts, and users of both arms where a guard counts them."""
    labels = {(one["name"], result): n for one in current for result, n in (one.get("labels") or {}).items()}
    text = "Requests and their delayed labels, by result."
    yield gauge("labels", text, ("rollout", "result"), labels)
    arms = [(one["name"], arm, one["users"][arm]) for one in current if one.get("users") for arm in Arm]
    counts = {(name, arm.value, result): of[result] for name, arm, of in arms for result in _RESULTS}
    text = "Users whose outcomes a guard counts, by arm and by what became of them."
    yield gauge("users", text, ("rollout", "arm", "result"), counts)
    means = {(name, arm.value): of["mean"] for name, arm, of in arms if of["mean"] is not None}
    yield gauge("outcome_mean", "Mean outcome of the users that count, by arm.", ("rollout", "arm"), means)
    left = {(one["name"], why): one["users"][why] for one in current if one.get("users") for why in _LEFT}
    yield counter("users_left", "Users and outcomes that do not count, by why.", ("rollout", "why"), left)
