"""Keeps the promise that what is saved is what is read back, for every plan and rollout."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Guard, Plan, Segments, Stage
from proxy.model.price import Price
from proxy.rollout.events import RolloutState
from proxy.rollout.serialization import plan_from, rollout_from

finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(max_size=5)
prices = st.none() | st.builds(Price, *[finite] * 5)
stages = st.builds(Stage, percent=finite, mirror=finite, min_time=finite, max_time=st.none() | finite, on_timeout=text)


@given(
    st.builds(
        Plan,
        stages=st.lists(stages, min_size=1, max_size=3).map(tuple),
        guards=st.lists(st.builds(Guard, limit=finite, tolerance=finite), max_size=3).map(tuple),
        segments=st.none() | st.builds(Segments, header=text),
        false_rollback_rate=finite,
        false_promotion_rate=finite,
        latency_block=finite,
        noise_floor=finite,
        signed_off_at=st.none() | finite,
        lead_time_slo=st.none() | finite,
        live_price=prices,
        candidate_price=prices,
        currency=text,
    )
)
def test_a_plan_comes_back_equal(plan: Plan) -> None:
    assert plan_from(orjson.loads(orjson.dumps(plan))) == plan


@given(
    st.builds(
        RolloutState, began_at=finite, entered_at=finite, change=st.integers(0, 2**53), entry=st.integers(0, 2**53)
    )
)
def test_a_rollout_comes_back_equal(rollout: RolloutState) -> None:
    assert rollout_from(orjson.loads(orjson.dumps(rollout))) == rollout
