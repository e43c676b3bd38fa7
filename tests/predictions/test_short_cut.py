"""Promise: the short cut for JSON answers with one value changes nothing but the time.

Answers that are right, nearly right and wrong are read with it and without it: the readings are equal.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Arm, Kind, Outcome, Pair, PredictionSpec
from proxy.predictions import read_pair
from proxy.predictions.registry import PROTOCOLS

values = st.one_of(
    st.floats(),
    st.integers(-3, 3),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.lists(st.floats(0, 1), max_size=2),
)
sizes = st.one_of(st.integers(-1, 2), st.sampled_from([True, 1.0, "1", None]))
outputs = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["y", "z", 1]),
        "shape": st.one_of(st.just([1]), st.just([1, 1]), st.lists(sizes, max_size=3), st.none()),
        "datatype": st.sampled_from(["FP64", "INT64", "BYTES", "BOOL", "FP65", None, ["FP64"]]),
        "data": st.one_of(st.lists(values, min_size=1, max_size=2), values),
    }
)
documents = st.one_of(
    st.fixed_dictionaries({"outputs": st.lists(st.one_of(outputs, values), min_size=1, max_size=2)}),
    st.fixed_dictionaries({"y": values}),
    values,
)
heads = st.sampled_from([b"", b"Content-Encoding: gzip\r\n", b"Inference-Header-Content-Length: 5\r\n"])


def outcome(document: Any, head: bytes) -> Outcome:
    body = orjson.dumps(document) if not _odd(document) else repr(document).encode()
    return Outcome(200, head=b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", body=body, seconds=0.1, first=0.1)


def _odd(document: Any) -> bool:
    return isinstance(document, float) and not math.isfinite(document)


@given(
    live=documents,
    candidate=documents,
    head=heads,
    protocol=st.sampled_from(["v2", "json"]),
    kind=st.sampled_from([Kind.SCORE, Kind.NUMBER, Kind.LABEL, Kind.TEXT, Kind.AUTO]),
    output=st.sampled_from(["", "y"]),
    jmespath=st.sampled_from(["", "y", "[y]"]),
)
def test_readings_are_the_same_without_it(
    live: Any, candidate: Any, head: bytes, protocol: str, kind: Kind, output: str, jmespath: str
) -> None:
    spec = PredictionSpec(protocol, kind, output, pointer="" if jmespath else "/y", jmespath=jmespath)
    pair = Pair("t", 0, "w", 0, "r", 0.0, Arm.LIVE, b"", b"{}", outcome(live, b""), outcome(candidate, head))
    short = read_pair(spec, pair)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, protocol, replace(PROTOCOLS[protocol], single=None))
        assert repr(read_pair(spec, pair)) == repr(short)


@pytest.mark.parametrize("kind", [Kind.SCORE, Kind.NUMBER])
def test_it_is_taken_where_it_is_meant_to_be(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the long way")

    monkeypatch.setitem(PROTOCOLS, "v2", replace(PROTOCOLS["v2"], extract=never))
    answer = outcome({"outputs": [{"name": "y", "shape": [1, 1], "datatype": "FP64", "data": [0.5]}]}, b"")
    pair = Pair("t", 0, "w", 0, "r", 0.0, Arm.LIVE, b"", b"{}", answer, answer)
    found = read_pair(PredictionSpec("v2", kind, "y"), pair)
    assert found.live is not None
    assert found.live.rows == (0.5,)
