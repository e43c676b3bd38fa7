"""Promise: a configuration means what it says; every mistake in one is named at once, where it is, with a remedy."""

from __future__ import annotations

import runpy
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import Config, load, parse, schema, units
from proxy.config.checks import FITS
from proxy.config.effort import pairs_to_pass, seconds_to_pass
from proxy.config.json_schema import sections
from proxy.config.route import Guards, Protocol
from proxy.config.words import describe, warnings
from proxy.core.evidence.guards import RULES, fits_kind
from proxy.core.model import Guard, Kind, Plan, Stage, State
from proxy.core.predictions.registry import PROTOCOLS
from proxy.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = [path for path in sorted((ROOT / "config").glob("**/*.yaml")) if path.read_text().find("\nupstreams:") >= 0]
SECRETS = {"UNDERSTUDY_ADMIN_TOKEN": "correct horse", "UNDERSTUDY_WEBHOOK_SECRET": "battery staple"}

PLAIN = """
upstreams:
  v1: {url: http://127.0.0.1:9001}
  v2: {url: http://127.0.0.1:9002}
routes:
  - name: all
    live: v1
    prediction: {protocol: v2, kind: label}
    rollouts:
      - candidate: v2
        %s
"""


def rollout(text: str, **top: str) -> str:
    """A plain configuration whose rollout says `text`."""
    return PLAIN % text + "".join(f"{key}: {value}\n" for key, value in top.items())


def mistakes(text: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    """What is said of `text`, by path: the problem and the hint."""
    with pytest.raises(ConfigError) as caught:
        parse(text, environ=environ or {})
    found = [(mistake.path, f"{mistake.problem} ({mistake.hint})") for mistake in caught.value.mistakes]
    assert len(dict(found)) == len(found), f"a path blamed twice: {found}"
    return dict(found)


# --- what a file means -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads_fits_the_schema_and_can_be_told_in_words(path: Path) -> None:
    config = load(path, SECRETS)
    assert config.plans
    jsonschema.validate(yaml.safe_load(path.read_text("utf-8").replace("2026-11-18T09:00:00Z", '"x"')), schema())
    told = describe(config)
    assert all(name in told for name in config.plans)


def test_the_kubernetes_example_carries_a_good_configuration_and_leaves_time_to_drain() -> None:
    text = (ROOT / "config" / "kubernetes" / "understudy.yaml").read_text("utf-8")
    parts = {part["kind"]: part for part in yaml.safe_load_all(text)}
    config = parse(parts["ConfigMap"]["data"]["understudy.yaml"], environ=SECRETS)
    pod = parts["StatefulSet"]["spec"]["template"]["spec"]
    timeouts = config.server.timeouts
    assert pod["terminationGracePeriodSeconds"] > timeouts.drain_delay + timeouts.drain
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    listens = {"data": units.address(config.server.listen)[1], "admin": units.address(config.admin.listen)[1]}
    assert ports == listens
    mounts = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    assert any(config.store.path.startswith(mount) for mount in mounts)
    assert list(warnings(config)) == []


def test_units_names_and_defaults() -> None:
    config = load(ROOT / "config" / "full.yaml", SECRETS)
    route, rollout = next(iter(config.rollouts()))
    assert config.server.timeouts.drain_delay == 5.0
    assert config.upstreams["credit-v2"].urls == ("http://127.0.0.1:9002", "http://127.0.0.1:9012")
    assert config.upstreams["credit-v1"].timeout == 30.0
    assert rollout.mirror.max_body == 1 << 20
    assert rollout.mirror.headers.set == {"x-shadow": "credit-v2"}
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


def test_the_short_form_is_a_whole_plan() -> None:
    plan = parse(rollout("canary: 5%")).plans["all/v2"]
    assert plan.stages == (Stage(State.CANARY, 5.0),)
    assert plan.guards == (Guard("p99_latency", 1.2, relative=True), Guard("max_extra_errors", 0.01))
    assert plan.consecutive_failures == 20
    assert plan.version.startswith("urls-")
    both = parse(rollout("{shadow: 50%, canary: 5%}".strip("{}").replace(", ", "\n        "))).plans["all/v2"]
    assert [(stage.name, stage.share, stage.weight) for stage in both.stages] == [
        ("shadow", 5000, 0),
        ("canary-5", 10_000, 500),
    ]


def test_a_new_url_is_a_new_version_and_their_order_is_none() -> None:
    def version(urls: str) -> str:
        return parse(f"{{upstreams: {{m: {{urls: {urls}}}}}, default: {{live: m}}}}").upstreams["m"].effective_version

    assert version("[http://a:1, http://b:1]") == version("[http://b:1, http://a:1]") != version("[http://a:1]")


def test_a_route_without_prediction_reads_nothing_and_may_have_a_canary() -> None:
    text = rollout("canary: 5%").replace("    prediction: {protocol: v2, kind: label}\n", "")
    assert parse(text).plans["all/v2"].prediction.protocol == "none"


def test_words_are_words() -> None:
    """YAML 1.1 would read `off` as false, a date as a date and 1:30 as 90."""
    config = parse(rollout("{shadow: 100%, rescue: off}".strip("{}").replace(", ", "\n        ")))
    assert next(iter(config.rollouts()))[1].rescue.after == "off"
    text = "{upstreams: {m: {url: 'http://a', version: 2026-11-20}}, default: {live: m}}"
    assert parse(text).upstreams["m"].version == "2026-11-20"


def test_a_leading_zero_is_not_octal() -> None:
    """YAML 1.1 would read 010 as 8."""
    assert parse(rollout("shadow: 5%\n        consecutive_failures: 010")).plans["all/v2"].consecutive_failures == 10


def test_aliases_and_merge_keys_work() -> None:
    text = """
upstreams:
  v1: &base {url: http://a:1, timeout: 2s}
  v2: {<<: *base, url: http://b:1}
default: {live: v1}
"""
    found = parse(text).upstreams["v2"]
    assert (found.urls, found.timeout) == (("http://b:1",), 2.0)


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_a_secret_is_shown_nowhere() -> None:
    config = load(ROOT / "config" / "full.yaml", SECRETS)
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == "correct horse"
    shown = repr(config) + str(config) + config.model_dump_json() + describe(config)
    assert not any(secret in shown for secret in SECRETS.values())


@pytest.mark.parametrize("key", ["timeout", "url", "nonsense", "tls", "max_connections", "version"])
def test_a_mistake_quotes_the_name_of_a_secret_and_not_its_value(key: str) -> None:
    text = f"upstreams: {{m: {{url: http://a, {key}: 'x${{SECRET}}'}}}}\ndefault: {{live: m}}"
    text = text.replace("url: http://a, url", "url")
    said = mistakes(text, {"SECRET": "hunter2\n"})
    assert said
    assert "hunter" not in str(said)


def test_a_secret_that_is_not_set_is_a_mistake() -> None:
    said = mistakes(
        rollout("shadow: 100%", admin="{token: '${NOPE}'}", webhooks="[{url: 'http://h', secret: '${A B}'}]")
    )
    assert said["admin.token"] == "the environment variable NOPE is not set ()"
    assert "not the name of an environment variable" in said["webhooks[0].secret"]


def test_the_environment_cannot_add_keys() -> None:
    text = "{upstreams: {m: {url: 'http://a', version: '${V}'}}, default: {live: m}}"
    config = parse(text, environ={"V": "1, timeout: 1s}"})
    assert config.upstreams["m"].version == "1, timeout: 1s}"


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_every_mistake_is_named_at_once_in_the_order_of_the_file() -> None:
    text = """\
server: {listen: 8080, workrs: 3, workers: 0}
admin: {listen: 0.0.0.0:9090}
upstreams:
  m1: {url: 127.0.0.1:9001, timeout: 2sec}
  m2: {urls: [http://a:1, http://a:1], version: 1.10}
  m3: 5
routes:
  - name: credit
    live: m1x
    prediction: {protocol: jsn, kind: lable}
    rollouts:
      - candidate: m2
        stages:
          - {canary: 5%, min_time: 10m, max_time: 1m}
          - {shadow: 100}
        guards: {max_disagrement: 2%, p99_latency: 1.2, max_big_change: {rate: 3%}}
webhooks: [{url: "http://x", events: [rollout.promotd], secret: s}]
"""
    with pytest.raises(ConfigError) as caught:
        parse(text, "my.yaml")
    found = [(m.line, m.path, m.hint) for m in caught.value.mistakes]
    assert sorted(found) == sorted(
        [
            (1, "server.listen", "a host is missing"),
            (1, "server.workrs", "did you mean `workers`?"),
            (1, "server.workers", ""),
            (2, "admin.listen", "set `admin.token`, or use 127.0.0.1"),
            (4, "upstreams.m1.url", "the scheme is missing"),
            (4, "upstreams.m1.timeout", "did you mean `2s`?"),
            (5, "upstreams.m2.urls[1]", "first at upstreams.m2.urls[0]"),
            (5, "upstreams.m2.version", "put it in quotes"),
            (6, "upstreams.m3", ""),
            (9, "routes[0].live", "did you mean `m1`?"),
            (10, "routes[0].prediction.protocol", "did you mean `json`?"),
            (10, "routes[0].prediction.kind", "did you mean `label`?"),
            (14, "routes[0].rollouts[0].stages[0].max_time", ""),
            (15, "routes[0].rollouts[0].stages[1].shadow", "did you mean `100%`?"),
            (16, "routes[0].rollouts[0].guards.max_disagrement", "did you mean `max_disagreement`?"),
            (16, "routes[0].rollouts[0].guards.p99_latency", "a unit is missing"),
            (16, "routes[0].rollouts[0].guards.max_big_change.tolerance", ""),
            (17, "webhooks[0].events[0]", "did you mean `rollout.promoted`?"),
        ]
    )
    assert [m.line for m in caught.value.mistakes] == sorted(m.line for m in caught.value.mistakes)
    assert str(caught.value).startswith("my.yaml: 18 mistakes\n  line 1: server.")


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("stages: [{canary: 25%}, {canary: 5%}]", "stages[1].canary", "5% after 25%: stages climb"),
        ("stages: [{canary: 5%}, {canary: 5%}]", "stages[1].canary", "stages climb"),
        ("stages: [{canary: 5%}, {shadow: 100%}]", "stages[1].shadow", "shadow after canary"),
        ("stages: [{shadow: 5%}, {shadow: 100%}]", "stages[1].shadow", "a second shadow stage"),
        ("stages: [{shadow: 0%}]", "stages[0].shadow", "nothing can be learnt"),
        ("stages: [{canary: 100%}]", "stages[0].canary", "100% is promotion"),
        ("stages: [{canary: 0.123%}]", "stages[0].canary", "finer than 0.01%"),
        ("stages: [{canary: 5%, shadow: 5%}]", "stages[0]", "a stage is either"),
        ("stages: [{min_pairs: 5}]", "stages[0]", "a stage is either"),
        ("stages: [{shadow: 9%, min_time: 2m, max_time: 2m}]", "stages[0].max_time", "can never pass"),
        ("stages: [{shadow: 9%, on_timeout: abort}]", "stages[0].on_timeout", "does nothing without `max_time`"),
        ("stages: [{shadow: 9%, mirror: 9%}]", "stages[0].mirror", "has its share in `shadow`"),
        ("stages: []", "stages", "no stage"),
        ("{shadow: 5%, stages: [{canary: 5%}]}", "shadow", "stands beside `stages`"),
        ("{shadow: 5%, guards: {}}", "guards", "nothing could ever be proven"),
        ("{shadow: 5%, guards: {max_ks: 0.1}}", "guards.max_ks", "cannot judge predictions of kind `label`"),
        ("{shadow: 5%, guards: {max_disagreement: 100%}}", "guards.max_disagreement", "can never fail"),
        ("{shadow: 5%, guards: {p99_latency: 0x}}", "guards.p99_latency", "must be more than 0"),
        ("{shadow: 5%, false_rollback_rate: 0%}", "false_rollback_rate", "more than 0%"),
        ("{shadow: 5%, false_promotion_rate: 60%}", "false_promotion_rate", "at most 50%"),
        ("{shadow: 5%, mirror: {max_memory: 1MiB}}", "mirror.max_memory", "holds not even one pair"),
        ("{shadow: 5%, mirror: {max_in_flight: 0}}", "mirror.max_in_flight", "at least 1"),
        ("{shadow: 5%, mirror: {timeout: 0s}}", "mirror.timeout", "more than 0"),
        ("{shadow: 5%, record: {path: pairs.txt}}", "record.path", "ends neither in .jsonl"),
        ("{shadow: 5%, record: {path: p.jsonl, redact: [inputs]}}", "record.redact[0]", "did you mean `/inputs`?"),
        ("{shadow: 5%, record: {path: p.jsonl, redact: ['?key=']}}", "record.redact[0]", "such as ?api_key"),
        ("{shadow: 5%, cluster_by: {heder: x}}", "cluster_by.heder", "did you mean `header`?"),
        ("{shadow: 5%, consecutive_failures: 0}", "consecutive_failures", "at least 1"),
        ("{shadow: 5%, lead_time_slo: 3 weeks}", "lead_time_slo", "known units"),
        ("{shadow: 5%, rescue: false}", "rescue", "did you mean `rescue: off`?"),
        ("{shadow: 5%, rescue: true}", "rescue", "found True, expected a mapping, or `off`"),
        ("{shadow: 5%, rescue: {after: 5}}", "rescue.after", "a unit is missing"),
        ("{shadow: 5%, mirror: {set_json: {'': x}}}", "mirror.set_json.", "the empty pointer is the whole body"),
        ("{shadow: 5%, mirror: {set_json: {model: x}}}", "mirror.set_json.model", "did you mean `/model`?"),
        ("{shadow: 5%, mirror: {max_tokens_per_minute: 0}}", "mirror.max_tokens_per_minute", "at least 1"),
        ("{shadow: 5%, warmup: -1}", "warmup", "at least 0"),
        ("{shadow: 5%, mirror: {max_in_flight: 99999999999999999999}}", "mirror.max_in_flight", "at most 10000"),
        ("{shadow: 5%, mirror: {timeout: 99999999d}}", "mirror.timeout", "at most 36500d"),
        ("{shadow: 5%, mirror: {max_memory: 9999999GiB}}", "mirror.max_memory", "at most 1048576GiB"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_carried_out_is_refused(text: str, path: str, said: str) -> None:
    body = yaml.safe_load(PLAIN % "shadow: 1%")
    body["routes"][0]["rollouts"][0] = {"candidate": "v2", **yaml.safe_load(text)}
    found = mistakes(yaml.safe_dump(body))
    assert list(found) == [f"routes[0].rollouts[0].{path}"]
    assert said in found[f"routes[0].rollouts[0].{path}"]


def test_check_says_what_a_token_budget_means() -> None:
    wanted = parse(PLAIN % "shadow: 5%\n        mirror: {max_tokens_per_minute: 60000}")
    assert "Copies may cost 60,000 tokens a minute." in describe(wanted)


def test_a_candidate_that_is_asked_for_something_else_is_another_trial_and_check_says_what_is_set() -> None:
    set_model = "shadow: 5%%\n        mirror: {set_json: {/model: %s}}"
    plain, one, two = (parse(PLAIN % text) for text in ("shadow: 5%", set_model % "x", set_model % "y"))
    other = parse((PLAIN % "shadow: 5%").replace("protocol: v2", "protocol: json, jmespath: a"))
    trials = {next(iter(parsed.plans.values())).trial for parsed in (plain, one, two, other)}
    assert len(trials) == 4
    assert not any('"x"' in trial for trial in trials)
    assert "v2 is asked with /model set" in describe(one)
    assert "/model" not in describe(plain)


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"routes": [{"name": "a", "live": "v9"}]}, "routes[0].live", "there is no upstream `v9` (known: v1, v2)"),
        ({"default": {"live": "x"}}, "default.live", "known: v1, v2"),
        ({"routes": [{"name": "a", "live": "v1"}, {"name": "a", "live": "v1", "match": {"path": "/b"}}]},
         "routes[1]", "never reached"),
        ({"routes": [{"name": "a", "live": "v1", "match": {"path": "/b"}}, {"name": "a", "live": "v1"}]},
         "routes[1].name", "is there twice"),
        ({"routes": [{"name": "a", "live": "v1", "match": {"path": "/a?b=1"}}]},
         "routes[0].match.path", "without query"),
        ({"routes": [{"name": "a", "live": "v1", "match": {"path": "/v2/*/infer"}}]},
         "routes[0].match.path", "only at the end"),
        ({"admin": {"token": ""}}, "admin.token", "no request could carry it"),
        ({"admin": {"token": "abc\n"}}, "admin.token", "a line break at its end"),
        ({"server": {"controller_lost": "0s"}}, "server.controller_lost", "more than 0"),
        ({"upstreams": {"v1": {"url": "http://a", "health": {"path": "/h", "interval": "0s"}}}},
         "upstreams.v1.health.interval", "more than 0"),
        ({"upstreams": {"v1": {"url": "http://a", "health": {"path": "/h\r\nx: y"}}}},
         "upstreams.v1.health.path", "match"),
        ({"log": {"access": {"share": "0.001%"}}}, "log.access.share", "chooses no request"),
        ({"log": {"level": "error", "access": {"share": "1%"}}}, "log.access", "give it a `path`"),
        ({"log": {"access": {"path": "x/../state/understudy.db"}}}, "log.access.path", "first at store.path"),
        ({"routes": [{"name": "a", "live": "v1", "match": {"path": "/-/infer"}}]},
         "routes[0].match.path", "paths under /-/ are the proxy's own (health), so this route is never reached"),
        ({"routes": [{"name": "a", "live": "v1", "match": {"path": "/-/*"}}]}, "routes[0].match.path", "never reached"),
        ({"routes": [{"name": "default", "live": "v1"}]}, "routes[0].name", "is the name of the default route"),
        ({"routes": [{"name": "a b", "live": "v1"}]}, "routes[0].name", "expected a name"),
        ({"routes": [{"name": "a", "live": "v1", "rollouts": [{"candidate": "v1", "shadow": "1%"}]}]},
         "routes[0].rollouts[0].candidate", "is the live upstream"),
        ({"routes": [{"name": "a", "live": "v1", "sticky": {"header": "a", "cookie": "b"}}]},
         "routes[0].sticky", "has both of `header` and `cookie`"),
        ({"routes": [{"name": "a", "live": "v1", "segments": {"top": 5}}]},
         "routes[0].segments", "has neither of `header`"),
        ({"routes": [{"name": "a", "live": "v1", "prediction": {"protocol": "v2", "pointer": "/a"}}]},
         "routes[0].prediction.pointer", "has no meaning"),
        ({"routes": [{"name": "a", "live": "v1", "prediction": {"protocol": "v2", "jmespath": "a"}}]},
         "routes[0].prediction.jmespath", "has no meaning"),
        ({"routes": [{"name": "a", "live": "v1", "prediction": {"pointer": "/a", "jmespath": "a"}}]},
         "routes[0].prediction.jmespath", "stands beside `pointer`"),
        ({"routes": [{"name": "a", "live": "v1", "prediction": {"protocol": "json", "jmespath": "a["}}]},
         "routes[0].prediction.jmespath", "is no JMESPath expression: Invalid"),
        ({"routes": [{"name": "a", "live": "v1", "prediction": {"low": 1, "high": 1}}]},
         "routes[0].prediction.low", "not below `high`"),
        ({"routes": []}, "routes", "no request would be answered"),
        ({"upstreams": {}}, "upstreams", "no model server"),
        ({"upstreams": {"v1": {"url": "http://a/x"}, "v2": {"url": "http://b"}}}, "upstreams.v1.url", "its own path"),
        ({"upstreams": {"v1": {"url": "http://u:p@a"}, "v2": {"url": "http://b"}}}, "upstreams.v1.url", "credentials"),
        ({"upstreams": {"v1": {"url": "http://a", "urls": ["http://a"]}, "v2": {"url": "http://b"}}},
         "upstreams.v1", "not both"),
        ({"upstreams": {"v1": {"urls": ["http://a", "https://b"]}, "v2": {"url": "http://b"}}},
         "upstreams.v1.urls", "http and https mixed"),
        ({"upstreams": {"v1": {"url": "http://a", "tls": {"verify": True}}, "v2": {"url": "http://b"}}},
         "upstreams.v1.tls", "no URL of this upstream is https"),
        ({"upstreams": {"v1": {"url": "https://a", "tls": {"cert": "c"}}, "v2": {"url": "http://b"}}},
         "upstreams.v1.tls", "go together"),
        ({"upstreams": {"v1": {"url": "http://a", "timeout": "0s"}, "v2": {"url": "http://b"}}},
         "upstreams.v1.timeout", "more than 0"),
        ({"webhooks": [{"url": "http://h"}]}, "webhooks[0].secret", "is missing"),
        ({"webhooks": [{"url": "http://h", "secret": "a", "secrets": ["a"]}]}, "webhooks[0]", "not both"),
        ({"webhooks": [{"url": "http://h", "secret": "a", "events": []}]}, "webhooks[0].events", "at least one"),
        ({"webhooks": [{"url": "http://h", "secrets": ["ok", "whsec_§"]}]}, "webhooks[0].secrets[1]", "cannot sign"),
        ({"webhooks": [{"url": "http://h", "secret": "a"}] * 2}, "webhooks[1].url", "the same receiver as webhooks[0]"),
        ({"admin": {"listen": "0.0.0.0:1"}}, "admin.listen", "open to others"),
        ({"server": {"grpc_listen": "127.0.0.1:1"}}, "server.grpc_listen", "no route has a live upstream"),
        ({"log": {"format": "xml"}}, "log.format", "expected 'json' or 'text'"),
        ({"server": {"limits": {"max_header": "10B"}}}, "server.limits.max_header", "ordinary requests"),
        ({"server": {"tls": {"cert": "a"}}}, "server.tls.key", "is missing"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(change: dict[str, Any], path: str, said: str) -> None:
    body = {**yaml.safe_load(PLAIN % "shadow: 1%"), **change}
    if change.get("upstreams") == {}:
        body["routes"] = [{"name": "a", "live": "v1"}]
    found = mistakes(yaml.safe_dump(body))
    assert path in found
    assert said in found[path]


def test_a_format_whose_package_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = rollout("record: {path: p.jsonl.zst}\n        shadow: 5%")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert parse(text).plans
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "understudy[zstd]" in mistakes(text)["routes[0].rollouts[0].record.path"]


def test_traces_without_the_sdk_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    text = rollout("shadow: 5%") + "\ntracing: {otlp: 'http://127.0.0.1:4318'}\n"
    assert parse(text).tracing is not None

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    for absent in (missing, lambda name: None):
        monkeypatch.setattr("importlib.util.find_spec", absent)
        assert "understudy[otel]" in mistakes(text)["tracing"]
    assert parse(rollout("shadow: 5%")).tracing is None


def test_two_rollouts_may_not_both_start_as_canaries() -> None:
    body = yaml.safe_load(PLAIN % "canary: 1%")
    body["upstreams"]["v3"] = {"url": "http://c"}
    body["routes"][0]["rollouts"].append({"candidate": "v3", "canary": "5%"})
    assert list(mistakes(yaml.safe_dump(body))) == ["routes[0].rollouts[1]"]
    body["routes"][0]["rollouts"][1]["shadow"] = "100%"
    assert len(parse(yaml.safe_dump(body)).plans) == 2


def test_a_canary_is_not_decided_by_a_guess() -> None:
    auto = rollout("canary: 5%\n        guards: {max_disagreement: 2%}").replace("{protocol: v2, kind: label}", "{}")
    assert set(mistakes(auto)) == {"routes[0].prediction.protocol", "routes[0].prediction.kind"}
    assert parse(auto.replace("canary", "shadow")).plans["all/v2"].prediction.kind is Kind.AUTO


def test_a_guard_on_predictions_needs_some() -> None:
    text = rollout("shadow: 5%\n        guards: {max_disagreement: 2%}").replace(
        "    prediction: {protocol: v2, kind: label}\n", ""
    )
    assert "needs to read the answers" in mistakes(text)["routes[0].rollouts[0].guards.max_disagreement"]


@pytest.mark.parametrize(
    ("routes", "reached"),
    [
        ([{"path": "/v2/*"}, {"path": "/v2/m"}], False),
        ([{"path": "/v2/m"}, {"path": "/v2/*"}], True),
        ([{"methods": ["POST"]}, {"path": "/a"}], True),
        ([{"methods": ["POST", "PUT"]}, {"path": "/a", "methods": ["post"]}], False),
        ([{"headers": {"X-A": "1"}}, {"headers": {"x-a": "1", "x-b": "2"}}], False),
        ([{"headers": {"x-a": "1"}}, {"headers": {"x-a": "2"}}], True),
        ([{}, {"path": "/a"}], False),
    ],
)
def test_a_route_behind_a_wider_one_is_never_reached(routes: list[dict[str, Any]], reached: bool) -> None:
    body = yaml.safe_load(PLAIN % "shadow: 1%")
    body["routes"] = [{"name": f"r{n}", "live": "v1", "match": match} for n, match in enumerate(routes)]
    if reached:
        assert len(parse(yaml.safe_dump(body)).routes) == 2
    else:
        assert list(mistakes(yaml.safe_dump(body))) == ["routes[1]"]


def test_a_key_given_twice_is_a_mistake() -> None:
    said = mistakes("upstreams:\n  m: {url: http://a, url: http://b}\n  m: {url: http://c}\ndefault: {live: m}")
    assert said["upstreams.m"] == "the key is there twice (first on line 2)"
    assert said["upstreams.m.url"] == "the key is there twice (first on line 2)"


@pytest.mark.parametrize(
    "text",
    ["", "# nothing", "7", "[]", "a: [", "a: {b: }}", "\x00", "&a x: *a", "upstreams: &a {m: *a}", "? [a]\n: b",
     "upstreams: !!python/object:os.system {}", "a: " + "[" * 5000, "a: !!int x", "a: !!int ''", "a: !!bool x",
     "a: !!float ''",     'a: "\\ud800"', "\ufeff", "a:\t- b", "--- 1\n--- 2"],
)  # fmt: skip
def test_what_is_no_configuration_is_refused_in_words(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.mistakes


def test_a_few_lines_of_aliases_do_not_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="more than 100000 values"):
        parse("\n".join(lines))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["5%", "1s", "1MiB"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in a nested value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, item in items for path in paths(item, (*here, key)))]


FULL = yaml.safe_load((ROOT / "config" / "full.yaml").read_text("utf-8").replace("2026-11-18T09:00:00Z", '"x"'))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(paths(FULL)[1:]), json_values)
def test_whatever_stands_anywhere_it_is_a_configuration_or_a_list_of_mistakes(
    path: tuple[Any, ...], value: Any
) -> None:
    body = yaml.safe_load(yaml.safe_dump(FULL))
    holder = body
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    try:
        config = parse(yaml.safe_dump(body, allow_unicode=True), environ=SECRETS)
    except ConfigError as error:
        told = str(error)
    else:
        told = describe(config)
    assert told


def misspellings() -> list[tuple[tuple[Any, ...], str]]:
    """Every key of the full example whose name may not be chosen, and a misspelling of it."""
    keys = [path for path in paths(FULL) if isinstance(path[-1:], tuple) and path and isinstance(path[-1], str)]
    free = {"upstreams", "set", "headers"}
    fixed = [path for path in keys if len(path) < 2 or path[-2] not in free or path[-1] in ("drop", "set")]
    return [(path, f"{path[-1][:-1]}q") for path in fixed if len(path[-1]) > 3]


@pytest.mark.parametrize(("path", "wrong"), misspellings(), ids=str)
def test_every_key_can_be_misspelt_and_is_found_again(path: tuple[Any, ...], wrong: str) -> None:
    body = yaml.safe_load(yaml.safe_dump(FULL))
    holder = body
    for step in path[:-1]:
        holder = holder[step]
    holder[wrong] = holder.pop(path[-1])
    said = mistakes(yaml.safe_dump(body), SECRETS)
    (where,) = [place for place in said if place.endswith(wrong)]
    assert said[where].startswith(f"unknown key (did you mean `{path[-1].removesuffix('s')}")


# --- words, schema, effort -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{shadow: 5%, guards: {max_disagreement: 0%}}", "`max_disagreement: 0%` can never pass"),
        ("{shadow: 5%, guards: {p99_latency: 1x}}", "`p99_latency: 1x` asks the candidate to beat live"),
        ("{shadow: 5%, guards: {p99_latency: 2x}}", "without `max_extra_errors`"),
        ("{shadow: 5%}", "no canary stage"),
        ("{shadow: 5%}", "no webhook"),
        ("{canary: 5%}", "no shadow stage"),
        ("{canary: 5%}", "no `sticky`"),
        ("{canary: 5%, rescue: off}", "clients see the candidate's failures"),
        ("{shadow: 5%, lead_time_slo: 3d}", "never measured without `signed_off_at`"),
        (
            "{stages: [{canary: 5%, max_time: 1m}]}",
            "canary-5: `max_time` is 1m, but the stage takes at least about 7.6 min",
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


def test_a_file_that_is_not_there_is_a_warning() -> None:
    text = rollout("shadow: 5%", server="{tls: {cert: nowhere.pem, key: nowhere.key}}")
    assert sum("nowhere" in warning for warning in warnings(parse(text, directory="/etc"))) == 2


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    check = jsonschema.Draft202012Validator(schema())
    check.check_schema(schema())
    good = yaml.safe_load(PLAIN % "shadow: 5%")
    assert check.is_valid(good)
    for path, value in (
        (("upstreams", "v1", "timeout"), "2sec"),
        (("routes", 0, "rollouts", 0, "shadow"), 5),
        (("routes", 0, "rollouts", 0, "shadw"), "5%"),
        (("routes", 0, "prediction", "kind"), "lable"),
        (("upstreams", "v1", "urls"), ["http://b"]),
    ):
        bad = yaml.safe_load(PLAIN % "shadow: 5%")
        holder: Any = bad
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = value
        assert not check.is_valid(bad), path


def test_every_key_is_explained() -> None:
    for section in sections():
        assert section.__doc__
        assert [name for name, field in section.model_fields.items() if not field.description] == []


def test_the_reference_is_current() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert runpy.run_path(str(ROOT / "tools" / "configuration_page.py"))["page"]() == written, "run `make docs`"
    assert [line for line in written.splitlines() if line.startswith("|") and not line.endswith("|")] == [], "torn rows"


def test_what_the_file_may_ask_for_is_built() -> None:
    assert set(Guards.model_fields) == set(RULES)
    assert {name: {kind for kind in Kind if kind is not Kind.AUTO and fits_kind(name, kind)} for name in FITS} == FITS
    assert set(typing.get_args(Protocol)) - {"auto"} == set(PROTOCOLS)


def test_effort_is_near_the_figures_of_the_calibration() -> None:
    assert pairs_to_pass(Guard("max_mean_shift", 0.01)) == pytest.approx(2300, rel=0.25)
    assert pairs_to_pass(Guard("max_disagreement", 0.02)) == pytest.approx(500, rel=0.35)
    assert pairs_to_pass(Guard("max_disagreement", 0.0)) == float("inf")


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


def test_a_configuration_is_frozen() -> None:
    config = parse(rollout("shadow: 5%"))
    assert isinstance(config, Config)
    with pytest.raises(ValueError, match="frozen"):
        config.server = config.server  # type: ignore[misc]


@pytest.mark.parametrize("name", ["content-length", "Transfer-Encoding", "host"])
def test_a_copy_cannot_be_given_another_framing(name: str) -> None:
    text = f"""
upstreams: {{a: {{url: 'http://127.0.0.1:1'}}, b: {{url: 'http://127.0.0.1:2'}}}}
routes: [{{name: r, live: a, rollouts: [{{candidate: b, shadow: 100%, mirror: {{headers: {{set: {{{name}: x}}}}}}}}]}}]
"""
    with pytest.raises(ConfigError, match="is the proxy's to set"):
        parse(text)


GRPC = """
server: {grpc_listen: 127.0.0.1:8081}
admin: {listen: 127.0.0.1:9090}
upstreams: {v1: {url: "grpc://a:1"}, v2: {url: "grpcs://b"}, web: {url: "http://c"}}
routes:
  - name: m
    match: {path: /a.B/C}
    live: v1
    prediction: {protocol: v2, kind: label, ignore: [/id]}
    rollouts: [{candidate: v2, shadow: 100%}]
default: {live: web}
"""


def test_a_plan_for_grpc_says_where_it_listens() -> None:
    config = parse(GRPC)
    assert [config.upstreams[name].grpc for name in ("v1", "v2", "web")] == [True, True, False]
    assert "for gRPC on 127.0.0.1:8081" in describe(config)


@pytest.mark.parametrize(
    ("old", "new", "path", "said"),
    [
        ("server: {grpc_listen: 127.0.0.1:8081}", "", "routes[0].live", "nobody listens for it"),
        ("live: v1", "live: web", "routes[0].rollouts[0].candidate", "speaks gRPC, and live (web) HTTP"),
        ("candidate: v2", "candidate: web", "routes[0].rollouts[0].candidate", "speaks HTTP, and live (v1) gRPC"),
        ("127.0.0.1:8081", "127.0.0.1:9090", "server.grpc_listen", "is taken"),
        ('"grpcs://b"', '"grpc://b/x"', "upstreams.v2.url", "leave the path out"),
        ('url: "grpcs://b"', 'urls: ["grpc://b", "http://b"]', "upstreams.v2.urls", "grpc and http mixed"),
        ("/a.B/C}", "/a.B/C, methods: [GET]}", "routes[0].match.methods", "is a POST"),
        ("protocol: v2, kind: label", "protocol: openai, kind: text", "routes[0].prediction.protocol", "from gRPC"),
        ("[/id]", "[/ID]", "routes[0].prediction.ignore[0]", "no field of a ModelInferRequest"),
        ("    live: v1", "    live: v1\n    segments: {request_field: /a}", "routes[0].segments.request_field", "JSON"),
        ("shadow: 100%}", "shadow: 100%, mirror: {set_json: {/a: 1}}}", "routes[0].rollouts[0].mirror.set_json", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_over_grpc_is_refused(old: str, new: str, path: str, said: str) -> None:
    assert old in GRPC
    found = mistakes(GRPC.replace(old, new))
    assert path in found
    assert said in found[path]


def test_http_and_grpc_routes_do_not_hide_each_other() -> None:
    parse(GRPC.replace("routes:", "routes:\n  - {name: all, live: web}"))
