"""Promise: every mistake is named at once, where it is, with a remedy, and a plan that cannot be carried out is one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import parse
from proxy.config.words import describe
from proxy.errors import ConfigError
from proxy.model import Kind
from tests.config.files import FULL, PLAIN, SECRETS, mistakes, rollout, written


@pytest.mark.parametrize(
    ("value", "hint"),
    [("10.0.0.1/8", "did you mean 10.0.0.0/8?"), ("lb.example", "names are not looked up"), ("7", ""), ("*", "")],
)
def test_trusted_proxies_are_addresses_and_networks(value: str, hint: str) -> None:
    text = rollout("shadow: 100%") + f'server: {{trusted_proxies: ["10.0.0.7", "::1", "fd00::/8", "{value}"]}}\n'
    with pytest.raises(ConfigError) as caught:
        parse(text, "my.yaml")
    assert [(m.path, m.hint) for m in caught.value.mistakes] == [("server.trusted_proxies[3]", hint)]


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
        ("stages: [{shadow: 0%}]", "stages[0].shadow", "nothing can be measured"),
        ("stages: [{canary: 100%}]", "stages[0].canary", "100% is promotion"),
        ("stages: [{canary: 0.123%}]", "stages[0].canary", "finer than 0.01%"),
        ("stages: [{canary: 5%, shadow: 5%}]", "stages[0]", "a stage is either"),
        ("stages: [{min_pairs: 5}]", "stages[0]", "a stage is either"),
        ("stages: [{shadow: 9%, min_time: 2m, max_time: 2m}]", "stages[0].max_time", "can never pass"),
        ("stages: [{shadow: 9%, on_timeout: abort}]", "stages[0].on_timeout", "has no effect without `max_time`"),
        ("stages: [{shadow: 9%, mirror: 9%}]", "stages[0].mirror", "has its share in `shadow`"),
        ("stages: []", "stages", "no stage"),
        ("{shadow: 5%, stages: [{canary: 5%}]}", "shadow", "conflicts with `stages`"),
        ("{shadow: 5%, guards: {}}", "guards", "nothing can be proven"),
        ("{shadow: 5%, guards: {max_response_mismatch: 'off'}}", "guards", "nothing can be proven"),
        ("{shadow: 5%, guards: {max_response_mismatch: 100%}}", "guards.max_response_mismatch", "`off`, if intended"),
        ("{shadow: 5%, guards: {max_response_mismatch: false}}", "guards.max_response_mismatch", "did you mean `off`?"),
        ("{shadow: 5%, guards: {max_response_mismatch: 1}}", "guards.max_response_mismatch", "did you mean `1%` or"),
        ("{shadow: 5%, guards: {max_ks: 0.1}}", "guards.max_ks", "cannot judge predictions of kind `label`"),
        ("{shadow: 5%, guards: {max_disagreement: 100%}}", "guards.max_disagreement", "can never fail"),
        ("{shadow: 5%, guards: {p99_latency: 0x}}", "guards.p99_latency", "must be more than 0"),
        ("{shadow: 5%, false_rollback_rate: 0%}", "false_rollback_rate", "more than 0%"),
        ("{shadow: 5%, false_promotion_rate: 60%}", "false_promotion_rate", "at most 50%"),
        ("{shadow: 5%, mirror: {max_memory: 1MiB}}", "mirror.max_memory", "too small for one pair"),
        ("{shadow: 5%, mirror: {max_in_flight: 0}}", "mirror.max_in_flight", "at least 1"),
        ("{shadow: 5%, mirror: {timeout: 0s}}", "mirror.timeout", "more than 0"),
        ("{shadow: 5%, mirror: {timeout: 2s, max_duration: 2s}}", "mirror.max_duration", "no copy could ever time out"),
        ("{shadow: 5%, mirror: {max_duration: 10s}}", "mirror.max_duration", "is not more than the timeout (30s)"),
        ("{shadow: 5%, record: {path: pairs.txt}}", "record.path", "ends neither in .jsonl"),
        ("{shadow: 5%, record: {path: p.jsonl, redact: [inputs]}}", "record.redact[0]", "did you mean `/inputs`?"),
        ("{shadow: 5%, record: {path: p.jsonl, redact: ['?key=']}}", "record.redact[0]", "such as ?api_key"),
        ("{shadow: 5%, cluster_by: {heder: x}}", "cluster_by.heder", "did you mean `header`?"),
        ("{shadow: 5%, cluster_by: {header: X-API-Key}}", "cluster_by.header", "carries credentials"),
        ("{shadow: 5%, consecutive_failures: 0}", "consecutive_failures", "at least 1"),
        ("{shadow: 5%, lead_time_slo: 3 weeks}", "lead_time_slo", "known units"),
        ("{shadow: 5%, fallback: false}", "fallback", "did you mean `fallback: off`?"),
        ("{shadow: 5%, fallback: true}", "fallback", "found True, expected a mapping, or `off`"),
        ("{shadow: 5%, fallback: {after: 5}}", "fallback.after", "a unit is missing"),
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


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"routes": [{"name": "a", "live": "v9"}]}, "routes[0].live", "there is no upstream `v9` (known: v1, v2)"),
        ({"default": {"live": "x"}}, "default.live", "known: v1, v2"),
        ({"routes": [{"name": "a", "live": "v1"}, {"name": "a", "live": "v1", "match": {"path": "/b"}}]},
         "routes[1]", "never reached"),
        ({"routes": [{"name": "a", "live": "v1", "match": {"path": "/b"}}, {"name": "a", "live": "v1"}]},
         "routes[1].name", "is defined twice"),
        ({"routes": [{"name": "a", "live": "v1", "match": {"path": "/a?b=1"}}]},
         "routes[0].match.path", "without query"),
        ({"routes": [{"name": "a", "live": "v1", "segments": {"header": "cookie"}}]},
         "routes[0].segments.header", "carries credentials"),
        ({"routes": [{"name": "a", "live": "v1", "match": {"path": "/v2/*/infer"}}]},
         "routes[0].match.path", "only at the end"),
        ({"admin": {"token": ""}}, "admin.token", "not a valid header value"),
        ({"admin": {"token": "abc\n"}}, "admin.token", "end with a line break"),
        ({"server": {"controller_lost": "0s"}}, "server.controller_lost", "more than 0"),
        ({"upstreams": {"v1": {"url": "http://a", "health": {"path": "/h", "interval": "0s"}}}},
         "upstreams.v1.health.interval", "more than 0"),
        ({"upstreams": {"v1": {"url": "http://a", "idle_timeout": "0s"}}}, "upstreams.v1.idle_timeout", "more than 0"),
        ({"upstreams": {"v1": {"url": "http://a", "balance": "least_load"}}},
         "upstreams.v1.balance", "did you mean `least_loaded`?"),
        ({"upstreams": {"v1": {"url": "http://a", "balance": {"hash": {"query": "a"}}}}},
         "upstreams.v1.balance", "one of `prefix`, `header`, `cookie` and `json`"),
        ({"upstreams": {"v1": {"url": "http://a", "balance": {"hash": {"json": ""}}}}},
         "upstreams.v1.balance", "name a field of it"),
        ({"upstreams": {"v1": {"url": "http://a", "balance": {"hash": {"header": "a b"}}}}},
         "upstreams.v1.balance", "header"),
        ({"upstreams": {"v1": {"url": "http://a", "resolve": {"every": "0s"}}}},
         "upstreams.v1.resolve.every", "more than 0"),
        ({"upstreams": {"v1": {"url": "http://a", "health": {"path": "/h\r\nx: y"}}}},
         "upstreams.v1.health.path", "without blanks"),
        ({"log": {"access": {"share": "0.001%"}}}, "log.access.share", "selects no request"),
        ({"log": {"level": "error", "access": {"share": "1%"}}}, "log.access", "give it a `path`"),
        ({"log": {"access": {"path": "x/../state/understudy.db"}}}, "log.access.path", "first at store.path"),
        ({"routes": [{"name": "a", "live": "v1", "match": {"path": "/-/infer"}}]},
         "routes[0].match.path", "paths under /-/ are the proxy's own (health), so this route is never reached"),
        ({"routes": [{"name": "a", "live": "v1", "match": {"path": "/-/*"}}]}, "routes[0].match.path", "never reached"),
        ({"routes": [{"name": "default", "live": "v1"}]}, "routes[0].name", "is the name of the default route"),
        ({"routes": [{"name": "a b", "live": "v1"}]}, "routes[0].name", "expected a name"),
        ({"routes": [{"name": "a", "live": "v1", "match": {"path": "/a b"}}]}, "routes[0].match.path", "blanks"),
        ({"server": {"listen": "0.0.0.0:9090"}}, "admin.listen", "is taken by `server.listen`"),
        ({"admin": {"listen": "[::1]:8080"}, "server": {"listen": "[::]:8080"}}, "admin.listen", "is taken by"),
        ({"routes": [{"name": "a", "live": "v1", "sticky": {"header": "a", "cookie": "b"}}]},
         "routes[0].sticky", "has both of `header` and `cookie`"),
        ({"routes": [{"name": "a", "live": "v1", "sticky": {"json": "user"}}]},
         "routes[0].sticky.json", "JSON pointer"),
        ({"routes": [{"name": "a", "live": "v1", "sticky": {"json": ""}}]},
         "routes[0].sticky.json", "is the whole body"),
        ({"routes": [{"name": "a", "live": "v1", "sticky": {"json": "/user", "cookie": "b"}}]},
         "routes[0].sticky", "has both of `cookie` and `json`"),
        ({"routes": [{"name": "a", "live": "v1", "dual_write": {"upstream": "v3"}}]},
         "routes[0].dual_write.upstream", "there is no upstream `v3`"),
        ({"routes": [{"name": "a", "live": "v1", "dual_write": {"upstream": "v1"}}]},
         "routes[0].dual_write.upstream", "`v1` is live here"),
        ({"routes": [{"name": "a", "live": "v1", "dual_write": {"upstream": "v2", "timeout": "0s"}}]},
         "routes[0].dual_write.timeout", "must be more than 0"),
        ({"routes": [{"name": "a", "live": "v1", "dual_write": {"upstream": "v2"},
                      "rollouts": [{"candidate": "v2", "shadow": "100%"}]}]},
         "routes[0].dual_write", "conflicts with `rollouts`"),
        ({"routes": [{"name": "a", "live": "v1", "segments": {"top": 5}}]},
         "routes[0].segments", "has neither of `header`"),
        ({"routes": [{"name": "a", "live": "v1", "prediction": {"protocol": "v2", "pointer": "/a"}}]},
         "routes[0].prediction.pointer", "has no meaning"),
        ({"routes": [{"name": "a", "live": "v1", "prediction": {"protocol": "v2", "jmespath": "a"}}]},
         "routes[0].prediction.jmespath", "has no meaning"),
        ({"routes": [{"name": "a", "live": "v1", "prediction": {"pointer": "/a", "jmespath": "a"}}]},
         "routes[0].prediction.jmespath", "conflicts with `pointer`"),
        ({"routes": [{"name": "a", "live": "v1", "prediction": {"protocol": "json", "jmespath": "a["}}]},
         "routes[0].prediction.jmespath", "is not a JMESPath expression: Invalid"),
        ({"routes": [{"name": "a", "live": "v1", "prediction": {"low": 1, "high": 1}}]},
         "routes[0].prediction.low", "not below `high`"),
        ({"routes": []}, "routes", "no request would be answered"),
        ({"upstreams": {}}, "upstreams", "no model server"),
        ({"upstreams": {"v1": {"url": "http://a/?x"}, "v2": {"url": "http://b"}}}, "upstreams.v1.url", "keeps its own"),
        ({"upstreams": {"v1": {"url": "http://a", "set_json": {"": "x"}}, "v2": {"url": "http://b"}}},
         "upstreams.v1.set_json.", "the empty pointer is the whole body"),
        ({"upstreams": {"v1": {"url": "http://a", "set_json": {"model": "x"}}, "v2": {"url": "http://b"}}},
         "upstreams.v1.set_json.model", "did you mean `/model`?"),
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
        ({"admin": {"listen": "0.0.0.0:1"}}, "admin.listen", "reachable from other hosts"),
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


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(paths(FULL)[1:]), json_values)
def test_whatever_stands_anywhere_it_is_a_configuration_or_a_list_of_mistakes(
    path: tuple[Any, ...], value: Any
) -> None:
    body = copy.deepcopy(FULL)
    holder = body
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    try:
        config = parse(written(body), environ=SECRETS)
    except ConfigError as error:
        told = str(error)
    else:
        told = describe(config)
    assert told


def misspellings() -> list[tuple[tuple[Any, ...], str]]:
    """Every key of the full example whose name may not be chosen, and a misspelling of it."""
    keys = [path for path in paths(FULL) if isinstance(path[-1:], tuple) and path and isinstance(path[-1], str)]
    free = {"upstreams", "set", "headers", "inputs"}
    fixed = [path for path in keys if len(path) < 2 or path[-2] not in free or path[-1] in ("drop", "set")]
    return [(path, f"{path[-1][:-1]}q") for path in fixed if len(path[-1]) > 3]


@pytest.mark.parametrize(("path", "wrong"), misspellings(), ids=str)
def test_every_key_can_be_misspelt_and_is_found_again(path: tuple[Any, ...], wrong: str) -> None:
    body = copy.deepcopy(FULL)
    holder = body
    for step in path[:-1]:
        holder = holder[step]
    holder[wrong] = holder.pop(path[-1])
    said = mistakes(written(body), SECRETS)
    (where,) = [place for place in said if place.endswith(wrong)]
    assert said[where].startswith(f"unknown key (did you mean `{path[-1].removesuffix('s')}")


@pytest.mark.parametrize("name", ["content-length", "Transfer-Encoding", "host"])
def test_a_copy_cannot_be_given_another_framing(name: str) -> None:
    text = f"""
upstreams: {{a: {{url: 'http://127.0.0.1:1'}}, b: {{url: 'http://127.0.0.1:2'}}}}
routes: [{{name: r, live: a, rollouts: [{{candidate: b, shadow: 100%, mirror: {{headers: {{set: {{{name}: x}}}}}}}}]}}]
"""
    with pytest.raises(ConfigError, match="is set by the proxy"):
        parse(text)


@pytest.mark.parametrize("url", ["http://me:p@ss@m:1", "ftp://me:p@ss@m:1/", "https://p@ss@m:1/a b"])
def test_credentials_in_a_url_are_not_told_again(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"upstreams: {{m: {{url: '{url}'}}}}\nroutes: [{{name: r, live: m}}]")
    assert "…@m:1" in str(caught.value)
    assert "p@ss" not in str(caught.value)
