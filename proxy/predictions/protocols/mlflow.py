"""MLflow's scoring server (`mlflow models serve`): `POST /invocations` answers `{"predictions": …}`.

`predictions` is what the model's flavor made: an array, records (a DataFrame, `output` chooses the column) or columns.
Source: mlflow, `mlflow/pyfunc/scoring_server/__init__.py` (`predictions_to_json`).
"""

from __future__ import annotations

from proxy.model import PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.json_tools import word_for
from proxy.predictions.message import Message
from proxy.predictions.protocol import Protocol
from proxy.predictions.rows import row_of_predictions, rows_of
from proxy.predictions.shapes import Tensor
from proxy.predictions.unreadable import Unreadable, names


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """The values under `predictions`; raises `Unreadable`."""
    document = answer.document
    if type(document) is not dict or "predictions" not in document:
        found = names(document) if type(document) is dict else word_for(document)
        raise Unreadable(Reason.MISSING_OUTPUT, f"`predictions` is missing; found {found}")
    return rows_of(spec, document["predictions"])


def recognise(target: str, answer: Message) -> bool:
    """Whether this answers `/invocations` with a JSON object that holds `predictions`."""
    if target.partition("?")[0] != "/invocations":
        return False
    try:
        return type(answer.document) is dict and "predictions" in answer.document
    except Unreadable:
        return False


PROTOCOLS = (Protocol("mlflow", 40, "MLflow (`mlflow models serve`)", extract, recognise, row_of_predictions),)
