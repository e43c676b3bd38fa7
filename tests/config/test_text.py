"""Promise: what YAML says is read as a person reads it, the environment fills values and nothing else, and whatever
the text is, it is a configuration or a mistake in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from proxy.config import parse
from proxy.errors import ConfigError
from tests.config.files import mistakes, rollout


def test_words_are_words() -> None:
    """YAML 1.1 would read `off` as false, a date as a date and 1:30 as 90."""
    config = parse(rollout("{shadow: 100%, fallback: off}".strip("{}").replace(", ", "\n        ")))
    assert next(iter(config.rollouts()))[1].fallback.after == "off"
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


def test_the_environment_cannot_add_keys() -> None:
    text = "{upstreams: {m: {url: 'http://a', version: '${V}'}}, default: {live: m}}"
    config = parse(text, environ={"V": "1, timeout: 1s}"})
    assert config.upstreams["m"].version == "1, timeout: 1s}"


def test_a_secret_that_is_not_set_is_a_mistake() -> None:
    said = mistakes(
        rollout("shadow: 100%", admin="{token: '${NOPE}'}", webhooks="[{url: 'http://h', secret: '${A B}'}]")
    )
    assert said["admin.token"] == "the environment variable NOPE is not set ()"
    assert "not the name of an environment variable" in said["webhooks[0].secret"]


@pytest.mark.parametrize("key", ["timeout", "url", "nonsense", "tls", "max_connections", "version"])
def test_a_mistake_quotes_the_name_of_a_secret_and_not_its_value(key: str) -> None:
    text = f"upstreams: {{m: {{url: http://a, {key}: 'x${{SECRET}}'}}}}\ndefault: {{live: m}}"
    text = text.replace("url: http://a, url", "url")
    said = mistakes(text, {"SECRET": "hunter2\n"})
    assert said
    assert "hunter" not in str(said)


def test_a_secret_may_come_from_a_file_and_has_a_default_where_the_environment_has_none(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3 cret\n")
    text = "upstreams: {m: {url: 'http://a', headers: {set: {authorization: 'Bearer ${file:key}', x: '${X:-a:-b}'}}}}"
    text += "\ndefault: {live: m}"
    for environ, other in (({}, "a:-b"), ({"X": ""}, "a:-b"), ({"X": "y"}, "y")):
        headers = parse(text, directory=tmp_path, environ=environ).upstreams["m"].headers.set
        assert headers == {"authorization": "Bearer s3 cret", "x": other}
    absolute = text.replace("file:key", f"file:{tmp_path}/key")
    assert parse(absolute, environ={}).upstreams["m"].headers.set["authorization"] == "Bearer s3 cret"
    (tmp_path / "key").write_text("new\r\n")
    assert parse(text, directory=tmp_path, environ={}).upstreams["m"].headers.set["authorization"] == "Bearer new"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"s3\xff", "is not UTF-8 text"),
        (b"s3" * 40_000, "is longer than 64 KiB"),
        (b"s3\ncret", "expected the value of a header"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_the_line_and_without_its_content(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    text = "upstreams:\n  m:\n    url: http://a\n    headers: {set: {x: '${file:key}'}}\ndefault: {live: m}"
    with pytest.raises(ConfigError) as caught:
        parse(text, directory=tmp_path)
    mistake = next(one for one in caught.value.mistakes if said in one.problem)
    assert (mistake.path, mistake.line) == ("upstreams.m.headers.set.x", 4)
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "/dev/null", "\0", "a" * 5000])
def test_what_is_no_file_is_not_read(tmp_path: Path, name: str) -> None:
    text = yaml.safe_dump(
        {"upstreams": {"m": {"url": "http://a", "version": f"${{file:{name}}}"}}, "default": {"live": "m"}}
    )
    with pytest.raises(ConfigError, match="the file"):
        parse(text, directory=tmp_path)


def test_a_key_given_twice_is_a_mistake() -> None:
    said = mistakes("upstreams:\n  m: {url: http://a, url: http://b}\n  m: {url: http://c}\ndefault: {live: m}")
    assert said["upstreams.m"] == "the key is defined twice (first on line 2)"
    assert said["upstreams.m.url"] == "the key is defined twice (first on line 2)"


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


@pytest.mark.parametrize(
    "value",
    [
        "upstreams: {m: {url: '${NOPE}'}}",
        "upstreams: {m: {url: http://a, headers: {set: {authorization: 'Bearer ${NOPE}'}}}}",
        "upstreams: {m: {url: http://a, headers: {set: {authorization: '${NOPE}'}}}}",
        "upstreams: {m: {url: http://a, timeout: '${NOPE}'}}",
        "{upstreams: {m: {url: http://a}}, admin: {token: '${NOPE}'}}",
        "{upstreams: {m: {url: http://a}}, webhooks: [{url: 'http://h', secret: '${NOPE}'}]}",
        "{upstreams: {m: {url: http://a}}, webhooks: [{url: '${NOPE}', secret: s}]}",
        "{upstreams: {m: {url: http://a}}, judges: {j: {url: http://j, model: x, headers: {a: 'Bearer ${NOPE}'}}}}",
    ],
)
def test_what_the_environment_lacks_is_one_mistake(value: str) -> None:
    text = value[1:-1] if value.startswith("{") else value
    with pytest.raises(ConfigError) as caught:
        parse("{" + text + ", default: {live: m}}", environ={})
    assert [one.problem for one in caught.value.mistakes] == ["the environment variable NOPE is not set"]


def test_a_key_that_is_unknown_is_told_of_also_where_its_secret_is_missing() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("{upstreams: {m: {url: http://a, tokn: '${NOPE}'}}, default: {live: m}}", environ={})
    assert len(caught.value.mistakes) == 2
