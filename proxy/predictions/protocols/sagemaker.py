"""SageMaker's `POST /invocations`, in the formats of its built-in and framework containers.

    application/json        {"predictions": [{"score": 0.9, "predicted_label": 1}, …]}, or bare values or records
    application/jsonlines   one such value per line
    text/csv                one row per line; a single line is one row, or one value per row where the kind has one

Source: SageMaker developer guide, "Common data formats for inference" and the algorithms' "Response" sections.
"""

from __future__ import annotations

import csv
import io
import re
from typing import Any

from proxy.model import PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.bounds import Bounds, too_many
from proxy.predictions.exact_json import exact_whole
from proxy.predictions.json_events import LINES, lines_of
from proxy.predictions.message import Message, media_type
from proxy.predictions.protocol import Protocol
from proxy.predictions.rows import rows_of
from proxy.predictions.shapes import Tensor, check_rows, tensor
from proxy.predictions.unreadable import Unreadable


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """The values of an answer of `/invocations`; raises `Unreadable`."""
    kind = media_type(answer.head)
    if kind == "text/csv":
        return _csv(answer.body, answer.bounds)
    if kind in LINES:
        return rows_of(spec, _lines(answer))
    if kind in ("application/json", ""):
        document = answer.document
        if type(document) is dict and "predictions" in document:
            document = document["predictions"]
        return rows_of(spec, document)
    raise Unreadable(Reason.BAD_ENCODING, f"content type `{kind[:60]}` is not JSON, JSON lines or CSV")


def _lines(answer: Message) -> list[Any]:
    lines = lines_of(answer)
    if not lines:
        raise Unreadable(Reason.EMPTY, "the body is empty")
    return [answer.parse(line) for line in lines]


def _csv(body: bytes, bounds: Bounds) -> Tensor:
    cells = body.count(b",") + max(body.count(b"\n"), body.count(b"\r"))
    if cells > bounds.halved.nodes:
        raise too_many(cells, bounds.halved.nodes, "cells")
    try:
        rows = [row for row in csv.reader(io.StringIO(body.decode(), newline="")) if row]
    except UnicodeDecodeError:
        raise Unreadable(Reason.BAD_ENCODING, "the CSV is not UTF-8") from None
    except csv.Error as error:
        raise Unreadable(Reason.BAD_ENCODING, f"not CSV: {error}") from None
    if not rows:
        raise Unreadable(Reason.EMPTY, "the body is empty")
    check_rows(len(rows))
    values = [[_cell(cell) for cell in row] for row in rows]
    found = tensor(values[0] if len(values) == 1 else values)
    found.exact = True
    return found


def _cell(text: str) -> Any:
    """A number where the cell is one, else its text."""
    text = text.strip()
    found = _NUMBER.fullmatch(text)  # an exception for each text would take ten times as long
    if found is None:
        return text
    return exact_whole(text) if found[1] else float(text)


_NUMBER = re.compile(r"[+-]?(?:(\d+)|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf|infinity)", re.IGNORECASE)


def recognise(target: str, answer: Message) -> bool:
    """Whether this answers `/invocations`; MLflow, which is asked first, is told apart by its `predictions`."""
    return target.partition("?")[0] == "/invocations"


PROTOCOLS = (Protocol("sagemaker", 50, "SageMaker containers", extract, recognise),)
