"""Calls of tools as rows that compare as a user means it: by name and by argument.

A row is a tuple of texts, one for each call: `weather({"city":"Ulm","days":2})`. What makes no difference to whoever
runs the tools is not in it:

- the order of keys, blanks, and how a number is written (1, 1.0 and 1e0 are one number);
- ids, which are random. An argument that is the id of another call of the answer stands as that call's place;
- no arguments: an empty text and `{}` are one thing;
- the order of calls that the client runs: they were made without seeing one another's results, so they are sorted.
  Where one of them names another's id, they keep their order. So do calls that the server ran itself (web search):
  each has seen the results of those before it. They stand first.

Arguments that are no JSON, which models do write, are compared as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import orjson

from proxy.model.reasons import Reason
from proxy.predictions import exact_json
from proxy.predictions.bounds import UNBOUNDED
from proxy.predictions.json_tools import parse_json
from proxy.predictions.unreadable import Unreadable

DEEPEST = 200
"""Levels of arguments; orjson writes no more than 254."""
ALL_TRIED = 1024
"""Products of two numbers of calls up to which each is held against each, to find out which belong together."""
SHOWN, LONGEST = 3, 60
"""Differences that are told of two answers, characters of a value in them."""


class ToolCall(NamedTuple):
    """One call as it was read. `arguments` are their JSON text or its value; `by_server` says who ran the tool."""

    name: str
    arguments: Any = ""
    id: str = ""
    by_server: bool = False


def row_of_calls(calls: Sequence[ToolCall]) -> tuple[str, ...]:
    """The calls of one answer as a row; raises `Unreadable` with `too_deep`.

    >>> row_of_calls([ToolCall("b", '{"y": 1.0, "x": "q"}'), ToolCall("a")])
    ('a({})', 'b({"x":"q","y":1})')
    """
    places = {call.id: f"call {number}" for number, call in enumerate(calls, 1) if call.id}
    ran: list[str] = []
    asked: list[str] = []
    dependent = False
    for call in calls:
        arguments, refers = _plain(_parsed(call.arguments), {**places, call.id: call.id} if call.id else places)
        dependent |= refers
        (ran if call.by_server else asked).append(f"{call.name.replace('(', '_')}({written_value(arguments)})")
    return (*ran, *(asked if dependent else sorted(asked)))


def _parsed(arguments: Any) -> Any:
    if type(arguments) is not str:
        return {} if arguments is None else arguments
    if not arguments.strip():
        return {}
    with suppress(Unreadable, UnicodeEncodeError):
        written = arguments.encode()
        return parse_json(written, exact=exact_json.wants_it(written), bounds=UNBOUNDED)
    return arguments


def _plain(value: Any, places: dict[str, str], depth: int = 0) -> tuple[Any, bool]:
    """A value with its numbers written in one way and ids as places, and whether there was one of another call."""
    if depth > DEEPEST:
        raise Unreadable(Reason.TOO_DEEP, "the arguments of a tool call are nested too deep")
    kind = type(value)
    if kind is float:
        return (int(value) if value.is_integer() else value), False
    if kind is str:
        place = places.get(value, value)
        return place, place != value
    if kind is dict:
        members = {key: _plain(item, places, depth + 1) for key, item in value.items()}
        return {key: item for key, (item, _) in members.items()}, any(refers for _, refers in members.values())
    if kind is list:
        items = [_plain(item, places, depth + 1) for item in value]
        return [item for item, _ in items], any(refers for _, refers in items)
    return value, False


def written_value(arguments: Any) -> str:
    """A value as JSON, its keys sorted.

    >>> written_value({"b": 1, "a": "q"})
    '{"a":"q","b":1}'
    """
    try:
        return orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError:  # a whole number beyond 64 bits
        return exact_json.dumps(arguments, sort_keys=True).decode()


# --- two rows --------------------------------------------------------------------------------------------------------


def calls_distance(live: Sequence[str], candidate: Sequence[str]) -> float:
    """How far two rows are from each other, in [0, 1]: 0 where every call has its like, 1 where none has.

    Of two calls of one name, the name counts as one thing and each argument as one: the share that differs.

    >>> calls_distance(("f({})",), ("f({})",)), calls_distance(('f({"a":1,"b":2})',), ('f({"a":1,"b":3})',))
    (0.0, 0.33333333333333337)
    """
    total = len(live) + len(candidate)
    if live == candidate or not total:
        return 0.0
    alike = sum(_likeness(a, b) for a, b in matched_calls(live, candidate) if a is not None and b is not None)
    return min(1.0, max(0.0, 1.0 - 2.0 * alike / total))


def told_calls(live: Sequence[str], candidate: Sequence[str]) -> str:
    """In what the candidate's calls differ from live's, in words; empty when they do not.

    >>> told_calls(('f({"city":"Ulm","days":2})',), ('f({"city":"Ulm","days":3})', "g({})"))
    'f: `/days` is 3 where live has 2; calls g where live does not'
    """
    if live == candidate:
        return ""
    found = []
    for ours, theirs in matched_calls(live, candidate):
        if ours is None or theirs is None:
            found.append(
                f"does not call {ours[0]}" if ours else f"calls {(theirs or ours or ('',))[0]} where live does not"
            )
        else:
            found += [f"{ours[0]}: {words}" for words in _told(ours[1], theirs[1])]
    if not found:
        return "the same calls in another order"
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


ReadCall = tuple[str, Any]
"""A call taken apart: its name and its arguments."""


def taken_apart(call: str) -> ReadCall:
    """A call of a row as its name and its arguments, which stay text where the call was cut.

    >>> taken_apart('f({"a":1})'), taken_apart('f({"a":')
    (('f', {'a': 1}), ('f', '{"a":'))
    """
    name, _, arguments = call.partition("(")
    try:
        return name, orjson.loads(arguments[:-1])
    except orjson.JSONDecodeError:  # one that was cut
        return name, arguments


def matched_calls(live: Sequence[str], candidate: Sequence[str]) -> Iterator[tuple[ReadCall | None, ReadCall | None]]:
    """Which calls belong together: equal ones, of which it is not said which, then those of one name, the likest first;
    the rest by themselves.

    >>> list(matched_calls(("f({})", 'g({"a":1})'), ("f({})", 'g({"a":2})', "h({})")))
    [(('', {}), ('', {})), (('g', {'a': 1}), ('g', {'a': 2})), (None, ('h', {}))]
    """
    theirs = list(candidate)
    ours = [call for call in live if not _took(theirs, call)]
    alike: ReadCall = ("", {})
    yield from ((alike, alike) for _ in range(len(live) - len(ours)))
    left, right = [*map(taken_apart, ours)], [*map(taken_apart, theirs)]
    tried = len(left) * len(right) <= ALL_TRIED
    for one in left:
        best = _best(one, right, tried=tried)
        if best is not None:
            right.remove(best)
        yield one, best
    yield from ((None, other) for other in right)


def _best(one: ReadCall, others: Sequence[ReadCall], *, tried: bool) -> ReadCall | None:
    """The call of the same name that is likest; the first one unless all are `tried`."""
    fit = [other for other in others if other[0] == one[0]]
    return max(fit, key=partial(_likeness, one)) if fit and tried else next(iter(fit), None)


def _took(calls: list[str], call: str) -> bool:
    if call in calls:
        calls.remove(call)
        return True
    return False


def _likeness(one: ReadCall, other: ReadCall) -> float:
    ours, theirs = one[1], other[1]
    if type(ours) is not dict or type(theirs) is not dict:
        return 0.5
    keys = ours.keys() | theirs.keys()
    same = sum(key in ours and key in theirs and written_value(ours[key]) == written_value(theirs[key]) for key in keys)
    return float(1 + same) / (1 + len(keys))


def _told(live: Any, candidate: Any, at: str = "", depth: int = 0) -> Iterator[str]:
    """Every place at which two values differ."""
    if type(live) is dict and type(candidate) is dict and depth < DEEPEST:
        for key in sorted(live.keys() | candidate.keys()):
            here = f"{at}/{key}"
            if key not in candidate:
                yield f"`{here[:LONGEST]}` is missing where live has {_short(live[key])}"
            elif key not in live:
                yield f"`{here[:LONGEST]}` is {_short(candidate[key])} where live has none"
            else:
                yield from _told(live[key], candidate[key], here, depth + 1)
    elif type(live) is list and type(candidate) is list and len(live) == len(candidate) and depth < DEEPEST:
        for number, (ours, theirs) in enumerate(zip(live, candidate, strict=True)):
            yield from _told(ours, theirs, f"{at}/{number}", depth + 1)
    elif written_value(live) != written_value(candidate):
        yield f"`{at[:LONGEST] or '/'}` is {_short(candidate)} where live has {_short(live)}"


def _short(value: Any) -> str:
    written = written_value(value)
    return written if len(written) <= LONGEST else written[: LONGEST - 1] + "…"
