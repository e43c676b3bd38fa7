"""Promise: of two answers' calls it is shown which belong together and in what each argument differs, and nothing of
either is left out or made up."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from proxy.predictions.call_fields import MOST_FIELDS, compared_calls
from proxy.predictions.calls import ToolCall, row_of_calls

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab/~é", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(st.tuples(st.sampled_from("fgh"), st.dictionaries(st.sampled_from("xyz"), VALUES)), max_size=4)


def row(calls: list[tuple[str, dict[str, Any]]]) -> tuple[str, ...]:
    return row_of_calls([ToolCall(name, orjson.dumps(arguments).decode()) for name, arguments in calls])


@given(CALLS, CALLS)
def test_each_call_is_there_once_with_what_it_was_given(
    live: list[tuple[str, dict[str, Any]]], candidate: list[tuple[str, dict[str, Any]]]
) -> None:
    found = compared_calls(row(live), row(candidate))
    for calls, arm in ((live, "live"), (candidate, "candidate")):
        assert sorted(call.name for call in found if getattr(call, arm)) == sorted(name for name, _ in calls)
        shown = [getattr(field, arm) for call in found for field in call.fields if getattr(field, arm) is not None]
        leaves = [leaf for _, arguments in calls for leaf in _leaves(arguments)]
        assert sorted(shown) == sorted(orjson.dumps(leaf).decode() for leaf in leaves)
    assert (row(live) == row(candidate)) <= all(call.live and call.candidate for call in found)
    differing = [call for call in found if not (call.live and call.candidate) or _differs(call.fields)]
    assert found[: len(differing)] == differing


def _differs(fields: Any) -> bool:
    return any(field.live != field.candidate for field in fields)


def _leaves(value: Any, top: bool = True) -> list[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if inner:
        return [leaf for item in inner for leaf in _leaves(item, False)]
    return [] if top else [value]


def test_arguments_that_are_no_json_and_many() -> None:
    (call,) = compared_calls(row_of_calls([ToolCall("f", "{broken")]), row_of_calls([ToolCall("f", '{"a": 1}')]))
    assert [tuple(field) for field in call.fields] == [("", '"{broken"', None), ("/a", None, "1")]
    many = {str(n): n for n in range(2 * MOST_FIELDS)}
    (call,) = compared_calls(row([("f", many)]), row([("f", many | {"199": 0})]))
    assert len(call.fields) == MOST_FIELDS
    assert call.fields[0] == ("/199", "199", "0")
