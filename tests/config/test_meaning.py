"""Promise: a configuration means what it says, with every default filled in, and shows no secret."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from proxy import units
from proxy.config import Config, load, parse, schema
from proxy.config.words import describe
from proxy.errors import ConfigError
from proxy.http.credentials import HEADERS
from proxy.model import Guard, Kind, Stage, State
from tests.config.files import ROOT, SECRETS, read, rollout

EXAMPLES = [
    path
    for path in sorted((ROOT / "config").glob("**/*.yaml"))
    if "\nupstreams:" in path.read_text() and not path.read_text().startswith("owner:")  # that one is included
]


@cache
def checked() -> Draft202012Validator:
    """The schema, which is one: to check that takes 0.2 s."""
    Draft202012Validator.check_schema(schema())
    return Draft202012Validator(schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads_fits_the_schema_and_can_be_told_in_words(path: Path) -> None:
    # Files that it names (certificates) are where it runs, not here.
    config = parse(path.read_text("utf-8"), str(path), directory=path.parent, environ=SECRETS)
    assert config.plans
    checked().validate(read(path.read_text("utf-8").replace("2026-11-18T09:00:00Z", '"x"')))
    told = describe(config)
    assert all(name in told for name in config.plans)


def test_units_names_and_defaults() -> None:
    config = load(ROOT / "config" / "full.yaml", SECRETS)
    route, rollout = next(iter(config.rollouts()))
    assert config.server.timeouts.drain_delay == 5.0
    assert config.upstreams["credit-v2"].urls == ("http://127.0.0.1:9002", "http://127.0.0.1:9012")
    assert config.upstreams["credit-v1"].timeout == 30.0
    assert rollout.mirror.max_body == 1 << 20
    assert rollout.mirror.headers.set == {"x-shadow": "credit-v2"}
    assert rollout.mirror.headers.dropped == HEADERS | {"x-internal"}
    assert rollout.record is not None
    assert rollout.record.path == str(ROOT / "config" / "state" / "pairs.jsonl.gz")
    assert config.store.path == str(ROOT / "config" / "state" / "understudy.db")
    assert route.sticky is not None
    assert (route.sticky.header, route.sticky.cookie) == ("x-user-id", None)
    plan = config.plans["credit/credit-v2"]
    assert plan.stages[1] == Stage(State.CANARY, 5.0, 100.0, 1000, 600.0, 86400.0, "hold")
    assert Guard("max_big_change", 0.005, tolerance=0.3) in plan.guards
    assert Guard("p99_latency", 1.2, relative=True) in plan.guards
    assert plan.prediction.kind is Kind.PROBABILITIES
    assert plan.prediction.ignore == ("/id",)
    assert plan.segments is not None
    assert (plan.lead_time_slo, plan.version, plan.latency_block) == (3 * 86400.0, "2026-11-20", 0.1)
    assert plan.signed_off_at == units.moment("2026-11-18T09:00:00Z")


@pytest.mark.parametrize(
    ("written", "relative", "size"), [("0.3", False, 0.3), ("2iqr", True, 2.0), ("5%", False, 0.05)]
)
def test_a_tolerance_says_its_unit(written: str, relative: bool, size: float) -> None:
    config = parse(with_tolerance(written, "number"))
    (guard,) = config.plans["all/v2"].guards
    assert guard == Guard("max_big_change", 0.01, relative=relative, tolerance=size)
    words = describe(config)
    assert f"max_big_change 1% beyond {size:g}{'iqr' * relative}" in words
    assert "beat live" not in words


def test_a_tolerance_in_ranges_is_for_what_has_one() -> None:
    with pytest.raises(ConfigError, match="no interquartile range"):
        parse(with_tolerance("2iqr", "label"))
    with pytest.raises(ConfigError, match="more than 0"):
        parse(with_tolerance("0iqr", "number"))


def with_tolerance(written: str, kind: str) -> str:
    """A configuration with one guard, `max_big_change`."""
    guards = f"guards: {{max_big_change: {{tolerance: {written}, rate: 1%}}}}"
    return rollout(f"shadow: 100%\n        {guards}").replace("kind: label", f"kind: {kind}")


def test_the_short_form_is_a_whole_plan() -> None:
    plan = parse(rollout("canary: 5%")).plans["all/v2"]
    assert plan.stages == (Stage(State.CANARY, 5.0),)
    errors, mismatch = Guard("max_extra_errors", 0.01), Guard("max_response_mismatch", 0.01)
    assert plan.guards == (Guard("p99_latency", 1.2, relative=True), errors, mismatch)
    assert plan.consecutive_failures == 20
    assert plan.version.startswith("urls-")
    both = parse(rollout("{shadow: 50%, canary: 5%}".strip("{}").replace(", ", "\n        "))).plans["all/v2"]
    assert [(stage.name, stage.share, stage.weight) for stage in both.stages] == [
        ("shadow", 5000, 0),
        ("canary-5", 10_000, 500),
    ]


@pytest.mark.parametrize(
    ("guards", "limit"),
    [
        ("{p99_latency: 1.2x}", 0.01),
        ("{max_extra_errors: 5%}", 0.01),
        ("{max_quality_drop: 0.02}", 0.01),  # compares an answer with the truth, which may never come
        ("{max_disagreement: 2%}", None),
        ("{max_psi: 0.2, p99_latency: 2x}", None),
        ("{max_disagreement: 2%, max_response_mismatch: 0.5%}", 0.005),
        ("{p99_latency: 1.2x, max_response_mismatch: 3%}", 0.03),
        ("{p99_latency: 1.2x, max_response_mismatch: off}", None),
    ],
)
def test_answers_are_compared_as_answers_where_nothing_else_compares_them(guards: str, limit: float | None) -> None:
    text = rollout(f"shadow: 5%\n        guards: {guards}").replace("kind: label", "kind: score")
    plan = parse(text).plans["all/v2"]
    assert [g.limit for g in plan.guards if g.name == "max_response_mismatch"] == ([] if limit is None else [limit])
    assert len({g.name for g in plan.guards}) == len(plan.guards)


def test_a_new_url_is_a_new_version_and_their_order_is_none() -> None:
    def version(urls: str) -> str:
        return parse(f"{{upstreams: {{m: {{urls: {urls}}}}}, default: {{live: m}}}}").upstreams["m"].effective_version

    assert version("[http://a:1, http://b:1]") == version("[http://b:1, http://a:1]") != version("[http://a:1]")


def test_a_route_without_prediction_reads_nothing_and_may_have_a_canary() -> None:
    text = rollout("canary: 5%").replace("    prediction: {protocol: v2, kind: label}\n", "")
    assert parse(text).plans["all/v2"].prediction.protocol == "none"


def test_a_secret_is_shown_nowhere() -> None:
    config = load(ROOT / "config" / "full.yaml", SECRETS)
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == "correct horse"
    shown = repr(config) + str(config) + config.model_dump_json() + describe(config)
    assert not any(secret in shown for secret in SECRETS.values())


def test_a_configuration_is_frozen() -> None:
    config = parse(rollout("shadow: 5%"))
    assert isinstance(config, Config)
    with pytest.raises(ValueError, match="frozen"):
        config.server = config.server  # type: ignore[misc]
