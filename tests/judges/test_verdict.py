"""Promise: only the closed schema is a verdict; everything else is *not judged*, with a reason of a closed set."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.judges.budget import JudgeSpending, afford, lacks, settle_spending, spent_now
from proxy.judges.position import FirstRate
from proxy.judges.verdict import MAX_REASON, WINNERS, Judgment, NotJudged, read_verdict, value_of
from proxy.money import MoneyBudget

DAY = 86400.0


def answer(content: Any, **choice: Any) -> bytes:
    message = {
        "role": "assistant",
        "content": content if isinstance(content, str | None) else orjson.dumps(content).decode(),
    }
    usage = {"prompt_tokens": 900, "completion_tokens": 40}
    return orjson.dumps({"choices": [{"message": message, **choice}], "usage": usage})


@pytest.mark.parametrize("word", WINNERS)
def test_the_three_words_are_verdicts(word: str) -> None:
    found = read_verdict(200, answer({"reason": "r" * 5000, "verdict": word}, finish_reason="stop"))
    assert found == Judgment(word, "r" * MAX_REASON, None, 900, 40)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (429, answer({"reason": "", "verdict": "tie"}), NotJudged.STATUS),
        (200, b"", NotJudged.NOT_JSON),
        (200, b"<html>", NotJudged.NOT_JSON),
        (200, b"[]", NotJudged.NOT_JSON),
        (200, b'{"choices": []}', NotJudged.NOT_JSON),
        (200, b'{"choices": [{"message": 3}]}', NotJudged.NOT_JSON),
        (200, answer(None), NotJudged.NOT_JSON),
        (200, answer("The first one is better."), NotJudged.NOT_JSON),
        (200, answer("```json\n{}\n```"), NotJudged.NOT_JSON),
        (200, answer(["first"]), NotJudged.NOT_A_VERDICT),
        (200, answer({"verdict": "first"}), NotJudged.NOT_A_VERDICT),
        (200, answer({"verdict": "FIRST", "reason": ""}), NotJudged.NOT_A_VERDICT),
        (200, answer({"verdict": "both", "reason": ""}), NotJudged.NOT_A_VERDICT),
        (200, answer({"verdict": ["tie"], "reason": ""}), NotJudged.NOT_A_VERDICT),
        (200, answer({"verdict": "tie", "reason": 3}), NotJudged.NOT_A_VERDICT),
        (200, answer({"verdict": "tie", "reason": "", "score": 3}), NotJudged.NOT_A_VERDICT),
        (200, answer('{"verdict": "tie", "reas', finish_reason="length"), NotJudged.REFUSED),
        (200, answer(None, finish_reason="content_filter"), NotJudged.REFUSED),
        (200, answer(None, message={"refusal": "I cannot"}), NotJudged.REFUSED),
    ],
)
def test_anything_else_is_not_judged(status: int, body: bytes, why: NotJudged) -> None:
    found = read_verdict(status, body)
    assert (found.winner, found.reason, found.why) == ("", "", why)


@given(st.integers(0, 999), st.binary(max_size=60))
def test_no_bytes_raise(status: int, body: bytes) -> None:
    found = read_verdict(status, body)
    assert bool(found.winner) is (found.why is None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["first", "", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "prompt_tokens", "verdict"]), inner
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_no_json_raises(value: Any) -> None:
    read_verdict(200, orjson.dumps(value))
    read_verdict(200, orjson.dumps({"choices": [value], "usage": value}))
    read_verdict(200, orjson.dumps({"choices": [{"message": value, "finish_reason": value}]}))


@pytest.mark.parametrize("first", [True, False])
def test_a_swapped_pair_has_the_opposite_value(first: bool) -> None:
    for word, other in (("first", "second"), ("second", "first"), ("tie", "tie")):
        assert value_of(word, candidate_first=first) == -value_of(other, candidate_first=first)


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 2), st.floats(0, 40_000)), max_size=30))
def test_what_is_under_way_never_comes_to_more_than_the_budget(asked: list[tuple[float, float, float]]) -> None:
    """Costs that come to no more than their estimates, whenever they end, stay within the budget of every period."""
    limit, spending, now = MoneyBudget(4.0, DAY), JudgeSpending(), 0.0
    paid: dict[int, float] = {}
    under_way: list[tuple[float, float]] = []
    for estimate, part, later in asked:
        now += later
        after = afford(spending, limit, estimate, now)
        if after is not None:
            spending = after
            under_way.append((estimate, estimate * min(1.0, part)))
        if len(under_way) > 2 or after is None:
            for reserved, cost in under_way:
                spending = settle_spending(spending, limit, reserved, cost, now)
                paid[int(now // DAY)] = paid.get(int(now // DAY), 0.0) + cost
            under_way = []
            assert spending.reserved < 1e-9
    assert all(amount <= 4.0 + 1e-6 for amount in paid.values())


def test_a_new_day_has_a_new_budget_and_a_clock_set_back_spends_none_twice() -> None:
    limit = MoneyBudget(1.0, DAY)
    spending = settle_spending(JudgeSpending(), limit, 0.0, 1.0, 10.0)
    assert afford(spending, limit, 0.1, 20.0) is None
    assert spent_now(spending, limit, DAY + 1) == 0.0
    assert afford(spending, limit, 0.1, DAY + 1) == spending._replace(reserved=0.1)
    assert afford(settle_spending(spending, limit, 0.0, 1.0, DAY), limit, 0.1, DAY - 1) is None


def test_a_limit_that_changes_its_period_and_back_is_not_had_twice() -> None:
    day, hour, noon = MoneyBudget(5.0, DAY), MoneyBudget(1.0, 3600.0), 12 * 3600.0
    spending = settle_spending(JudgeSpending(), day, 0.0, 4.0, noon - 1)
    assert (spent_now(spending, hour, noon), spent_now(spending, hour, noon - 1)) == (0.0, 4.0)
    spending = settle_spending(spending, hour, 0.0, 1.0, noon)
    assert lacks(spending, hour, 0.1, noon)
    assert spent_now(spending, day, noon + 1) == 5.0
    assert not lacks(spending, day, 5.0, DAY)


def test_position_bias_is_the_share_of_first_of_what_is_no_tie() -> None:
    rate = FirstRate()
    for word in ("first", "tie", "second", "first", "first"):
        rate = rate.add(word)
    assert rate == FirstRate(3, 1)
    low, high = rate.interval
    assert low < 0.75 < high
