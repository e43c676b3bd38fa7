"""Promise: a value anywhere in any JSON is read by its pointer, and `*` reads it in every element of an array."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.model import Kind
from proxy.model.reasons import Reason
from tests.predictions.pairs import refusal, said

BATCH = {"results": [{"score": 0.5, "tags": [{"name": "a"}]}, {"score": 0.25, "tags": [{"name": "b"}]}]}


@pytest.mark.parametrize(
    ("document", "pointer", "kind", "rows"),
    [
        (0.5, "", Kind.SCORE, (0.5,)),
        ([0.5, 0.25], "", Kind.SCORE, (0.5, 0.25)),
        ({"a": {"b": [0, "cat"]}}, "/a/b/1", Kind.LABEL, ("cat",)),
        (BATCH, "/results/*/score", Kind.SCORE, (0.5, 0.25)),
        (BATCH, "/results/*/tags/*/name", Kind.LABEL, ("a", "b")),
        (BATCH, "/results/1/tags/*/name", Kind.LABEL, ("b",)),
        ({"*": 3}, "/*", Kind.LABEL, (3,)),
    ],
)
def test_values(document: Any, pointer: str, kind: Kind, rows: tuple[Any, ...]) -> None:
    assert said("json", document, pointer=pointer, kind=kind).rows == rows


@pytest.mark.parametrize(
    ("document", "expression", "kind", "rows"),
    [
        (BATCH, "results[*].score", Kind.SCORE, (0.5, 0.25)),
        (BATCH, "results[?score > `0.3`].tags[].name", Kind.LABEL, ("a",)),
        (BATCH, "max_by(results, &score).score", Kind.SCORE, (0.5,)),
        (BATCH, "results[*].[score, score]", Kind.VECTOR, ((0.5, 0.5), (0.25, 0.25))),
        ([0.25], "@", Kind.SCORE, (0.25,)),
    ],
)
def test_values_by_jmespath(document: Any, expression: str, kind: Kind, rows: tuple[Any, ...]) -> None:
    assert said("json", document, jmespath=expression, kind=kind).rows == rows


@pytest.mark.parametrize(
    ("document", "expression", "reason", "words"),
    [
        ({"error": 1}, "results[*].score", Reason.MISSING_OUTPUT, "`results[*].score` finds nothing; found an object"),
        ({"results": []}, "results[*].score", Reason.EMPTY, "no values"),
        ({"a": "x"}, "max(a)", Reason.BAD_TYPE, "`max(a)` cannot be applied"),
        ({"a": ["x", 1]}, "max(a)", Reason.BAD_TYPE, "cannot be applied"),
        ({"a": [{"b": {}}]}, "a", Reason.BAD_TYPE, "an object"),
        (b"[1", "@", Reason.TRUNCATED, "breaks off"),
    ],
)
def test_refusals_by_jmespath(document: Any, expression: str, reason: Reason, words: str) -> None:
    found, detail = refusal("json", document, jmespath=expression, kind=Kind.SCORE)
    assert found is reason
    assert words in detail


@pytest.mark.parametrize(
    ("document", "pointer", "reason", "words"),
    [
        ({"result": 1}, "/score", Reason.MISSING_OUTPUT, "`score` is missing at the top; found `result`"),
        (BATCH, "/results/*/label", Reason.MISSING_OUTPUT, "`label` is missing at the top; found `score`, `tags`"),
        ({"results": {}}, "/results/*/score", Reason.MISSING_OUTPUT, "`*` is missing"),
        ({"results": []}, "/results/*/score", Reason.EMPTY, "no values"),
        (b"[1", "", Reason.TRUNCATED, "breaks off"),
        (b"[" * 2000, "", Reason.TOO_DEEP, "levels"),
        ({"score": [[1], 2]}, "/score", Reason.BAD_SHAPE, "mixed"),
        ({"score": True}, "/score", Reason.BAD_TYPE, "a boolean"),
    ],
)
def test_refusals(document: Any, pointer: str, reason: Reason, words: str) -> None:
    found, detail = refusal("json", document, pointer=pointer, kind=Kind.SCORE)
    assert found is reason
    assert words in detail
