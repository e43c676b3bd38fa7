"""Promise: bets on the users of both arms are fair at the limit, whatever users do; the same users give the same counts
however they are cut and saved; and the estimate is that of inverse probability weighting."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.evidence import Evidence
from proxy.evidence.input.units import LEARNED, PARTS, UnitBatch, UnitTotals
from proxy.evidence.process.means import BINS
from proxy.evidence.rules.outcome_drop import CELLS, LIVE_AT, WIDTH, OutcomeDrop
from proxy.model import Guard, Verdict
from tests.evidence.streams import make_plan, score_stream, segments

POINTS = Guard("max_outcome_drop", 0.02, False, 1.0, outcome="c", within=60.0, in_points=True)
HALF = Guard("max_outcome_drop", 0.1, True, outcome="c", within=60.0)


def batch(on: list[bool], share: float, values: list[float], first: int = 0) -> UnitBatch:
    n = len(on)
    numbers, ones = np.arange(first, first + n), np.ones(n, dtype=bool)
    return UnitBatch(numbers, np.array(on, dtype=bool), np.full(n, share), np.array(values, dtype=float), ones)


def counts_of(rule: OutcomeDrop, units: UnitBatch, seed: int = 1, salt: int = 2) -> np.ndarray:
    counts = np.zeros(WIDTH, np.int64)
    np.add.at(counts, rule.places(units, seed, salt)[0], 1)
    return counts


def mean_factor(rule: OutcomeDrop, limit: float, units: UnitBatch) -> np.ndarray:
    """The mean, over roundings, of each bet's factor for one user: by very many roundings of the same user."""
    many = 4000
    one = UnitBatch(
        np.arange(many),
        *(np.repeat(x, many) for x in (units.candidate, units.share, units.value, units.current)),
        centre=np.repeat(units.centre, many),
    )
    places = rule.places(one, 5, 6)[0][:many]
    counts = np.eye(LIVE_AT)[places]

    found: np.ndarray = np.exp(rule.log_bets(counts, limit)[0, 0]).mean(axis=0)
    return found


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize(("live", "candidate"), [(0.02, 0.0), (1.0, 0.98), (0.5, 0.48), (0.02, 0.02)])
def test_at_the_limit_no_bet_on_a_user_wins_on_average(share: float, live: float, candidate: float) -> None:
    """Whoever the user is: the draw alone makes it fair."""
    rule, total = OutcomeDrop(relative=False), np.zeros(10)
    for on, value, p in ((True, candidate, share), (False, live, 1.0 - share)):
        unit = batch([on], share, [value])
        unit = UnitBatch(*(getattr(unit, name) for name in UnitBatch.__slots__[:5]), centre=np.array([0.3]))
        total += p * mean_factor(rule, 0.02, unit)
    assert (total <= 1.0 + 0.004).all(), total


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 5.0)), min_size=1, max_size=60), st.data())
@settings(max_examples=40, deadline=None)
def test_however_users_are_cut_and_saved_the_evidence_is_the_same(
    users: list[tuple[bool, float]], data: st.DataObject
) -> None:
    plan = make_plan(Guard("max_outcome_drop", 0.1, True, 3.0, outcome="c", within=60.0))
    whole, parts = Evidence.begin(plan, 7), Evidence.begin(plan, 7)
    every = batch([on for on, _ in users], 0.3, [value for _, value in users])
    whole.count_units(every)
    at = data.draw(st.integers(0, len(users)))
    parts.count_units(every.part(slice(0, at)))
    parts = Evidence.load(plan, parts.dump())
    parts.count_units(every)  # those that have counted come again, as after a restart
    assert parts.counts.tolist() == whole.counts.tolist()
    assert parts.dump() == whole.dump()
    assert parts.units.live.units + parts.units.candidate.units == len(users)


def test_the_estimate_is_that_of_inverse_probability_weighting() -> None:
    rng = np.random.default_rng(1)
    n, p = 20_000, 0.2
    on, value = rng.random(n) < p, (rng.random(n) < 0.4).astype(float)
    value[on] *= rng.random(int(on.sum())) < 0.75
    units = UnitTotals().take(batch(on.tolist(), p, value.tolist()), 1.0)
    (found,) = OutcomeDrop(relative=False).estimates(counts_of(OutcomeDrop(relative=False), units)[None], 0.02)
    centred = value - units.centre
    weighted = np.mean((1 - on) * centred / (1 - p)) - np.mean(on * centred / p)
    assert found.value == pytest.approx(weighted, abs=0.004)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.1 < found.high
    assert found.pairs == n
    (relative,) = OutcomeDrop(relative=True, kept=0.9).estimates(
        counts_of(OutcomeDrop(relative=True, kept=1.0), units)[None], 0.1
    )
    assert relative.value == pytest.approx(0.25, abs=0.05)


def test_the_bound_is_learned_from_the_first_values_of_both_arms_which_do_not_count() -> None:
    totals = UnitTotals()
    values = [0.0, 2.0] * LEARNED + [8.0, 30.0]
    counted = totals.take(batch([True, False] * (LEARNED + 1), 0.5, values), 0.0)
    assert totals.bound == 8.0
    assert totals.learning_units == 2 * LEARNED
    assert counted.value.tolist() == [1.0, 3.75]
    assert (totals.candidate.mean, totals.live.mean, totals.live.cut_parts) == (8.0, 30.0, PARTS)


def test_what_lies_beyond_the_bound_keeps_a_pass_away() -> None:
    rule = OutcomeDrop(relative=True, kept=0.9)
    rng = np.random.default_rng(2)
    on = rng.random(40_000) < 0.5
    value = np.where(rng.random(40_000) < 0.5, 0.8, 0.0)
    counts = counts_of(rule, UnitTotals().take(batch(on.tolist(), 0.5, value.tolist()), 1.0))
    assert rule.log_pass(counts, 0.1) > np.log(20.0)
    value[~on] = np.where(value[~on] > 0, 40.0, 0.0)  # live's best customers spend far more than can count
    value[on] = np.where(value[on] > 0, 1.0, 0.0)
    counts = counts_of(rule, UnitTotals().take(batch(on.tolist(), 0.5, value.tolist()), 1.0))
    assert rule.log_pass(counts, 0.1) < 0.0
    assert rule.estimates(counts[None], 0.1)[0].note.startswith("no pass while the drop of the whole values")


def test_a_guard_on_users_asks_for_a_pass_only_where_both_arms_serve() -> None:
    plan = make_plan(POINTS)
    evidence = Evidence.begin(plan, 3)
    evidence.enter_stage(0)
    assert evidence.assess(serving=False).findings == ()
    (finding,) = evidence.assess(serving=True).findings
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "no user counts yet" in finding.reason
    rng = np.random.default_rng(4)
    on = (rng.random(3000) < 0.5).tolist()
    evidence.count_units(batch(on, 0.5, [0.0 if one else 1.0 for one in on]))
    found = evidence.assess(serving=True)
    assert found.verdict is Verdict.FAIL
    assert "outcome drop now 99" in found.findings[0].reason
    assert "users" in found.findings[0].reason or found.findings[0].pairs == 3000


def test_every_place_is_within_the_width() -> None:
    for relative, share, value, on in itertools.product(
        (True, False), (0.001, 0.5, 0.999), (0.0, 1.0, 1e9), (True, False)
    ):
        rule = OutcomeDrop(relative, kept=0.5 if relative else 1.0)
        units = UnitTotals().take(batch([on] * 50, share, [value] * 50), 1.0)
        places, current = rule.places(units, 1, 2)
        assert len(places) == len(current) >= 50
        assert ((places >= 0) & (places < WIDTH)).all()
    assert len(CELLS) * BINS == LIVE_AT


def test_another_outcome_begins_anew_and_the_old_evidence_stays() -> None:
    plan = make_plan(POINTS)
    evidence = Evidence.begin(plan, 3)
    evidence.count_units(batch([True, False] * 20, 0.5, [0.0, 1.0] * 20))
    before = evidence.log_e()[0]
    assert before > 0.0
    evidence.change_limits(make_plan(replace(POINTS, outcome="other")))
    assert evidence.units.live.units == 0
    assert evidence.units.settled == 40
    assert evidence.log_e()[0] == pytest.approx(before, abs=1.0)


@pytest.mark.parametrize("limit", [0.001, 0.5, 0.99])
def test_no_user_can_ruin_a_bet(limit: float) -> None:
    for rule in (OutcomeDrop(relative=False), OutcomeDrop(relative=True, kept=1.0 - limit)):
        every = np.eye(WIDTH, dtype=np.int64)
        assert np.isfinite(rule.log_bets(every, limit)).all()
        assert np.isfinite(rule.log_pass(every[:LIVE_AT], limit)).all()


@given(st.floats(0.0, 3.0), st.booleans())
def test_what_is_known_before_a_user_does_not_depend_on_what_it_does(value: float, on: bool) -> None:
    """Or the draw would not be fair given it."""
    before = [True, False, False], [1.0, 0.0, 0.5]
    centres = [
        UnitTotals().take(batch([*before[0], on], 0.5, [*before[1], one]), 1.0).centre[-1] for one in (0.0, value)
    ]
    assert centres[0] == centres[1]


def test_sums_beyond_64_bits_are_saved_exactly() -> None:
    """The most that the API takes, a thousand times."""
    evidence = Evidence.begin(make_plan(Guard("max_outcome_drop", 0.1, True, outcome="c", within=60.0)), 1)
    evidence.count_units(batch([False, True] * 1000, 0.5, [1e12, 3e12] * 1000))
    again = Evidence.load(make_plan(Guard("max_outcome_drop", 0.1, True, outcome="c", within=60.0)), evidence.dump())
    assert again.units == evidence.units
    assert again.units.candidate.millionths == 3 * 10**18 * 950  # the bound is learned from the first hundred


def test_repeated_requests_have_no_part_in_what_is_said_of_users() -> None:
    evidence = Evidence.begin(make_plan(POINTS), 3)
    evidence.count_units(batch([True, False] * 20, 0.5, [0.0, 1.0] * 20))
    evidence._state.repeats = 1000
    (finding,) = evidence.assess().findings
    assert "max_outcome_drop" in finding.guard
    assert "repeats" not in finding.reason


def test_users_are_not_counted_by_segment_so_nothing_is_said_of_them_there() -> None:
    evidence = Evidence.begin(make_plan(POINTS, Guard("max_extra_errors", 0.01), segments=segments(3)), 3)
    evidence.add([one._replace(segment=f"t{i % 3}") for i, one in enumerate(score_stream(300, 1))])
    evidence.count_units(batch([True, False] * 20, 0.5, [0.0, 1.0] * 20))
    found = [(one.guard, one.segment) for one in evidence.assess().findings]
    assert len([guard for guard, segment in found if segment is not None]) >= 3
    assert [segment for guard, segment in found if "max_outcome_drop" in guard] == [None]
