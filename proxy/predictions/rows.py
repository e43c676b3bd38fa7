"""Rows as the servers without a tensor protocol write them: arrays, records by column name, scores by label.

TensorFlow Serving, KServe V1, MLflow, SageMaker and TorchServe wrap the same few layouts in different envelopes:

    [0.1, 0.9]                                   values
    [[0.1, 0.9], [0.8, 0.2]]                     rows
    [{"score": 0.9, "label": 1}, …]              records: `output` chooses the column
    {"score": [0.9, …], "label": [1, …]}         columns: the same
    {"cat": 0.9, "dog": 0.1}                     scores by label, for one row
    [[{"label": "cat", "score": 0.9}, …], …]     the same, as the transformers library writes it
    {"b64": "…"}                                 bytes, kept as their base64 text
"""

from __future__ import annotations

from typing import Any

from proxy.model import Kind, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.bounds import too_many
from proxy.predictions.json_tools import word_for
from proxy.predictions.shapes import Tensor, check_rows, floats, label_name, only_row, tensor
from proxy.predictions.unreadable import Unreadable, names

MAX_LABELS = 65_536
"""Labels with their scores in one answer: each is looked at by itself."""

_WIDE = (Kind.PROBABILITIES, Kind.VECTOR)


def rows_of(spec: PredictionSpec, value: Any) -> Tensor:
    """The values in any of these layouts but scores by label; raises `Unreadable`.

    >>> rows_of(PredictionSpec(output="score"), [{"score": 0.5, "label": 1}, {"score": 0.75, "label": 0}]).data
    [0.5, 0.75]
    """
    if type(value) is dict and not _is_bytes(value):
        if value and all(type(column) is list for column in value.values()):
            return tensor(value[chosen_name(spec, value)])
        return _records(spec, [value])
    if type(value) is list and value:
        if type(value[0]) is dict and not _is_bytes(value[0]):
            return _records(spec, value)
        if type(value[0]) is list and value[0] and _is_scored(value[0][0]):
            check_rows(len(value))
            return scored(spec, [_by_label(row) for row in value])
    values = tensor(value)
    values.data = [item["b64"] if _is_bytes(item) else item for item in values.data]
    return values


def row_of_predictions(_spec: PredictionSpec, document: Any) -> Any:
    """What `{"predictions": …}` holds if it is one number or text, or an array of one row: `Protocol.single` of the
    servers that answer so. Anything else is for `rows_of`.

    >>> row_of_predictions(PredictionSpec(), {"predictions": [[0.25, 0.75]]})
    [0.25, 0.75]
    """
    return only_row(document.get("predictions")) if type(document) is dict else None


def chosen_name(spec: PredictionSpec, found: dict[str, Any]) -> str:
    """The name that `output` asks for, or the only one; raises `Unreadable` with `missing_output`."""
    if spec.output in found:
        return spec.output
    if spec.output:
        raise Unreadable(Reason.MISSING_OUTPUT, f"output `{spec.output}` is missing; found {names(found)}")
    if len(found) == 1:
        return next(iter(found))
    raise Unreadable(Reason.MISSING_OUTPUT, f"several outputs ({names(found)}) and none chosen by `output:`")


def _records(spec: PredictionSpec, records: list[Any]) -> Tensor:
    check_rows(len(records))
    for record in records:
        if type(record) is not dict:
            raise Unreadable(Reason.BAD_TYPE, f"a row is {word_for(record)} where others are objects")
    if spec.kind in _WIDE and not spec.output and len(records[0]) > 1:
        return _table(records)
    return tensor([record[chosen_name(spec, record)] for record in records])


def _table(records: list[dict[str, Any]]) -> Tensor:
    """Every column of the records, sorted by name: JSON gives names no order."""
    columns = sorted(records[0])
    for record in records:
        if sorted(record) != columns:
            raise Unreadable(Reason.BAD_SHAPE, f"the rows differ in their names: {names(columns)}; {names(record)}")
    data = [record[column] for record in records for column in columns]
    return Tensor(data, (len(records), len(columns)), names=tuple(columns))


def scored(spec: PredictionSpec, rows: list[dict[str, Any]]) -> Tensor:
    """Scores by label, one object per row: the best label, the ranking, or all scores, as `kind` asks.

    >>> scored(PredictionSpec(), [{"cat": 0.25, "dog": 0.75}]).data
    ['dog']
    """
    check_rows(len(rows))
    if (labels := sum(map(len, rows))) > MAX_LABELS:
        raise too_many(labels, MAX_LABELS, "labels")
    if not all(rows):
        raise Unreadable(Reason.EMPTY, "a row has no labels")
    for row in rows:
        floats(list(row.values()))
    if spec.output:
        return tensor([row[chosen_name(spec, row)] for row in rows])
    if spec.kind in _WIDE:
        return _table(rows)
    if spec.kind in (Kind.SCORE, Kind.NUMBER):
        raise Unreadable(Reason.MISSING_OUTPUT, f"several labels ({names(rows[0])}) and none chosen by `output:`")
    # Best first, then by name: what is equal stays in the order in which it came.
    ranked = [sorted(sorted(row), key=row.__getitem__, reverse=True) for row in rows]
    if spec.kind is Kind.RANKING:
        return tensor(ranked)
    return Tensor([labels[0] for labels in ranked], (len(ranked),), Kind.LABEL)


def _by_label(row: Any) -> dict[str, Any]:
    if type(row) is not list or not all(_is_scored(item) for item in row):
        raise Unreadable(Reason.BAD_TYPE, "a row is not a list of labels with their scores")
    return {label_name(item["label"]): item["score"] for item in row}


def _is_scored(item: Any) -> bool:
    return type(item) is dict and item.keys() == {"label", "score"}


def _is_bytes(item: Any) -> bool:
    return type(item) is dict and item.keys() == {"b64"} and type(item["b64"]) is str
