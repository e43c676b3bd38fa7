"""TorchServe's `POST /predictions/NAME`: whatever the handler returned, in its built-in handlers' layouts.

    {"tabby": 0.46, "tiger_cat": 0.41, …}   image_classifier, text_classifier: scores by label
    [3, 1], [[0.1, 0.9], …]                  values
    3, or plain text                         one value

With `kind: label` scores by label give the best label, with `ranking` their order, with `probabilities` all of them
(which wants a handler that returns every class, not the top five). Source: pytorch/serve, `ts/torch_handler/`.
"""

from __future__ import annotations

from typing import Any

from proxy.model import PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.message import Message, media_type
from proxy.predictions.protocol import Protocol
from proxy.predictions.rows import rows_of, scored
from proxy.predictions.shapes import Tensor
from proxy.predictions.unreadable import Unreadable


def extract(spec: PredictionSpec, answer: Message) -> Tensor:
    """The values of an answer of TorchServe; raises `Unreadable`."""
    try:
        document = answer.document
    except Unreadable as why:
        if why.reason is Reason.EMPTY or media_type(answer.head) == "application/json":
            raise
        return Tensor([_plain(answer.body)], ())
    if _is_scores(document):
        return scored(spec, [document])
    if type(document) is list and document and all(_is_scores(row) for row in document):
        return scored(spec, document)
    return rows_of(spec, document)


_NUMBERS = {int, float}


def _is_scores(value: Any) -> bool:
    return type(value) is dict and len(value) > 1 and set(map(type, value.values())) <= _NUMBERS


def _plain(body: bytes) -> str:
    try:
        return body.decode().strip()
    except UnicodeDecodeError:
        raise Unreadable(Reason.BAD_ENCODING, "the answer is neither JSON nor UTF-8 text") from None


def recognise(target: str, answer: Message) -> bool:
    """Whether this answers `/predictions/NAME`."""
    return target.startswith("/predictions/")


PROTOCOLS = (Protocol("torchserve", 60, "TorchServe", extract, recognise),)
