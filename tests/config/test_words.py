"""Promise: `check` says in words what a plan will do, warns of what is surely not meant, and reckons how long it
takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import parse
from proxy.config.effort import pairs_to_pass, seconds_to_pass
from proxy.config.words import describe, warnings
from proxy.model import Guard, Plan, Stage, State
from tests.config.files import PLAIN, rollout


def test_check_says_what_a_token_budget_means() -> None:
    wanted = parse(PLAIN % "shadow: 5%\n        mirror: {max_tokens_per_minute: 60000}")
    assert "Copies may cost 60,000 tokens a minute." in describe(wanted)


def test_a_candidate_that_is_asked_for_something_else_is_another_trial_and_check_says_what_is_set() -> None:
    shadow = PLAIN % "shadow: 5%"
    set_model = shadow.replace("v2: {", "v2: {set_json: {/model: MODEL}, ")
    plain, one, two = map(parse, (shadow, set_model.replace("MODEL", "x"), set_model.replace("MODEL", "y")))
    other = parse(shadow.replace("protocol: v2", "protocol: json, jmespath: a"))
    trials = {next(iter(parsed.plans.values())).trial for parsed in (plain, one, two, other)}
    assert len(trials) == 4
    assert not any('"x"' in trial for trial in trials)
    assert "v2 gets /model set" in describe(one)
    assert "/model" not in describe(plain)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ("", False),
        ("headers: {set: {authorization: b}}", False),
        ("headers: {set: {x-model: b}}", True),
        ("host: b.models", True),
        ("path: {from: /a, to: /b}", True),
        ("set_json: {/model: b}", True),
    ],
)
def test_two_upstreams_that_nothing_tells_apart_are_warned_of(other: str, told: bool) -> None:
    text = f"""
upstreams:
  v1: {{url: 'http://a/x'}}
  v2: {{urls: ['http://b', 'http://a/x'], {other}}}
routes: [{{name: m, live: v1, rollouts: [{{candidate: v2, shadow: 100%}}]}}]
"""
    assert ("upstreams v1 and v2 share address" in describe(parse(text))) is not told
    assert "share address" not in describe(parse(text.replace("'http://a/x']", "'http://a/y']")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{shadow: 5%, guards: {max_disagreement: 0%}}", "`max_disagreement: 0%` can never pass"),
        ("{shadow: 5%, guards: {p99_latency: 1x}}", "`p99_latency: 1x` requires the candidate to beat live"),
        ("{shadow: 5%, guards: {p99_latency: 2x}}", "without `max_extra_errors`"),
        ("{shadow: 5%, guards: {p99_latency: 2x, max_response_mismatch: off}}", "nothing compares the answers"),
        ("{shadow: 5%, guards: {p99_latency: 2x, max_response_mismatch: 0%}}", "`max_response_mismatch: 0%` can never"),
        ("{shadow: 5%}", "no canary stage"),
        ("{shadow: 5%}", "no webhook"),
        ("{canary: 5%}", "no shadow stage"),
        ("{canary: 5%}", "no `sticky`"),
        ("{canary: 5%, fallback: off}", "clients see the candidate's failures"),
        ("{shadow: 5%, lead_time_slo: 3d}", "never measured without `signed_off_at`"),
        (
            "{stages: [{canary: 5%, max_time: 1m}]}",
            "canary-5: `max_time` is 1m, but the stage takes at least about 69 s",
        ),
    ],
)
def test_what_is_surely_not_meant_is_warned_of(text: str, said: str) -> None:
    good = "{stages: [{shadow: 100%, min_time: 1h}, {canary: 5%}], guards: {p99_latency: 1.2x, max_extra_errors: 1%}}"
    sticky = {"sticky": {"header": "x-user"}}
    bad, fine = yaml.safe_load(PLAIN % "shadow: 5%"), yaml.safe_load(PLAIN % "shadow: 5%")
    bad["routes"][0]["rollouts"] = [{"candidate": "v2", **yaml.load(text, yaml.BaseLoader)}]
    fine["routes"][0] |= {"rollouts": [{"candidate": "v2", **yaml.safe_load(good)}], **sticky}
    fine["webhooks"] = [{"url": "http://h", "secret": "s"}]
    assert any(said in warning for warning in warnings(parse(yaml.safe_dump(bad))))
    assert list(warnings(parse(yaml.safe_dump(fine)))) == []


def test_a_candidate_that_is_live_already_is_completed_and_said_to_be() -> None:
    text = (PLAIN % "shadow: 5%").replace("live: v1", "live: v2")
    config = parse(text)
    assert list(config.plans) == []
    assert any(
        "all/v2: `v2` is live, so its entry under `rollouts` has no effect" in warning for warning in warnings(config)
    )
    assert "no rollout: requests are forwarded" in describe(config)


def test_effort_is_near_the_figures_of_the_calibration() -> None:
    assert pairs_to_pass(Guard("max_mean_shift", 0.01)) == pytest.approx(2300, rel=0.25)
    assert pairs_to_pass(Guard("max_disagreement", 0.02)) == pytest.approx(500, rel=0.35)
    assert pairs_to_pass(Guard("max_disagreement", 0.0)) == float("inf")


def test_check_says_that_answers_are_compared_as_answers_and_what_that_costs() -> None:
    every = describe(parse(rollout("shadow: 5%")))
    assert "guards p99_latency: 1.2x, max_extra_errors: 1%, max_response_mismatch: 1%" in " ".join(every.split())
    text = rollout("shadow: 100%\n        guards: {max_extra_errors: 5%}")
    said = " ".join(describe(parse(text), rates=(1.0,)).split())
    assert "Guards: max_extra_errors 5%, max_response_mismatch 1%." in said
    assert "Filled in: max_response_mismatch: 1%, since no guard compares answers" in said
    plan = parse(text.replace("shadow: 100%", "stages: [{shadow: 100%, min_pairs: 1}]")).plans["all/v2"]
    seconds, why = seconds_to_pass(plan, plan.stages[0], 1.0)
    assert (round(seconds, -1), why) == (420.0, "max_response_mismatch")


def test_a_noise_floor_takes_its_share_of_the_pairs() -> None:
    text = rollout("shadow: 100%\n        guards: {max_disagreement: 2%}\n        mirror: {noise_floor: 10%}")
    config = parse(text)
    plan = config.plans["all/v2"]
    alone = replace(plan, noise_floor=0.0)
    assert seconds_to_pass(plan, plan.stages[0], 10.0)[0] > 5 * seconds_to_pass(alone, plan.stages[0], 10.0)[0]
    assert "max_disagreement judges what goes beyond live's own noise, from the 10% of pairs" in describe(config)


@given(st.floats(0.1, 1e5), st.floats(0.01, 100), st.integers(1, 10_000), st.floats(0, 1e5))
def test_more_traffic_never_takes_longer(rate: float, percent: float, min_pairs: int, min_time: float) -> None:
    guards = (Guard("p99_latency", 1.2, relative=True), Guard("max_extra_errors", 0.01))
    plan = Plan("r/c", "r", "l", "c", "1", (), guards)
    for stage in (
        Stage(State.SHADOW, percent, 100.0, min_pairs, min_time),
        Stage(State.CANARY, percent, 50.0, min_pairs, min_time),
    ):
        slow, fast = (seconds_to_pass(plan, stage, r)[0] for r in (rate, 2 * rate))
        assert min_time <= fast <= slow * (1 + 1e-9)
