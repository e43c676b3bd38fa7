"""Two predictions of one request: can they be compared, in what do they differ, how are their tokens counted."""

from __future__ import annotations

import re
from typing import TypeAlias

from proxy.model import VALID, Kind, Prediction
from proxy.model.reasons import Reason
from proxy.predictions.calls import told_calls
from proxy.predictions.exact_json import fits_64_bits
from proxy.predictions.unreadable import MAX_DETAIL, Unreadable, names

TokenCount: TypeAlias = tuple[int, int]
"""Tokens that a streamed answer says it has (0: it does not say), and events of it that carried something."""
NO_COUNT: TokenCount = (0, 0)

_SEQUENCES = frozenset((Kind.PROBABILITIES, Kind.VECTOR))
"""Kinds whose rows must be as wide as live's; a ranking may be shorter or longer."""


def token_counts(live: TokenCount, candidate: TokenCount) -> tuple[int, int, bool]:
    """Tokens of live's and the candidate's streamed answer, and whether events are taken for tokens.

    Both are counted in one way: engines put several tokens into one event, so a count by usage beside one by events
    would make either arm look fast. Without usage of both, the events of both count.

    >>> token_counts((30, 10), (28, 28)), token_counts((30, 10), (0, 28)), token_counts((0, 0), (28, 28))
    ((30, 28, False), (10, 28, True), (0, 28, False))
    """
    if live[0] and candidate[0]:
        return live[0], candidate[0], False
    if live[1] and candidate[1]:
        return live[1], candidate[1], True
    return live[0] or live[1], candidate[0] or candidate[1], False  # only one of them came as a stream


TOLD = frozenset((Kind.CALLS, Kind.JSON))
"""Kinds of which it is told in what two answers differ."""


def told_difference(live: Prediction, candidate: Prediction) -> str:
    """In what the candidate's answer differs from live's, in words; empty when it does not, or the kind says enough.

    >>> told_difference(Prediction(Kind.JSON, ("valid",)), Prediction(Kind.JSON, ("invalid: no JSON: line 1",)))
    'invalid: no JSON: line 1'
    """
    for ours, theirs in zip(live.rows, candidate.rows, strict=True):
        if ours == theirs:
            continue
        if live.kind is Kind.CALLS:
            return told_calls(ours, theirs)[:MAX_DETAIL]
        if VALID in (ours, theirs):
            return str(theirs if ours == VALID else f"valid where live's is {ours}")[:MAX_DETAIL]
    return ""


def fit_live(candidate: Prediction, live: Prediction) -> None:
    """Raise `Unreadable` unless the two predictions can be compared row by row."""
    mine, yours = len(candidate.rows), len(live.rows)
    if mine != yours:
        raise Unreadable(Reason.ROW_COUNT, f"{_count(mine, 'row')} where live answered {yours}")
    if candidate.kind in _SEQUENCES:
        for at in range(mine):
            if len(candidate.rows[at]) != len(live.rows[at]):
                widths = f"{_count(len(candidate.rows[at]), 'value')} in row {at} where live answered"
                raise Unreadable(Reason.BAD_SHAPE, f"{widths} {len(live.rows[at])}")
        if candidate.names != live.names:
            raise Unreadable(Reason.BAD_SHAPE, _renamed(candidate.names, live.names))
    elif candidate.kind is Kind.LABEL and _sort(candidate.rows) != _sort(live.rows):
        ours, theirs = _written(candidate.rows), _written(live.rows)
        if ours and theirs and ours != theirs:
            raise Unreadable(Reason.BAD_TYPE, f"labels are {ours} where live answered {theirs}")


def _sort(rows: tuple[object, ...]) -> str:
    """What sort of labels these are. A model that renames 3 to "3" breaks its callers, so that is no small change."""
    return "text" if all(type(row) is str for row in rows) else "numbers"


def _written(rows: tuple[object, ...]) -> str:
    """The same of the labels that tell: digits beyond 64 bits may have been either (`shapes`). Empty when none does."""
    telling = tuple(
        row for row in rows if not (type(row) is str and _DIGITS.fullmatch(row) and not fits_64_bits(int(row)))
    )
    return _sort(telling) if telling else ""


_DIGITS = re.compile(r"-?[1-9][0-9]{18,308}")


def _renamed(mine: tuple[str, ...], yours: tuple[str, ...]) -> str:
    """What differs between two lists of names; JSON says nothing of order, so protocols hand them over sorted."""
    only, missing = sorted(set(mine) - set(yours)), sorted(set(yours) - set(mine))
    return f"the names differ: only here {names(only)}, only in live's answer {names(missing)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
