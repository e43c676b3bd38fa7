"""Promise: calls of tools differ when whoever runs them would do something else, and it is told in which argument."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.reasons import Reason
from proxy.predictions.calls import ToolCall, calls_distance, row_of_calls, told_calls
from proxy.predictions.unreadable import Unreadable

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False, width=32)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text('aé1"\\', max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(
    st.tuples(st.sampled_from("fgh"), st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3)), max_size=4
)


def row(*calls: tuple[str, Any]) -> tuple[str, ...]:
    return row_of_calls([ToolCall(name, value if type(value) is str else json.dumps(value)) for name, value in calls])


def _tagged(value: Any) -> Any:
    """A value so that Python's equality is that of JSON: True is not 1, 1 is 1.0, objects have no order."""
    if isinstance(value, dict):
        return ("object", frozenset((key, _tagged(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("array", tuple(map(_tagged, value)))
    return (type(value).__name__, value) if isinstance(value, bool | str | None) else ("number", value)


@given(CALLS, CALLS)
def test_rows_are_equal_exactly_when_the_multisets_of_calls_are(
    ours: list[tuple[str, Any]], theirs: list[tuple[str, Any]]
) -> None:
    alike = [Counter((name, _tagged(value)) for name, value in calls) for calls in (ours, theirs)]
    assert (row(*ours) == row(*theirs)) == (alike[0] == alike[1])


@given(CALLS, st.randoms(use_true_random=False))
def test_order_of_calls_keys_and_spelling_of_numbers_make_no_difference(
    calls: list[tuple[str, Any]], dice: Any
) -> None:
    def respelled(value: Any) -> Any:
        if isinstance(value, dict):
            items = list(value.items())
            dice.shuffle(items)
            return {key: respelled(item) for key, item in items}
        if isinstance(value, list):
            return [respelled(item) for item in value]
        return float(value) if type(value) is int and abs(value) < 2**53 and dice.random() < 0.5 else value

    other = [(name, json.dumps(respelled(value), indent=dice.choice([None, 2]))) for name, value in calls]
    dice.shuffle(other)
    assert row(*calls) == row(*other)
    assert told_calls(row(*calls), row(*other)) == ""


@given(CALLS, CALLS)
def test_distance_is_one_and_the_difference_is_told(ours: list[tuple[str, Any]], theirs: list[tuple[str, Any]]) -> None:
    a, b = row(*ours), row(*theirs)
    far = calls_distance(a, b)
    assert 0.0 <= far <= 1.0
    assert far == pytest.approx(calls_distance(b, a), abs=0.5)  # which of several belong together may differ
    assert (far == 0.0) == (a == b)
    assert bool(told_calls(a, b)) == (a != b)
    if not ours or not theirs:
        assert far == float(a != b)


@pytest.mark.parametrize(
    ("live", "candidate", "words"),
    [
        ([("f", {"a": 1})], [("f", {"a": 2})], "f: `/a` is 2 where live has 1"),
        ([("f", {"a": 1})], [("f", {})], "f: `/a` is missing where live has 1"),
        ([("f", {})], [("f", {"a": 1})], "f: `/a` is 1 where live has none"),
        ([("f", {"a": {"b": [1, 2]}})], [("f", {"a": {"b": [1, 3]}})], "f: `/a/b/1` is 3 where live has 2"),
        ([("f", {"a": True})], [("f", {"a": 1})], "f: `/a` is 1 where live has true"),
        ([("f", {"a": "1"})], [("f", {"a": 1})], 'f: `/a` is 1 where live has "1"'),
        ([("f", {"a": None})], [("f", {})], "f: `/a` is missing where live has null"),
        ([("f", {})], [("g", {})], "does not call f; calls g where live does not"),
        ([], [("f", {})], "calls f where live does not"),
        ([("f", {"a": 1}), ("f", {"a": 2})], [("f", {"a": 2}), ("f", {"a": 3})], "f: `/a` is 3 where live has 1"),
        ([("f", "{broken")], [("f", {})], 'f: `/` is {} where live has "{broken"'),
        ([("f", {str(n): 1 for n in range(9)})], [("f", {})],
         "; ".join(f"f: `/{n}` is missing where live has 1" for n in range(3)) .replace("; f", "; f") + " and 6 more"),
    ],
)  # fmt: skip
def test_which_argument_differs(live: Any, candidate: Any, words: str) -> None:
    assert told_calls(row(*live), row(*candidate)) == words


def test_calls_that_depend_on_one_another_keep_their_order() -> None:
    def chain(first: str, second: str) -> tuple[str, ...]:
        return row_of_calls([ToolCall("b", {}, first), ToolCall("a", {"of": first}, second)])

    assert chain("call_1", "call_2") == chain("call_x", "call_y") == ("b({})", 'a({"of":"call 1"})')
    ran = [ToolCall("search", {"q": q}, by_server=True) for q in "ba"]
    row = row_of_calls([ToolCall("z"), *ran])
    assert row == ('search({"q":"b"})', 'search({"q":"a"})', "z({})")
    assert told_calls(row, row_of_calls([*ran[::-1], ToolCall("z")])) == "the same calls in another order"


def test_what_is_odd_is_bounded() -> None:
    assert row_of_calls([ToolCall("f", ""), ToolCall("f", None), ToolCall("f", " ")]) == ("f({})",) * 3
    with pytest.raises(Unreadable) as caught:
        row_of_calls([ToolCall("f", "[" * 300 + "]" * 300)])
    assert caught.value.reason is Reason.TOO_DEEP
    many = [row_of_calls([ToolCall("f", {"a": n + shift}) for n in range(128)]) for shift in (0, 1000)]
    assert 0.0 < calls_distance(*many) <= 1.0
    assert told_calls(*many).endswith("and 125 more")
