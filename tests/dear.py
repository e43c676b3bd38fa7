"""Answers that are as expensive to read as their bounds allow, and some that are beyond: for tests and load tests.

All are made here and harmless: a mebibyte at most, whatever they inflate to.
"""

from __future__ import annotations

import base64
import gzip
import struct
from collections.abc import Callable

import orjson

from proxy.model import Kind, Outcome, PredictionSpec
from proxy.predictions.bounds import MAX_BODY, MEMBERS, NODES, PARTS, VALUES
from proxy.predictions.shapes import MAX_ROWS

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s\r\n"
JSON = HEAD % (b"application/json", b"")
GZIP = HEAD % (b"application/json", b"content-encoding: gzip\r\n")
EVENTS = HEAD % (b"text/event-stream", b"")
LINES = HEAD % (b"application/x-ndjson", b"")
CSV = HEAD % (b"text/csv", b"")
GRPC = HEAD % (b"application/grpc", b"")

Case = tuple[PredictionSpec, bytes, bytes]
"""How an answer is read, its head and its body."""


def outcome(case: Case) -> Outcome:
    """The answer as an arm gave it."""
    return Outcome(200, head=case[1], body=case[2], seconds=0.01, first=0.01)


def many(start: bytes, item: bytes, end: bytes, count: int) -> bytes:
    """`count` items, separated by commas."""
    return start + b",".join([item] * count) + end


def _json(kind: Kind, body: bytes, **spec: str) -> Case:
    return PredictionSpec("json", kind, **(spec or {"pointer": "/a"})), JSON, body


def _openai(body: bytes, kind: Kind = Kind.TEXT, output: str = "", head: bytes = JSON) -> Case:
    return PredictionSpec("openai", kind, output), head, body


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes((*found, number))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _grpc(message: bytes, kind: Kind = Kind.LABEL) -> Case:
    return PredictionSpec("v2", kind), GRPC, b"\0" + struct.pack(">I", len(message)) + message


def _typed(datatype: bytes, count: int, contents: bytes, kind: Kind) -> Case:
    shape = _field(3, b"\1" + _varint(count))
    return _grpc(_field(5, _field(1, b"y") + _field(2, datatype) + shape + _field(5, contents)), kind)


def _binary(kind: Kind, datatype: str, shape: list[int], raw: bytes) -> Case:
    parameters = {"binary_data_size": len(raw)}
    output = {"name": "y", "shape": shape, "datatype": datatype, "parameters": parameters}
    head = orjson.dumps({"outputs": [output]})
    line = b"inference-header-content-length: %d\r\n" % len(head)
    return PredictionSpec("v2", kind), HEAD % (b"application/octet-stream", line), head + raw


def _content(text: bytes) -> bytes:
    return orjson.dumps({"choices": [{"message": {"content": text.decode()}}]})


def _numbered(start: bytes, item: bytes, end: bytes, count: int) -> bytes:
    return start + b",".join(item % number for number in range(count)) + end


DEAREST: dict[str, Callable[[], Case]] = {
    "vector": lambda: _json(Kind.VECTOR, many(b'{"a":[', b"1", b"]}", VALUES - 1)),
    "vector beside NaN": lambda: _json(Kind.VECTOR, many(b'{"b":NaN,"a":[', b"0.1", b"]}", VALUES // 2 - 2)),
    "vectors": lambda: _json(Kind.VECTOR, many(b'{"a":[', many(b"[", b"1", b"]", 30), b"]}", MAX_ROWS)),
    "classes": lambda: _json(Kind.PROBABILITIES, b'{"a":[1,' + b",".join([b"0"] * (VALUES - 2)) + b"]}"),
    "rows of classes": lambda: _json(
        Kind.PROBABILITIES, many(b'{"a":[', many(b"[1,", b"0", b"]", 29), b"]}", MAX_ROWS)
    ),
    "rankings": lambda: _json(Kind.RANKING, _numbered(b'{"a":[', b"[1,2,%d]", b"]}", MAX_ROWS)),
    "digits": lambda: _json(Kind.RANKING, many(b'{"a":[', b"9" * 20, b"]}", MAX_BODY // 21 - 1)),
    "words": lambda: _json(Kind.TEXT, b'{"a":"' + b" ".join(b"%014x" % n for n in range(NODES - 1)) + b'"}'),
    "texts": lambda: _json(Kind.TEXT, many(b'{"a":[', b'"a b c d"', b"]}", MAX_ROWS)),
    "members": lambda: _json(Kind.LABEL, _numbered(b'{"a":1,', b'"%x":0', b"}", 100_000)),
    "objects": lambda: _json(Kind.LABEL, many(b'{"a":1,"b":[', b'{"x":0,"y":1}', b"]}", NODES - 4)),
    "nested": lambda: _json(Kind.LABEL, many(b'{"a":1,"b":[', b"[" * 1000 + b"]" * 1000, b"]}", NODES // 1000)),
    "commas in a text": lambda: _json(Kind.TEXT, b'{"a":"' + b"," * (MAX_BODY - 9) + b'"}'),
    "expression": lambda: _json(
        Kind.RANKING, _numbered(b'{"i":[', b'{"r":1,"d":%d}', b"]}", 2700), jmespath="sort_by(i, &r)[*].d"
    ),
    "events": lambda: (PredictionSpec("json", Kind.TEXT, pointer="/a"), EVENTS, b'data:{"a":"b"}\n\n' * PARTS),
    "lines": lambda: (PredictionSpec("json", Kind.RANKING), LINES, b"[1,2,3]\n" * (PARTS - 1)),
    "cells": lambda: (PredictionSpec("sagemaker", Kind.VECTOR), CSV, b"1.5," * (NODES // 2 - 1) + b"1"),
    "chat stream": lambda: _openai(
        b'data:{"id":"c","object":"o","created":1,"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n' * (PARTS - 1)
        + b"data:[DONE]\n\n",
        head=EVENTS,
    ),
    "form": lambda: _openai(
        _content(_numbered(b"[", b'{"%x":0}', b"]", NODES // 4 - 2)), Kind.LABEL, output="json_form"
    ),
    "log-probabilities": lambda: _openai(
        many(b'{"choices":[{"logprobs":{"content":[', b'{"token":"a","logprob":0.5,"bytes":[97]}', b"]}}]}", 25_000),
        Kind.NUMBER, output="logprob",
    ),
    "embeddings": lambda: _openai(many(b'{"data":[', b'{"embedding":[1,2]}', b"]}", MAX_ROWS), Kind.VECTOR),
    "base64": lambda: _openai(
        b'{"data":[{"embedding":"%s"}]}' % base64.b64encode(struct.pack("<f", 1.0) * 190_000), Kind.VECTOR
    ),
    "scores by label": lambda: (
        PredictionSpec("torchserve", Kind.RANKING), JSON, _numbered(b"{", b'"%x":1', b"}", NODES)
    ),
    "classified": lambda: (
        PredictionSpec("tensorflow", Kind.LABEL), JSON, many(b'{"results":[', b'[["a",1],["b",0]]', b"]}", MAX_ROWS)
    ),
    "tensor": lambda: _binary(Kind.VECTOR, "FP32", [1, VALUES - 44], struct.pack("<f", 1.0) * (VALUES - 44)),
    "bytes": lambda: _binary(Kind.RANKING, "BYTES", [1, PARTS], b"\1\0\0\0\xff" * PARTS),
    "fields": lambda: _typed(b"FP32", PARTS - 9, b"\x35\0\0\x80\x3f" * (PARTS - 9), Kind.VECTOR),
    "packed": lambda: _typed(b"INT64", 100_000, _field(3, (b"\xff" * 9 + b"\1") * 100_000), Kind.VECTOR),
}  # fmt: skip
"""Each as large as may be read, by what makes it expensive."""

BEYOND: dict[str, Callable[[], Case]] = {
    "zeros": lambda: (PredictionSpec("json", Kind.LABEL, pointer="/a"), GZIP, gzip.compress(bytes(10_000_000))),
    "values": lambda: _json(Kind.VECTOR, many(b'{"a":[', b"1", b"]}", 520_000)),
    "values beside NaN": lambda: _json(Kind.VECTOR, many(b'{"b":NaN,"a":[', b"1", b"]}", VALUES // 2 + 1)),
    "members": lambda: _json(Kind.LABEL, many(b'{"a":1,', b'"":0', b"}", MEMBERS)),
    "objects": lambda: _json(Kind.LABEL, many(b'{"a":1,"b":[', b"{}", b"]}", NODES)),
    "nested": lambda: _json(Kind.LABEL, many(b'{"a":1,"b":[', b"[" * 1000 + b"]" * 1000, b"]}", 500)),
    "words": lambda: _json(Kind.TEXT, b'{"a":"' + b"a " * (NODES + 1) + b'"}'),
    "rows": lambda: _json(Kind.VECTOR, many(b'{"a":[', b"[1,2]", b"]}", MAX_ROWS + 1)),
    "items": lambda: _json(Kind.RANKING, many(b'{"a":[', b"1", b"]}", NODES + 1)),
    "expression": lambda: _json(Kind.SCORE, many(b'{"a":[', b"1", b"]}", NODES // 4), jmespath="a[?@ > `0`]"),
    "events": lambda: (PredictionSpec("json", Kind.TEXT), EVENTS, b"data:b\n\n" * (PARTS + 1)),
    "blank lines": lambda: (PredictionSpec("json", Kind.TEXT), EVENTS, b"data:b" + b"\n\n" * 500_000),
    "lines": lambda: (PredictionSpec("json", Kind.LABEL), LINES, b"1\n" * (PARTS + 1)),
    "lines that nobody named": lambda: _json(Kind.LABEL, b"1\n" * 500_000, pointer=""),
    "cells": lambda: (PredictionSpec("sagemaker", Kind.RANKING), CSV, b"a," * 500_000),
    "pieces": lambda: _openai(b'data:{"choices":[{"text":"x"}]}\n\n' * (PARTS + 1) + b"data:[DONE]\n\n", head=EVENTS),
    "form": lambda: _openai(_content(many(b"[", b"[]", b"]", NODES // 4)), Kind.LABEL, output="json_form"),
    "arguments": lambda: _openai(
        many(b'{"choices":[{"message":{"tool_calls":[', b'{"function":{"arguments":"%s"}}' % (b"[" * 120 + b"]" * 120),
             b"]}}]}", 500),
    ),
    "labels": lambda: (PredictionSpec("torchserve", Kind.LABEL), JSON, _numbered(b"{", b'"%x":1', b"}", NODES + 1)),
    "tensor": lambda: _binary(Kind.VECTOR, "INT8", [1, VALUES + 1], bytes(VALUES + 1)),
    "bytes": lambda: _binary(Kind.RANKING, "BYTES", [1, PARTS + 1], b"\0\0\0\0" * (PARTS + 1)),
    "JSON of bytes": lambda: (
        PredictionSpec("v2", Kind.RANKING), JSON,
        many(b'{"outputs":[{"name":"y","datatype":"BYTES","shape":[1,%d],"data":[' % (PARTS + 1), b'"a"', b"]}]}",
             PARTS + 1),
    ),
    "texts": lambda: _typed(b"BYTES", PARTS + 1, _field(8, b"") * (PARTS + 1), Kind.RANKING),
    "outputs": lambda: _grpc(_field(5, b"") * 300_000),
    "shape": lambda: _grpc(_field(5, b"\x18\x01" * 500_000)),
    "numbers one by one": lambda: _typed(b"INT64", 300_000, b"\x18\x01" * 300_000, Kind.VECTOR),
    "packed": lambda: _typed(b"INT64", 500_000, _field(3, b"\1" * 500_000), Kind.VECTOR),
}  # fmt: skip
"""Each beyond one bound."""
