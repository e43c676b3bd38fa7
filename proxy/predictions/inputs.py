"""Named fields of a request, for drift: numbers, labels and vectors out of its JSON and its headers.

A field is *missing* where the request has none, `null`, or a value of another kind: a number that has become a text is
of no more use to a model than one that is not there. A body that cannot be read as a whole says nothing of any field in
it; the reason is given once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from proxy.json_pointer import Pointer, parse_pointer
from proxy.model import Kind
from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT, Bounds
from proxy.predictions.json_tools import parse_json, value_at
from proxy.predictions.message import decoded, head_value
from proxy.predictions.request import MAX_NAME, header_text, split_binary
from proxy.predictions.unreadable import Unreadable

InputValue: TypeAlias = float | str | tuple[float, ...]
MOST_VALUES = 65_536
"""Numbers of one vector."""


@dataclass(frozen=True, slots=True)
class InputField:
    """Where a field stands: at a JSON pointer, or in a header."""

    name: str
    kind: Kind
    pointer: Pointer = ()
    header: str = ""


def input_field(name: str, kind: Kind, pointer: str = "", header: str = "") -> InputField:
    """One as the file has it; raises `ValueError` for what is no pointer.

    >>> input_field("amount", Kind.NUMBER, "/x/0").pointer
    ('x', '0')
    """
    return InputField(name, kind, parse_pointer(pointer), header)


def read_inputs(
    fields: Sequence[InputField], head: bytes, body: bytes, bounds: Bounds = DEFAULT
) -> tuple[dict[str, InputValue | None], Reason]:
    """The values of a request, `None` where one is missing; fields of a body that cannot be read are left out, and the
    reason says why. Raises nothing, whatever the bytes.

    >>> amount, country = input_field("amount", Kind.NUMBER, "/x/0"), input_field("country", Kind.LABEL, header="X-C")
    >>> read_inputs([amount, country], b"POST / HTTP/1.1\\r\\nx-c: DE\\r\\n\\r\\n", b'{"x": [1.5]}')
    ({'country': 'DE', 'amount': 1.5}, <Reason.NONE: ''>)
    >>> read_inputs([amount], b"POST / HTTP/1.1\\r\\n\\r\\n", b'{"x": ["?"]}')[0], read_inputs([amount], b"", b"?")[1]
    ({'amount': None}, <Reason.NOT_JSON: 'not_json'>)
    """
    found = {
        field.name: _of_text(header_text(head_value(head, field.header)), field.kind)
        for field in fields
        if field.header
    }
    inside = [field for field in fields if not field.header]
    if not inside:
        return found, Reason.NONE
    try:
        text, _ = split_binary(head, decoded(head, body, bounds.inflated))
        document = parse_json(text, bounds=bounds)
    except Unreadable as why:
        return found, why.reason
    return found | {field.name: _at(document, field) for field in inside}, Reason.NONE


def _at(document: Any, field: InputField) -> InputValue | None:
    try:
        value = value_at(document, field.pointer)
    except Unreadable:
        return None
    if field.kind is Kind.NUMBER:
        return _number(value)
    if field.kind is Kind.VECTOR:
        return _vector(value)
    return _label(value)


def _number(value: Any) -> float | None:
    """A finite number; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _label(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:MAX_NAME] if isinstance(value, str | int | float) else None


def _vector(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_VALUES:
        return None
    numbers = [_number(one) for one in value]
    return None if None in numbers else tuple(number for number in numbers if number is not None)


def _of_text(text: str, kind: Kind) -> InputValue | None:
    """A header's value.

    >>> _of_text("12.5", Kind.NUMBER), _of_text("nan", Kind.NUMBER), _of_text("DE", Kind.LABEL)
    (12.5, None, 'DE')
    """
    if kind is Kind.LABEL:
        return text[:MAX_NAME] or None
    try:
        return _number(float(text))
    except ValueError:
        return None
