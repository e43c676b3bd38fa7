"""Promise: a hint leads to what was meant; nobody is shown a parser's state or a library's grammar."""

from __future__ import annotations

import pytest

from proxy.config import parse
from proxy.errors import ConfigError
from tests.config.files import mistakes, rollout

HERE = "routes[0].rollouts[0]"
UPSTREAMS = "upstreams:\n  v1: {url: http://127.0.0.1:9001}\n"


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ("canary: 0.05", "canary", "did you mean `5%`?"),
        ("canary: 5", "canary", "did you mean `5%`?"),
        ('canary: "0.05"', "canary", "did you mean `5%`?"),
        ("canary: 1", "canary", "did you mean `1%` or `100%`?"),
        ("shadow: 5%|false_rollback_rate: 0.01", "false_rollback_rate", "did you mean `1%`?"),
        ("shadow: 5%|mirror: {noise_floor: 0.02}", "mirror.noise_floor", "did you mean `2%`?"),
        ("shadow: 5%|guards: {max_disagreement: 0.02}", "guards.max_disagreement", "did you mean `2%`?"),
        ("shadow: 5%|guards: {p99_latency: 20%}", "guards.p99_latency", "did you mean `1.2x`?"),
        (
            "shadow: 5%|guards: {max_energy: 1.3x}",
            "guards.max_energy",
            "known: max_disagreement, max_rate_increase, max_mean_shift, ",
        ),
        ("shadow: 5%|guards: {max_error: 1%}", "guards.max_error", "did you mean `max_extra_errors`?"),
        ("shadow: 5%|max_disagreement: 2%", "max_disagreement", "it belongs under `guards:`"),
        ("shadow: 5%|max_memory: 1MiB", "max_memory", "it belongs under `mirror:`"),
        ("shadow: 5%|mirror: {max_ks: 0.1}", "mirror.max_ks", f"it belongs under `{HERE}.guards:`"),
        ("shadow: 5%|guards: {warmup: 5}", "guards.warmup", f"it belongs in `{HERE}`"),
    ],
)
def test_a_hint_leads_to_what_was_meant(text: str, path: str, hint: str) -> None:
    said = mistakes(rollout(text.replace("|", "\n        ")))
    assert list(said) == [f"{HERE}.{path}"]
    assert f"({hint}" in said[f"{HERE}.{path}"]


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ("max_ks: 0.1\n" + UPSTREAMS, "max_ks", "it belongs under `routes.rollouts.guards:`"),
        ("workers: 2\n" + UPSTREAMS, "workers", "it belongs under `server:`"),
        (UPSTREAMS + "routes: [{name: a, live: v1, shadow: 5%}]", "routes[0].shadow", "it belongs under `rollouts:`"),
        (UPSTREAMS + "routes: [{name: a, live: v1, kind: label}]", "routes[0].kind", "it belongs under `prediction:`"),
    ],
)
def test_a_key_at_the_wrong_level_is_told_where_it_belongs(text: str, path: str, hint: str) -> None:
    assert hint in mistakes(text)[path]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("admin: {token: ${X}}", 1, '`${…}` inside braces (put it in quotes: `"${X}"`)'),
        ("admin:\n\tlisten: 1", 2, "a tab (YAML is indented with spaces)"),
        ("admin:\n  listen: a:1\n\ttoken: x", 3, "a tab"),
        (
            UPSTREAMS + "routes:\n  - name: r\n    live:x\n    rollouts: []",
            5,
            "no blank after the colon (write `live: x`)",
        ),
        (UPSTREAMS + "routes:\n  - name:r\n    live: a", 4, "no blank after the colon (write `name: r`)"),
        (UPSTREAMS + "routes:\n  - {name: r, live: a\n  - {name: s, live: a}", 4, "the `{` is not closed"),
        (UPSTREAMS + "routes: [{name: r, live: a}\n", 3, "the `[` is not closed"),
        (UPSTREAMS.replace("}", "}}"), 2, "a `}` that closes nothing"),
        ("upstreams:\n  a: {url: 'http://a:1}\nroutes: []", 2, "a quote is not closed"),
        (UPSTREAMS + "routes:\n  - name: r\n   live: a", 5, "indented differently from its neighbours"),
        ("default: {live: @a}", 1, "a value cannot begin with `@` (put it in quotes)"),
        ("default: {live: %a}", 1, "a value cannot begin with `%`"),
        ("default: {live: *}", 1, "a value cannot begin with `*`"),
        ("a: b: c", 1, "a colon where none can be"),
    ],
)
def test_a_slip_in_yaml_is_told_in_words_where_it_is(text: str, line: int, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, environ={"X": "secret"})
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.path) == (line, "(file)")
    assert said in str(mistake)


def test_a_blank_missing_after_a_colon_inside_braces() -> None:
    assert "write `live: x`" in mistakes(UPSTREAMS + "routes: [{name: r, live:x}]")["routes[0].live:x"]


@pytest.mark.parametrize(
    "change",
    ["match: {path: v2}", "match: {path: /a b}", "segments: {header: x, top: 500}", "methods: 5"],
)
def test_no_grammar_of_a_library_reaches_a_user(change: str) -> None:
    said = mistakes(UPSTREAMS + "routes:\n  - live: v1\n    name: r\n    " + change + "\nlog: {level: loud}\n")
    for words in said.values():
        assert not any(mark in words for mark in ("String should", "pattern", "Value error", "Input should", "\\S"))
