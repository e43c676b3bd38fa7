"""Promise: what real servers really answered (recorded by `tests/golden/record.py`) is read as meant."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from proxy.model import Kind, Outcome, PredictionSpec
from proxy.predictions import read_pair
from tests.predictions.pairs import pair

GOLDEN = Path(__file__).parents[1] / "golden"


def recorded() -> list[Any]:
    cases = []
    for file in sorted(GOLDEN.glob("*.json")):
        document = json.loads(file.read_text())
        for number, answer in enumerate(document["answers"]):
            name = f"{document['server']}-{document['version']}-{answer['protocol']}-{answer['output']}-{number}"
            cases.append(pytest.param(answer, id=name))
    return cases


def test_there_are_recordings() -> None:
    assert {file.stem for file in GOLDEN.glob("*.json")} == {"mlserver", "kserve", "mlflow", "litserve", "bentoml"}


@pytest.mark.parametrize("recording", recorded())
@pytest.mark.parametrize("auto", [False, True])
def test_a_recorded_answer(recording: dict[str, Any], auto: bool) -> None:
    outcome = Outcome(200, head=recording["head"].encode(), body=base64.b64decode(recording["body"]))
    kind = Kind(recording["kind"])
    head = f"POST {recording['target']} HTTP/1.1\r\n\r\n".encode()
    auto = auto and recording["protocol"] != "json"  # which nothing gives away
    protocol, pointer = "auto" if auto else recording["protocol"], recording.get("pointer", "")
    spec = PredictionSpec(protocol, Kind.AUTO if auto else kind, recording["output"], pointer)
    reading = read_pair(spec, pair(outcome, outcome, head=head))
    assert reading.detail == ""
    assert reading.live is not None
    assert reading.live.kind is kind
    assert len(reading.live.rows) == len(recording["rows"])
    for row, expected in zip(reading.live.rows, recording["rows"], strict=True):
        assert row == (pytest.approx(expected, abs=1e-6) if kind is Kind.PROBABILITIES else expected)
    assert reading.live == reading.candidate


@pytest.mark.parametrize("recording", recorded())
def test_a_recorded_answer_cut_short_is_refused(recording: dict[str, Any]) -> None:
    body = base64.b64decode(recording["body"])
    whole = Outcome(200, head=recording["head"].encode(), body=body)
    pointer = recording.get("pointer", "")
    spec = PredictionSpec(recording["protocol"], Kind(recording["kind"]), recording["output"], pointer)
    ends = len(body) - len(b"data: [DONE]\n\n") if body.endswith(b"[DONE]\n\n") else len(body)  # said by finish_reason
    for length in range(0, ends, 7):
        reading = read_pair(spec, pair(whole, Outcome(200, head=whole.head, body=body[:length])))
        assert reading.fault in ("truncated", "empty", "bad_encoding")
        assert reading.candidate is None
