"""Promise: so many candidate failures in a row where live succeeded trip the wire, and nothing else does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.evidence import Tripwire
from proxy.model import Kind, Prediction
from proxy.model.reasons import Reason
from tests.evidence.streams import make_reading

GOOD = make_reading(0)
BAD = make_reading(1, fault=Reason.TIMEOUT)
BOTH = make_reading(2, fault=Reason.TIMEOUT, live_fault=Reason.STATUS_5XX)
LIVE = make_reading(3, live_fault=Reason.STATUS_5XX)
UNREAD = make_reading(4, live_fault=Reason.MISSING_OUTPUT)._replace(live=None, candidate=None)
READ = make_reading(5, live_fault=Reason.MISSING_OUTPUT)._replace(candidate=Prediction(Kind.LABEL, (1,)))


@given(st.lists(st.sampled_from([GOOD, BAD, BOTH, LIVE, UNREAD, READ]), max_size=60), st.integers(1, 6))
def test_against_the_definition(stream: list, limit: int) -> None:
    wire = Tripwire(limit)
    for i, reading in enumerate(stream):
        said = [r for r in stream[: i + 1] if r not in (BOTH, UNREAD)]  # they say nothing
        row = next((n for n, r in enumerate(reversed(said)) if r is not BAD), len(said))
        assert wire.add(reading) == wire.tripped == (row >= limit)


def test_a_limit_of_zero_never_trips() -> None:
    wire = Tripwire(0)
    assert not any(wire.add(BAD) for _ in range(100))
