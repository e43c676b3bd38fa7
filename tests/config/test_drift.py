"""Promise: what `drift:` asks for and cannot have is named with a remedy, and what it means is said in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import Config, parse
from proxy.config.drift import alarm_budget
from proxy.config.for_workers import worker_config
from proxy.config.words import describe
from proxy.controller.drift.source import drift_sources
from proxy.errors import ConfigError
from proxy.model import Kind
from proxy.units import Unfit

TEXT = """
server: {{listen: '127.0.0.1:1'{calls}}}
upstreams: {{m: {{url: 'http://a:1'}}, c: {{url: 'http://a:2'}}, g: {{url: 'grpc://a:3'}}}}
routes:
  - name: fraud
    live: {live}
    {more}
    drift: {drift}
"""


def written(drift: str, live: str = "m", more: str = "") -> Config:
    calls = ", grpc_listen: '127.0.0.1:2'" if live == "g" else ""
    return parse(TEXT.format(drift=drift, live=live, more=more, calls=calls))


@pytest.mark.parametrize(
    ("drift", "path", "says"),
    [
        ("{predictions: false}", "drift", "watches nothing"),
        ("{period: 3s}", "drift.period", "3s is too short for a cycle"),
        ("{reference: {}}", "drift.reference", "has neither of `first` and `recording`"),
        ("{reference: {first: 500, recording: a.jsonl}}", "drift.reference", "has both of `first` and `recording`"),
        ("{inputs: {a: {kind: label}}}", "drift.inputs.a", "has neither of `pointer` and `header`"),
        ("{inputs: {a: {pointer: /a, header: x-a}}}", "drift.inputs.a", "has both of `pointer` and `header`"),
        ("{inputs: {a: {header: Cookie, kind: label}}}", "drift.inputs.a.header", "`cookie` carries credentials"),
        ("{inputs: {a: {header: x-a, kind: vector}}}", "drift.inputs.a.kind", "a header holds no vector"),
        ("{inputs: {a: {pointer: /a, kind: label, max: 3}}}", "drift.inputs.a.max", "has no meaning for a `label`"),
        ("{inputs: {a: {pointer: /a, labels: [b]}}}", "drift.inputs.a.labels", "has no meaning for a `number`"),
        ("{inputs: {a: {pointer: /a, min: 3, max: 3}}}", "drift.inputs.a.min", "3 is not below `max` (3)"),
        ("{inputs: {a: {pointer: /a, missing: 0%}}}", "drift.inputs.a.missing", "0% is no rate that can be exceeded"),
        ("{inputs: {a: {pointer: /a, invalid: 1%}}}", "drift.inputs.a.invalid", "has no effect without `min`"),
        ("{inputs: {prediction: {pointer: /a}}}", "drift.inputs.prediction", "is what live's answers are called"),
        ("{inputs: {prediction.words: {pointer: /a}}}", "drift.inputs.prediction.words", "is what live's answers are"),
        ("{alarms: one a year}", "drift.alarms", "such as `1 per 90d`"),
        ("{observations_per_second: 0}", "drift.observations_per_second", "found 0, expected at least 1"),
    ],
)
def test_a_mistake_is_named_where_it_is(drift: str, path: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        written(drift)
    (mistake,) = caught.value.mistakes
    assert mistake.path == f"routes[0].{path}"
    assert says in f"{mistake.problem} ({mistake.hint})"


def test_a_recording_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    recording = tmp_path / "pairs.jsonl"
    config = written(f"{{predictions: true, reference: {{recording: '{recording}'}}}}")
    assert f"! fraud: cannot read {recording}: No such file or directory; drift is not watched until" in describe(
        config
    )
    recording.write_bytes(b"")
    assert "cannot read" not in describe(config)


def test_bodies_of_calls_are_not_looked_into() -> None:
    with pytest.raises(ConfigError, match="the messages of gRPC calls are not looked into"):
        written("{inputs: {a: {pointer: /a}}}", live="g")
    assert written("{inputs: {a: {header: x-a, kind: label}}}", live="g").routes[0].drift is not None


@pytest.mark.parametrize(
    ("masked", "field", "hidden"),
    [("/user", "/user/name", True), ("/rows/*/id", "/rows/3/id", True), ("/rows/*/id", "/rows/3/amount", False)],
)
def test_what_is_redacted_is_not_looked_at(masked: str, field: str, hidden: bool) -> None:
    more = f"rollouts: [{{candidate: c, shadow: 100%, record: {{path: p.jsonl, redact: ['{masked}']}}}}]"
    drift = f"{{inputs: {{a: {{pointer: {field}}}}}}}"
    if not hidden:
        assert written(drift, more=more).routes[0].drift is not None
        return
    with pytest.raises(ConfigError) as caught:
        written(drift, more=more)
    assert [mistake.problem for mistake in caught.value.mistakes] == [f"is masked by `record.redact` ({masked})"]


def test_a_configuration_reads_like_a_sentence() -> None:
    config = written(
        "{inputs: {amount: {pointer: /amount}, country: {header: x-country, kind: label}}, period: 24h,"
        " reference: {first: 5000}, alarms: 2 per 60d, observations_per_second: 5}"
    )
    said = " ".join(describe(config).split())
    assert (
        "drift of amount, country and live's answers: up to 5 requests a second are compared with the first 5,000"
        " (17 min or more), by the time of a cycle of 1d; one false alarm in 30d; no rollout depends on it"
    ) in said


def test_workers_are_told_of_the_rate_alone() -> None:
    config = written("{inputs: {a: {pointer: /a}}}")
    assert worker_config(config).routes[0].observations_per_second == 10.0
    plain = parse("upstreams: {m: {url: 'http://a:1'}}\nroutes: [{name: all, live: m}]")
    assert worker_config(plain).routes[0].observations_per_second is None


def test_each_prediction_of_a_route_has_fields_of_its_own_name() -> None:
    tools = "tools: {protocol: openai, output: tool_calls, kind: calls}"
    more = f"predictions: {{tone: {{protocol: openai, kind: label}}, {tools}}}"
    source = drift_sources(written("{inputs: {a: {header: x-a, kind: label}}}", more=more))["fraud"]
    kinds = {"tone": Kind.TEXT, "tools": Kind.CALLS}
    assert [field.name for field in source.plan(kinds, 100).fields] == ["a", "tone.words", "tools"]
    other = drift_sources(written("{inputs: {a: {header: x-b, kind: label}}}", more=more))["fraud"]
    assert other.identity != source.identity


@pytest.mark.parametrize("text", ["0 per 90d", "1 per 0s", "1 per", "per 90d", "1 per 90", 7, True, None, "-1 per 90d"])
def test_a_budget_of_alarms_is_so_many_in_so_long(text: object) -> None:
    with pytest.raises(Unfit, match="how many false alarms in how long"):
        alarm_budget(text)
