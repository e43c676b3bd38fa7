"""Promise: a judge is read from the file with its rubric, its anchors and its budget, and each mistake is told where it
is; a model never judges itself; no key is ever quoted."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from yaml import safe_load

from proxy.config import Config, parse
from proxy.config.json_schema import schema
from proxy.config.words import describe
from proxy.errors import ConfigError
from proxy.judges.rubric import DEFAULT_RUBRIC
from proxy.model.price import Price
from proxy.money import MoneyBudget
from tests.config.files import mistakes

KEY = "sk-judge-0123456789"
WHOLE = """
upstreams:
  v1: {url: https://gateway.example, set_json: {/model: small}}
  v2: {url: https://gateway.example, set_json: {/model: smaller}}
judges:
  helpful:
    url: https://judge.example/v1
    model: large
    headers: {authorization: "Bearer ${JUDGE_KEY}"}
    share: 20%
    max_cost: 5/day
    price: {input: 2.5, output: 10}
routes:
  - name: chat
    live: v1
    predictions:
      quality: {protocol: openai, output: text, kind: text, judge: helpful}
    rollouts: [{candidate: v2, shadow: 100%, guards: {quality: {min_win_rate: -5pp}}}]
"""
ANCHOR = '{"request": "2 + 2?", "first": "4", "second": "5", "verdict": "first"}\n'


def config(text: str = WHOLE, directory: str | Path = ".") -> Config:
    return parse(text, environ={"JUDGE_KEY": KEY}, directory=directory)


def test_a_judge_has_what_the_file_says_and_good_defaults() -> None:
    judge = config().judges["helpful"]
    assert judge.endpoint == "https://judge.example/v1/chat/completions"
    assert (judge.share, judge.max_cost) == (0.2, MoneyBudget(5.0, 86400.0))
    assert judge.price is not None
    assert judge.price.price == Price(2.5e-6, 1e-5, 2.5e-6, 2.5e-6)
    assert (judge.rubric_text, judge.anchor_pairs, judge.timeout) == (DEFAULT_RUBRIC, (), 30.0)
    assert judge.headers == {"authorization": f"Bearer {KEY}"}


def test_files_are_taken_from_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "rubric.md").write_text("Shorter is better.")
    (tmp_path / "anchors.jsonl").write_text(ANCHOR * 3)
    text = WHOLE.replace("share: 20%", "rubric: rubric.md\n    anchors: anchors.jsonl")
    judge = config(text, tmp_path).judges["helpful"]
    assert judge.rubric_text == "Shorter is better."
    assert [anchor.verdict for anchor in judge.anchor_pairs] == ["first"] * 3
    said = describe(config(text, tmp_path))
    assert "3 anchors tell whether it changes" in said
    assert "! judge helpful: 3 anchors are few" in said


def test_another_rubric_model_or_setting_is_another_trial_and_a_new_key_or_budget_is_not(tmp_path: Path) -> None:
    (tmp_path / "rubric.md").write_text("Shorter is better.")
    trial = config().plans["chat/v2"].trial
    for old, new in (
        ("model: large", "model: larger"),
        ("share: 20%", "rubric: rubric.md"),
        ("share: 20%", "set_json: {/temperature: 0}"),
    ):
        assert config(WHOLE.replace(old, new), tmp_path).plans["chat/v2"].trial != trial, new
    for old, new in (("5/day", "6/day"), ("Bearer", "Token"), ("judge.example", "other.example"), ("20%", "30%")):
        assert config(WHOLE.replace(old, new)).plans["chat/v2"].trial == trial, new


def test_check_says_what_a_judge_does_and_what_is_surely_not_meant() -> None:
    said = " ".join(describe(config()).split())
    assert "quality is judged by large (`helpful`, at judge.example), which sees the request and both answers" in said
    assert "of 20% of the pairs, up to 4 at a time, for at most $5.00/day." in said
    assert "judge helpful: no `anchors`, so a judge that changes would be taken for a model that did" in said
    assert KEY not in said
    free = describe(config(WHOLE.replace("    max_cost: 5/day\n", "")))
    assert "judge helpful: no `max_cost`, so every drawn pair is paid for" in free
    assert "judges no pair" not in describe(config())
    small = " ".join(describe(config(WHOLE.replace("5/day", "0.01/hour"))).split())
    assert "judge helpful: `max_cost: 0.01/hour` judges no pair: $" in small
    assert "is set aside for each, for the largest question" in small
    other = WHOLE.replace("min_win_rate: -5pp", "min_similarity: 0.2")
    assert "judge helpful is not used" in describe(config(other.replace(", judge: helpful", "")))
    assert "`judge: helpful` without `min_win_rate`" in describe(config(other))


def test_the_schema_takes_what_the_reader_takes() -> None:
    validator = Draft202012Validator(schema())
    assert not list(validator.iter_errors(safe_load(WHOLE)))
    assert list(validator.iter_errors(safe_load(WHOLE.replace("5/day", "5"))))
    assert list(validator.iter_errors(safe_load(WHOLE.replace("    model: large\n", ""))))


@pytest.mark.parametrize(
    ("old", "new", "path", "said"),
    [
        ("judge: helpful", "judge: helpfull", "routes[0].predictions.quality.judge", "did you mean `helpful`?"),
        (
            "kind: text",
            "kind: label",
            "routes[0].predictions.quality.judge",
            "of kind `label` (write `kind: text`, or `calls`",
        ),
        ("5/day", "5", "judges.helpful.max_cost", "`/day` or `/hour` is missing"),
        ("    price: {input: 2.5, output: 10}\n", "", "judges.helpful.max_cost", "without its `price`"),
        ("{input: 2.5, output: 10}", "{output: 10}", "judges.helpful.price", "neither `input` nor `hour`"),
        ("https://judge.example/v1", "grpc://judge.example", "judges.helpful.url", "asked over HTTP"),
        ("share: 20%", "share: 0%", "judges.helpful.share", "must be more than 0"),
        ("share: 20%", "rubric: none.md", "judges.helpful.rubric", "none.md cannot be read: No such file"),
        ("share: 20%", "anchors: none.jsonl", "judges.helpful.anchors", "none.jsonl cannot be read: No such file"),
        ("share: 20%", "set_json: {/model: x}", "judges.helpful.set_json./model", "is part of every question"),
        ("share: 20%", "set_json: {/messages/0: x}", "judges.helpful.set_json./messages/0", "part of every question"),
        (", judge: helpful", "", "routes[0].rollouts[0].guards.quality.min_win_rate", "`quality` names none (write"),
        ("share: 20%", "concurrency: 0", "judges.helpful.concurrency", "at least 1"),
    ],
)
def test_a_mistake_says_who_where_and_what_would_be_right(old: str, new: str, path: str, said: str) -> None:
    found = mistakes(WHOLE.replace(old, new), {"JUDGE_KEY": KEY})
    assert list(found) == [path]
    assert said in found[path]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: not JSON"),
        ('{"request": "a"}', "line 2: expected an object with `request`, `first`, `second`, `verdict`"),
        (ANCHOR.replace('"verdict": "first"', '"verdict": "4"'), "`verdict` is none of `first`, `second`, `tie`"),
        (ANCHOR.replace('"4"', "4", 1), "line 2: `first` is no text"),
    ],
)
def test_a_mistaken_anchor_is_told_with_its_line(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "anchors.jsonl").write_text(ANCHOR + line)
    with pytest.raises(ConfigError, match=r"judges.helpful.anchors") as caught:
        config(WHOLE.replace("share: 20%", "anchors: anchors.jsonl"), tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("url", "model", "path"),
    [
        ("https://gateway.example/v1", "small", "routes[0].live"),
        ("https://GATEWAY.example:443", "smaller", "routes[0].rollouts[0].candidate"),
        ("https://gateway.example/v1/chat/completions", "smaller", "routes[0].rollouts[0].candidate"),
    ],
)
def test_a_model_does_not_judge_itself(url: str, model: str, path: str) -> None:
    text = WHOLE.replace("https://judge.example/v1", url).replace("model: large", f"model: {model}")
    (found,) = mistakes(text, {"JUDGE_KEY": KEY}).items()
    assert found[0] == path
    assert "is the judge `helpful` of this route" in found[1]


def test_another_model_path_or_host_at_the_same_address_may_judge() -> None:
    for url, more in (("https://gateway.example/v1", ""), ("https://gateway.example/team-b/v1", "small")):
        text = WHOLE.replace("https://judge.example/v1", url)
        config(text.replace("model: large", f"model: {more}") if more else text)
    unnamed = WHOLE.replace("https://judge.example/v1", "https://gateway.example").replace(
        ", set_json: {/model: small}", ""
    )
    assert "clients choose the model there" in describe(config(unnamed))
    named = unnamed.replace("live: v1", "live: v1\n    match: {json: {/model: large}}")
    assert "routes[0].live" in mistakes(named, {"JUDGE_KEY": KEY})


def test_no_mistake_and_no_text_of_the_configuration_quotes_the_key() -> None:
    key = "sk-bad\nkey-0123456789"
    with pytest.raises(ConfigError) as caught:
        parse(WHOLE, environ={"JUDGE_KEY": key})
    assert "key-0123456789" not in str(caught.value)
    assert KEY not in repr(config())


def test_points_above_an_even_half_take_their_sign() -> None:
    said = mistakes(WHOLE.replace("-5pp", "5pp"), {"JUDGE_KEY": KEY})
    assert "its sign is missing: `-5pp` or `+5pp`" in str(said)
    for written, limit in (("+5pp", 0.55), ("0pp", 0.5), ("-5pp", 0.45)):
        (plan,) = config(WHOLE.replace("-5pp", written)).plans.values()
        assert [guard.limit for guard in plan.guards if guard.name == "min_win_rate"] == [limit]
