"""Calls of tools side by side: which call of the candidate's belongs to which of live's, and in which arguments they
differ. For a person to see; the evidence needs no more than how far two rows are apart (`calls`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from proxy.predictions.calls import DEEPEST, ReadCall, matched_calls, taken_apart, written_value

MOST_FIELDS = 100
"""Arguments shown of one call."""


class CallField(NamedTuple):
    """One argument, by its JSON pointer: what each arm gives for it as JSON, `None` where it gives none."""

    path: str
    live: str | None
    candidate: str | None


class ComparedCall(NamedTuple):
    """One call: which arms make it, and its arguments, those that differ first."""

    name: str
    live: bool
    candidate: bool
    fields: tuple[CallField, ...]


def compared_calls(live: Sequence[str], candidate: Sequence[str]) -> list[ComparedCall]:
    """The calls of two rows (`calls.row_of_calls`), those that differ first.

    >>> for call in compared_calls(('f({"city":"Ulm","days":2})',), ('f({"city":"Ulm","days":3})', "g({})")):
    ...     print(call.name, call.live, call.candidate, [tuple(field) for field in call.fields])
    f True True [('/days', '2', '3'), ('/city', '"Ulm"', '"Ulm"')]
    g False True []
    """
    found = [_compared(ours, theirs) for ours, theirs in _all(live, candidate)]
    return sorted(found, key=lambda call: call.live and call.candidate and not any(map(_differs, call.fields)))


def _all(live: Sequence[str], candidate: Sequence[str]) -> Iterator[tuple[ReadCall | None, ReadCall | None]]:
    """Calls that belong together. Equal ones are found by their text here, since `matched_calls` does not say which."""
    ours, theirs, equal = list(live), list(candidate), []
    for call in live:
        if call in theirs:
            ours.remove(call)
            theirs.remove(call)
            equal.append(taken_apart(call))
    yield from matched_calls(ours, theirs)
    yield from ((call, call) for call in equal)


def _compared(live: ReadCall | None, candidate: ReadCall | None) -> ComparedCall:
    sides = [dict(_flat(call[1])) if call else {} for call in (live, candidate)]
    names = dict.fromkeys(name for side in sides for name in side)
    fields = [CallField(name, sides[0].get(name), sides[1].get(name)) for name in names]
    name = (live or candidate or ("", {}))[0]
    ordered = sorted(fields, key=lambda field: not _differs(field))[:MOST_FIELDS]
    return ComparedCall(name, live is not None, candidate is not None, tuple(ordered))


def _differs(field: CallField) -> bool:
    return field.live != field.candidate


def _flat(value: Any, at: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every value that holds no others, by its pointer."""
    if type(value) is dict and value and depth < DEEPEST:
        for key, item in value.items():
            yield from _flat(item, f"{at}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1)
    elif type(value) is list and value and depth < DEEPEST:
        for number, item in enumerate(value):
            yield from _flat(item, f"{at}/{number}", depth + 1)
    elif at or value != {}:
        yield at, written_value(value)
