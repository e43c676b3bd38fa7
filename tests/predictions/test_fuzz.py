"""Promise: whatever the two arms say, in whichever protocol, a pair becomes a reading: no exception, a reason for what
could not be read, and CPU time that grows with the bytes and with nothing worse.

Bytes are anything; JSON is anything, and the golden answers of real servers with a piece exchanged, which gets deeper.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evidence import Evidence
from proxy.model import Arm, Guard, Kind, Outcome, Pair, PredictionSpec, Reading
from proxy.model.reasons import PREDICTION_WORDS, REASONS, Reason
from proxy.predictions import booking, read_pair
from proxy.predictions.message import Message
from proxy.predictions.protocol import unasked
from proxy.predictions.registry import AUTO, PROTOCOLS, recognised
from proxy.predictions.unreadable import Unreadable
from tests.evidence.streams import make_plan

GOLDEN = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "golden").rglob("*")) if path.is_file()]
DOCUMENTS: list[Any] = [
    {"outputs": [{"name": "y", "shape": [2, 2], "datatype": "FP64", "data": [0.1, 0.9, 0.5, 0.5]}]},
    {"predictions": [[0.25, 0.75], [0.5, 0.5]]},
    {"predictions": [{"score": 0.5, "label": 1}, {"score": 0.25, "label": 0}]},
    {"outputs": {"score": [0.5, 0.25]}},
    [[{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.1}]],
    {"cat": 0.9, "dog": 0.1},
    {"choices": [{"index": 0, "message": {"content": "Hi", "tool_calls": [{"function": {"name": "f"}}]},
                  "finish_reason": "stop", "logprobs": {"content": [{"logprob": -0.5}]}}],
     "usage": {"completion_tokens": 3}},
    {"data": [{"index": 0, "embedding": [0.1, 0.2]}, {"index": 1, "embedding": "AACAPwAAAEA="}]},
    {"content": [{"type": "text", "text": "Hi"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1]}}],
     "stop_reason": "tool_use", "usage": {"output_tokens": 3}},
    {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}], "status": "completed"},
    {"y": {"a": [0.5, {"b": 1}]}},
]  # fmt: skip
TARGETS = (
    "/v2/models/m/infer", "/v1/models/m:predict", "/invocations", "/predictions/m", "/v1/chat/completions",
    "/v1/messages", "/x",
)  # fmt: skip
TYPES = ("application/json", "text/csv", "text/event-stream", "application/jsonlines", "application/octet-stream", "")
CODINGS = ("", "gzip", "deflate", "br", "zstd", "x", "gzip, gzip", "identity")

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8),
    st.sampled_from([1e308, -1e308, 5e-324, 2**64, "\ud800", "NaN", "1e999"]),
)  # fmt: skip
anything = st.recursive(
    leaves, lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=6), inside, max_size=4)
)
specs = st.builds(
    PredictionSpec,
    protocol=st.sampled_from([*PROTOCOLS, AUTO, "nobody's"]),
    kind=st.sampled_from(Kind),
    output=st.sampled_from(["", "y", "score", "text", "json", "json_form", "refusal", "logprob", "tokens"]),
    pointer=st.sampled_from(["", "/y", "/y/a/0", "/*/b", "/y/*"]),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside."""
    found = [path]
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found += places(value[key], (*path, key))
    return found


@st.composite
def nearly_right(draw: st.DrawFn) -> Any:
    """An answer of a known form in which up to three pieces are exchanged."""
    document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(document)))
        if not path:
            return draw(anything)
        inside = document
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = draw(anything)
    return document


def written(value: Any) -> bytes:
    """JSON as careless servers write it: NaN, Infinity and half surrogates included."""
    import json

    return json.dumps(value).encode("utf-8", "surrogatepass")


bodies = st.one_of(
    st.binary(max_size=200),
    nearly_right().map(written),
    anything.map(written),
    st.sampled_from(GOLDEN).flatmap(lambda body: st.integers(0, len(body)).map(lambda end: body[:end])),
    st.lists(st.tuples(st.sampled_from([b"data: ", b"", b"event: x\n"]), nearly_right().map(written)), max_size=4).map(
        lambda events: b"".join(start + body + b"\n\n" for start, body in events) + b"data: [DONE]\n\n"
    ),
    st.lists(st.lists(leaves, max_size=3), max_size=3).map(
        lambda rows: "\n".join(",".join(map(str, row)) for row in rows).encode("utf-8", "surrogatepass")
    ),
)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    lines = [f"HTTP/1.1 {(status := draw(st.sampled_from([200, 200, 200, 204, 302, 404, 429, 500, 0])))} X"]
    lines.append(f"Content-Type: {draw(st.sampled_from(TYPES))}")
    if coding := draw(st.sampled_from(CODINGS)):
        lines.append(f"Content-Encoding: {coding}")
    if draw(st.integers(0, 9)) == 0:
        lines.append(f"Inference-Header-Content-Length: {draw(st.sampled_from(['5', '-1', 'x', '9' * 30, '٣']))}")
    head = "\r\n".join((*lines, "", "")).encode("utf-8")
    reason = draw(st.sampled_from([Reason.NONE] * 8 + [Reason.TIMEOUT, Reason.DISCONNECT]))
    return Outcome(status, reason, head, draw(bodies), seconds=0.1, first=math.nan)


def pair_of(live: Outcome, candidate: Outcome, target: str = "/x", request: bytes = b"{}") -> Pair:
    head = f"POST {target} HTTP/1.1\r\nhost: a\r\n\r\n".encode()
    return Pair("t", 0, "w", 0, "r", 0.0, Arm.LIVE, head, request, live, candidate, again=live)


def test_auto_finds_each_protocol_among_what_is_tried() -> None:
    found = set()
    for target, document in product(TARGETS, DOCUMENTS):
        with suppress(Unreadable):
            found.add(recognised(target, Message(b"", written(document))).name)
    assert found == {protocol.name for protocol in PROTOCOLS.values() if protocol.recognise is not unasked}


def checked(spec: PredictionSpec, pair: Pair) -> Reading:
    """The reading, which must say of each arm either what it predicts or a word of the closed set why not."""
    reading = read_pair(spec, pair)
    assert reading.live_fault is not Reason.INTERNAL, reading.detail
    assert {reading.live_fault, reading.fault} <= set(REASONS)
    assert booking(reading.live_fault) in ("compared", "live_failed", "unparseable")
    for fault, prediction in ((reading.live_fault, reading.live), (reading.fault, reading.candidate)):
        assert not (fault and prediction is not None)
        assert fault not in PREDICTION_WORDS or reading.detail, "a word without a sentence"
    return reading


@given(spec=specs, live=outcomes(), candidate=outcomes(), target=st.sampled_from(TARGETS), request=bodies)
def test_whatever_is_answered_becomes_a_reading_and_evidence(
    spec: PredictionSpec, live: Outcome, candidate: Outcome, target: str, request: bytes
) -> None:
    reading = checked(spec, pair_of(live, candidate, target, request))
    guards = (Guard("max_disagreement", 0.02), Guard("max_mean_shift", 0.1), Guard("max_extra_errors", 0.01))
    evidence = Evidence.begin(make_plan(*guards, Guard("min_similarity", 0.9), prediction=spec), 1)
    evidence.add([reading, reading._replace(sequence=1, request_hash=reading.request_hash ^ 1)])
    evidence.assess(1.0)
    assert evidence.compared == 2 * (booking(reading.live_fault) == "compared")


HUGE = 10 * 1024 * 1024


def numbers() -> bytes:
    return b"[" + b",".join([b"0.123456789"] * (HUGE // 12)) + b"]"


def wide() -> bytes:
    return b"[" + b",".join([b"1e-4"] * 10_000) + b"]"


HUGE_BODIES: dict[str, Callable[[], bytes]] = {
    "numbers": numbers,
    "an output of numbers": lambda: (
        b'{"outputs":[{"name":"y","shape":[%d],"datatype":"FP64","data":%s}]}' % (HUGE // 12, numbers())
    ),
    "predictions of 10,000 values": lambda: b'{"predictions":[' + b",".join([wide()] * 200) + b"]}",
    "one text": lambda: b'{"choices":[{"index":0,"message":{"content":"' + b"word " * (HUGE // 5) + b'"}}]}',
    "deep": lambda: b"[" * HUGE,
    "deep objects": lambda: b'{"a":' * (HUGE // 5),
    "keys": lambda: b"{" + b",".join(b'"%d":1' % i for i in range(HUGE // 12)) + b"}",
    "no numbers": lambda: b"[" + b"NaN," * (HUGE // 4) + b"1]",
    "blanks": lambda: b" " * HUGE,
    "events": lambda: b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n' * (HUGE // 60),
    "lines": lambda: b"0.5,0.5\n" * (HUGE // 8),
    "long digits": lambda: b"[" + b"9" * HUGE + b"]",
    "escapes": lambda: b'{"y":"' + b"\\u0041" * (HUGE // 6) + b'"}',
    "bytes": lambda: bytes(range(256)) * (HUGE // 256),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HUGE_BODIES)
def test_ten_megabytes_are_read_or_refused_in_bounded_time(name: str) -> None:
    body = HUGE_BODIES[name]()
    for protocol in PROTOCOLS:
        for kind in (Kind.SCORE, Kind.VECTOR, Kind.TEXT):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n\r\n" % (
                b"text/event-stream" if name == "events" else b"text/csv" if name == "lines" else b"application/json"
            )
            outcome = Outcome(200, head=head, body=body)
            start = time.process_time()
            checked(PredictionSpec(protocol, kind, pointer="/y"), pair_of(outcome, outcome, request=body))
            assert time.process_time() - start < 30.0, (protocol, kind)


def test_what_goes_deep_is_refused_by_its_word() -> None:
    deep = Outcome(200, head=b"HTTP/1.1 200 OK\r\n\r\n", body=b"[" * 5000 + b"]" * 5000)
    fine = Outcome(200, head=b"HTTP/1.1 200 OK\r\n\r\n", body=orjson.dumps({"y": 0.5}))
    spec = PredictionSpec("json", Kind.SCORE, pointer="/y")
    assert read_pair(spec, pair_of(fine, deep)).fault is Reason.TOO_DEEP
    assert read_pair(spec, pair_of(deep, fine)).live_fault is Reason.TOO_DEEP
