"""Promise: what a drop is in is what the file says, whatever its bound; no climb is held for what proves nothing."""

from __future__ import annotations

import pytest

from proxy.config import parse
from proxy.errors import ConfigError
from proxy.evidence.rules.outcome_drop import OUTCOME_DROP

TEXT = """
upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2", version: "1"}}
routes:
  - name: r
    live: l
    STICKY
    rollouts:
      - candidate: c
        stages: [{canary: 20%}]
        on_srm: hold
        guards: {max_extra_errors: 1%, DROP}
"""
STICKY = "sticky: {header: x-user-id}"


def config_of(drop: str, sticky: str = STICKY) -> str:
    return TEXT.replace("STICKY", sticky).replace(", DROP", f", max_outcome_drop: {{{drop}}}" if drop else "")


@pytest.mark.parametrize(
    ("drop", "in_points", "bound", "said", "chart"),
    [
        ("10pp", True, 1.0, "10 pp", "points"),
        ("0.1, most: 1", False, 1.0, "0.1", "number"),
        ("0.1, most: 2", False, 2.0, "0.1", "number"),
        ("10%, most: 1", False, 1.0, "10 %", "percent"),
        ("10%", False, 0.0, "10 %", "percent"),
    ],
)
def test_a_bound_of_one_makes_no_points(drop: str, in_points: bool, bound: float, said: str, chart: str) -> None:
    (plan,) = parse(config_of(f"name: score, drop: {drop}, within: 5s")).plans.values()
    (guard,) = [one for one in plan.guards if one.outcome]
    assert (guard.in_points, guard.tolerance) == (in_points, bound)
    assert OUTCOME_DROP.number(guard, 0.1) == said
    assert OUTCOME_DROP.chart(guard) == chart
    assert f"drop: {drop.split(',')[0]}, within: 5s" in OUTCOME_DROP.written(guard)
    assert ("most: " in OUTCOME_DROP.written(guard)) == ("most" in drop)


def test_pairs_of_users_that_come_again_hold_no_climb() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(config_of(""))
    (mistake,) = caught.value.mistakes
    assert mistake.path == "routes[0].rollouts[0].on_srm"
    assert "no independent draws" in mistake.problem
    assert parse(config_of("", sticky=""))
    assert parse(config_of("name: c, drop: 1pp"))


def test_a_second_one_is_refused_in_words() -> None:
    """One rollout has one: users, what is posted of them and when they count are kept once."""
    one = "name: conversion, drop: 1pp"
    text = config_of(one).replace(f"{{{one}}}", f"[{{{one}}}, {{name: revenue, drop: 2%}}]")
    with pytest.raises(ConfigError) as caught:
        parse(text.replace("on_srm: hold", "on_srm: report"))
    (mistake,) = caught.value.mistakes
    assert (mistake.path, mistake.hint) == (
        "routes[0].rollouts[0].guards.max_outcome_drop",
        "there is one `max_outcome_drop`, not a list of them",
    )
