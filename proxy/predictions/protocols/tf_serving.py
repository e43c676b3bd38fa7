"""TensorFlow Serving's REST API (V1), and KServe V1, which took its `:predict` over.

    :predict    {"predictions": [...]}            row format: one entry per row, a value or an object of named outputs
                {"outputs": … or {name: …}}       column format
    :classify   {"results": [[["label", score], …], …]}
    :regress    {"results": [score, …]}

The guide writes `result`, the server `results`; both are read. A name of several outputs is chosen by `output`.
Source: tensorflow/serving, `tensorflow_serving/g3doc/api_rest.md` and `util/json_tensor.cc`.
"""

from __future__ import annotations

from typing import Any

from proxy.model import PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.json_tools import word_for
from proxy.predictions.message import Message
from proxy.predictions.protocol import Protocol
from proxy.predictions.rows import chosen_name, row_of_predictions, rows_of, scored
from proxy.predictions.shapes import Tensor, check_rows, label_name, tensor
from proxy.predictions.unreadable import Unreadable, names

VERBS = (":predict", ":classify", ":regress")


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """The values of an answer of TensorFlow Serving or KServe V1; raises `Unreadable`."""
    document = answer.document
    if type(document) is dict:
        if "predictions" in document:
            return rows_of(spec, document["predictions"])
        if "outputs" in document:
            return _columns(spec, document["outputs"])
        for key in ("results", "result"):
            if key in document:
                return _results(spec, document[key])
    found = names(document) if type(document) is dict else word_for(document)
    raise Unreadable(Reason.MISSING_OUTPUT, f"`predictions`, `outputs` or `results` is missing; found {found}")


def _columns(spec: PredictionSpec, outputs: Any) -> Tensor:
    if type(outputs) is dict:
        outputs = outputs[chosen_name(spec, outputs)]
    return rows_of(spec, outputs)


def _results(spec: PredictionSpec, results: Any) -> Tensor:
    if type(results) is list and results and type(results[0]) is list:
        check_rows(len(results))
        return scored(spec, [_classes(row) for row in results])
    return tensor(results)


def _classes(row: Any) -> dict[str, Any]:
    if type(row) is not list or not all(type(item) is list and len(item) == 2 for item in row):
        raise Unreadable(Reason.BAD_SHAPE, "a row of `results` is not a list of [label, score]")
    by_label = {label_name(label): score for label, score in row}
    # A model without a label table sends every label empty; then a class is known by its place.
    return by_label if len(by_label) == len(row) else {str(at): score for at, (_, score) in enumerate(row)}


def recognise(target: str, answer: Message) -> bool:
    """Whether this answers `/v1/models/NAME:predict` or one of its siblings."""
    path = target.partition("?")[0]
    return path.startswith("/v1/models/") and path.endswith(VERBS)


PROTOCOLS = (
    Protocol("tensorflow", 20, "TensorFlow Serving", extract, recognise, row_of_predictions),
    Protocol("kserve-v1", 30, "KServe's V1 protocol", extract, single=row_of_predictions),
)
