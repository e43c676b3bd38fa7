"""Promise: a text is valid exactly when an independent validator says so; the first error is told with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import parse
from proxy.errors import ConfigError
from proxy.model import VALID, Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.bounds import Bounds
from proxy.predictions.json_validity import json_rows, schema_problem
from proxy.predictions.shapes import Tensor, predict
from proxy.predictions.unreadable import Unreadable
from tests.predictions.pairs import said

SCHEMA = {
    "type": "object", "required": ["city"], "additionalProperties": False,
    "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}, "days": {"type": "integer", "minimum": 1},
                   "a/b": {"$ref": "#/$defs/tag"}},
    "$defs": {"tag": {"enum": ["x", "y"]}},
}  # fmt: skip
VALUES = st.none() | st.integers(-2, 3) | st.floats(-2, 3) | st.sampled_from(["Ulm", "ulm", "x", ""])
ANSWERS = (
    st.dictionaries(st.sampled_from(["city", "days", "a/b", "more"]), VALUES, max_size=4) | st.lists(VALUES) | VALUES
)


def rows(text: Any, schema: Any = SCHEMA) -> str:
    return json_rows([text], json.dumps(schema) if schema is not None else "", Bounds())[0]


@given(ANSWERS)
def test_validity_is_that_of_an_independent_validator(answer: Any) -> None:
    assert (rows(json.dumps(answer)) == VALID) is jsonschema.Draft202012Validator(SCHEMA).is_valid(answer)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"city": "Ulm", "days": 0}', "invalid at /days: 0 is less than the minimum of 1"),
        ('{"city": "Ulm", "a/b": "z"}', "invalid at /a~1b: "),
        ("{}", 'invalid at /: "city" is a required property'),
        ('Sure! {"city": "Ulm"}', "invalid: no JSON: "),
        ('```json\n{"city": "Ulm"}\n```', "invalid: no JSON: "),
        ('{"city": "Ulm", "days": NaN}', "invalid: no JSON: "),
        ("", "invalid: no JSON: "),
        ("\ud800", "invalid: no JSON: "),
    ],
)
def test_the_first_error_is_told_with_its_place(text: str, words: str) -> None:
    assert rows(text).startswith(words)


def test_without_a_schema_any_json_is_valid() -> None:
    assert [rows(text, None) for text in ("[1, 2]", '"a"', "1e400")] == [VALID, VALID, rows("1e400", None)]
    assert rows("[1", None).startswith("invalid: no JSON")
    assert rows({"city": "Ulm"}) == VALID  # a value that a pointer led to


def test_too_much_of_it_is_not_read() -> None:
    with pytest.raises(Unreadable) as caught:
        predict(PredictionSpec(kind=Kind.JSON), Tensor(["[" + "[]," * 20_000 + "0]"], ()))
    assert caught.value.reason is Reason.TOO_MANY_ELEMENTS


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|a)*b"])
def test_a_pattern_takes_no_longer_than_its_text(pattern: str) -> None:
    assert rows(json.dumps("a" * 50_000 + "!"), {"pattern": pattern}).startswith("invalid at /")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ('{"type": "thing"}', "is no JSON Schema at /type"),
        ('{"$ref": "http://schemas.invalid/x"}', "$ref` to another document"),
        ('{"$ref": "#/$defs/none"}', "is no JSON Schema"),
        ('{"pattern": "(?=a)"}', "is no JSON Schema at /pattern"),
        ("[]", "expected an object"),
        ("{", "is not JSON"),
    ],
)
def test_a_schema_that_cannot_be_used_is_said(schema: str, words: str) -> None:
    assert words in schema_problem(schema)


def test_the_file_is_read_once_and_its_mistakes_are_those_of_the_configuration(tmp_path: Path) -> None:
    def config(kind: str) -> PredictionSpec:
        prediction = f"{{protocol: openai, kind: {kind}, schema: answer.json}}"
        text = f"upstreams: {{a: {{url: 'http://h:1'}}}}\nroutes: [{{name: r, live: a, prediction: {prediction}}}]"
        prediction_config = parse(text, directory=tmp_path).routes[0].prediction
        assert prediction_config is not None
        (tmp_path / "answer.json").write_text("changed since")
        return prediction_config.spec

    with pytest.raises(ConfigError, match="schema: cannot be read: No such file"):
        config("json")
    (tmp_path / "answer.json").write_text(json.dumps(SCHEMA))
    assert json.loads(config("json").schema) == SCHEMA
    with pytest.raises(ConfigError, match="schema: is not JSON"):
        config("json")
    with pytest.raises(ConfigError, match="no meaning for predictions of kind `text`"):
        config("text")


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ({"answer": {"city": "Ulm", "days": 0}}, ""),
        ({"answer": '{"city": "Ulm", "days": 0}'}, ""),
        (
            b'data: {"answer": "{\\"city\\": \\"Ulm\\","}\n\ndata: {"answer": " \\"days\\": 0}"}\n\n',
            "text/event-stream",
        ),
    ],
)
def test_a_pointer_leads_to_a_document_or_to_its_text(body: Any, media_type: str) -> None:
    spec = {"pointer": "/answer", "kind": Kind.JSON, "schema": json.dumps(SCHEMA)}
    assert said("json", body, media_type=media_type, **spec).rows == (
        "invalid at /days: 0 is less than the minimum of 1",
    )
    assert said("json", {"answer": [1, [2]]}, pointer="/answer", kind=Kind.JSON).rows == (VALID,)
