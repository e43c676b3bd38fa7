"""What live said, as values that can be watched for drift: of each kind of prediction the fields that tell most.

| kind | fields |
|---|---|
| score, number | the number |
| label | the label |
| probabilities | the likeliest class, and `.confidence`: its probability |
| ranking | the first item |
| vector | the vector |
| text | `.words`: how many there are |
| calls | the names of what is called |
| json | whether it is valid |

Of an answer with several rows the first one counts: rows of one request are no independent observations.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from proxy.model import VALID, Kind, Prediction
from proxy.predictions.request import MAX_NAME

SaidValue: TypeAlias = float | str | tuple[float, ...]

FIELDS: Final[dict[Kind, tuple[tuple[str, Kind], ...]]] = {
    Kind.SCORE: (("", Kind.NUMBER),),
    Kind.NUMBER: (("", Kind.NUMBER),),
    Kind.LABEL: (("", Kind.LABEL),),
    Kind.PROBABILITIES: (("", Kind.LABEL), (".confidence", Kind.NUMBER)),
    Kind.RANKING: (("", Kind.LABEL),),
    Kind.VECTOR: (("", Kind.VECTOR),),
    Kind.TEXT: ((".words", Kind.NUMBER),),
    Kind.CALLS: (("", Kind.LABEL),),
    Kind.JSON: (("", Kind.LABEL),),
}
"""How the names of a prediction's fields end, and what they hold."""


def said_values(prediction: Prediction) -> tuple[SaidValue, ...]:
    """The values of a prediction's fields, in the order of `FIELDS`.

    >>> said_values(Prediction(Kind.PROBABILITIES, ((0.2, 0.8),), ("cat", "dog")))
    ('dog', 0.8)
    >>> said_values(Prediction(Kind.TEXT, ("to be or not",))), said_values(Prediction(Kind.LABEL, (True,)))
    ((4.0,), ('true',))
    """
    kind, row = prediction.kind, prediction.rows[0]
    if kind in (Kind.SCORE, Kind.NUMBER):
        return (float(row),)
    if kind is Kind.VECTOR:
        return (tuple(map(float, row)),)
    if kind is Kind.PROBABILITIES:
        at = max(range(len(row)), key=row.__getitem__)
        return (_named(prediction.names[at] if at < len(prediction.names) else at), float(row[at]))
    if kind is Kind.RANKING:
        return (_named(row[0] if row else ""),)
    if kind is Kind.TEXT:
        return (float(len(row.split())),)
    if kind is Kind.CALLS:
        return (_named(", ".join(sorted({call.partition("(")[0] for call in row})) or "none"),)
    if kind is Kind.JSON:
        return (VALID if row == VALID else "invalid",)
    return (_named(row),)


def _named(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:MAX_NAME]
