"""Promise: several predictions are read from the file with their guards; each mistake is told where it is."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator
from yaml import safe_load

from proxy.config import Config, parse
from proxy.config.json_schema import schema
from proxy.config.words import describe
from proxy.model import Guard, Kind
from tests.config.files import mistakes

WHOLE = """
upstreams:
  v1: {url: http://127.0.0.1:9001}
  v2: {url: http://127.0.0.1:9002}
routes:
  - name: chat
    live: v1
    predictions:
      tools: {protocol: openai, output: tool_calls, kind: calls}
      refusal: {protocol: openai, output: refusal, kind: label}
      risk: {protocol: json, pointer: /risk, kind: score, threshold: 0.8}
    rollouts:
      - candidate: v2
        shadow: 100%
        canary: 5%
        guards:
          tools: {max_disagreement: 2%}
          p99_latency: 1.2x
          refusal: {max_rate_increase: 0.5%}
          risk: {max_rate_increase: 1%, max_ks: 0.05}
"""
HERE = "routes[0].rollouts[0].guards"


def config(text: str = WHOLE) -> Config:
    return parse(text, environ={})


def test_the_plan_has_them_in_the_order_of_the_file() -> None:
    (plan,) = config().plans.values()
    assert [(spec.name, spec.kind) for spec in plan.aspects] == [
        ("tools", Kind.CALLS),
        ("refusal", Kind.LABEL),
        ("risk", Kind.SCORE),
    ]
    assert plan.aspects[2].middle == 0.8
    assert plan.guards == (
        Guard("max_disagreement", 0.02, aspect="tools"),
        Guard("max_rate_increase", 0.005, aspect="refusal"),
        Guard("max_rate_increase", 0.01, aspect="risk"),
        Guard("max_ks", 0.05, aspect="risk"),
        Guard("p99_latency", 1.2, relative=True),
    )


def test_check_forecasts_each_and_names_what_no_guard_judges() -> None:
    said = describe(config())
    assert "Guards: tools.max_disagreement 2%, refusal.max_rate_increase 0.5%," in said
    assert "no guard judges it" not in said
    unjudged = describe(config(WHOLE.replace("          refusal: {max_rate_increase: 0.5%}\n", "")))
    assert "! chat/v2: prediction `refusal` is read and shown, but no guard judges it" in unjudged
    psi = describe(config(WHOLE.replace("max_ks: 0.05", "max_psi: 0.2")))
    beside = "risk.max_psi leaves failures out, so it can pass only beside"
    assert beside in psi


def test_the_schema_takes_what_the_reader_takes() -> None:
    validator = Draft202012Validator(schema())
    assert not list(validator.iter_errors(safe_load(WHOLE)))
    assert list(validator.iter_errors(safe_load(WHOLE.replace("max_disagreement: 2%", "p99_latency: 1.2x"))))
    assert list(validator.iter_errors(safe_load(WHOLE.replace("tools: {max_disagreement: 2%}", "tools: 2%"))))


@pytest.mark.parametrize(
    ("old", "new", "path", "said"),
    [
        ("tools: {max", "tolls: {max", f"{HERE}.tolls", "(did you mean `tools`?"),
        ("max_disagreement: 2%", "max_disagrement: 2%", f"{HERE}.tools.max_disagrement", "`max_disagreement`?"),
        ("p99_latency: 1.2x", "p99_latncy: 1.2x", f"{HERE}.p99_latncy", "(did you mean `p99_latency`?"),
        ("p99_latency: 1.2x", "max_ks: 0.1", f"{HERE}.max_ks", "under that one's name: `tools` or `refusal` or `risk`"),
        ("refusal: {max_rate_increase: 0.5%}", "refusal: {max_ks: 0.1}", f"{HERE}.refusal.max_ks", "of kind `label`"),
        ("refusal: {max_rate_increase: 0.5%}", "refusal: {p99_latency: 1.2x}", f"{HERE}.refusal.p99_latency", HERE),
        ("max_disagreement: 2%", "max_disagreement: 100%", f"{HERE}.tools.max_disagreement", "can never fail"),
        ("threshold: 0.8", "threshold: 1.0", "routes[0].predictions.risk.threshold", "every score or none"),
        ("output: refusal", "threshold: 0.5", "routes[0].predictions.refusal.threshold", "only a score has a range"),
        ("kind: calls", "kind: auto", "routes[0].predictions.tools.kind", "does not decide about a canary"),
        (
            "    predictions:",
            "    prediction: {protocol: json, kind: label}\n    predictions:",
            "routes[0].predictions",
            "conflicts",
        ),
    ],
)
def test_a_mistake_is_told_where_it_is(old: str, new: str, path: str, said: str) -> None:
    found = mistakes(WHOLE.replace(old, new, 1))
    assert list(found) == [path]
    assert said in found[path]


def test_a_name_must_tell_guards_from_predictions() -> None:
    found = mistakes(WHOLE.replace("risk", "max_ks").replace("refusal:", "re.fusal:"))
    assert "is the name of a guard" in found["routes[0].predictions.max_ks"]
    assert "has a `.`" in found["routes[0].predictions.re.fusal"]


def test_truths_are_about_one_of_them() -> None:
    text = WHOLE.replace("max_rate_increase: 0.5%", "max_quality_drop: 1%").replace(
        "max_ks: 0.05", "max_quality_drop: 1%"
    )
    assert list(mistakes(text)) == [f"{HERE}.risk.max_quality_drop"]


def test_guards_of_a_route_with_one_prediction_stand_as_they_did() -> None:
    one = WHOLE[: WHOLE.index("    predictions:")] + "    prediction: {protocol: json, kind: label}\n"
    rest = WHOLE[WHOLE.index("    rollouts:") : WHOLE.index("          tools:")] + "          max_disagreement: 2%\n"
    (plan,) = config(one + rest).plans.values()
    assert (plan.predictions, plan.prediction.name) == ((), "")
    assert plan.guards == (Guard("max_disagreement", 0.02),)
    found = mistakes(one + rest + "          tools: {max_disagreement: 2%}\n")
    assert "is neither a guard nor one of the route's `predictions`" in found[f"{HERE}.tools"]
